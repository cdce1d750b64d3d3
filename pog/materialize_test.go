package pog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// removeViews deletes pog.sqlite and what belongs to it.
func removeViews(t testing.TB, dir string) {
	t.Helper()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(filepath.Join(dir, "pog.sqlite"+suffix)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

// randomDelta generates any kind of delta from small sets of names, so that
// events meet: the same contact twice, an artifact of two agents.
func randomDelta(t *rapid.T, head int64) (Proposer, Delta) {
	pick := func(label string, values ...string) string { return rapid.SampledFrom(values).Draw(t, label) }
	name := pick("name", "John Smith", "Zoë", "Ana", "john", "")
	email := pick("email", "john@example.com", "JOHN@example.com", "zoe@example.org", "")
	trace := pick("trace", "t1", "t2")
	kind := pick("kind", "contact.upserted", "contact.upserted", "note.added", "note.added", "artifact.created", "email.sent",
		"account.linked", "run.started", "node.started", "node.finished", "run.finished", "run.paused", "action.requested",
		"action.decided", "cap.audit")
	payload := map[string]any{}
	set := func(field, value string) {
		if value != "" {
			payload[field] = value
		}
	}
	switch kind {
	case "contact.upserted":
		set("name", name)
		set("email", email)
		set("org", pick("org", "", "Acme", "x@y.z"))
		set("external_id", pick("uid", "", "u1", "u2"))
	case "note.added":
		set("title", pick("title", "Q4 plan", "Venue", "x"))
		payload["body"] = "about " + name + " " + email
		set("source", pick("source", "", "a.md", "b.md"))
	case "artifact.created":
		set("kind", "draft")
		set("path", "/p/"+name)
		set("sha256", strings.Repeat(pick("sha", "ab", "cd"), 32))
		set("summary", email)
	case "email.sent":
		payload["to"] = []string{"a@b.c"}
		set("subject", "re "+name)
	case "account.linked":
		set("kind", "imap")
		set("handle", pick("handle", "a@b.c", "d"))
		payload["verified"] = rapid.Bool().Draw(t, "verified")
	case "cap.audit":
		payload = map[string]any{"agent": "a", "cap": "c", "op": pick("op", "x", "y"), "decision": "deny"}
	default:
		payload = map[string]any{"trace_id": trace, "node": pick("node", "n", "m"), "action_id": pick("action", "a1", "a2"),
			"opening_id": "o", "approved": rapid.Bool().Draw(t, "approved"), "attempt": rapid.IntRange(1, 2).Draw(t, "attempt")}
	}
	d, err := NewDelta(kind, payload)
	if err != nil {
		t.Fatal(err)
	}
	d.Provenance.Nonce = pick("nonce", "", "1", "2")
	d.Provenance.TraceID = pick("provenance", "", trace)
	if head > 0 && rapid.Bool().Draw(t, "cites") {
		d.Evidence = []int64{int64(rapid.IntRange(1, int(head)).Draw(t, "evidence"))}
	}
	p := rapid.SampledFrom([]Proposer{User(), System(), {Actor: "agent:writer", AllDomains: true}, Agent("reader")}).Draw(t, "proposer")
	return p, d
}

// TestSimulate plays random proposals against a model of the ledger in
// memory, with restarts and lost views in between, and compares.
func TestSimulate(t *testing.T) {
	fewerChecks(t, 15) // each opens and closes several stores
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		s := openStore(t, dir)
		var model []string // kind and payload of each event, in order
		byName := map[Hash]int64{}
		steps := rapid.IntRange(1, 25).Draw(rt, "steps")
		for range steps {
			switch rapid.IntRange(0, 9).Draw(rt, "step") {
			case 0:
				s.Close()
				if rapid.Bool().Draw(rt, "lose views") {
					removeViews(t, dir)
				}
				s = openStore(t, dir)
			case 1:
				_ = query(t, s, AllReader(), `SELECT count(*) FROM events`)
			default:
				p, d := randomDelta(rt, int64(len(model)))
				events, err := s.Propose(context.Background(), p, d)
				var dup *DuplicateError
				switch {
				case err == nil:
					e := events[0]
					if e.ID != int64(len(model)+1) || byName[e.Hash] != 0 {
						rt.Fatalf("event %d, want %d", e.ID, len(model)+1)
					}
					model = append(model, e.Kind+string(e.Payload))
					byName[e.Hash] = e.ID
				case errors.As(err, &dup):
					if dup.EventID < 1 || dup.EventID > int64(len(model)) {
						rt.Fatalf("duplicate of %d of %d", dup.EventID, len(model))
					}
				case !errors.Is(err, ErrRefused):
					rt.Fatal(err)
				}
			}
		}
		compare(rt, s, model)
		before := dump(t, s)
		s.Close()
		removeViews(t, dir)
		s = openStore(t, dir)
		if after := dump(t, s); after != before {
			rt.Fatalf("views made again differ:\n%s", firstDifference(before, after))
		}
		if err := s.Rebuild(context.Background()); err != nil {
			rt.Fatal(err)
		}
		if after := dump(t, s); after != before {
			rt.Fatalf("rebuilt views differ:\n%s", firstDifference(before, after))
		}
		verifyOK(t, s)
		s.Close()
	})
}

