package router

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestKeys pins what is written down of a line. A key must never hold what
// might be a secret.
func TestKeys(t *testing.T) {
	lookup := fixturePath(t)
	for line, want := range map[string]string{ // the first word, a bar, the shape; or "none"
		"show me the old logs":         "show|words=3-4 prose=2+",
		"Show me the old logs":         "show|words=3-4 prose=2+",
		"show logs":                    "show|words=1",
		"show what is it?":             "show|words=3-4 prose=2+ question",
		"deploy --now web":             "deploy|words=1 flags",
		"git log | head":               "git|words=2 operators",
		"git commit 'the old and new'": "git|words=1 quoted",
		"make all the docs":            "make|words=3-4 prose=1",
		"cat a.txt 7":                  "cat|words=0 paths",
		"frobnicate staging":           "frobnicate|words=1",
		"k9s what's on":                "k9s|words=2 apostrophe",
		"/etc/hosts is full of junk":   "/etc/hosts|words=3-4 prose=2+",
		"покажи мне логи":              "покажи|words=2 script",
		"thanks":                       "thanks|alone",
		"git":                          "git|alone",
		"спасибо":                      "|alone script",
		"パスワード":                        "|alone script",

		"":                               "blank",
		"hunter2":                        "none",
		"correcthorse":                   "none",
		"Tr0ub4dor&3 is it":              "none",
		"p4ss the word on":               "none",
		"hUnTeR is not the word":         "none",
		"TOKEN=abc deploy the app":       "none",
		`"my secret" and more`:           "none",
		"$SECRET is it":                  "none",
		"https://a:b@c/ is down":         "none",
		"me@example.org is it":           "none",
		"\x1b[31m is red":                "none",
		"-x is what":                     "none",
		strings.Repeat("a", 65) + " b c": "none",
	} {
		key, err := KeyOf(Input{Line: line, Lookup: lookup})
		got := key.First + "|" + key.Shape
		switch {
		case errors.Is(err, ErrNoKey):
			got = "none"
		case err != nil:
			got = "blank"
		}
		if got != want {
			t.Errorf("%q: %s, want %s", line, got, want)
		}
	}
	// The shell knows a name that looks like nothing.
	if _, err := KeyOf(Input{Line: "x2z all of it", FirstKind: KindAlias}); err != nil {
		t.Error(err)
	}
}

// TestKeyOfAnyLine: a key fits into a line of the file, and of a single word
// only what is in a list here is in it.
func TestKeyOfAnyLine(t *testing.T) {
	corpus := readCorpus(t, "tune.tsv")
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.OneOf(rapid.String(), rapid.StringMatching(`[A-Za-z0-9!?.]{1,12}( [a-z]{1,4})?`),
			rapid.Custom(func(t *rapid.T) string {
				s := corpus[rapid.IntRange(0, len(corpus)-1).Draw(t, "line")].line
				return s[rapid.IntRange(0, len(s)).Draw(t, "from"):]
			})).Draw(t, "line")
		kind := rapid.SampledFrom([]Kind{"", KindNone, KindAlias, KindCommand}).Draw(t, "kind")
		key, err := KeyOf(Input{Line: line, FirstKind: kind})
		if err != nil {
			return
		}
		c := Correction{Key: key, Side: ToShell, Time: time.UnixMilli(1)}
		if back, ok := parseCorrection(c.line()); !ok || back != c {
			t.Fatalf("%q: %+v became %+v, %v", line, c, back, ok)
		}
		if key.Alone() && key.First != "" && !dictionary(key.First) && command(key.First) == "" {
			t.Fatalf("%q: the single word %q would be written down", line, key.First)
		}
	})
}

func TestFileOfCorrections(t *testing.T) {
	at := func(ms int64) time.Time { return time.UnixMilli(ms) }
	a, b := Key{"show", "words=2"}, Key{"", aloneScript}
	data := FormatCorrections([]Correction{
		{a, ToShell, at(1)}, {b, ToShell, at(3)}, {a, ToAgent, at(2)},
		{Key{"two words", "words=1"}, ToShell, at(4)}, {Key{"x", "words=1\n"}, ToShell, at(4)},
		{Key{"", "words=1"}, ToShell, at(4)}, {Key{"*", "words=1"}, ToShell, at(4)}, {a, "both", at(9)},
	})
	want := "runloop router corrections 1 2\n3\tshell\talone script\t*\n2\tagent\twords=2\tshow\n"
	if string(data) != want {
		t.Fatalf("got\n%swant\n%s", data, want)
	}
	c, err := ParseCorrections(data)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := c.find(a); !ok || got != (Correction{a, ToAgent, at(2)}) {
		t.Errorf("%+v %v", got, ok)
	}
	if got, ok := c.find(b); !ok || got.Side != ToShell {
		t.Errorf("%+v %v", got, ok)
	}
	for _, k := range []Key{{"show", "words=1"}, {"how", "words=2"}, {"show", "words=2 prose=1"}, {"", "words=2"}} {
		if got, ok := c.find(k); ok {
			t.Errorf("%+v found %+v", k, got)
		}
	}
	if got := c.List(); len(got) != 2 || got[0].Key != b || got[1].Key != a {
		t.Errorf("%+v", got)
	}
	if got, err := ParseCorrections(FormatCorrections(nil)); err != nil || got.List() != nil {
		t.Errorf("%v, %v", got, err)
	}
	if got, ok := (*Corrections)(nil).find(a); ok || (*Corrections)(nil).List() != nil {
		t.Errorf("nil found %+v", got)
	}
}

