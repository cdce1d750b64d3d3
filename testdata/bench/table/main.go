// Command table runs all measurements of spec/09, prints them as one table and
// writes them to a file as JSON, one object a line:
//
//	{"what":…,"ours":…,"reference":…,"ratio":…,"target":…,"unit":…,"ok":…}
//
// It is run from the top of a checkout where `make` has been run.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
)

// part is a group of measurements.
type part struct {
	name string
	run  func() ([]row, error)
}

func parts() []part {
	return []part{
		{"bus", busRows},
		{"go", benchmarkRows},
		{"growth", growthRows},
		{"start", startRows},
		{"enter", enterRows},
		{"process", processRows},
		{"daemon", daemonRows},
	}
}

func main() {
	only := flag.String("only", "", "measure only these `PARTS`: bus,go,growth,start,enter,process,daemon")
	out := flag.String("json", "bin/bench.json", "write the rows to `FILE`")
	flag.Parse()
	wanted := strings.FieldsFunc(*only, func(r rune) bool { return r == ',' })
	var rows []row
	failed := false
	for _, p := range parts() {
		if len(wanted) > 0 && !slices.Contains(wanted, p.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring %s …\n", p.name)
		got, err := p.run()
		rows = append(rows, got...)
		if err != nil {
			failed = true
			fmt.Fprintf(os.Stderr, "table: %s: %v\n", p.name, err)
		}
	}
	printTable(os.Stdout, rows)
	if err := writeRows(*out, rows); err != nil {
		failed = true
		fmt.Fprintln(os.Stderr, "table:", err)
	}
	if failed {
		os.Exit(1)
	}
}

func writeRows(file string, rows []row) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(f)
	enc.SetEscapeHTML(false)
	for _, r := range rows {
		if err := enc.Encode(r); err != nil {
			f.Close()
			return err
		}
	}
	return f.Close()
}
