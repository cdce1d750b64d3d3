package enter

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/runloop-os/runloop/router"
	"github.com/runloop-os/runloop/router/grammar"
)

// TestEarlyIsTheSame: what is answered before main is what main would answer,
// and plain lines are.
func TestEarlyIsTheSame(t *testing.T) {
	corpus, err := os.ReadFile("../../testdata/router/tune.tsv")
	if err != nil {
		t.Fatal(err)
	}
	from := Sources{Environ: []string{"PATH=" + os.Getenv("PATH")}, Home: t.TempDir(), System: t.TempDir() + "/none"}
	getenv := Getenv(from.Environ)
	lines, early := 0, 0
	for row := range strings.Lines(string(corpus)) {
		quoted, _, _ := strings.Cut(row, "\t")
		if strings.HasPrefix(quoted, "#") {
			continue
		}
		line, err := strconv.Unquote(quoted)
		if err != nil {
			t.Fatalf("%s: %v", quoted, err)
		}
		lines++
		for _, shell := range []router.Shell{router.Bash, router.Zsh} {
			f := &Flags{Line: line, Shell: shell}
			got, ok := decide(f, from)
			if !ok {
				continue
			}
			early++
			in := f.Input(getenv)
			in.Grammar = grammar.Holds
			if want := router.Classify(in); string(got.JSON()) != string(want.JSON()) || got.Exit() != want.Exit() {
				t.Errorf("%q in %s: %s before main, %s in it", line, shell, got.JSON(), want.JSON())
			}
		}
	}
	if lines < 100 || early < lines*2*8/10 {
		t.Errorf("of %d lines in 2 shells only %d were answered early", lines, early)
	}
}

func TestCommandArgs(t *testing.T) {
	for text, want := range map[string]string{
		"rlp route":                   "",
		"/usr/bin/rlp route ls -l":    "ls -l",
		"./runloop route --stdin":     "--stdin",
		"rlp":                         "none",
		"rlp why ls":                  "none",
		"runloopd route ls":           "none",
		"rlp --json route ls":         "none",
		"/opt/rlp/bin/other route ls": "none",
		"/opt/rlp/ route ls":          "none",
	} {
		got := "none"
		if args := commandArgs(strings.Fields(text)); args != nil {
			got = strings.Join(args, " ")
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestParseFlags(t *testing.T) {
	env := map[string]string{"RUNLOOP_ROUTER_FIRST_KIND": "alias", "RUNLOOP_ROUTER_TIMEOUT_MS": "70"}
	for text, want := range map[string]string{
		"ls -la --stdin":                    "ls -la --stdin|70|alias",
		"--first-kind none --shell=zsh gs":  "gs|70|none zsh",
		"--timeout-ms 5 -- --stdin":         "--stdin|5|alias",
		"--stdin --first-dir --json":        "|70|alias stdin dir json",
		"--help":                            "|70|alias help",
		"--shel zsh":                        "no flag --shel",
		"--shell":                           "--shell needs a value (see rlp route --help)",
		"--shell fish ls":                   `--shell "fish": want zsh or bash`,
		"--stdin=yes":                       "--stdin takes no value (see rlp route --help)",
		"--stdin ls":                        "the line comes from stdin or from the arguments, not both",
		"--":                                errWhichLine.Error(),
		"--timeout-ms 0 x":                  `--timeout-ms "0": want milliseconds, 1 to 60000`,
		"--timeout-ms=99999999999999999999": `--timeout-ms "99999999999999999999": want milliseconds, 1 to 60000`,
	} {
		f, err := ParseFlags(strings.Fields(text), func(key string) string { return env[key] })
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprintf("%s|%d|%s", f.Line, f.TimeoutMS, f.FirstKind)
			for _, set := range []struct {
				on   bool
				name string
			}{{f.Shell != "", string(f.Shell)}, {f.Stdin, "stdin"}, {f.FirstDir, "dir"}, {f.JSON, "json"}, {f.Help, "help"}} {
				if set.on {
					got += " " + set.name
				}
			}
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
