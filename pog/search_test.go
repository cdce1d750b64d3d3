package pog

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// library is a store with people and notes to look for.
func library(t testing.TB) *Store {
	s := newStore(t)
	propose(t, s, User(), contact("John Smith", "john.smith@example.com"), contact("John Okafor", "okafor@example.org"),
		contact("Zoë Lindqvist", "zoe@example.net"), contact("Jürgen Groß", "j.gross@example.org"), contact("Ana María Pérez", ""))
	propose(t, s, User(), note("Q4 plan", "Revenue goals for the fourth quarter. The venue must be booked by Friday."),
		note("Venue booking", "The Old Mill has room for 80 people; Zoë will call them about the Q4 offsite."),
		note("Release 2.1", "The release moves to Thursday because of the migration."))
	propose(t, s, Agent("gatherer", DomainNotes), note("Summary of the plan", "An agent's summary of the Q4 plan."))
	return s
}

func TestSearch(t *testing.T) {
	s := library(t)
	for _, c := range []struct {
		text, want string
		by         string // list the first hit must be in
	}{
		{"Q4 plan", "Q4 plan, Summary of the plan, Venue booking", "words"},
		{"q4 PLAN", "Q4 plan, Summary of the plan, Venue booking", "words"},
		{"migration", "Release 2.1", "words"},
		{"migr", "Release 2.1", "words"},
		{"zoe", "Zoë Lindqvist, Venue booking", "name"},
		{"John Smith", "John Smith, John Okafor", "name"},
		{"john", "John Smith, John Okafor", "name"}, // his address has it too,
		{"jon smit", "John Smith", "fuzzy"},
		{"Smith, John", "John Smith, John Okafor", "words"},
		{"jurgen gross", "Jürgen Groß", "name"},
		{"ana perez", "Ana María Pérez", "words"},
		{"lindquist", "Zoë Lindqvist", "fuzzy"},
		{"john.smith@example.com", "John Smith", "words"},
		{"xylophone", "", ""},
		{"", "", ""},
		{"  *** \" ' ( ", "", ""},
	} {
		hits := search(t, s, AllReader(), SearchRequest{Text: c.text, K: 3})
		if got := titles(hits); got != c.want {
			t.Errorf("%q finds %s\nwant %s", c.text, got, c.want)
		} else if len(hits) > 0 && !slices.Contains(hits[0].FoundBy, c.by) {
			t.Errorf("%q is found by %v, want %s", c.text, hits[0].FoundBy, c.by)
		}
	}
	for _, h := range search(t, s, AllReader(), SearchRequest{Text: "plan"}) {
		if h.EventID == 0 || h.Entity == "" || h.Kind == "" || h.Actor == "" || h.Score <= 0 || len(h.FoundBy) == 0 {
			t.Errorf("%+v", h)
		}
	}
}

func TestSearchFilters(t *testing.T) {
	s := library(t)
	at := func(n int) time.Time { return testTime.Add(time.Duration(n) * time.Second) }
	for name, c := range map[string]struct {
		req  SearchRequest
		want string
	}{
		"domain":        {SearchRequest{Domains: []Domain{DomainContacts}}, ""},
		"kind":          {SearchRequest{Kinds: []string{"note.added"}}, "Q4 plan, Summary of the plan, Venue booking"},
		"other kind":    {SearchRequest{Kinds: []string{"email.sent"}}, ""},
		"actor":         {SearchRequest{Actor: "agent:gatherer"}, "Summary of the plan"},
		"confirmed":     {SearchRequest{ConfirmedOnly: true}, "Q4 plan, Venue booking"},
		"since":         {SearchRequest{Since: at(3)}, "Summary of the plan"},
		"until":         {SearchRequest{Until: at(3)}, "Q4 plan, Venue booking"},
		"nothing since": {SearchRequest{Since: at(100)}, ""},
		"k":             {SearchRequest{K: 1}, "Q4 plan"},
	} {
		c.req.Text = "q4 plan"
		if got := titles(search(t, s, AllReader(), c.req)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	// What a person's event cites is confirmed from then on.
	confirmed := note("Checked", "the agent was right")
	confirmed.Evidence = []int64{9}
	propose(t, s, User(), confirmed)
	if got := titles(search(t, s, AllReader(), SearchRequest{Text: "agent's summary", ConfirmedOnly: true})); got != "Summary of the plan" {
		t.Errorf("after confirmation: %s", got)
	}
	if got := query(t, s, AgentReader(DomainNotes), `SELECT confirmed FROM events WHERE id = 9`); got != "1" {
		t.Errorf("confirmed in events: %s", got)
	}
}

// TestSearchTextIsData feeds FTS5's own syntax and noise. Nothing may fail,
// and nothing may be found that does not have the words.
func TestSearchTextIsData(t *testing.T) {
	s := library(t)
	for _, text := range []string{
		`"`, `""`, `"""`, `plan"`, `"plan`, `plan" OR "venue`, `plan NOT venue`, `plan AND`, `OR plan`, `NEAR(plan venue)`, `NEAR/9999999 plan`,
		`title:plan`, `{title body}:plan`, `-title:plan`, `^plan`, `plan*`, `*plan`, `*`, `(plan`, `plan)`, `((((`, `plan + venue`, `plan ^ 2`,
		"plan\x00venue", "\xff\xfe plan", "\u200bplan", "plan\u0301", `'; DROP TABLE notes; --`, `' OR '1'='1`, `\`, `%`, `_`, `;`, `:`, `-`,
		strings.Repeat("a", 100_000), strings.Repeat("plan ", 50_000), strings.Repeat("(", 5000), strings.Repeat("ä", 5000),
	} {
		for _, r := range []Reader{AllReader(), AgentReader(DomainNotes, DomainContacts)} {
			hits, err := s.Search(t.Context(), r, SearchRequest{Text: text})
			if err != nil {
				t.Errorf("%.40q: %v", text, err)
			}
			if strings.Contains(text, "venue") && len(hits) == 0 {
				t.Errorf("%.40q finds nothing", text)
			}
		}
	}
	if got := titles(search(t, s, AllReader(), SearchRequest{Text: `plan NOT venue`, K: 1})); got == "" {
		t.Error("NOT was taken as syntax")
	}
}

func TestSearchAnyText(t *testing.T) {
	s := library(t)
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ "*:^(){}+\-a-z]{0,30}(NEAR|AND|OR|NOT)?[ "*:^()a-z]{0,20}`)).Draw(rt, "text")
		if _, err := s.Search(t.Context(), AllReader(), SearchRequest{Text: text}); err != nil {
			rt.Fatalf("%q: %v", text, err)
		}
	})
}

