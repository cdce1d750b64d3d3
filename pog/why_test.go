package pog

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// story is a run in which a writer drafts an email from notes a gatherer
// found, and a mailer sends it.
func story(t testing.TB) *Store {
	s := newStore(t)
	const trace = `"trace_id":"trace:0b51d2c09a554e0e8f3a000000000001"`
	propose(t, s, User(), contact("John Smith", "john@example.com"), note("Q4 plan", "goals"), note("Venue", "mill")) // 1-3
	propose(t, s, System(),
		delta("run.started", `{`+trace+`,"opening_id":"o","opening_name":"compose_email","opening_ir":{"edges":[
			{"from":"context.out","to":"draft.context"},{"from":"draft.out","to":"send.draft"},{"from":"review.ok == true","to":"send.in"}]}}`), // 4
		delta("node.started", `{`+trace+`,"node":"context","agent":"gatherer","attempt":1}`), // 5
		delta("node.finished", `{`+trace+`,"node":"context","agent":"gatherer","attempt":1,"status":"ok","outputs":{"out":[
			{"snippets":[{"title":"Q4 plan","event_id":2},{"title":"Venue","event_id":3}]}]}}`), // 6
		delta("node.started", `{`+trace+`,"node":"draft","agent":"writer@v2","attempt":1}`), // 7
	)
	artifact := delta("artifact.created", `{"id":"a1","kind":"draft","path":"/a","sha256":"`+strings.Repeat("ab", 32)+`","summary":"Dear John","citations":[2]}`)
	artifact.Provenance = Provenance{TraceID: "0b51d2c0-9a55-4e0e-8f3a-000000000001", OpeningID: "o"}
	propose(t, s, Agent("writer", DomainArtifacts), artifact)                                                                   // 8
	propose(t, s, System(), delta("node.finished", `{`+trace+`,"node":"draft","agent":"writer@v2","attempt":1,"status":"ok"}`)) // 9
	sent := delta("email.sent", `{"to":["john@example.com"],"subject":"Q4 plan","artifact_id":"a1","status":"dry_run"}`)
	sent.Evidence = []int64{1, 8}
	propose(t, s, Agent("mailer", DomainEmail), sent) // 10
	return s
}

// tree draws an explanation, one event a line.
func tree(causes []*Cause, indent string) string {
	var b strings.Builder
	for _, c := range causes {
		marks := map[bool]string{true: " seen"}[c.Seen] + map[bool]string{true: " cut"}[c.Cut]
		fmt.Fprintf(&b, "%s%s %d %s%s\n", indent, c.Relation, c.EventID, c.Kind, marks)
		b.WriteString(tree(c.Causes, indent+"  "))
	}
	return b.String()
}

func TestWhy(t *testing.T) {
	s := story(t)
	for entity, want := range map[string]string{
		"artifact:a1": `source 8 artifact.created
  cites 2 note.added
  made_by 7 node.started
    input 6 node.finished
      cites 2 note.added seen
      cites 3 note.added
      run 4 run.started
    run 4 run.started seen
  run 4 run.started seen
source 10 email.sent
  evidence 1 contact.upserted
  evidence 8 artifact.created seen
`,
		"10": `source 10 email.sent
  evidence 1 contact.upserted
  evidence 8 artifact.created
    cites 2 note.added
    made_by 7 node.started
      input 6 node.finished
        cites 2 note.added seen
        cites 3 note.added
        run 4 run.started
      run 4 run.started seen
    run 4 run.started seen
`,
		"event:2": "source 2 note.added\n",
		"run:0b51d2c09a554e0e8f3a000000000001": `source 4 run.started
source 5 node.started
source 6 node.finished
source 7 node.started
source 8 artifact.created
source 9 node.finished
`,
		"contact:john@example.com": "source 1 contact.upserted\n",
		"contact:john smith":       "source 1 contact.upserted\n",
	} {
		why, err := s.Why(t.Context(), AllReader(), entity)
		if err != nil {
			t.Errorf("%s: %v", entity, err)
		} else if got := tree(why, ""); got != want {
			t.Errorf("%s:\n%swant\n%s", entity, got, want)
		}
	}
	why, err := s.Why(t.Context(), AllReader(), "artifact:a1")
	if err != nil {
		t.Fatal(err)
	}
	if c := why[0]; c.Actor != "agent:writer" || c.Provenance.AgentID != "writer" || c.TSMillis == 0 || c.Summary != "artifact.created: draft · /a" {
		t.Errorf("%+v", c)
	}
}

