package router

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
)

const corpusDir = "../testdata/router/"

// sample is a line of the corpus. The files have four quoted fields: the
// line, the side it belongs to, its category, and what is known of it: what the
// shell would say (kind=alias shell=zsh), its language if that is not English
// (lang=de), that it must be asked about (confirm=true).
type sample struct {
	line, category string
	want           Route
	context        map[string]string
}

// input turns a sample into what the widget would send. The first word is
// looked up in a list that belongs to the corpus, not on this machine.
func (s sample) input(lookup func(string) bool) Input {
	return Input{
		Line:      s.line,
		Shell:     Shell(s.context["shell"]),
		FirstKind: Kind(s.context["kind"]),
		Lookup:    lookup,
	}
}

func readCorpus(t testing.TB, name string) []sample {
	t.Helper()
	data, err := os.ReadFile(corpusDir + name)
	if err != nil {
		t.Fatal(err)
	}
	var out []sample
	for sc := bufio.NewScanner(strings.NewReader(string(data))); sc.Scan(); {
		if !strings.HasPrefix(sc.Text(), "#") {
			out = append(out, parseSample(t, sc.Text()))
		}
	}
	if len(out) < 300 {
		t.Fatalf("%s: only %d lines", name, len(out))
	}
	return out
}

func parseSample(t testing.TB, row string) sample {
	t.Helper()
	fields := strings.Split(row, "\t")
	if len(fields) != 4 {
		t.Fatalf("%d fields in %s", len(fields), row)
	}
	for i, f := range fields {
		s, err := strconv.Unquote(f)
		if err != nil {
			t.Fatalf("field %d of %s: %v", i, row, err)
		}
		fields[i] = s
	}
	s := sample{line: fields[0], want: Route(fields[1]), category: fields[2]}
	s.context = map[string]string{}
	for _, kv := range strings.Fields(fields[3]) {
		k, v, _ := strings.Cut(kv, "=")
		s.context[k] = v
	}
	return s
}

// fixturePath is the PATH of the corpus.
func fixturePath(t testing.TB) func(string) bool {
	t.Helper()
	data, err := os.ReadFile(corpusDir + "path.txt")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			names[line] = true
		}
	}
	if len(names) < 400 {
		t.Fatalf("only %d programs", len(names))
	}
	return func(name string) bool { return names[name] }
}

// tally counts what became of the lines of one kind.
type tally struct{ lines, wrong int }

func (c tally) percent() float64 { return 100 * float64(c.wrong) / float64(max(1, c.lines)) }

// score counts what became of the lines of a file, by category. With lower set
// the requests come in lower case, and their own limit is twice as high.
func score(t *testing.T, file string, lower bool) (table map[string]tally, all, shell, agent tally) {
	table, lookup := map[string]tally{}, fixturePath(t)
	for _, s := range readCorpus(t, file) {
		if lower && s.want == ToAgent {
			s.line = strings.ToLower(s.line)
		}
		d := classify(s.input(lookup))
		wrong := 0
		if d.Route != s.want || s.context["confirm"] == "true" && !d.Confirm {
			wrong = 1
			// Lines of the held-back part are not shown, so that nobody
			// tunes on them by accident.
			if file == "tune.tsv" {
				t.Logf("%s: %q -> %s by %s %v", s.category, s.line, d.Route, d.Rule, d.Features)
			}
		}
		side := &shell
		if s.want == ToAgent {
			side = &agent
		}
		for _, c := range []*tally{&all, side} {
			c.lines++
			c.wrong += wrong
		}
		key := string(s.want) + "\t" + s.category
		table[key] = tally{table[key].lines + 1, table[key].wrong + wrong}
	}
	return table, all, shell, agent
}

// TestCorpus fails when a file misses the targets of spec/08: 97 % right, at
// most 1 % of commands to agents and 3 % of requests to the shell.
func TestCorpus(t *testing.T) {
	for _, file := range []string{"tune.tsv", "held.tsv"} {
		t.Run(file, func(t *testing.T) {
			table, all, shell, agent := score(t, file, false)
			report(t, table)
			t.Logf("all %d: %.1f %% wrong; commands to agents %.2f %%; requests to the shell %.2f %%",
				all.lines, all.percent(), shell.percent(), agent.percent())
			if all.percent() > 3 || shell.percent() > 1 || agent.percent() > 3 {
				t.Error("over the limits of 3, 1 and 3 %")
			}
			_, _, _, agent = score(t, file, true)
			t.Logf("requests in lower case to the shell %.2f %%", agent.percent())
			if agent.percent() > 3 {
				t.Error("over the limit of 3 %")
			}
		})
	}
}

// TestCorpusLanguages: both parts know many languages and scripts, and none is
// alone in going wrong.
func TestCorpusLanguages(t *testing.T) {
	lookup := fixturePath(t)
	for _, file := range []string{"tune.tsv", "held.tsv"} {
		table := map[string]tally{}
		for _, s := range readCorpus(t, file) {
			if lang := s.context["lang"]; lang != "" {
				c := table[lang]
				c.lines++
				if classify(s.input(lookup)).Route != s.want {
					c.wrong++
				}
				table[lang] = c
			}
		}
		if len(table) < 28 {
			t.Errorf("%s: only %d languages", file, len(table))
		}
		for lang, c := range table {
			if 2*c.wrong > c.lines {
				t.Errorf("%s: %d of %d lines in %s go wrong", file, c.wrong, c.lines, lang)
			}
		}
	}
}

func report(t *testing.T, table map[string]tally) {
	t.Helper()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "\nside\tcategory\tlines\twrong")
	for _, key := range slices.Sorted(maps.Keys(table)) {
		fmt.Fprintf(w, "%s\t%d\t%d\n", key, table[key].lines, table[key].wrong)
	}
	w.Flush()
	t.Log(b.String())
}
