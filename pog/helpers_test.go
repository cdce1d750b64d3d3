package pog

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain is also the main of the child processes that tests kill, starve
// and race; see children in child_test.go.
func TestMain(m *testing.M) {
	if name := os.Getenv("POG_TEST_CHILD"); name != "" {
		os.Exit(runChild(name, os.Getenv("POG_TEST_DIR")))
	}
	if !builtWithFTS5 {
		fmt.Fprintln(os.Stderr, "SQLite is built without full-text search: run `make test`")
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// testTime is when tests take place; each event is stamped a second later
// than the one before.
var testTime = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func testClock() func() time.Time {
	n := 0
	return func() time.Time {
		n++
		return testTime.Add(time.Duration(n) * time.Second)
	}
}

// newStore opens a store in a new directory and closes it with the test.
func newStore(t testing.TB) *Store { return openStore(t, t.TempDir()) }

func openStore(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(context.Background(), Options{Dir: dir, Now: testClock(),
		SchemaDirs: []string{filepath.Join(dir, "schemas")},
		Warn:       func(err error) { t.Logf("warning: %v", err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// delta makes a delta from a literal payload.
func delta(kind, payload string) Delta { return Delta{Kind: kind, Payload: json.RawMessage(payload)} }

func note(title, body string) Delta {
	d, err := NewDelta("note.added", map[string]any{"title": title, "body": body})
	if err != nil {
		panic(err)
	}
	return d
}

func contact(name, email string) Delta {
	p := map[string]any{"name": name}
	if email != "" {
		p["email"] = email
	}
	d, err := NewDelta("contact.upserted", p)
	if err != nil {
		panic(err)
	}
	return d
}

// propose appends deltas as p and returns the events.
func propose(t testing.TB, s *Store, p Proposer, deltas ...Delta) []Event {
	t.Helper()
	events, err := s.Propose(context.Background(), p, deltas...)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// query returns the rows of a query as text, one line a row.
func query(t testing.TB, s *Store, r Reader, sql string, args ...any) string {
	t.Helper()
	res, err := s.Query(context.Background(), r, sql, args, Limits{})
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return rowsText(res)
}

func rowsText(res *Result) string {
	var lines []string
	for _, row := range res.Rows {
		var cells []string
		for _, v := range row {
			cells = append(cells, fmt.Sprint(v))
		}
		lines = append(lines, strings.Join(cells, "|"))
	}
	return strings.Join(lines, "\n")
}

// search returns the entities found, best first.
func search(t testing.TB, s *Store, r Reader, req SearchRequest) []Hit {
	t.Helper()
	hits, err := s.Search(context.Background(), r, req)
	if err != nil {
		t.Fatal(err)
	}
	return hits
}

func titles(hits []Hit) string {
	var out []string
	for _, h := range hits {
		out = append(out, h.Title)
	}
	return strings.Join(out, ", ")
}

// verifyOK fails the test when the store is not sound.
func verifyOK(t testing.TB, s *Store) *Report {
	t.Helper()
	r, err := s.Verify(context.Background(), VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK() {
		t.Fatalf("verify: %+v", r.Damages)
	}
	return r
}

func dump(t testing.TB, s *Store) string {
	t.Helper()
	var b strings.Builder
	if err := s.DumpViews(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// fewerChecks lowers rapid's number of checks for a slow property, unless
// another number than its default was asked for.
func fewerChecks(t *testing.T, n int) {
	f := flag.Lookup("rapid.checks")
	if f.Value.String() != f.DefValue {
		return
	}
	if err := f.Value.Set(strconv.Itoa(n)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Value.Set(f.DefValue) })
}