func compare(rt *rapid.T, s *Store, model []string) {
	events, err := s.Events(context.Background(), AllReader(), Filter{})
	if err != nil {
		rt.Fatal(err)
	}
	if len(events) != len(model) {
		rt.Fatalf("%d events, want %d", len(events), len(model))
	}
	for i, e := range events {
		if e.Kind+string(e.Payload) != model[i] {
			rt.Fatalf("event %d is %s%s, want %s", e.ID, e.Kind, e.Payload, model[i])
		}
	}
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return x[i] + "\n" + y[i]
		}
	}
	return fmt.Sprintf("%d and %d lines", len(x), len(y))
}

// TestReadYourWrites reads at once what was just written, by its own store
// and by another one on the same files.
func TestReadYourWrites(t *testing.T) {
	dir := t.TempDir()
	a, b := openStore(t, dir), openStore(t, dir)
	for i := range 20 {
		propose(t, a, User(), note(fmt.Sprint("note ", i), "x"))
		for name, s := range map[string]*Store{"own": a, "other": b} {
			if got := query(t, s, AllReader(), `SELECT count(*) FROM notes`); got != fmt.Sprint(i+1) {
				t.Fatalf("%s: %s notes, want %d", name, got, i+1)
			}
		}
		if hits := search(t, b, AgentReader(DomainNotes), SearchRequest{Text: fmt.Sprint("note ", i), K: 100}); len(hits) == 0 {
			t.Fatalf("note %d is not found", i)
		}
	}
}

// TestReadersDoNotWait holds the views' write lock and reads: what is there
// is answered, and a new event only makes the answer older.
func TestReadersDoNotWait(t *testing.T) {
	s := newStore(t)
	propose(t, s, User(), note("a", "b"))
	if got := query(t, s, AllReader(), `SELECT count(*) FROM notes`); got != "1" {
		t.Fatal(got)
	}
	blocker := rawDB(t, s.viewsDB.path)
	defer blocker.Close()
	if _, err := blocker.Exec(`BEGIN IMMEDIATE`, nil); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if got := query(t, s, AllReader(), `SELECT count(*) FROM notes`); got != "1" {
			t.Fatal(got)
		}
	}
	// Proposers do not wait for the views either.
	for i := range 20 {
		propose(t, s, User(), note("c", fmt.Sprint(i)))
	}
	if _, err := blocker.Exec(`ROLLBACK`, nil); err != nil {
		t.Fatal(err)
	}
	if got := query(t, s, AllReader(), `SELECT count(*) FROM notes`); got != "21" {
		t.Error(got)
	}
}

// TestTwoStores has two stores on the same files append and read at once.
func TestTwoStores(t *testing.T) {
	dir := t.TempDir()
	stores := []*Store{openStore(t, dir), openStore(t, dir)}
	var wg sync.WaitGroup
	for i, s := range stores {
		wg.Go(func() {
			for n := range 50 {
				propose(t, s, User(), note(fmt.Sprint(i), fmt.Sprint(n)))
				if n%10 == 0 {
					_ = query(t, s, AllReader(), `SELECT count(*) FROM notes`)
				}
			}
		})
	}
	wg.Wait()
	for _, s := range stores {
		if r := verifyOK(t, s); r.Events != 100 || r.Watermark != 100 {
			t.Errorf("%+v", r)
		}
	}
	if a, b := dump(t, stores[0]), dump(t, stores[1]); a != b {
		t.Error("they see different views")
	}
}

