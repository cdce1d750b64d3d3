package runloop

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var updateRuns = flag.Bool("update-runs", false, "record the runs in testdata/runs anew (make golden)")

// person is somebody with an empty HOME who types commands.
type person struct {
	*IO
	out, err *bytes.Buffer
}

func newPerson(t testing.TB, environ ...string) *person {
	t.Helper()
	home := t.TempDir()
	p := &person{out: &bytes.Buffer{}, err: &bytes.Buffer{}}
	p.IO = &IO{
		Stdin: strings.NewReader(""), Stdout: p.out, Stderr: p.err,
		Environ: append([]string{"HOME=" + home, "XDG_CACHE_HOME=" + moduleCache, "TERM=dumb"}, environ...),
	}
	return p
}

// rlp carries out a command and gives its exit code and what it printed.
func (p *person) rlp(args ...string) (int, string) {
	p.out.Reset()
	p.err.Reset()
	err := runRLP(context.Background(), p.IO, args)
	if err != nil && !errors.Is(err, errShown) {
		p.err.WriteString(err.Error() + "\n")
	}
	return exitCode(err), p.out.String() + p.err.String()
}

// must is rlp for a command that ends with 0.
func (p *person) must(t testing.TB, args ...string) string {
	t.Helper()
	code, out := p.rlp(args...)
	if code != exitOK {
		t.Fatalf("rlp %s: %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// withModel is the environment in which a model answers.
func withModel(t testing.TB, text string) []string {
	srv := httptest.NewServer(&modelServer{text: text})
	t.Cleanup(srv.Close)
	return []string{
		`RUNLOOP__MODELS__BROKER__PROVIDERS=[{"id":"here","kind":"http","base_url":"` + srv.URL + `"}]`,
		"RUNLOOP__MODELS__DEFAULT=here:test-model",
	}
}

var traceOfRun = regexp.MustCompile(`trace:[0-9a-f-]{36}`)

// goldenDir holds recorded runs that every change is held against.
var goldenDir = filepath.Join(root, "testdata", "runs")

// recordGolden records them anew.
func recordGolden(t *testing.T) {
	log := strings.Repeat("2026-11-25T10:00:00Z disk error: sector 7 unreadable\n2026-11-25T10:00:01Z user ada logged in\n", 5)
	letter := []string{"compose_email", "--yes", "-p", "recipient=Ada Fern", "-p", "topic=winter release"}
	alone, answered := newPerson(t), newPerson(t, withModel(t, "Hi Ada,\n\nthis was written on a rainy day.\n\nBest regards")...)
	for _, p := range []*person{alone, answered} {
		p.must(t, "kb", "add", "contact", "Ada Fern", "--email", "ada@example.com")
		p.must(t, "kb", "add", "note", "Winter release", "--body", "The freeze starts on Monday. Ada tests the installer.")
	}
	for _, run := range []struct {
		name string
		by   *person
		args []string
	}{
		{"compose_email_with_notes", alone, letter},
		{"compose_email_without_notes", alone, []string{"compose_email", "--yes", "-p", "recipient=Ada Fern", "-p", "topic=quarterly figures"}},
		{"compose_email_refused", alone, []string{"compose_email", "-p", "recipient=Ada Fern", "-p", "topic=winter release"}},
		{"compose_email_unknown", alone, []string{"compose_email", "--yes", "-p", "recipient=Nobody At All", "-p", "topic=winter release"}},
		{"compose_email_with_model", answered, letter},
		{"ask_with_notes", alone, []string{"ask", "-p", "prompt=when does the freeze start?"}},
		{"ask_without_notes", alone, []string{"ask", "-p", "prompt=what is eating my disk?"}},
		{"ask_with_model", answered, []string{"ask", "-p", "prompt=who tests the installer?"}},
		{"compose_email_prompt", alone, []string{"compose_email", "--yes", "-p", "prompt=write Ada about the winter release"}},
		{"summarize_logs", alone, []string{"summarize_logs", "-p", "log=" + log}},
		{"summarize_logs_with_model", answered, []string{"summarize_logs", "-p", "log=" + log}},
	} {
		_, out := run.by.rlp(append([]string{"run", "--local", "--json"}, run.args...)...)
		trace := traceOfRun.FindString(out)
		if trace == "" {
			t.Fatalf("%s: no run\n%s", run.name, out)
		}
		run.by.must(t, "runs", "export", trace, "-o", filepath.Join(goldenDir, run.name+runBundleExt))
	}
}

// TestGoldenRuns replays the runs of testdata/runs with the agents and openings
// of today. Code that changed is fine as long as it does the same. When it is
// meant to do something else, make golden records them anew.
func TestGoldenRuns(t *testing.T) {
	if *updateRuns {
		if err := os.MkdirAll(goldenDir, 0o755); err != nil {
			t.Fatal(err)
		}
		recordGolden(t)
	}
	p := newPerson(t)
	code, out := p.rlp("ci", goldenDir)
	if code != exitOK {
		t.Errorf("rlp ci: %d; if that is what was meant: make golden\n%s", code, out)
	}
	if !strings.Contains(out, "11 passed") {
		t.Errorf("there are not 11 runs\n%s", out)
	}
	entries, err := os.ReadDir(goldenDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if code, out := p.rlp("runs", "verify", filepath.Join(goldenDir, e.Name())); code != exitOK {
			t.Errorf("%s\n%s", e.Name(), out)
		}
	}
}
