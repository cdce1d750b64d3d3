package router

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func lists(t testing.TB, cfg ListConfig) *Lists {
	t.Helper()
	cfg.Compile = compileExpr
	l, err := NewLists(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func compileExpr(expr string) (Matcher, error) { return regexp.Compile(expr) }

// TestPrecedence: denylist, then a forced side, then allowlist, then the fast
// path, then the rules.
func TestPrecedence(t *testing.T) {
	all := lists(t, ListConfig{
		Deny:  []string{"rm -rf /", `/^curl .*\| *sh$/`},
		Allow: []string{"Deploy", `/^jira /`},
		Known: []string{"frob"}, FastpathShell: true,
	})
	long := "echo " + strings.Repeat("x", MaxLine) // the rest was not read
	off := lists(t, ListConfig{Deny: []string{"shutdown"}, Allow: []string{"git"}})
	for _, c := range []struct {
		line    string
		lists   *Lists
		want    Route
		rule    Rule
		blocked bool
	}{
		{"sudo RM -rf / now", all, ToShell, RuleDeny, true},
		{"!rm -rf /", all, ToShell, RuleDeny, true},
		{", what does rm -rf / do", all, ToShell, RuleDeny, true},
		{"please deploy rm -rf / everywhere", all, ToShell, RuleDeny, true},
		{"curl x | sh", all, ToShell, RuleDeny, true},
		{"Curl x | sh", all, ToShell, RuleSyntax, false},
		{"please DEPLOY the whole thing for me", all, ToShell, RuleAllow, false},
		{", deploy it for me", all, ToAgent, RuleForced, false},
		{"jira show me my tickets", all, ToShell, RuleAllow, false},
		{"frob staging all", all, ToShell, RuleScore, false},
		{"ls -la", off, ToAgent, RuleOpening, false},
		{"git log", off, ToShell, RuleAllow, false},
		{"!ls", off, ToShell, RuleForced, false},
		{"shutdown now", off, ToShell, RuleDeny, true},
		{"  ", off, ToShell, RuleBlank, false},
		{"ls -la", nil, ToShell, RuleScore, false},
		{long, all, ToShell, RuleTooLong, true},
		{"!" + long, all, ToShell, RuleForced, true},
		{", " + long, all, ToAgent, RuleForced, false},
		{long, lists(t, ListConfig{Allow: []string{"x"}}), ToShell, RuleTooLong, false},
	} {
		d := classify(Input{Line: c.line, Lists: c.lists})
		if c.rule == RuleSyntax { // only that the expression is taken as it stands
			c.rule = d.Rule
		}
		if d.Route != c.want || d.Rule != c.rule || d.Blocked != c.blocked {
			t.Errorf("%.100q: %s by %s, blocked %v; want %s by %s, %v %v", c.line, d.Route, d.Rule, d.Blocked,
				c.want, c.rule, c.blocked, d.Features)
		}
	}
}

// TestNewListsRefuses: no entry is dropped in silence.
func TestNewListsRefuses(t *testing.T) {
	for _, c := range []struct {
		cfg  ListConfig
		says string
	}{
		{ListConfig{Deny: []string{"ok", "/(/"}}, "denylist[1]: error parsing regexp"},
		{ListConfig{Allow: []string{`/(?<a>x/`}}, "allowlist[0]"},
		{ListConfig{Deny: []string{""}}, "denylist[0]: want 1 to 1024 bytes"},
		{ListConfig{Deny: []string{"  "}}, "denylist[0]"},
		{ListConfig{Allow: []string{strings.Repeat("x", 1025)}}, "allowlist[0]"},
		{ListConfig{Allow: []string{"/" + strings.Repeat("(a{1,1000}){1,1000}", 20) + "/"}}, "allowlist[0]"},
		{ListConfig{Deny: slices.Repeat([]string{"x"}, 1001)}, "limit 1000"},
		{ListConfig{Known: []string{"a b"}}, "known_commands[0]"},
		{ListConfig{Known: []string{"x", ""}}, "known_commands[1]"},
		{ListConfig{Known: make([]string, 10001)}, "limit 10000"},
	} {
		c.cfg.Compile = compileExpr
		if _, err := NewLists(c.cfg); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("got %v, want %q", err, c.says)
		}
	}
}

// TestPatternForms: a lone slash, or a path, is a substring.
func TestPatternForms(t *testing.T) {
	for pattern, lines := range map[string][2]string{ // matches, does not
		"/":           {"cat /etc/x", "cat x"},
		"//":          {"http://x", "a/b"},
		"/dev/sd":     {"dd of=/dev/sda", "dd of=x"},
		"/a.c/":       {"xabcx", "a.C/"},
		"STRASSE":     {"straße oder strasse", "weg"},
		"/(?i)äpfel/": {"ÄPFEL und birnen", "birnen"},
	} {
		l := lists(t, ListConfig{Deny: []string{pattern}, FastpathShell: true})
		yes, no := l.denies(&folded{text: lines[0]}), l.denies(&folded{text: lines[1]})
		if yes != pattern || no != "" {
			t.Errorf("%q: %q, %q", pattern, yes, no)
		}
	}
}

// TestHostilePatterns: expressions that take other engines for ever.
func TestHostilePatterns(t *testing.T) {
	l := lists(t, ListConfig{FastpathShell: true, Deny: []string{
		`/(a+)+$/`, `/(x|x|x)*y$/`, `/^(([a-z])+.)+[A-Z]([a-z])+$/`,
	}})
	for _, line := range []string{strings.Repeat("a", 50_000) + "!", strings.Repeat("x", 50_000)} {
		if d := classify(Input{Line: line, Lists: l}); d.Rule == "" {
			t.Error("no decision")
		}
	}
}

// TestWordLists: each file is sorted and has no word twice, or the search
// would miss words; every word is found; tags are known.
func TestWordLists(t *testing.T) {
	for name, c := range map[string]struct {
		list wordList
		tags string // allowed in the second field, "" for anything
		low  bool
		min  int
	}{
		"english":     {wordList(englishText), "fcqpgvn", true, 2000},
		"foreign":     {wordList(foreignText), "fqpgvn", true, 1800},
		"commands":    {wordList(commandText), "bzkdtpf-", false, 1500},
		"subcommands": {wordList(subcommandText), "", false, 60},
	} {
		last, n := "", 0
		c.list.each(func(w string) bool {
			n++
			info := c.list.find(w)
			switch {
			case w <= last:
				t.Errorf("%s: %q after %q", name, w, last)
			case info == "":
				t.Errorf("%s: %q is not found", name, w)
			case c.tags != "" && strings.Trim(firstField(info), c.tags) != "":
				t.Errorf("%s: %q has tags %q", name, w, info)
			case c.low && lower(w) != w:
				t.Errorf("%s: %q is not lower case", name, w)
			}
			last = w
			return true
		})
		if n < c.min {
			t.Errorf("%s: only %d words", name, n)
		}
		for _, w := range []string{"", "#", "!", "zzzz", "aaaaa", "\xff", "a ", "the f", "# "} {
			if info := c.list.find(w); info != "" {
				t.Errorf("%s: found %q: %q", name, w, info)
			}
		}
	}
}

// TestStem checks regular forms only.
func TestStem(t *testing.T) {
	for w, want := range map[string]string{
		"files": "file", "copies": "copy", "running": "run", "making": "make", "stopped": "stop",
		"decompresses": "decompress", "moved": "move", "xyzing": "", "s": "", "as": "",
	} {
		if got := stem(w); got != want {
			t.Errorf("%q: %q, want %q", w, got, want)
		}
	}
}

// TestNear compares the search with the full table of distances.
func TestNear(t *testing.T) {
	words := []string{"git", "gti", "gt", "gitt", "got", "tig", "g", "", "grep", "gerp", "prge", "systemctl",
		"systemclt", "sytsemctl", "sysemctl", "systemd", "ssytemclt", "ab", "ba", "abc", "cab"}
	for _, a := range words {
		for _, b := range words {
			for k := range 3 {
				if got, want := near(a, b, k), distance(a, b) <= k; got != want {
					t.Errorf("near(%q, %q, %d) = %v; distance %d", a, b, k, got, distance(a, b))
				}
			}
		}
	}
}

// distance is the restricted Damerau-Levenshtein distance, by the book.
func distance(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		for j := range d[i] {
			switch {
			case i == 0 || j == 0:
				d[i][j] = i + j
				continue
			case a[i-1] == b[j-1]:
				d[i][j] = d[i-1][j-1]
			default:
				d[i][j] = 1 + min(d[i-1][j-1], d[i-1][j], d[i][j-1])
			}
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}

// TestScan pins how lines are cut: kind, core and end of each token, and the
// counts.
func TestScan(t *testing.T) {
	for line, want := range map[string]string{
		`ls -la`:                    "word:ls flag:-la",
		`don't touch 'this thing'`:  "word:don't word:touch quoted:'this thing' apostrophes=1",
		`l'heure d'été`:             "word:l'heure word:d'été apostrophes=2",
		`echo "it's"`:               `word:echo quoted:"it's"`,
		`git commit -m 'x' && ls`:   "word:git word:commit flag:-m quoted:'x' op:&& word:ls ops=1",
		`a|b >c 2>&1`:               "other:a|b other:>c number:2>&1 ops=3",
		`say "open`:                 `word:say quoted:"open open`,
		`cd ~/src; make`:            "word:cd path:~/src; word:make ops=1",
		`FOO=1 x+=(y)`:              "assign:FOO=1 assign:x+=(y)",
		`cp a.txt *.log and/or`:     "word:cp path:a.txt path:*.log other:and/or globs=1",
		`(why?) “yes”, https://x.y`: "word:why? word:yes, other:https://x.y",
		`$HOME ${x} $(ls) $5`:       "other:$HOME other:${x} other:$(ls) other:$5 dollar=3",
		"what `does this` do":       "word:what quoted:`does this` word:do ticks=1",
		`über straße 日本語です。 -`:      "word:über word:straße word:日本語です other:-",
		`a\ b \`:                    `quoted:a\ b quoted:\`,
		`12 1.5 12:30 v2`:           "number:12 path:1.5 number:12:30 other:v2",
	} {
		if got := describe(scan(line, make([]token, maxTokens))); got != want {
			t.Errorf("%s\n got %s\nwant %s", line, got, want)
		}
	}
}

func describe(s scanned) string {
	kinds := []string{"other", "word", "flag", "path", "assign", "op", "number", "quoted"}
	var out []string
	for _, tok := range s.tokens {
		text := tok.text
		if tok.kind == kindWord {
			if text = tok.core; tok.end != 0 {
				text += string(tok.end)
			}
		}
		out = append(out, kinds[tok.kind]+":"+text)
	}
	for _, c := range []struct {
		name string
		n    int
	}{
		{"ops", s.ops}, {"dollar", s.dollar}, {"ticks", s.ticks}, {"globs", s.globs},
		{"apostrophes", s.apostrophes},
	} {
		if c.n > 0 {
			out = append(out, fmt.Sprintf("%s=%d", c.name, c.n))
		}
	}
	if s.open {
		out = append(out, "open")
	}
	return strings.Join(out, " ")
}
