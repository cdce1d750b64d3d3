package pog

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestSmoke(t *testing.T) {
	s := newStore(t)
	ev := propose(t, s, User(), contact("John Smith", "john@example.com"), note("Q4 plan", "Talk to john@example.com about the venue"))
	if ev[0].ID != 1 || ev[1].ID != 2 {
		t.Fatalf("%+v", ev)
	}
	t.Log(query(t, s, AllReader(), "select * from contacts"))
	t.Log(query(t, s, AgentReader(DomainContacts, DomainNotes), "select * from contacts"))
	t.Log(query(t, s, AgentReader(DomainContacts, DomainNotes), "select * from events"))
	t.Log(query(t, s, AllReader(), "select * from events"))
	t.Logf("%+v", search(t, s, AllReader(), SearchRequest{Text: "q4"}))
	t.Logf("%+v", search(t, s, AgentReader(DomainContacts), SearchRequest{Text: "jon smit"}))
	t.Logf("%+v", search(t, s, AgentReader(DomainContacts, DomainNotes), SearchRequest{Text: "john@example.com"}))
	_, err := s.Propose(context.Background(), User(), note("Q4 plan", "Talk to john@example.com about the venue"))
	t.Log(err)
	_, err = s.Propose(context.Background(), Agent("x", DomainNotes), contact("x", "bad"), delta("note.added", `{"title":"","bdy":1}`))
	t.Log(err)
	if !errors.Is(err, ErrDenied) {
		t.Error(err)
	}
	verifyOK(t, s)
	d := dump(t, s)
	t.Log(strings.Count(d, "\n"))
	if err := s.Rebuild(context.Background()); err != nil {
		t.Fatal(err)
	}
	if dump(t, s) != d {
		t.Error("rebuild differs")
	}
	why, err := s.Why(context.Background(), AllReader(), "contact:john smith")
	t.Logf("%+v %v", why[0], err)
}
