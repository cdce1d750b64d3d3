package main

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// home is a HOME of its own with the sample people and notes in it.
type home struct {
	dir string
	bin string // folder of the binary
}

func newHome() (*home, error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	h := &home{dir, filepath.Join(dir, "bin")}
	if err := h.install("bin/runloop", "runloopd", "rlp"); err != nil {
		return nil, err
	}
	_, err = h.run("rlp", "kb", "import", "testdata/people", "testdata/notes")
	return h, err
}

// install copies the binary, as users get it. A file that the linker wrote lies
// in the page cache in small pieces, and costs 2 ms more at each start.
func (h *home) install(binary string, names ...string) error {
	if err := os.Mkdir(h.bin, 0o755); err != nil {
		return err
	}
	if err := copyProgram(filepath.Join(h.bin, "runloop"), binary); err != nil {
		return err
	}
	for _, name := range names {
		if err := os.Symlink("runloop", filepath.Join(h.bin, name)); err != nil {
			return err
		}
	}
	return nil
}

func copyProgram(to, from string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o755)
}

func (h *home) remove() { os.RemoveAll(h.dir) }

// command is a program of ours in this HOME.
func (h *home) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(h.bin, name), args...)
	cmd.Env = []string{"HOME=" + h.dir, "PATH=" + os.Getenv("PATH")}
	return cmd
}

// run runs a program and returns its stdout and how long it took.
func (h *home) run(name string, args ...string) ([]byte, error) {
	cmd := h.command(name, args...)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("%s %v: %w: %s%s", name, args, err, problems.Bytes(), out)
	}
	return out, nil
}

// composeArgs are a whole run of the built-in crew.
var composeArgs = []string{"run", "compose_email", "--local", "--yes", "--json",
	"-p", "recipient=John Okafor", "-p", "topic=Q4 plan"}

// processRows measures whole processes.
func processRows() ([]row, error) {
	h, err := newHome()
	if err != nil {
		return nil, err
	}
	defer h.remove()
	var rows []row
	for _, measure := range []func(*home) ([]row, error){
		composeRows, firstRunRows, binaryRows,
	} {
		got, err := measure(h)
		rows = append(rows, got...)
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// milliseconds is the wall time of f.
func milliseconds(f func() error) (float64, error) {
	start := time.Now()
	err := f()
	return float64(time.Since(start).Microseconds()) / 1000, err
}

// composeRows measures a warm run and its replay.
func composeRows(h *home) ([]row, error) {
	out, err := h.run("rlp", composeArgs...) // warms the cache
	if err != nil {
		return nil, err
	}
	var last struct {
		TraceID string `json:"trace_id"`
	}
	line, _, _ := bytes.Cut(out, []byte("\n"))
	if err := json.Unmarshal(line, &last); err != nil {
		return nil, fmt.Errorf("rlp run --json: %w", err)
	}
	var run, replay []float64
	for range 10 {
		ms, err := milliseconds(func() error { _, err := h.run("rlp", composeArgs...); return err })
		if err != nil {
			return nil, err
		}
		run = append(run, ms)
		ms, err = milliseconds(func() error { _, err := h.run("rlp", "replay", last.TraceID); return err })
		if err != nil {
			return nil, err
		}
		replay = append(replay, ms)
	}
	return []row{
		atMost("rlp run compose_email --local, warm, whole process", "ms", median(run), 150),
		ratioAtMost("rlp replay of it; reference the run", "ms", replay, run, 1),
	}, nil
}

// firstRunRows measures a run where nothing was compiled before.
func firstRunRows(*home) ([]row, error) {
	var first []float64
	for range 3 {
		h, err := newHome()
		if err != nil {
			return nil, err
		}
		ms, err := milliseconds(func() error { _, err := h.run("rlp", composeArgs...); return err })
		h.remove()
		if err != nil {
			return nil, err
		}
		first = append(first, ms/1000)
	}
	return []row{atMost("the same, first run ever", "s", median(first), 2)}, nil
}

// binaryRows looks at the binary itself.
func binaryRows(h *home) ([]row, error) {
	name := filepath.Join(h.bin, "runloop")
	st, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	f, err := elf.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	libs, err := f.ImportedLibraries()
	if err != nil && len(f.Progs) == 0 {
		return nil, err
	}
	return []row{
		atMost("binary", "MB", float64(st.Size())/1e6, 45),
		atMost("dynamic libraries", "of them", float64(len(libs)), 0),
	}, nil
}
