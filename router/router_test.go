package router

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/runloop-os/runloop/router/grammar"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// classify decides with the shell's grammar at hand.
func classify(in Input) Decision {
	in.Grammar = grammar.Holds
	return Classify(in)
}

var update = flag.Bool("update", false, "rewrite the golden files")

// TestRules has at least one line for every rule, in their order.
func TestRules(t *testing.T) {
	lookup := fixturePath(t)
	seen := map[Rule]bool{}
	for _, c := range []struct {
		in   Input
		want Route
		rule Rule
	}{
		{Input{Line: ""}, ToShell, RuleBlank},
		{Input{Line: " \t\r\n "}, ToShell, RuleBlank},
		{Input{Line: "!grep"}, ToShell, RuleForced},
		{Input{Line: "! tell me a story"}, ToShell, RuleForced},
		{Input{Line: ", ls -la"}, ToAgent, RuleForced},
		{Input{Line: "@ ls -la"}, ToAgent, RuleForced},
		{Input{Line: ",ls"}, ToShell, RuleOneWord},
		{Input{Line: "@bob"}, ToShell, RuleOneWord},
		{Input{Line: "^old^new"}, ToShell, RuleHistory},
		{Input{Line: "# what is this"}, ToShell, RuleComment},
		{Input{Line: "(cd x; ls)"}, ToShell, RuleSyntax},
		{Input{Line: "[ -d x ] && echo y"}, ToShell, RuleSyntax},
		{Input{Line: "(what is this about?)"}, ToAgent, RuleScore},
		{Input{Line: "$HOME is full, what can I delete?"}, ToAgent, RuleScore},
		{Input{Line: "[urgent] please call the bank"}, ToAgent, RuleScore},
		{Input{Line: "print -l =(ls)", Shell: Zsh}, ToShell, RuleScore},
		{Input{Line: "./tell me"}, ToShell, RulePath},
		{Input{Line: "src/run all", FirstKind: KindCommand}, ToShell, RulePath},
		{Input{Line: "start/stop the server", FirstKind: KindNone}, ToAgent, RuleScore},
		{Input{Line: "start/stop the server"}, ToAgent, RuleScore},
		{Input{Line: "if [ -f x ]; then"}, ToShell, RuleKeyword},
		{Input{Line: "while read x"}, ToShell, RuleKeyword},
		{Input{Line: "while we wait, tell me a story"}, ToAgent, RuleScore},
		{Input{Line: "case closed, thanks to you"}, ToAgent, RuleScore},
		{Input{Line: "function f() { ls; }"}, ToShell, RuleKeyword},
		{Input{Line: "function of the liver in short"}, ToAgent, RuleScore},
		{Input{Line: "echo who are you?"}, ToShell, RuleFreeText},
		{Input{Line: "who am i"}, ToShell, RuleIdiom},
		{Input{Line: "thanks!"}, ToAgent, RuleGreeting},
		{Input{Line: "warum?"}, ToAgent, RuleQuestion},
		{Input{Line: "спасибо"}, ToAgent, RuleScript},
		{Input{Line: "пароль123"}, ToShell, RuleOneWord},
		{Input{Line: "2027年の予定"}, ToAgent, RuleScript},
		{Input{Line: "if test coverage drops, tell me"}, ToAgent, RuleScore},
		{Input{Line: "Tr0ub4dor?"}, ToShell, RuleOneWord},
		{Input{Line: "Zxcvbnmlk?"}, ToShell, RuleOneWord},
		{Input{Line: "*.txt?"}, ToShell, RuleOneWord},
		{Input{Line: "git: is it slow"}, ToAgent, RuleAddress},
		{Input{Line: "hey, nice"}, ToAgent, RuleAddress},
		{Input{Line: "find out what's broken"}, ToAgent, RuleContraction},
		{Input{Line: "что нового сегодня"}, ToAgent, RuleScript},
		{Input{Line: "pyhton -V"}, ToShell, RuleTypo},
		{Input{Line: "show me the way home"}, ToAgent, RuleScore},
		{Input{Line: "show me the way", FirstKind: KindFunction}, ToAgent, RuleScore},
		{Input{Line: "deploy prod", FirstKind: KindAlias}, ToShell, RuleScore},
		{Input{Line: "music", FirstIsDir: true}, ToShell, RuleOneWord},
		{Input{Line: strings.Repeat("what is this ", MaxLine/12)}, ToShell, RuleTooLong},
		{Input{Line: ", " + strings.Repeat("what is this ", MaxLine/12)}, ToAgent, RuleForced},

		// Other languages.
		{Input{Line: "sammuta keittiön valot"}, ToAgent, RuleScore},
		{Input{Line: "padamkan lampu bilik tidur"}, ToAgent, RuleScore}, // hardly a word in a list
		{Input{Line: "zadzwoń jutro"}, ToAgent, RuleScore},              // an accent in the first word
		{Input{Line: "3 minuten eieruhr"}, ToAgent, RuleScore},          // no program is called 3
		{Input{Line: "w kuchni jest ciemno"}, ToAgent, RuleScore},       // w(1) is a command
		{Input{Line: "git を使う方法"}, ToAgent, RuleScore},
		{Input{Line: "\"foo\"というファイルを探して"}, ToAgent, RuleScript},
		{Input{Line: "`make` sürekli hata veriyor bugün"}, ToAgent, RuleScore},
		{Input{Line: "`make`'i durdur lütfen"}, ToAgent, RuleContraction},
		{Input{Line: "`which python` script.py"}, ToShell, RuleSyntax},
		{Input{Line: "Einfügen/Kopieren geht nicht mehr"}, ToAgent, RuleScore},
		{Input{Line: "zet koffie"}, ToAgent, RuleScore}, // no slip of set: a verb
		{Input{Line: "gi tpush"}, ToShell, RuleTypo},
		{Input{Line: "ufw allow from any to any port 22"}, ToShell, RuleScore},
		{Input{Line: "koji build all"}, ToShell, RuleScore}, // a word of another language among English ones
		{Input{Line: "helmfile sync prod"}, ToShell, RuleScore},
		{Input{Line: "frobnicate lights on"}, ToShell, RuleScore},
		{Input{Line: "frobnicate the lights"}, ToAgent, RuleScore},

		// What follows a lone # is a remark.
		{Input{Line: "go env GOPATH # where is it, and why is that so"}, ToShell, RuleScore},
		{Input{Line: "make the docs"}, ToAgent, RuleScore}, // the article
		{Input{Line: "make all docs"}, ToShell, RuleScore},
		{Input{Line: "diff old new"}, ToShell, RuleScore},
		{Input{Line: "retry -n 3 deploy"}, ToShell, RuleScore},
	} {
		if c.in.Lookup == nil {
			c.in.Lookup = lookup
		}
		d := classify(c.in)
		seen[d.Rule] = true
		if d.Route != c.want || d.Rule != c.rule {
			t.Errorf("%q went to %s by %s, want %s by %s %v", c.in.Line, d.Route, d.Rule,
				c.want, c.rule, d.Features)
		}
	}
	for _, r := range []Rule{RuleBlank, RuleForced, RuleHistory, RuleComment, RuleSyntax, RulePath, RuleKeyword,
		RuleFreeText, RuleIdiom, RuleGreeting, RuleQuestion, RuleScript, RuleOneWord, RuleAddress,
		RuleContraction, RuleTypo, RuleScore} {
		if !seen[r] {
			t.Errorf("no line for rule %s", r)
		}
	}
}

