package router

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPublic measures on a public set of commands and their descriptions. Set
// RUNLOOP_ROUTER_PUBLIC to a folder with files NAME.cm (a command a line) and
// NAME.nl (a description a line); data/bash of the NL2Bash project
// (TellinaTool/nl2bash, MIT licence) is one as it stands. Nothing of it is
// kept here.
//
// The weights were chosen while looking at the even lines; the odd ones only
// check. Descriptions are tried as they are and in lower case. On NL2Bash the
// odd lines came to 0.2 % of commands and 0.2 % of descriptions (1.4 % in lower
// case) on the wrong side.
func TestPublic(t *testing.T) {
	dir := os.Getenv("RUNLOOP_ROUTER_PUBLIC")
	if dir == "" {
		t.Skip("RUNLOOP_ROUTER_PUBLIC is not set")
	}
	commands, err := filepath.Glob(filepath.Join(dir, "*.cm"))
	if err != nil || len(commands) == 0 {
		t.Fatalf("no *.cm in %s: %v", dir, err)
	}
	for _, file := range commands {
		measure(t, file, ToShell, 1, strings.Clone)
		requests := strings.TrimSuffix(file, ".cm") + ".nl"
		measure(t, requests, ToAgent, 3, strings.Clone)
		measure(t, requests, ToAgent, 6, strings.ToLower)
	}
}

// measure logs the share of lines that go to the wrong side, and fails when
// the lines that only check are over the limit, in percent.
func measure(t *testing.T, file string, want Route, limit float64, form func(string) string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lookup := fixturePath(t)
	var parts [2]tally
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for i := 0; sc.Scan(); i++ {
		line := strings.TrimSpace(form(sc.Text()))
		if line == "" {
			continue
		}
		c := &parts[i%2]
		c.lines++
		if classify(Input{Line: line, Lookup: lookup}).Route != want {
			c.wrong++
		}
	}
	if sc.Err() != nil || parts[1].lines == 0 {
		t.Fatalf("%s: %d lines, %v", file, parts[1].lines, sc.Err())
	}
	t.Logf("%s, want %s: even lines %.2f %% of %d wrong, odd lines %.2f %% of %d",
		filepath.Base(file), want, parts[0].percent(), parts[0].lines, parts[1].percent(), parts[1].lines)
	if parts[1].percent() > limit {
		t.Errorf("over the limit of %.1f %%", limit)
	}
}
