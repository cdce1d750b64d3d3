package runloop

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/runloop-os/runloop/router"
	"github.com/runloop-os/runloop/router/enter"
)

// FuzzRoute takes any bytes as the line of rlp route, in a home with lists and
// corrections: the exit code is 10 or 11 and stdout one line of JSON that agrees
// with it. Time is no matter here, a clock that is slow under a fuzzer would be.
func FuzzRoute(f *testing.F) {
	home := routeHome(f)
	for _, line := range corpusLines(f) {
		f.Add([]byte(line), uint8(0))
	}
	f.Add([]byte("deploy the old site"), uint8(1))
	f.Add([]byte("mkfs \x00 (("+strings.Repeat("$((", 500)), uint8(2))
	f.Add(bytes.Repeat([]byte("a 'b \xff"), 1000), uint8(7))
	f.Fuzz(func(t *testing.T, line []byte, surroundings uint8) {
		args := []string{"rlp", "route", "--stdin", "--timeout-ms", "60000"}
		for bit, flags := range [][]string{{"--shell", "zsh"}, {"--first-kind", "alias"}, {"--first-kind", "none"}, {"--first-dir"}} {
			if surroundings&(1<<bit) != 0 {
				args = append(args, flags...)
			}
		}
		checkRoute(t, home, args, line)
	})
}

// checkRoute runs rlp route over a line and returns what it printed.
func checkRoute(t testing.TB, home string, args []string, line []byte) string {
	t.Helper()
	var out, said bytes.Buffer
	code := dispatch(context.Background(), &IO{
		Stdin: bytes.NewReader(line), Stdout: &out, Stderr: &said, Environ: []string{"HOME=" + home, "PATH=/nonexistent"},
	}, args)
	var d struct {
		Version     int
		Route, Rule string
		Blocked     bool
	}
	text := out.String()
	err := json.Unmarshal(out.Bytes(), &d)
	want := map[string]int{"shell": router.ExitShell, "agent": router.ExitAgent}[d.Route]
	if err != nil || code != want || d.Version != 1 || d.Rule == "" || d.Blocked && code != router.ExitShell ||
		strings.Count(text, "\n") != 1 || said.Len() > 0 {
		t.Fatalf("%.80q: exit %d, %q, %q, %v", line, code, text, said.String(), err)
	}
	return text
}

// routeHome is a home with patterns, an expression and a correction.
func routeHome(t testing.TB) string {
	t.Helper()
	home := t.TempDir()
	work := filepath.Join(home, ".runloop")
	config := "router:\n  denylist: [mkfs, \"/(a+)+$/\"]\n  allowlist: [jira]\n  known_commands: [frob]\n"
	for name, data := range map[string][]byte{"config.yaml": []byte(config), enter.CorrectionsFile: oneCorrection()} {
		if err := os.MkdirAll(work, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(work, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return home
}

// corpusLines are the lines of the router's corpus that may be looked at.
func corpusLines(t testing.TB) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "testdata", "router", "tune.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for row := range strings.Lines(string(data)) {
		if quoted, _, ok := strings.Cut(row, "\t"); ok {
			line, err := strconv.Unquote(quoted)
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, line)
		}
	}
	return lines
}

// mebibytes are lines of the greatest length that is looked at.
func mebibytes() map[string][]byte {
	long := func(s string) []byte { return bytes.Repeat([]byte(s), router.MaxLine/len(s)) }
	return map[string][]byte{
		"words": long("word "), "one word": long("a"), "parens": long("("), "apostrophes": long("don't "),
		"capitals": long("ÄRGER "), "broken": long("\xff\xc3 "), "nul": long("\x00"), "flags": long("-x "),
	}
}

// TestRouteLongLines: no line is too long to be decided, and one that is longer
// than what is looked at stays here.
func TestRouteLongLines(t *testing.T) {
	home := routeHome(t)
	args := []string{"rlp", "route", "--stdin", "--timeout-ms", "60000"}
	for name, line := range mebibytes() {
		checkRoute(t, home, args, line)
		if out := checkRoute(t, home, args, append(line, line...)); !strings.Contains(out, `"route":"shell"`) {
			t.Errorf("%s: %s", name, out)
		}
	}
}

// BenchmarkRouteLongLines is the whole applet, its process apart, without a
// configuration and with patterns and an expression; the target is 50 ms.
func BenchmarkRouteLongLines(b *testing.B) {
	for kind, home := range map[string]string{"no lists": b.TempDir(), "lists": routeHome(b)} {
		for name, line := range mebibytes() {
			b.Run(kind+"/"+name, func(b *testing.B) {
				for b.Loop() {
					checkRoute(b, home, []string{"rlp", "route", "--stdin", "--timeout-ms", "60000"}, line)
				}
			})
		}
	}
}