// TestConfirm: what may destroy something and reads like a sentence is
// marked on either side; plain destructive commands are not.
func TestConfirm(t *testing.T) {
	lookup := fixturePath(t)
	for line, want := range map[string]bool{
		"rm the cache":                       true,
		"rm all of my mails about the party": true,
		"sudo rm these logs please":          true,
		"rm old backup folders":              true,
		"kill the music":                     true,
		"rm alte dateien vom letzten jahr":   true,
		"rm fichiers temporaires":            false, // one word of another language may be a name
		"rm -rf build":                       false,
		"rm a.txt b.txt":                     false,
		"mv old new":                         false,
		"kill -9 42":                         false,
		"dd if=a of=b":                       false,
		"chmod -R go-w .":                    false,
		"show me the cache":                  false,
		"ls the cache":                       false,
	} {
		if d := classify(Input{Line: line, Lookup: lookup}); d.Confirm != want {
			t.Errorf("%q: confirm %v, want %v (%s) %v", line, d.Confirm, want, d.Route, d.Features)
		}
	}
}

// TestKinds: what the shell says of the first word outranks the lists.
func TestKinds(t *testing.T) {
	never := func(string) bool { t.Error("looked up a word the shell had resolved"); return false }
	for _, k := range []Kind{KindAlias, KindFunction, KindBuiltin, KindKeyword, KindCommand, "hashed"} {
		if d := classify(Input{Line: "zap one two three", FirstKind: k, Lookup: never}); d.Route != ToShell {
			t.Errorf("%s: %s %v", k, d.Route, d.Features)
		}
	}
	// A command that is not installed is still one, unless it is a word.
	for line, want := range map[string]Route{
		"kubectl get pods": ToShell, "convert this photo for me": ToAgent, "open the letter": ToAgent,
	} {
		d := classify(Input{Line: line, FirstKind: KindNone, Lookup: func(string) bool { return false }})
		if d.Route != want {
			t.Errorf("%q: %s %v", line, d.Route, d.Features)
		}
	}
	// Builtins differ from shell to shell.
	line := "where are my keys"
	for _, sh := range []Shell{Bash, Zsh, "fish"} {
		if d := classify(Input{Line: line, Shell: sh}); d.Route != ToAgent {
			t.Errorf("%s: %s %v", sh, d.Route, d.Features)
		}
	}
}

