package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// rounds is how often the benchmarks of a package are run; a figure is the
// median.
const rounds = 3

// figure names one number that a Go benchmark prints: BenchmarkX/sub and a
// unit such as ns/op.
type figure struct{ bench, unit string }

// comparison is a row that Go benchmarks give. Without a reference limit is
// absolute.
type comparison struct {
	what      string
	pkg       string
	ours      figure
	reference figure
	limit     float64
	least     bool    // limit is a lower bound of the ratio
	scale     float64 // of both figures, 0 for 1
	unit      string  // to show
}

func comparisons() []comparison {
	return []comparison{
		{what: "rmp header decode + validate; reference a copy of 64 bytes", pkg: "rmp",
			ours: figure{"Header/decode", "ns/op"}, limit: 15, unit: "ns"},
		{what: "classify one line, in process", pkg: "router",
			ours: figure{"Classify", "ns/op"}, limit: 20, scale: 1e-3, unit: "us"},
		{what: "ledger append, one durable commit, p50; reference raw SQLite", pkg: "pog",
			ours: figure{"Append", "µs-p50"}, reference: figure{"Append", "raw-µs-p50"}, limit: 1.3, unit: "us"},
		{what: "ledger append, 64 proposers; reference raw SQLite, one transaction an event", pkg: "pog",
			ours: figure{"Append64", "events/s"}, reference: figure{"Append64", "raw-events/s"},
			limit: 10, least: true, unit: "events/s"},
		{what: "kb query by id, 1 M events", pkg: "pog",
			ours: figure{"Big/owner/by_id", "ns/op"}, limit: 5, scale: 1e-6, unit: "ms"},
		{what: "kb search, 3 words, 100 k notes, p50", pkg: "pog",
			ours: figure{"Big/search/3_words", "ms-p50"}, limit: 30, unit: "ms"},
		{what: "agent spawn to ready, Go guest, p50; reference the same source as a process", pkg: "wasm",
			ours: figure{"Spawn/go", "µs-p50"}, reference: figure{"Spawn/go", "process-µs-p50"}, limit: 1.5, unit: "us"},
		{what: "agent spawn to ready, small guest, p50", pkg: "wasm",
			ours: figure{"Spawn/small", "µs-p50"}, limit: 100, unit: "us"},
		{what: "activation of an instance made ahead, Go guest, p50", pkg: "wasm",
			ours: figure{"Activate", "µs-p50"}, limit: 100, unit: "us"},
		{what: "memory of an idle instance, Go guest", pkg: "wasm",
			ours: figure{"Idle/go", "MiB/instance"}, limit: 3, unit: "MiB"},
		{what: "memory of an idle instance, small guest", pkg: "wasm",
			ours: figure{"Idle/small", "MiB/instance"}, limit: 0.5, unit: "MiB"},
		{what: "a loop that can be stopped; reference one that cannot", pkg: "wasm",
			ours: figure{"Stoppable", "gates-µs-p50"}, reference: figure{"Stoppable", "free-µs-p50"}, limit: 1.5, unit: "us"},
		{what: "run of 1,000 no-op nodes, engine + bus, a node", pkg: "opening",
			ours: figure{"Bus/1000", "ns/node"}, limit: 500, scale: 1e-3, unit: "us"},
	}
}

// benchmarkRows runs the benchmarks of all packages that are needed.
func benchmarkRows() ([]row, error) {
	return compareAll(comparisons())
}

func compareAll(list []comparison) ([]row, error) {
	measured := map[string]map[figure][]float64{}
	for _, c := range list {
		if measured[c.pkg] != nil {
			continue
		}
		figures, err := benchmark(c.pkg, list)
		if err != nil {
			return nil, err
		}
		measured[c.pkg] = figures
	}
	var rows []row
	for _, c := range list {
		r, err := c.row(measured[c.pkg])
		if err != nil {
			return rows, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// row makes the row of a comparison out of what was measured.
func (c *comparison) row(figures map[figure][]float64) (row, error) {
	ours := scaled(figures[c.ours], c.scale)
	if len(ours) == 0 {
		return row{}, fmt.Errorf("%s: no benchmark gave %s %s", c.pkg, c.ours.bench, c.ours.unit)
	}
	if c.reference == (figure{}) {
		return atMost(c.what, c.unit, median(ours), c.limit), nil
	}
	reference := scaled(figures[c.reference], c.scale)
	if len(reference) != len(ours) {
		return row{}, fmt.Errorf("%s: no benchmark gave %s %s", c.pkg, c.reference.bench, c.reference.unit)
	}
	if c.least {
		return ratioAtLeast(c.what, c.unit, ours, reference, c.limit), nil
	}
	return ratioAtMost(c.what, c.unit, ours, reference, c.limit), nil
}

func scaled(x []float64, by float64) []float64 {
	if by == 0 {
		return x
	}
	out := make([]float64, len(x))
	for i := range x {
		out[i] = x[i] * by
	}
	return out
}

// benchmark runs those benchmarks of a package that list names.
func benchmark(pkg string, list []comparison) (map[figure][]float64, error) {
	var names []string
	for _, c := range list {
		if c.pkg == pkg {
			top, _, _ := strings.Cut(c.ours.bench, "/")
			names = append(names, regexp.QuoteMeta(top))
		}
	}
	big, err := os.MkdirTemp("", "bench") // where package pog keeps its large store from round to round
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(big)
	figures := map[figure][]float64{}
	for range rounds {
		cmd := exec.Command("go", "test", "-tags", tags, "-run", "^$",
			"-bench", "^Benchmark("+strings.Join(names, "|")+")$", "-benchtime", "300ms", "./"+pkg)
		cmd.Env = append(os.Environ(), "POG_BIG="+big)
		var text, problems bytes.Buffer
		cmd.Stdout, cmd.Stderr = &text, &problems
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("benchmarks of %s: %w\n%s%s", pkg, err, problems.Bytes(), text.Bytes())
		}
		parseBenchmarks(&text, figures)
	}
	return figures, nil
}

// cpuSuffix is what go test puts after the name of a benchmark.
var cpuSuffix = regexp.MustCompile(`-\d+$`)

// parseBenchmarks reads the lines of
// https://go.dev/design/14313-benchmark-format.
func parseBenchmarks(text *bytes.Buffer, to map[figure][]float64) {
	for lines := bufio.NewScanner(text); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := cpuSuffix.ReplaceAllString(strings.TrimPrefix(fields[0], "Benchmark"), "")
		for i := 2; i+1 < len(fields); i += 2 {
			if x, err := strconv.ParseFloat(fields[i], 64); err == nil {
				f := figure{name, fields[i+1]}
				to[f] = append(to[f], x)
			}
		}
	}
}