// TestManyFirstOpens opens a store that is not there yet from many sides.
func TestManyFirstOpens(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "store")
	const n = 16
	var wg sync.WaitGroup
	stores := make([]*Store, n)
	for i := range n {
		wg.Go(func() {
			s, err := Open(context.Background(), Options{Dir: dir})
			if err != nil {
				t.Error(err)
				return
			}
			stores[i] = s
			propose(t, s, User(), note("hello", fmt.Sprint(i)))
		})
	}
	wg.Wait()
	for i, s := range stores {
		if s == nil {
			continue
		}
		if i == 0 {
			if r := verifyOK(t, s); r.Events != n {
				t.Errorf("%d events, want %d", r.Events, n)
			}
		}
		s.Close()
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestOtherLedger replaces the ledger under the views: they start again.
func TestOtherLedger(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	s := openStore(t, dir)
	propose(t, s, User(), note("old", "x"), note("older", "y"), note("oldest", "z"))
	_ = dump(t, s)
	s.Close()
	s = openStore(t, other)
	propose(t, s, User(), note("new", "x"), note("newer", "y"))
	_ = dump(t, s)
	s.Close()
	for _, d := range []string{dir, other} {
		if left, _ := filepath.Glob(filepath.Join(d, "*-wal")); len(left) > 0 {
			t.Fatalf("a closed store left %v", left)
		}
	}
	if err := os.Rename(filepath.Join(other, "events.sqlite"), filepath.Join(dir, "events.sqlite")); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir)
	if got := query(t, s, AllReader(), `SELECT title FROM notes ORDER BY id`); got != "new\nnewer" {
		t.Error(got)
	}
	verifyOK(t, s)
}

// TestDamagedViews destroys the views in several ways; each is mended by the
// next read or open, and what was there is kept aside.
func TestDamagedViews(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"text":      func([]byte) []byte { return []byte(strings.Repeat("not a database ", 1000)) },
		"truncated": func(b []byte) []byte { return b[:len(b)/2] },
		"zeros":     func(b []byte) []byte { clear(b[4096:]); return b },
		"noise": func(b []byte) []byte {
			for i := 4096; i < len(b); i += 7 {
				b[i] ^= 0x5a
			}
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openStore(t, dir)
			for i := range 50 {
				propose(t, s, User(), note(fmt.Sprint(i), strings.Repeat("text ", 100)))
			}
			want := dump(t, s)
			s.Close()
			path := filepath.Join(dir, "pog.sqlite")
			doc, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(doc), 0o600); err != nil {
				t.Fatal(err)
			}
			s = openStore(t, dir)
			propose(t, s, User(), note("after", "x"))
			got := ""
			for range 50 { // a reader may meet the damage before the materializer
				var b strings.Builder
				if err := s.DumpViews(context.Background(), &b); err == nil {
					got = b.String()
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if !strings.Contains(got, `"after"`) || strings.Count(got, `["notes",`) != strings.Count(want, `["notes",`)+1 {
				t.Errorf("the views did not come back: %d bytes", len(got))
			}
			if aside, _ := filepath.Glob(path + ".damaged-*"); len(aside) == 0 {
				t.Error("nothing was kept aside")
			}
			verifyOK(t, s)
		})
	}
}