// TestLookups: PATH is asked for few words, and never for one with a slash.
func TestLookups(t *testing.T) {
	prefixes := sample{line: strings.Repeat("sudo time nice env ", 20)}
	for _, s := range append(readCorpus(t, "tune.tsv"), prefixes) {
		n := 0
		classify(Input{Line: s.line, Lookup: func(name string) bool {
			n++
			if name == "" || strings.Contains(name, "/") {
				t.Errorf("%q: looked up %q", s.line, name)
			}
			return n%2 == 0
		}})
		if n > 3 {
			t.Errorf("%q: %d look-ups", s.line, n)
		}
	}
}

func TestForcedPrompt(t *testing.T) {
	for line, want := range map[string]string{
		",  why is it so ": "why is it so", "@ x": "x", " hello ": "hello", "! x": "! x", ", ": ",",
	} {
		if got := classify(Input{Line: line}).Prompt; got != want {
			t.Errorf("%q: prompt %q, want %q", line, got, want)
		}
	}
}

// TestOutput pins the line that widgets read.
func TestOutput(t *testing.T) {
	for _, c := range []struct {
		d    Decision
		want string
		exit int
	}{
		{Decision{Route: ToShell, Rule: RuleBlank},
			`{"version":1,"route":"shell","rule":"blank","blocked":false}`, 10},
		{Decision{Route: ToAgent, Rule: RuleOpening},
			`{"version":1,"route":"agent","rule":"fallback:opening","blocked":false}`, 11},
		{Decision{Route: ToShell, Rule: RuleDeny, Blocked: true},
			`{"version":1,"route":"shell","rule":"denylist","blocked":true}`, 10},
		{Decision{Route: ToAgent, Rule: RuleScore, Confirm: true},
			`{"version":1,"route":"agent","rule":"score","blocked":false,"confirm":true}`, 11},
	} {
		if got := string(c.d.JSON()); got != c.want || !json.Valid([]byte(got)) || c.d.Exit() != c.exit {
			t.Errorf("got %s, exit %d; want %s, exit %d", got, c.d.Exit(), c.want, c.exit)
		}
	}
}

// TestWhy is a transcript: lines flush left, what `rlp why --json` says of
// them indented below.
func TestWhy(t *testing.T) {
	const file = corpusDir + "why.txt"
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	lookup, n := fixturePath(t), 0
	for line := range strings.Lines(string(want)) {
		if line = strings.TrimSuffix(line, "\n"); line == "" || line[0] == '\t' {
			continue
		}
		n++
		why, err := json.Marshal(classify(Input{Line: line, Lookup: lookup}).Why())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "%s\n\t%s\n", line, why)
	}
	if n < 10 {
		t.Fatalf("only %d lines in %s", n, file)
	}
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%s differs (see -update); got:\n%s", file, got.Bytes())
	}
}

