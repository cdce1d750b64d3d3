package router

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"
)

// TestPublic measures on public sets of commands and of requests. Set
// RUNLOOP_ROUTER_PUBLIC to folders, separated by colons, with files NAME.cm (a
// command a line) and NAME.nl (a request or description a line). Nothing of
// them is kept here; docs/routing.md says which were used and what came out.
//
// Whoever looks for patterns looks at the even lines only (with
// RUNLOOP_ROUTER_SHOW set they are logged when they go wrong); the odd ones
// check. Requests are tried as they are and in lower case.
//
// The limits are for sets in English, the folder's files all.* and en.*; other
// languages are only reported.
func TestPublic(t *testing.T) {
	dirs := os.Getenv("RUNLOOP_ROUTER_PUBLIC")
	if dirs == "" {
		t.Skip("RUNLOOP_ROUTER_PUBLIC is not set")
	}
	lookup := fixturePath(t)
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "set\tlines\twrong, even %\todd %\t")
	for _, dir := range filepath.SplitList(dirs) {
		files, err := filepath.Glob(filepath.Join(dir, "*.[cn][ml]"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no *.cm or *.nl in %s: %v", dir, err)
		}
		for _, file := range files {
			name := filepath.Base(dir) + "/" + filepath.Base(file)
			limited := strings.HasPrefix(filepath.Base(file), "all.") || strings.HasPrefix(filepath.Base(file), "en.")
			row := func(label string, want Route, limit float64, form func(string) string, found func(string) bool) {
				parts := measure(t, file, want, form, found)
				fmt.Fprintf(w, "%s%s\t%d\t%.2f\t%.2f\t\n", name, label, parts[0].lines+parts[1].lines,
					parts[0].percent(), parts[1].percent())
				if limited && parts[1].percent() > limit {
					t.Errorf("%s%s: %.2f %%, over the limit of %.1f %%", name, label, parts[1].percent(), limit)
				}
			}
			if filepath.Ext(file) == ".cm" {
				row("", ToShell, 1, strings.Clone, lookup)
				row(", installed", ToShell, 0.3, strings.Clone, func(string) bool { return true })
				continue
			}
			row("", ToAgent, 3, strings.Clone, lookup)
			row(", lower case", ToAgent, 6, strings.ToLower, lookup)
		}
	}
	w.Flush()
	t.Log("\n" + b.String())
}

// measure counts the lines that go to the wrong side, the even and the odd
// ones. A request of a single word is none: it stays here whatever it says.
func measure(t *testing.T, file string, want Route, form func(string) string, found func(string) bool) (parts [2]tally) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for i := 0; sc.Scan(); i++ {
		line := strings.TrimSpace(form(sc.Text()))
		if line == "" || want == ToAgent && len(strings.Fields(line)) == 1 && isASCII(line) {
			continue
		}
		c := &parts[i%2]
		c.lines++
		d := classify(Input{Line: line, Lookup: found})
		if d.Route == want {
			continue
		}
		c.wrong++
		if i%2 == 0 && os.Getenv("RUNLOOP_ROUTER_SHOW") != "" {
			t.Logf("%s: %q -> %s by %s %v", filepath.Base(file), line, d.Route, d.Rule, d.Features)
		}
	}
	if sc.Err() != nil || parts[1].lines == 0 {
		t.Fatalf("%s: %d lines, %v", file, parts[1].lines, sc.Err())
	}
	return parts
}