// TestWhyForAgents leaves out what a reader may not see, on every level.
func TestWhyForAgents(t *testing.T) {
	s := story(t)
	why, err := s.Why(t.Context(), AgentReader(DomainArtifacts), "artifact:a1")
	if err != nil || tree(why, "") != "source 8 artifact.created\n" {
		t.Errorf("%s %v", tree(why, ""), err)
	}
	why, err = s.Why(t.Context(), AgentReader(DomainEmail, DomainContacts), "event:10")
	if err != nil || tree(why, "") != "source 10 email.sent\n  evidence 1 contact.upserted\n" {
		t.Errorf("%s %v", tree(why, ""), err)
	}
	for _, entity := range []string{"artifact:a1", "artifact:none", "event:2", "event:77", "contact:nobody", "trace:x"} {
		if _, err := s.Why(t.Context(), AgentReader(DomainContacts), entity); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", entity, err)
		}
	}
	for _, bad := range []string{"", "plain", "thing:x", "0", "-1", "event:", "contact:"} {
		if _, err := s.Why(t.Context(), AllReader(), bad); !errors.Is(err, ErrQuery) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := s.Why(t.Context(), AllReader(), "contact:nobody"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	propose(t, s, User(), delta("contact.upserted", `{"name":"John Smith","email":"other@example.com"}`))
	if _, err := s.Why(t.Context(), AllReader(), "contact:john smith"); !errors.Is(err, ErrQuery) {
		t.Errorf("two of a name: %v", err)
	}
}

// TestWhyIsBounded asks about the end of a long chain, and about an event
// that cites very many.
func TestWhyIsBounded(t *testing.T) {
	s := newStore(t)
	for i := range 40 {
		d := note(fmt.Sprint(i), "x")
		if i > 0 {
			d.Evidence = []int64{int64(i)}
		}
		propose(t, s, User(), d)
	}
	why, err := s.Why(t.Context(), AllReader(), "40")
	if err != nil {
		t.Fatal(err)
	}
	depth, c := 1, why[0]
	for ; len(c.Causes) > 0; c = c.Causes[0] {
		depth++
	}
	if depth != maxWhyDepth+1 || !c.Cut {
		t.Errorf("depth %d, cut %v", depth, c.Cut)
	}
	var ids []int64
	for i := range 900 {
		ids = append(ids, propose(t, s, User(), note("many", fmt.Sprint(i)))[0].ID)
		if i%100 == 0 {
			d := note("bundle", fmt.Sprint(i))
			d.Evidence = append([]int64(nil), ids...)
			propose(t, s, User(), d)
		}
	}
	all := note("all", "x")
	all.Evidence = ids
	last := propose(t, s, User(), all)[0].ID
	if why, err = s.Why(t.Context(), AllReader(), fmt.Sprint(last)); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(tree(why, ""), "\n"); n > maxEvidence+1 {
		t.Errorf("%d lines", n)
	}
}

func TestCitations(t *testing.T) {
	got := citations([]byte(`{"citations":[3,{"event_id":4},"x",2.5,-1],"deep":[{"out":{"evidence":[9],"last_event_id":3}}],"event_id":"7","events":[1]}`))
	if fmt.Sprint(got) != "[3 4 9]" {
		t.Error(got)
	}
	if got := citations([]byte(`nonsense`)); got != nil {
		t.Error(got)
	}
}
