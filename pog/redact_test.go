package pog

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func testRedactor() *redactor { return &redactor{salt: []byte(strings.Repeat("s", 32))} }

func TestMask(t *testing.T) {
	r := testRedactor()
	john := r.mask("john@example.com")
	if !regexp.MustCompile(`^j[0-9a-z]{6}@example\.com$`).MatchString(john) {
		t.Fatalf("john@example.com became %q", john)
	}
	for in, want := range map[string]string{
		"":                                  "",
		"no address":                        "no address",
		"@john and x@ and @":                "@john and x@ and @",
		"john@example.com":                  john,
		"JOHN@Example.COM":                  john,
		"<john@example.com>":                "<" + john + ">",
		"mailto:john@example.com?subject=x": "mailto:" + john + "?subject=x",
		"John <john@example.com>, ask him.": "John <" + john + ">, ask him.",
		"write to john@example.com.":        "write to " + john + ".",
		"(john@example.com)":                "(" + john + ")",
		"john@example.com john@example.com": john + " " + john,
		"john%40example.com":                john,
		`john\u0040example.com`:             john,
		"john&#64;example.com":              john,
		"john&COMMAT;example.com":           john,
		"john＠example.com":                  john,
		`"john"@example.com`:                john,
		"'john@example.com'":                john + "'",
		"**john@example.com**":              john + "**",
		"?to=john@example.com&cc=x":         john + "&cc=x",
	} {
		if got := r.mask(in); got != want {
			t.Errorf("%q\n got %q\nwant %q", in, got, want)
		}
	}
	for _, in := range []string{
		"john.smith+tag@sub.example.co.uk", "john@localhost", `"john smith"@example.com`, "jöhn@exämple.com",
		"john@[192.0.2.1]", "1john@example.com", "a@b@c", "x.john@example.com",
	} {
		got := r.mask(in)
		local, _, _ := strings.Cut(in, "@")
		if strings.Contains(got, strings.Trim(local, `"`)+"@") || got == in {
			t.Errorf("%q became %q", in, got)
		}
	}
	if other := (&redactor{salt: []byte(strings.Repeat("t", 32))}).mask("john@example.com"); other == john {
		t.Error("another salt gives the same mask")
	}
}

func TestMaskJSON(t *testing.T) {
	r := testRedactor()
	doc := `{"anna@example.com":["x bert@example.com",{"n":1,"s":"\ncara@example.com"}],"e":"\"dora\u0040example.com","f":1.5}`
	got := r.maskJSON([]byte(doc))
	if !json.Valid(got) {
		t.Fatalf("%s", got)
	}
	for _, local := range []string{"anna", "bert", "cara", "dora"} {
		if strings.Contains(string(got), local) {
			t.Errorf("%s is left in %s", local, got)
		}
	}
	for in, want := range map[string]string{
		`{"a":1}`:               `{"a":1}`,
		`{"x@y.z":`:             `{}`,
		`{"x@y.z":1,"x@y.z":2}`: `{}`,
	} {
		if got := string(r.maskJSON([]byte(in))); got != want {
			t.Errorf("%s became %s", in, got)
		}
	}
}

// TestMaskLeavesNothing hides an address in generated text and looks for its
// local part afterwards.
func TestMaskLeavesNothing(t *testing.T) {
	r := testRedactor()
	rapid.Check(t, func(t *rapid.T) {
		before := rapid.String().Draw(t, "before")
		sign := rapid.SampledFrom(atSigns).Draw(t, "sign")
		after := rapid.StringMatching(`([ ,;)>"'\n].{0,20})?`).Draw(t, "after")
		text := before + " zqsecretqz" + sign + "example.com" + after + " and zqsecretqz.two" + sign + "example.org"
		got := r.mask(text)
		if strings.Contains(strings.ReplaceAll(got, before, ""), "zqsecretqz") {
			t.Fatalf("%q became %q", text, got)
		}
	})
}

func FuzzMask(f *testing.F) {
	for _, s := range []string{"john@example.com", "a%40b &#x40; \\u0040", `"x y"@[1.2.3.4]`, "＠﹫@@", "&#64"} {
		f.Add(s)
	}
	r := testRedactor()
	f.Fuzz(func(t *testing.T, s string) {
		got := r.mask(s)
		if !hasAddress(s) && got != s {
			t.Fatalf("%q became %q", s, got)
		}
		r.maskJSON([]byte(s))
		collectAddresses(s, map[string]bool{})
	})
}

// BenchmarkMask masks a long note without and with many addresses; the time
// must be linear.
func BenchmarkMask(b *testing.B) {
	r := testRedactor()
	for name, text := range map[string]string{
		"none": strings.Repeat("the quick brown fox ", 10_000),
		"many": strings.Repeat("a.b@example.com, ", 10_000),
		"odd":  strings.Repeat("%40&#64;\\u0040", 10_000),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				r.mask(text)
			}
		})
	}
}