// TestAgentLookup is how an agent finds a person by SQL.
func TestAgentLookup(t *testing.T) {
	s := library(t)
	r := AgentReader(DomainContacts)
	const fuzzy = `SELECT c.name, round(similarity(?1, c.name_norm), 2) AS score
		FROM contacts_tri t JOIN contacts c ON c.id = t.rowid
		WHERE contacts_tri MATCH trigrams(?1) ORDER BY score DESC LIMIT 2`
	for in, want := range map[string]string{
		"jon smit": "John Smith|0.95", "Okafer": "John Okafor|0.86", "x": "", "": "", `"smith" OR`: "John Smith|0.",
	} {
		if got := query(t, s, r, fuzzy, in); !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	if got := query(t, s, r, `SELECT name FROM contacts WHERE name_norm = norm(?)`, "ZOE  lindqvist"); got != "Zoë Lindqvist" {
		t.Error(got)
	}
	if got := query(t, s, r, `SELECT name FROM contacts WHERE first_norm = norm(?) ORDER BY name`, "John"); got != "John Okafor\nJohn Smith" {
		t.Error(got)
	}
}

func TestNormalizeName(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "  John   SMITH ": "john smith", "Zoë": "zoe", "Zoe\u0308": "zoe", "Łukasz Żółć": "lukasz zolc", "O'Neil": "oneil",
		"Jean-Luc": "jean luc", "Smith, John (Jr.)": "smith john jr", "Straße": "strasse", "李小龍": "李小龍", "Æther Ørsted": "aether orsted",
	} {
		if got := normalizeName(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	if n := len(normalizeName(strings.Repeat("ab ", 10_000))); n > 2*maxNameRunes {
		t.Errorf("%d bytes", n)
	}
}

func TestSimilarity(t *testing.T) {
	for _, c := range []struct {
		a, b     string
		min, max float64
	}{
		{"john smith", "john smith", 1, 1}, {"jon smit", "john smith", 0.9, 0.99}, {"smith john", "john smith", 1, 1},
		{"john", "john smith", 0.9, 0.95}, {"john", "jane", 0, 0.75}, {"", "john", 0, 0}, {"xyz", "abc", 0, 0}, {"maria", "maira", 0.9, 1},
	} {
		if got := similarity(c.a, c.b); got < c.min || got > c.max {
			t.Errorf("%q and %q: %.3f, want %.2f to %.2f", c.a, c.b, got, c.min, c.max)
		}
	}
	// The textbook values of Jaro-Winkler.
	for _, c := range []struct {
		a, b string
		want float64
	}{{"martha", "marhta", 0.961}, {"dixon", "dicksonx", 0.813}, {"dwayne", "duane", 0.84}} {
		if got := jaroWinkler([]rune(c.a), []rune(c.b)); got < c.want-0.001 || got > c.want+0.001 {
			t.Errorf("%s %s: %.4f, want %.3f", c.a, c.b, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := []rune(rapid.StringN(0, 20, -1).Draw(t, "a")), []rune(rapid.StringN(0, 20, -1).Draw(t, "b"))
		ab, ba := jaro(a, b), jaro(b, a)
		if ab < 0 || ab > 1 || (ab-ba) > 1e-9 || (ba-ab) > 1e-9 {
			t.Fatalf("%q %q: %v and %v", string(a), string(b), ab, ba)
		}
	})
}

func TestFuse(t *testing.T) {
	list := func(name string, ids ...int64) rankedList {
		l := rankedList{name: name}
		for _, id := range ids {
			l.found = append(l.found, candidate{item{"notes", id}, 100})
		}
		return l
	}
	got := fuse([]rankedList{list("a", 10, 20, 30), list("b", 30, 25)}, 3)
	var out []string
	for _, f := range got {
		out = append(out, fmt.Sprintf("%d%v %.5f", f.id, f.by, f.score))
	}
	// 30: 1/63 + 1/61; 10: 1/61; 20 and 25: 1/62, of which 25 is newer.
	want := "30[a b] 0.03227, 10[a] 0.01639, 25[b] 0.01613"
	if strings.Join(out, ", ") != want {
		t.Errorf("%v, want %s", out, want)
	}
}

func TestExcerpt(t *testing.T) {
	long := strings.Repeat("filler words ", 100) + "the venue is booked\nfor Friday " + strings.Repeat("more filler ", 100)
	for _, c := range []struct{ text, word, has string }{
		{"short  text\n here", "x", "short text here"}, {long, "venue", "the venue is booked for Friday"}, {long, "xyz", "filler words filler"},
		{strings.Repeat("ä", 1000), "ä", "ää"},
	} {
		got := excerpt(c.text, []string{c.word})
		if !strings.Contains(got, c.has) || len([]rune(got)) > excerptRunes+2+len("filler") {
			t.Errorf("%q: %d runes %q", c.word, len([]rune(got)), got)
		}
	}
}
