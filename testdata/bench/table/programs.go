package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// tags are those that the product is built with (see the Makefile).
const tags = "sqlite_fts5 sqlite_omit_load_extension netgo osusergo urfave_cli_no_docs"

// benchModule is where the references live, seen from the top of the checkout.
const benchModule = "testdata/bench"

// buildProgram builds a program of the bench module into dir.
func buildProgram(dir, name string) (string, error) {
	out := filepath.Join(dir, name)
	cmd := exec.Command("go", "build", "-tags", tags, "-o", out, "./"+name)
	cmd.Dir = benchModule
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, text)
	}
	return out, nil
}

// busRows runs busbench, which prints rows.
func busRows() ([]row, error) { return rowsOf("busbench") }

// rowsOf builds and runs a program of the bench module that prints rows.
func rowsOf(name string, args ...string) ([]row, error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program, err := buildProgram(dir, name)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, args...)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	rows, bad := readRows(bytes.NewReader(text))
	return rows, errors.Join(err, bad)
}

func readRows(r io.Reader) ([]row, error) {
	var rows []row
	for d := json.NewDecoder(r); ; {
		var one row
		switch err := d.Decode(&one); {
		case errors.Is(err, io.EOF):
			return rows, nil
		case err != nil:
			return rows, err
		}
		rows = append(rows, one)
	}
}
