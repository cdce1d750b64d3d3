package pog

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// refusals returns what a call was refused for.
func refusals(t *testing.T, err error) string {
	t.Helper()
	var refused *RefusedError
	if !errors.As(err, &refused) {
		t.Fatalf("got %v, want a refusal", err)
	}
	var out []string
	for _, p := range refused.Problems {
		out = append(out, p.String())
	}
	return strings.Join(out, "\n")
}

func TestRefusals(t *testing.T) {
	s := newStore(t)
	propose(t, s, User(), note("first", "body"))
	for _, c := range []struct {
		name string
		p    Proposer
		d    Delta
		want []string
	}{
		{"unknown kind", User(), delta("note.aded", `{}`), []string{"kind: unknown kind \"note.aded\"; did you mean note.added?"}},
		{"kind as path", User(), delta("../../etc/passwd", `{}`), []string{"kind: unknown kind"}},
		{"every field", User(), delta("contact.upserted", `{"email":"x","trust":2,"nmae":"y"}`), []string{
			"payload.email: pattern", "payload.name: is required", "payload.nmae: unknown field; did you mean name?",
			"payload.trust: maximum"}},
		{"wrong type", User(), delta("note.added", `{"title":1,"body":[]}`), []string{"payload.title: type", "payload.body: type"}},
		{"not an object", User(), delta("note.added", `["x"]`), []string{"payload: must be a JSON object"}},
		{"null", User(), delta("note.added", `null`), []string{"payload: must be a JSON object"}},
		{"not JSON", User(), delta("note.added", `{"title":`), []string{"payload: not JSON"}},
		{"duplicate member", User(), delta("note.added", `{"title":"a","title":"b","body":""}`), []string{"payload: not JSON: duplicate"}},
		{"evidence", User(), Delta{Kind: "note.added", Payload: []byte(`{"title":"a","body":""}`), Evidence: []int64{1, 99, 0}},
			[]string{"evidence[1]: event 99 does not exist", "evidence[2]: event 0 does not exist"}},
		{"citations", User(), delta("note.added", `{"title":"a","body":"","citations":[1,7]}`),
			[]string{"payload.citations[1]: event 7 does not exist"}},
		{"domain", Agent("writer", DomainArtifacts), note("a", "b"), []string{"kind: denied:kb_write:notes is not granted"}},
		{"no domain at all", Agent("writer"), note("a", "b"), []string{"denied:kb_write:notes"}},
		{"host's own kind", Proposer{Actor: "agent:writer", AllDomains: true}, delta("run.finished", `{"trace_id":"t"}`),
			[]string{"denied:kb_write:run.finished is the host's own record"}},
		{"another's scope", Agent("writer", DomainNotes), Delta{Kind: "note.added", Scope: "agent:mailer", Payload: []byte(`{"title":"a","body":""}`)},
			[]string{`scope: denied:kb_write:scope "agent:mailer"`}},
		{"the user's scope", Agent("writer", DomainNotes), Delta{Kind: "note.added", Scope: "user", Payload: []byte(`{"title":"a","body":""}`)},
			[]string{"scope: denied:kb_write"}},
		{"no such scope", User(), Delta{Kind: "note.added", Scope: "agent:", Payload: []byte(`{"title":"a","body":""}`)}, []string{"scope: denied"}},
		{"another's name", Agent("writer", DomainNotes), Delta{Kind: "note.added", Payload: []byte(`{"title":"a","body":""}`),
			Provenance: Provenance{AgentID: "mailer"}}, []string{"provenance.agent_id"}},
		{"long provenance", User(), Delta{Kind: "note.added", Payload: []byte(`{"title":"a","body":""}`),
			Provenance: Provenance{Rationale: strings.Repeat("x", maxProvenance)}}, []string{"provenance: "}},
		{"actor", Proposer{Actor: "root", AllDomains: true}, note("a", "b"), []string{"actor: must be"}},
		{"agent's name", Agent("x\x1b[2J", DomainNotes), note("a", "b"), []string{"actor: must be"}},
		{"bad UTF-8 in provenance", User(), Delta{Kind: "note.added", Payload: []byte(`{"title":"\xff","body":""}`)}, []string{"payload: not JSON"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := s.Propose(context.Background(), c.p, c.d)
			got := refusals(t, err)
			for _, want := range c.want {
				if !strings.Contains(got, want) {
					t.Errorf("got\n%s\nwant %q", got, want)
				}
			}
			if denied := strings.Contains(got, "denied:"); errors.Is(err, ErrDenied) != denied || !errors.Is(err, ErrRefused) {
				t.Errorf("codes of %v", err)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("not one line: %q", err)
			}
		})
	}
	if h, _ := s.Head(context.Background()); h.EventID != 1 {
		t.Errorf("a refused delta left something: head %d", h.EventID)
	}
}