// TestContacts is how events about people meet.
func TestContacts(t *testing.T) {
	agent := Agent("resolver", DomainContacts)
	c := func(payload string) Delta { return delta("contact.upserted", payload) }
	for name, steps := range map[string]struct {
		by     []Proposer
		deltas []Delta
		want   string // name|email|emails|org per contact
	}{
		"the same address": {[]Proposer{User(), User()}, []Delta{
			c(`{"name":"John","email":"j@example.com"}`), c(`{"name":"John Smith","email":"J@example.com","org":"Acme"}`)},
			"John Smith|J@example.com|<nil>|Acme"},
		"the same card, a new address": {[]Proposer{User(), User(), User()}, []Delta{
			c(`{"name":"John","email":"a@example.com","external_id":"u1"}`), c(`{"name":"John","email":"b@example.com","external_id":"u1"}`),
			c(`{"name":"Johnny","email":"a@example.com"}`)},
			`Johnny|a@example.com|["b@example.com"]|<nil>`},
		"two cards, one address": {[]Proposer{User(), User()}, []Delta{
			c(`{"name":"John","email":"home@example.com","external_id":"u1"}`), c(`{"name":"Jane","email":"home@example.com","external_id":"u2"}`)},
			"John|home@example.com|<nil>|<nil>\nJane|home@example.com|<nil>|<nil>"},
		"names only": {[]Proposer{User(), User(), User()}, []Delta{
			c(`{"name":"Zoë  L"}`), c(`{"name":"zoe l","org":"Acme"}`), c(`{"name":"Zoë L","email":"z@example.com"}`)},
			"zoe l|<nil>|<nil>|Acme\nZoë L|z@example.com|<nil>|<nil>"},
		"an agent completes": {[]Proposer{User(), agent}, []Delta{
			c(`{"name":"John","email":"j@example.com"}`), c(`{"name":"X","email":"j@example.com","org":"Acme"}`)},
			"John|j@example.com|<nil>|Acme"},
		"an agent cannot redirect": {[]Proposer{User(), agent, agent}, []Delta{
			c(`{"name":"John","email":"j@example.com","external_id":"u1"}`), c(`{"name":"John","email":"evil@example.com","external_id":"u1"}`),
			c(`{"name":"Evil","email":"evil@example.com"}`)},
			"John|j@example.com|<nil>|<nil>\nEvil|evil@example.com|<nil>|<nil>"},
		"the user corrects an agent": {[]Proposer{agent, User()}, []Delta{
			c(`{"name":"Jon","email":"j@example.com"}`), c(`{"name":"John","email":"j@example.com"}`)},
			"John|j@example.com|<nil>|<nil>"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			for i, d := range steps.deltas {
				propose(t, s, steps.by[i], d)
			}
			if got := query(t, s, AllReader(), `SELECT name, email, emails, org FROM contacts ORDER BY id`); got != steps.want {
				t.Errorf("got\n%s\nwant\n%s", got, steps.want)
			}
			if got := query(t, s, AllReader(), `SELECT count(*) FROM entity_history WHERE entity_key LIKE 'contact:%'`); got != fmt.Sprint(len(steps.deltas)) {
				t.Errorf("history has %s of %d events", got, len(steps.deltas))
			}
		})
	}
}

// TestNotesAndArtifactsKeepTheirOwners lets an agent name what is another's.
func TestNotesAndArtifactsKeepTheirOwners(t *testing.T) {
	s := newStore(t)
	a, b := Agent("a", DomainNotes, DomainArtifacts), Agent("b", DomainNotes, DomainArtifacts)
	n := func(title string) Delta {
		return delta("note.added", `{"title":"`+title+`","body":"","source":"plan.md"}`)
	}
	propose(t, s, User(), n("mine"))
	propose(t, s, a, n("a's"))
	propose(t, s, User(), n("mine, changed"))
	if got := query(t, s, AllReader(), `SELECT title FROM notes ORDER BY id`); got != "mine, changed\na's" {
		t.Error(got)
	}
	art := func(path string) Delta {
		return delta("artifact.created", `{"id":"draft","kind":"x","path":"`+path+`","sha256":"`+strings.Repeat("ab", 32)+`"}`)
	}
	propose(t, s, a, art("/a"))
	propose(t, s, b, art("/b"))
	if got := query(t, s, AllReader(), `SELECT path, actor FROM artifacts`); got != "/a|agent:a" {
		t.Error(got)
	}
	propose(t, s, a, art("/a2"))
	if got := query(t, s, AllReader(), `SELECT path FROM artifacts`); got != "/a2" {
		t.Error(got)
	}
}

func TestStats(t *testing.T) {
	s := seeded(t)
	st, err := s.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if st.Events != 12 || st.Watermark != 12 || st.Kinds["note.added"] != 2 || st.Rows["contacts"] != 2 || st.Head.EventID != 12 ||
		st.Bytes["events.sqlite"] == 0 || st.Bytes["pog.sqlite"] == 0 || st.ViewError != "" {
		t.Errorf("%+v", st)
	}
}