// TestNothingLeaks puts an address everywhere an event can carry one and
// looks for it in everything a restricted reader can get.
func TestNothingLeaks(t *testing.T) {
	s := newStore(t)
	const local = "zqsecretqz"
	const addr = local + "@example.com"
	trace := `"trace_id":"t1"`
	first := propose(t, s, User(),
		delta("contact.upserted", `{"name":"Zed `+addr+`","email":"`+addr+`","emails":["`+local+`.two@example.com"],
			"org":"`+addr+`","title":"`+addr+`","external_id":"`+addr+`","tags":["`+addr+`"],"source":"`+addr+`","meta":{"`+addr+`":"`+addr+`"}}`),
		delta("note.added", `{"title":"`+addr+`","body":"mail `+local+`%40example.com","source":"`+addr+`","tags":["`+addr+`"]}`),
		delta("account.linked", `{"kind":"imap","handle":"`+addr+`","auth_ref":"runloop/imap","scopes":["`+addr+`"]}`),
	)
	artifact := delta("artifact.created", `{"kind":"draft `+addr+`","path":"/x/`+addr+`","sha256":"`+strings.Repeat("ab", 32)+`","name":"`+addr+`","summary":"to `+addr+`"}`)
	artifact.Provenance = Provenance{Rationale: "asked by " + addr, TraceID: "t1", Source: addr}
	artifact.Evidence = []int64{first[0].ID}
	propose(t, s, User(), artifact,
		delta("email.sent", `{"to":["`+addr+`"],"cc":["`+addr+`"],"subject":"re `+addr+`","message_id":"<1.`+addr+`>"}`))
	propose(t, s, System(),
		delta("run.started", `{`+trace+`,"opening_id":"`+addr+`","opening_name":"`+addr+`","params":{"to":"`+addr+`"}}`),
		delta("node.finished", `{`+trace+`,"node":"`+addr+`","agent":"`+addr+`","status":"error","error":"no such user `+addr+`"}`),
		delta("action.requested", `{`+trace+`,"action_id":"a-`+addr+`","summary":"send to `+addr+`","kind":"send"}`),
		delta("action.decided", `{`+trace+`,"action_id":"a-`+addr+`","approved":true,"rationale":"`+addr+`","by":"`+addr+`"}`),
		delta("cap.audit", `{"agent":"x","cap":"net","op":"`+addr+`","decision":"deny","target":"`+addr+`"}`),
		delta("broker.call", `{"provider":"p","model":"m","prompt":"`+addr+`"}`))

	masked := Reader{AllDomains: true}
	var seen strings.Builder
	for _, view := range []string{"contacts", "notes", "artifacts", "emails", "accounts", "runs", "nodes", "actions", "events",
		"edges", "entity_history", "contacts_fts", "notes_fts", "artifacts_fts", "emails_fts", "contacts_tri", "contacts_fts_data",
		"notes_fts_data", "artifacts_fts_data", "emails_fts_data", "contacts_tri_data"} {
		got := query(t, s, masked, "SELECT * FROM "+view)
		if got == "" {
			t.Errorf("%s is empty: the test looks at nothing", view)
		}
		seen.WriteString(got)
	}
	for _, text := range []string{"zed", addr, local, "mail", "draft", "send", "re"} {
		hits := search(t, s, masked, SearchRequest{Text: text})
		doc, _ := json.Marshal(hits)
		seen.Write(doc)
		if text == local && len(hits) > 0 {
			t.Errorf("%q finds %s", text, titles(hits))
		}
	}
	for _, entity := range []string{"1", "2", "4", "5", "event:9", "trace:t1", "artifact:a" + strings.Repeat("ab", 8)} {
		why, err := s.Why(t.Context(), masked, entity)
		if err != nil {
			t.Errorf("%s: %v", entity, err)
		}
		doc, _ := json.Marshal(why)
		seen.Write(doc)
	}
	events, err := s.Events(t.Context(), masked, Filter{})
	if err != nil || len(events) != 11 {
		t.Errorf("%d events, %v", len(events), err)
	}
	doc, _ := json.Marshal(events)
	seen.Write(doc)
	if i := strings.Index(seen.String(), local); i >= 0 {
		t.Errorf("leaked: …%s…", seen.String()[max(0, i-200):min(seen.Len(), i+60)])
	}
	// The masks still join: one address, one mask.
	if got := query(t, s, masked, `SELECT count(*) FROM contacts c JOIN emails e ON e.sent_to = '["' || c.email || '"]'`); got != "1" {
		t.Errorf("joined %s rows", got)
	}
	if hits := search(t, s, masked, SearchRequest{Text: addr, Domains: []Domain{DomainContacts}}); len(hits) != 1 {
		t.Errorf("the address it was given finds %d contacts", len(hits))
	}
	if raw := query(t, s, AllReader(), `SELECT email, emails FROM contacts`); raw != addr+`|["`+local+`.two@example.com"]` {
		t.Errorf("the owner sees %s", raw)
	}
	if hits := search(t, s, AllReader(), SearchRequest{Text: local[:6]}); len(hits) < 3 {
		t.Errorf("the owner finds only %s by the beginning of an address", titles(hits))
	}
}