// TestHostileLines are long, deep or broken. Each must come back well within
// the time that Enter has; the limit is loose so that only a change of order
// can pass it.
func TestHostileLines(t *testing.T) {
	for name, line := range map[string]string{
		"1 MiB of words":     strings.Repeat("word ", 1<<20/5),
		"1 MiB of a":         strings.Repeat("a", 1<<20),
		"1 MiB of parens":    strings.Repeat("(", 1<<20),
		"4 KiB of parens":    strings.Repeat("(", 4096),
		"arithmetic":         strings.Repeat("$((", 1300),
		"subshells":          strings.Repeat("$(", 2000),
		"braces":             strings.Repeat("{ ", 2000),
		"brace expansion":    strings.Repeat("{a,", 1300),
		"backquotes":         strings.Repeat("`", 4095),
		"quotes":             strings.Repeat("'\"", 2000),
		"apostrophes":        strings.Repeat("a't ", 1000),
		"heredocs":           strings.Repeat("cat <<E\n", 500),
		"blocks":             "if " + strings.Repeat("if [ x ]; then ", 270),
		"case":               strings.Repeat("case x in x) ", 300),
		"backslashes":        strings.Repeat("\\", 4097),
		"nul":                "ls \x00 \x00",
		"invalid utf-8":      "\xff\xfe what \xc3\x28 is",
		"broken contraction": "A'A\xf5\x98\x83\xcb",
		"half a rune":        strings.Repeat("я", 2047) + "x" + "я",
		"combining":          "e" + strings.Repeat("\u0301", 5000),
		"bidi":               "\u202elive\u202c si siht",
		"zero width":         "\u200b\u200b",
		"long first word":    strings.Repeat("q", 3000) + " what is this",
		"punctuation":        strings.Repeat("?!.,", 1000) + " x",
		"prefixes":           strings.Repeat("sudo ", 800),
		"typo of a megabyte": strings.Repeat("gti ", 1<<18),
	} {
		start := time.Now()
		d := classify(Input{Line: line})
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
		checkDecision(t, line, d)
	}
}

// checkDecision holds for every line.
func checkDecision(t testing.TB, line string, d Decision) {
	if d.Route != ToShell && d.Route != ToAgent || d.Rule == "" || d.Blocked && d.Route != ToShell {
		t.Fatalf("%.60q: %+v", line, d)
	}
	for _, f := range d.Features {
		if f.Weight <= 0 || f.Weight > 200 || f.Name == "" || f.Side != ToShell && f.Side != ToAgent {
			t.Fatalf("%.60q: feature %+v", line, f)
		}
	}
	if why, err := json.Marshal(d.Why()); err != nil || !json.Valid(why) || !json.Valid(d.JSON()) {
		t.Fatalf("%.60q: %s %v", line, why, err)
	}
	// A single ASCII word with a digit in it might be a password.
	s := strings.TrimSpace(line)
	if d.Route == ToAgent && len(s) < maxScan && isASCII(s) &&
		!strings.ContainsAny(s, " \t\r\n") && strings.ContainsAny(s, "0123456789") {
		t.Fatalf("%.60q would leave this machine", line)
	}
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// TestProperties: total, deterministic, and not swayed by blanks around a
// line.
func TestProperties(t *testing.T) {
	lookup := fixturePath(t)
	corpus := readCorpus(t, "tune.tsv")
	rapid.Check(t, func(t *rapid.T) {
		a := corpus[rapid.IntRange(0, len(corpus)-1).Draw(t, "a")].line
		b := corpus[rapid.IntRange(0, len(corpus)-1).Draw(t, "b")].line
		cut := rapid.IntRange(0, len(a)).Draw(t, "cut")
		glue := rapid.SampledFrom([]string{"", " ", "; ", " | ", "'", "\"", "\n", "\x00"}).Draw(t, "glue")
		line := a[:cut] + glue + b
		kinds := []Kind{"", KindNone, KindCommand, KindAlias, KindBuiltin}
		in := Input{
			Line:      line,
			Lookup:    lookup,
			Shell:     rapid.SampledFrom([]Shell{Bash, Zsh, ""}).Draw(t, "shell"),
			FirstKind: rapid.SampledFrom(kinds).Draw(t, "kind"),
		}
		d := classify(in)
		if again := classify(in); !reflect.DeepEqual(d, again) {
			t.Fatalf("%q: %+v, then %+v", line, d, again)
		}
		in.Line = " " + line + "\n"
		if padded := classify(in); padded.Route != d.Route || padded.Rule != d.Rule {
			t.Fatalf("%q: %+v, with blanks around it %+v", line, d, padded)
		}
	})
}

// FuzzClassify takes any bytes in any context.
func FuzzClassify(f *testing.F) {
	for i, s := range readCorpus(f, "tune.tsv") {
		f.Add(s.line, "", "bash", i%2 == 0)
	}
	f.Add("zsh things =(ls) (#i)x", "builtin", "zsh", true)
	f.Fuzz(func(t *testing.T, line, kind, shell string, found bool) {
		in := Input{Line: line, FirstKind: Kind(kind), Shell: Shell(shell)}
		in.Lookup = func(string) bool { return found }
		d := classify(in)
		checkDecision(t, line, d)
		if again := classify(in); !reflect.DeepEqual(d, again) {
			t.Fatalf("%q: %+v, then %+v", line, d, again)
		}
	})
}