// TestAgentsAreNamedByTheHost: the names in an agent's event are what the host
// gave, whatever the delta says.
func TestAgentsAreNamedByTheHost(t *testing.T) {
	s := newStore(t)
	ev := propose(t, s, Agent("writer", DomainNotes), note("a", "b"))[0]
	if ev.Actor != "agent:writer" || ev.Scope != "agent:writer" {
		t.Errorf("actor %q scope %q", ev.Actor, ev.Scope)
	}
	if p := parseProvenance(ev.Provenance); p.AgentID != "writer" {
		t.Errorf("provenance %s", ev.Provenance)
	}
}

func TestAllOrNothing(t *testing.T) {
	s := newStore(t)
	good := note("good", "b")
	_, err := s.Propose(context.Background(), User(), good, note("", ""), good)
	if got := refusals(t, err); !strings.Contains(got, "delta 1: payload.title") {
		t.Error(got)
	}
	_, err = s.Propose(context.Background(), User(), good, note("other", "b"), good)
	if got := refusals(t, err); !strings.Contains(got, "delta 2: the same delta comes twice") {
		t.Error(got)
	}
	propose(t, s, User(), note("first", "b"))
	_, err = s.Propose(context.Background(), User(), good, note("first", "b"))
	var dup *DuplicateError
	if !errors.As(err, &dup) || dup.EventID != 1 || dup.Index != 1 {
		t.Errorf("got %v", err)
	}
	if h, _ := s.Head(context.Background()); h.EventID != 1 {
		t.Errorf("head %d after refused calls, want 1", h.EventID)
	}
}

func TestDuplicates(t *testing.T) {
	s := newStore(t)
	ctx := context.Background()
	first := propose(t, s, User(), note("a", "b"))[0]
	// Another order of members and other white space are the same event.
	same := delta("note.added", `{ "title": "a", "body": "b" }`)
	_, err := s.Propose(ctx, User(), same)
	if !errors.Is(err, ErrDuplicate) || !strings.Contains(err.Error(), "event 1") {
		t.Errorf("got %v", err)
	}
	p := User()
	p.Existing = true
	events := propose(t, s, p, same, note("new", "b"), same, note("new", "b"))
	if len(events) != 4 || events[0].ID != 1 || !events[0].Existing || events[1].Existing ||
		events[1].ID != 2 || events[2].ID != 1 || events[3].ID != 2 || !events[3].Existing {
		t.Errorf("%+v", events)
	}
	if events[0].Hash != first.Hash || events[0].TSMillis != first.TSMillis {
		t.Error("the existing event is not the first one")
	}
	other := same
	other.Provenance.Nonce = "again"
	if ev := propose(t, s, User(), other)[0]; ev.ID != 3 {
		t.Errorf("with a nonce: %+v", ev)
	}
	if _, err := s.Propose(ctx, Agent("writer", DomainNotes), same); err != nil {
		t.Errorf("the same from another actor is another event: %v", err)
	}
}

func TestCheck(t *testing.T) {
	s := newStore(t)
	propose(t, s, User(), note("a", "b"))
	p := User()
	p.Existing = true
	events, err := s.Check(context.Background(), p, note("a", "b"), note("new", "b"))
	if err != nil || events[0].ID != 1 || events[1].ID != 0 || events[1].Existing {
		t.Errorf("%+v, %v", events, err)
	}
	if h, _ := s.Head(context.Background()); h.EventID != 1 {
		t.Error("Check wrote something")
	}
	if _, err := s.Check(context.Background(), User(), Delta{Kind: "note.added",
		Payload: []byte(`{"title":"x","body":""}`), Evidence: []int64{5}}); !errors.Is(err, ErrRefused) {
		t.Errorf("got %v", err)
	}
}