// TestManyCorrections: the file holds the newest 512, however long they are,
// and is one that is read.
func TestManyCorrections(t *testing.T) {
	var list []Correction
	for i := range 2000 {
		first := fmt.Sprintf("%s%04d", strings.Repeat("x", maxFirst-4), i)
		list = append(list, Correction{Key{first, "words=" + strings.Repeat("9", 100)}, ToAgent, time.UnixMilli(int64(i))})
	}
	data := FormatCorrections(list)
	c, err := ParseCorrections(data)
	if err != nil || len(data) > MaxCorrectionsFile {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	got := c.List()
	if len(got) != maxCorrections || got[0] != list[1999] || got[maxCorrections-1] != list[2000-maxCorrections] {
		t.Errorf("%d corrections, from %+v to %+v", len(got), got[0], got[len(got)-1])
	}
}

// TestBrokenFiles: what FormatCorrections did not write whole is refused.
func TestBrokenFiles(t *testing.T) {
	whole := string(FormatCorrections([]Correction{
		{Key{"show", "words=2"}, ToShell, time.UnixMilli(1)}, {Key{"deploy", "words=1"}, ToAgent, time.UnixMilli(2)},
	}))
	for i := range len(whole) - 1 {
		if _, err := ParseCorrections([]byte(whole[:i])); err == nil {
			t.Errorf("cut at %d: taken", i)
		}
	}
	for _, s := range []string{
		whole + "\n", whole + "x", strings.Replace(whole, " 2\n", " 3\n", 1), strings.Replace(whole, " 2\n", " -2\n", 1),
		strings.Replace(whole, " 2\n", " 99999999999999999999\n", 1), strings.Replace(whole, "1 2", "2 2", 1),
		"\x00\x01\x02", strings.Repeat("\n", 1<<16), "runloop router corrections 1 513\n" + strings.Repeat("x\n", 513),
		"runloop router corrections 1 1\n" + strings.Repeat("x", MaxCorrectionsFile) + "\n",
	} {
		if _, err := ParseCorrections([]byte(s)); err == nil {
			t.Errorf("%.60q: taken", s)
		}
	}
}

// FuzzCorrections: no file makes the router fail, send a single word away, or
// answer with anything but a correction.
func FuzzCorrections(f *testing.F) {
	f.Add([]byte("runloop router corrections 1 1\n3\tagent\twords=2\tshow\n"), "show me x")
	f.Add([]byte("runloop router corrections 1 1\n3\tagent\talone\thunter2\n"), "hunter2")
	f.Add([]byte("runloop router corrections 1 1\nx\tagent\talone\t*\n"), "пароль")
	f.Fuzz(func(t *testing.T, data []byte, line string) {
		c, err := ParseCorrections(data)
		if err != nil {
			return
		}
		d := classify(Input{Line: line, Corrections: c})
		checkDecision(t, line, d)
		if (d.Rule == RuleCorrection) != (d.Correction != nil) || d.Correction != nil && !d.Correction.valid() {
			t.Fatalf("%q: %+v", line, d)
		}
		plain := classify(Input{Line: line})
		if plain.Confirm && !d.Confirm {
			t.Fatalf("%q: a correction took the question away", line)
		}
	})
}

// corrections says of lines where they belong.
func corrections(t testing.TB, sides map[string]Route) *Corrections {
	t.Helper()
	var list []Correction
	for line, side := range sides {
		in := Input{Line: line}
		key := newLine(&in, line).key()
		list = append(list, Correction{key, side, time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)})
	}
	c, err := ParseCorrections(FormatCorrections(list))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCorrections: one correction moves the lines with its first word and
// shape, whatever rule had decided, and nothing else.
func TestCorrections(t *testing.T) {
	c := corrections(t, map[string]Route{
		"deploy the old site":        ToShell,
		"deploy web now":             ToAgent,
		"echo what is the news":      ToAgent,
		"./notes are all over":       ToAgent,
		"# what is the new plan":     ToAgent,
		"git log of the old branch":  ToAgent,
		"thanks":                     ToShell,
		"спасибо":                    ToShell,
		"why?":                       ToShell,
		"what's up with that server": ToShell,
		"dokcer ps":                  ToAgent,
	})
	lookup := fixturePath(t)
	for line, want := range map[string]Route{
		"deploy the old site":             ToShell,
		"deploy the new app":              ToShell, // the same shape
		"Deploy the new app":              ToShell,
		"deploy it to all of my sites":    ToAgent, // longer: another shape
		"show the old site":               ToAgent, // another first word
		"deploy api now":                  ToAgent,
		"git log of the new release | wc": ToShell,
		"echo where is the post":          ToAgent,
		"echo hello there":                ToShell,
		"./notes are old and odd":         ToAgent,
		"./notes":                         ToShell,
		"# where is the big plan":         ToAgent,
		"git log of the new release":      ToAgent,
		"git log":                         ToShell,
		"git log --oneline":               ToShell,
		"thanks":                          ToShell,
		"thanks a lot":                    ToAgent,
		"здравствуйте":                    ToShell, // any single word in another script
		"你好":                              ToShell,
		"что нового сегодня":              ToAgent,
		"why?":                            ToShell,
		"what's on with this box":         ToShell,
		"dokcer up":                       ToAgent,
	} {
		d := classify(Input{Line: line, Lookup: lookup, Corrections: c})
		if d.Route != want {
			t.Errorf("%q went to %s by %s (%+v)", line, d.Route, d.Rule, d.Correction)
		}
		if (d.Rule == RuleCorrection) != (d.Correction != nil && d.Otherwise != "") {
			t.Errorf("%q: %+v", line, d)
		}
	}
}

// TestCorrectionsStandBack: what no correction may change.
func TestCorrectionsStandBack(t *testing.T) {
	sides := map[string]Route{}
	for _, line := range []string{"rm the old logs", "mkfs of the new disk", "hunter", "hunter2", "ls", ", ls the thing",
		"!show me the way", "jira show it", "thanks", "пароль"} {
		sides[line] = ToAgent
	}
	c := corrections(t, sides)
	some := lists(t, ListConfig{Deny: []string{"mkfs"}, Allow: []string{"jira"}, FastpathShell: true})
	for _, tt := range []struct {
		line  string
		want  Route
		rule  Rule
		other func(Decision) bool
	}{
		{"mkfs of the new disk", ToShell, RuleDeny, func(d Decision) bool { return d.Blocked }},
		{"jira show it", ToShell, RuleAllow, nil},
		{"!show me the way", ToShell, RuleForced, nil},
		{"hunter", ToShell, RuleOneWord, nil},
		{"hunter2", ToShell, RuleOneWord, nil},
		{"ls", ToShell, RuleOneWord, nil},
		{"rm the old logs", ToAgent, RuleCorrection, func(d Decision) bool { return d.Confirm }},
	} {
		d := classify(Input{Line: tt.line, Lists: some, Corrections: c})
		if d.Route != tt.want || d.Rule != tt.rule || tt.other != nil && !tt.other(d) {
			t.Errorf("%q: %+v", tt.line, d)
		}
	}
	// To the shell, the question stays as well.
	c = corrections(t, map[string]Route{"rm all of my old mails please": ToShell, ", ls -la": ToShell})
	if d := classify(Input{Line: "rm all of my old photos please", Corrections: c}); d.Rule != RuleCorrection ||
		d.Route != ToShell || !d.Confirm {
		t.Errorf("%+v", d)
	}
	if d := classify(Input{Line: ", ls -la", Corrections: c}); d.Rule != RuleForced || d.Route != ToAgent {
		t.Errorf("%+v", d)
	}
	if d := classify(Input{Line: "ls -la", Lists: lists(t, ListConfig{}), Corrections: c}); d.Rule != RuleOpening {
		t.Errorf("%+v", d)
	}
}

// TestWhyCorrected pins what rlp why --json says of a correction.
func TestWhyCorrected(t *testing.T) {
	c := corrections(t, map[string]Route{"deploy the old site": ToShell})
	why, err := json.Marshal(classify(Input{Line: "deploy the new site", Corrections: c}).Why())
	const want = `"correction":{"first":"deploy","shape":"words=3-4 prose=1","recorded":"2026-03-01T12:00:00Z","instead_of":"score"}}`
	if err != nil || !strings.HasSuffix(string(why), want) {
		t.Errorf("%s, %v", why, err)
	}
}