func TestEveryKindHasASchema(t *testing.T) {
	r := registry{}
	files, err := embedded.ReadDir("schemas")
	if err != nil || len(files) != len(builtinKinds) {
		t.Errorf("%d files for %d kinds, %v", len(files), len(builtinKinds), err)
	}
	for name, k := range builtinKinds {
		if _, err := r.lookup(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !k.domain.known() {
			t.Errorf("%s has domain %q", name, k.domain)
		}
	}
}

// TestHostKinds proposes what the engine writes; its records have more fields
// than the schemas name.
func TestHostKinds(t *testing.T) {
	s := newStore(t)
	trace := `"trace_id":"trace:0b51d2c0-9a55-4e0e-8f3a-000000000001"`
	propose(t, s, System(),
		delta("run.started", `{`+trace+`,"opening_id":"o1","opening_name":"compose_email","opening_ir":{"edges":[]},"params":{},"seed":"00","agents":{"writer":"ab"},"flags":{"x":1}}`),
		delta("node.started", `{`+trace+`,"node":"draft","agent":"writer","attempt":1,"after":null}`),
		delta("action.requested", `{`+trace+`,"action_id":"a1","node":"send","agent":"mailer","attempt":1,"kind":"send","summary":"Send it","details":{},"digest":"d","expires_at_ms":5}`),
		delta("action.decided", `{`+trace+`,"action_id":"a1","node":"send","digest":"d","approved":false,"by":"timeout"}`),
		delta("node.finished", `{`+trace+`,"node":"draft","agent":"writer","attempt":1,"status":"ok","outputs":{"out":{}},"usage":{},"hostcalls":[]}`),
		delta("node.finished", `{`+trace+`,"node":"send","attempt":0,"status":"error","error":{"code":"denied","message":"no"}}`),
		delta("run.paused", `{`+trace+`}`),
		delta("run.resumed", `{`+trace+`}`),
		delta("run.finished", `{`+trace+`,"opening_id":"o1","status":"error","success":false,"nodes":{"ok":1}}`),
		delta("run.trace", `{`+trace+`,"nodes":[],"final_hash":"x"}`),
		delta("cap.audit", `{"agent":"writer","cap":"kb_read","op":"kb.query","target":"runs","args_hash":"","decision":"deny","severity":"warn","reason":"denied:kb_read:runs"}`),
		delta("broker.call", `{"provider":"null","model":"echo","tokens_in":1,"tokens_out":2,"usd":0.001,"cached":false}`),
	)
	all := AllReader()
	if got := query(t, s, all, `SELECT trace_id, opening_name, state FROM runs`); got !=
		"0b51d2c0-9a55-4e0e-8f3a-000000000001|compose_email|error" {
		t.Error(got)
	}
	if got := query(t, s, all, `SELECT node, attempt, state, error FROM nodes ORDER BY id`); got !=
		"draft|1|ok|\nsend|0|error|{\"code\":\"denied\",\"message\":\"no\"}" {
		t.Error(got)
	}
	if got := query(t, s, all, `SELECT action_id, state, decided_by FROM actions`); got != "a1|denied|timeout" {
		t.Error(got)
	}
	events, err := s.Events(context.Background(), all, Filter{Entity: "run:0B51D2C09A554E0E8F3A000000000001"})
	if err != nil || len(events) != 10 {
		t.Errorf("%d events of the run, %v", len(events), err)
	}
}

func TestUsersOwnKinds(t *testing.T) {
	s := newStore(t)
	dir := filepath.Join(s.opts.Dir, "schemas")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name, doc string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("task.created.json", `{"type":"object","required":["title"],"additionalProperties":false,
		"properties":{"title":{"$ref":"#/$defs/short"},"due":{"type":"string","format":"date"}},
		"$defs":{"short":{"type":"string","maxLength":10}}}`)
	write("loop.one.json", `{"properties":{"a":{"$ref":"#/$defs/x"}},"$defs":{"x":{"allOf":[{"$ref":"#/$defs/y"}]},"y":{"$ref":"#/$defs/x"}}}`)
	write("far.ref.json", `{"properties":{"a":{"$ref":"https://example.com/schema"}}}`)
	write("root.ref.json", `{"properties":{"a":{"$ref":"#"}}}`)
	write("broken.one.json", `{"type":`)
	write("note.added.json", `{}`) // must not take the place of a built-in kind
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link.one.json")); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if ev := propose(t, s, User(), delta("task.created", `{"title":"buy milk"}`))[0]; ev.Kind != "task.created" {
		t.Error(ev)
	}
	_, err := s.Propose(ctx, User(), delta("task.created", `{"title":"buy much more milk","x":1}`))
	if got := refusals(t, err); !strings.Contains(got, "payload.title: maxLength") || !strings.Contains(got, "payload.x: unknown field") {
		t.Error(got)
	}
	for kind, want := range map[string]string{
		"loop.one": "refers to itself", "far.ref": "only #/$defs/NAME", "root.ref": "only #/$defs/NAME",
		"broken.one": "schema ", "link.one": "not a regular file", "absent.one": "unknown kind",
	} {
		_, err := s.Propose(ctx, User(), delta(kind, `{"a":1}`))
		if got := refusals(t, err); !strings.Contains(got, want) {
			t.Errorf("%s: %s", kind, got)
		}
	}
	if _, err := s.Propose(ctx, User(), delta("note.added", `{}`)); !errors.Is(err, ErrRefused) {
		t.Errorf("a schema of the user's replaced a built-in one: %v", err)
	}
	// Such events are in the custom domain, for readers and for writers.
	if got := query(t, s, AgentReader(DomainCustom), `SELECT kind FROM events`); got != "task.created" {
		t.Error(got)
	}
	if _, err := s.Propose(ctx, Agent("x", DomainNotes), delta("task.created", `{"title":"x"}`)); !errors.Is(err, ErrDenied) {
		t.Errorf("got %v", err)
	}
}

func TestLimitsOfACall(t *testing.T) {
	s, err := Open(context.Background(), Options{Dir: t.TempDir(), MaxPayload: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = s.Propose(context.Background(), User(), note("a", strings.Repeat("x", 100)))
	if got := refusals(t, err); !strings.Contains(got, "at most 100") {
		t.Error(got)
	}
	if _, err = s.Propose(context.Background(), User()); !errors.Is(err, ErrRefused) {
		t.Errorf("no deltas: %v", err)
	}
	if _, err = s.Propose(context.Background(), User(), slices.Repeat([]Delta{note("a", "b")}, maxDeltas+1)...); !errors.Is(err, ErrRefused) {
		t.Errorf("too many deltas: %v", err)
	}
}
