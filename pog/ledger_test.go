package pog

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sqlite3 "github.com/mattn/go-sqlite3"
	"lukechampine.com/blake3"
)

// rawDB opens a database the way any other program would: the driver's
// defaults, none of the store's pragmas.
func rawDB(t testing.TB, path string) *sqlite3.SQLiteConn {
	t.Helper()
	db, err := (&sqlite3.SQLiteDriver{}).Open(fileURI(path) + "?_busy_timeout=5000")
	if err != nil {
		t.Fatal(err)
	}
	return db.(*sqlite3.SQLiteConn)
}

func rawExec(t testing.TB, path, sql string) error {
	t.Helper()
	c := rawDB(t, path)
	defer c.Close()
	_, err := c.Exec(sql, nil)
	return err
}

func TestLedgerIsAppendOnly(t *testing.T) {
	s := newStore(t)
	propose(t, s, User(), note("a", "b"), note("c", "d"), note("e", "f"))
	for _, sql := range []string{
		`UPDATE events SET actor = 'system' WHERE id = 2`, `UPDATE OR REPLACE events SET id = 1 WHERE id = 2`, `DELETE FROM events`,
		`DELETE FROM events WHERE id = 3`, `UPDATE chain SET seal = zeroblob(32)`, `DELETE FROM chain WHERE event_id = 3`,
		`INSERT OR REPLACE INTO events SELECT 2, ts_ms, actor, kind, scope, payload_json, provenance_json, hash_blake3 FROM events WHERE id = 3`,
		`INSERT OR REPLACE INTO events SELECT 9, ts_ms, actor, kind, scope, payload_json, provenance_json, hash_blake3 FROM events WHERE id = 3`,
		`REPLACE INTO events SELECT NULL, ts_ms, actor, kind, scope, payload_json, provenance_json, hash_blake3 FROM events WHERE id = 3`,
		`INSERT OR REPLACE INTO chain VALUES(2, zeroblob(32), zeroblob(32))`, `INSERT INTO chain VALUES(9, zeroblob(32), zeroblob(32))`,
		`INSERT INTO events VALUES(NULL, 1, 'user', 'note.added', 'user', '{}', '{}', zeroblob(32))`,
		`INSERT INTO events VALUES(4, 1, 'user', 'note.added', 'user', '{}', '{}', zeroblob(3))`,
		`UPDATE salt SET value = zeroblob(32)`, `DELETE FROM salt`, `INSERT OR REPLACE INTO salt VALUES(1, zeroblob(32))`,
	} {
		// foreign_keys as in our connections; others may have it off.
		if err := rawExec(t, s.ledgerDB.path, `PRAGMA foreign_keys=ON; `+sql); err == nil {
			t.Errorf("%s: allowed", sql)
		}
	}
	verifyOK(t, s)
}

// TestConnections asserts the pragmas on every connection a store opens.
func TestConnections(t *testing.T) {
	s := newStore(t)
	propose(t, s, User(), note("a", "b"))
	_ = query(t, s, AllReader(), `SELECT 1`)
	check := func(name string, c *conn, want map[string]string) {
		t.Helper()
		for pragma, value := range want {
			row, err := c.first(`PRAGMA ` + pragma)
			if err != nil || fmt.Sprint(row[0]) != value {
				t.Errorf("%s: %s is %v, want %s (%v)", name, pragma, row, value, err)
			}
		}
	}
	ledger := map[string]string{"synchronous": "2", "journal_mode": "wal", "foreign_keys": "1", "busy_timeout": "5000",
		"trusted_schema": "0", "recursive_triggers": "1", "application_id": fmt.Sprint(ledgerAppID)}
	check("ledger writer", s.writer.conn, ledger)
	for range 3 {
		if err := s.ledger.use(t.Context(), func(c *conn) error {
			ledger["query_only"] = "1"
			check("ledger reader", c, ledger)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	s.mat.busy.Lock()
	views := map[string]string{"synchronous": "1", "journal_mode": "wal", "foreign_keys": "1", "trusted_schema": "0",
		"application_id": fmt.Sprint(viewsAppID), "user_version": fmt.Sprint(viewsVersion)}
	check("views writer", s.mat.views.db, views)
	s.mat.busy.Unlock()
	for _, name := range []string{s.ledgerDB.path, s.viewsDB.path} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// TestChainByHand follows spec/05 with nothing but SQL and BLAKE3.
func TestChainByHand(t *testing.T) {
	s := newStore(t)
	for i := range 5 {
		propose(t, s, User(), note(fmt.Sprint(i), "ü\u2028\"<&>"))
	}
	c := rawDB(t, s.ledgerDB.path)
	defer c.Close()
	rows, err := c.Query(`SELECT e.kind, e.actor, e.scope, e.payload_json, e.provenance_json, e.hash_blake3, c.chain_hash
		FROM events e JOIN chain c ON c.event_id = e.id ORDER BY e.id`, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	previous := make([]byte, 32)
	n := 0
	for v := make([]driver.Value, 7); rows.Next(v) == nil; n++ {
		doc := map[string]any{"kind": v[0], "actor": v[1], "scope": v[2],
			"payload": json.RawMessage(v[3].(string)), "provenance": json.RawMessage(v[4].(string))}
		var plain any
		text, _ := json.Marshal(doc)
		_ = json.Unmarshal(text, &plain)
		hash := blake3.Sum256([]byte(plainCanonical(plain)))
		if string(hash[:]) != string(v[5].([]byte)) {
			t.Errorf("event %d has another hash", n+1)
		}
		chain := blake3.Sum256(append(previous, hash[:]...))
		if string(chain[:]) != string(v[6].([]byte)) {
			t.Errorf("event %d has another chain hash", n+1)
		}
		previous = chain[:]
	}
	if n != 5 {
		t.Errorf("%d rows", n)
	}
	h, err := s.Head(t.Context())
	if err != nil || h.EventID != 5 || h.Chain != Hash(previous) {
		t.Errorf("%+v, %v", h, err)
	}
	parsed, err := ParseHead(h.String())
	if err != nil || parsed.EventID != 5 || parsed.Seal != h.Seal {
		t.Errorf("%+v, %v", parsed, err)
	}
	for _, bad := range []string{"", "x", "5:", "5:ab", "-1:" + h.Seal.String(), h.Seal.String() + "0", "5:" + strings.Repeat("g", 64)} {
		if _, err := ParseHead(bad); err == nil {
			t.Errorf("head %q is accepted", bad)
		}
	}
}

// TestPlaces puts what is not a ledger where the ledger should be.
func TestPlaces(t *testing.T) {
	for name, c := range map[string]struct {
		file string // of the two
		make func(path string) error
		code Code
	}{
		"directory":       {"events.sqlite", func(p string) error { return os.Mkdir(p, 0o700) }, ErrNotRegular},
		"symlink":         {"events.sqlite", func(p string) error { return os.Symlink("/tmp/elsewhere", p) }, ErrNotRegular},
		"pipe":            {"events.sqlite", func(p string) error { return mkfifo(p) }, ErrNotRegular},
		"text":            {"events.sqlite", func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("hello ", 100)), 0o600) }, ErrCorrupt},
		"short":           {"events.sqlite", func(p string) error { return os.WriteFile(p, []byte("SQLite"), 0o600) }, ErrCorrupt},
		"foreign":         {"events.sqlite", makeDB(`PRAGMA application_id=7; CREATE TABLE x(a)`), ErrForeign},
		"no id":           {"events.sqlite", makeDB(`CREATE TABLE x(a)`), ErrForeign},
		"views":           {"events.sqlite", makeDB(fmt.Sprintf(`PRAGMA application_id=%d; CREATE TABLE x(a)`, viewsAppID)), ErrForeign},
		"newer":           {"events.sqlite", makeDB(fmt.Sprintf(`PRAGMA application_id=%d; PRAGMA user_version=99`, ledgerAppID)), ErrNewerSchema},
		"views directory": {"pog.sqlite", func(p string) error { return os.Mkdir(p, 0o700) }, ErrNotRegular},
		"views symlink":   {"pog.sqlite", func(p string) error { return os.Symlink("/tmp/elsewhere", p) }, ErrNotRegular},
		"views pipe":      {"pog.sqlite", func(p string) error { return mkfifo(p) }, ErrNotRegular},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, c.file)
			if err := c.make(path); err != nil {
				t.Fatal(err)
			}
			before := contents(path)
			s, err := Open(t.Context(), Options{Dir: dir})
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			var se *StorageError
			if !errors.As(err, &se) || se.Code != c.code || se.Path != path || CodeOf(err) != c.code || !errors.Is(err, c.code) {
				t.Errorf("got %v, want %s", err, c.code)
			}
			if !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
				t.Errorf("message %q", err)
			}
			if contents(path) != before {
				t.Error("the file was changed")
			}
			if _, err := os.Lstat("/tmp/elsewhere"); err == nil {
				t.Error("the link was followed")
			}
		})
	}
	if _, err := Open(t.Context(), Options{}); CodeOf(err) == "" {
		t.Errorf("no directory: %v", err)
	}
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{Dir: filepath.Join(file, "below")}); CodeOf(err) != ErrNotRegular {
		t.Errorf("a directory below a file: %v", err)
	}
}

// contents is what a regular file holds; reading a pipe would wait.
func contents(path string) string {
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	doc, _ := os.ReadFile(path)
	return string(doc)
}

func makeDB(sql string) func(string) error {
	return func(path string) error {
		db, err := (&sqlite3.SQLiteDriver{}).Open(fileURI(path))
		if err != nil {
			return err
		}
		defer db.Close()
		_, err = db.(*sqlite3.SQLiteConn).Exec(sql, nil)
		return err
	}
}

// TestOddNames opens stores in directories whose names mean something in a
// DSN, in SQL or in a URL.
func TestOddNames(t *testing.T) {
	for _, name := range []string{"a b", "a?mode=memory", "a#b", "a%20b", "it's", `a"b`, "ü", "a;b", "a&_synchronous=OFF", "file:x"} {
		dir := filepath.Join(t.TempDir(), name)
		s, err := Open(t.Context(), Options{Dir: dir})
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		propose(t, s, User(), note("a", "b"))
		if got := query(t, s, AllReader(), `SELECT count(*) FROM ledger.events`); got != "1" {
			t.Errorf("%q: %s", name, got)
		}
		s.Close()
		if _, err := os.Stat(filepath.Join(dir, "events.sqlite")); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestClosed(t *testing.T) {
	s := newStore(t)
	propose(t, s, User(), note("a", "b"))
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	ctx := context.Background()
	_, err := s.Propose(ctx, User(), note("c", "d"))
	_, qerr := s.Query(ctx, AllReader(), `SELECT 1`, nil, Limits{})
	_, serr := s.Search(ctx, AllReader(), SearchRequest{Text: "x"})
	_, eerr := s.Event(ctx, AllReader(), 1)
	for _, err := range []error{err, qerr, serr, eerr} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
}

// TestManyProposers has one store append for many at once: every answer is
// true, and the chain holds.
func TestManyProposers(t *testing.T) {
	s := newStore(t)
	const proposers, each = 32, 20
	var wg sync.WaitGroup
	var seen sync.Map
	for p := range proposers {
		wg.Go(func() {
			for n := range each {
				events, err := s.Propose(context.Background(), User(), note(fmt.Sprint(p), fmt.Sprint(n)), note(fmt.Sprint(p), fmt.Sprint(n, "b")))
				if err != nil {
					t.Error(err)
					return
				}
				if events[1].ID != events[0].ID+1 || events[0].TSMillis != events[1].TSMillis {
					t.Errorf("events of one call: %d at %d, %d at %d", events[0].ID, events[0].TSMillis, events[1].ID, events[1].TSMillis)
				}
				for _, e := range events {
					if _, twice := seen.LoadOrStore(e.ID, true); twice {
						t.Errorf("id %d was given twice", e.ID)
					}
				}
			}
		})
	}
	wg.Wait()
	if r := verifyOK(t, s); r.Events != 2*proposers*each || r.Watermark != r.Events {
		t.Errorf("%+v", r)
	}
	// One bad call in a batch must not take the others along.
	var refused, appended atomic.Int32
	for p := range proposers {
		wg.Go(func() {
			d := note(fmt.Sprint("second round ", p), "x")
			if p%2 == 0 {
				d = note("0", "0") // a duplicate
			}
			switch _, err := s.Propose(context.Background(), User(), d); {
			case err == nil:
				appended.Add(1)
			case errors.Is(err, ErrDuplicate):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if refused.Load() != proposers/2 || appended.Load() != proposers/2 {
		t.Errorf("%d refused, %d appended", refused.Load(), appended.Load())
	}
	verifyOK(t, s)
}

// TestContexts cancels calls while they wait for a writer that is held up by
// another process's lock.
func TestContexts(t *testing.T) {
	s := newStore(t)
	blocker := rawDB(t, s.ledgerDB.path)
	defer blocker.Close()
	if _, err := blocker.Exec(`BEGIN IMMEDIATE`, nil); err != nil {
		t.Fatal(err)
	}
	first := make(chan error, 1)
	go func() {
		_, err := s.Propose(context.Background(), User(), note("first", ""))
		first <- err
	}()
	waitFor(t, "a leader", func() bool {
		s.writer.mu.Lock()
		defer s.writer.mu.Unlock()
		return s.writer.led && len(s.writer.queue) == 0
	})
	ctx, cancel := context.WithCancel(context.Background())
	second := make(chan error, 1)
	go func() {
		_, err := s.Propose(ctx, User(), note("second", ""))
		second <- err
	}()
	waitFor(t, "a queue", func() bool { s.writer.mu.Lock(); defer s.writer.mu.Unlock(); return len(s.writer.queue) == 1 })
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnknown) {
		t.Errorf("withdrawn: %v", err)
	}
	if _, err := blocker.Exec(`ROLLBACK`, nil); err != nil {
		t.Fatal(err)
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
	if _, err := s.Propose(ctx, User(), note("third", "")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
	if h, _ := s.Head(context.Background()); h.EventID != 1 {
		t.Errorf("head %d, want 1", h.EventID)
	}
	if _, err := s.Query(ctx, AllReader(), `SELECT 1`, nil, Limits{}); !errors.Is(err, context.Canceled) {
		t.Errorf("query: %v", err)
	}
}

func waitFor(t testing.TB, what string, f func() bool) {
	t.Helper()
	for range 5000 {
		if f() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("no %s", what)
}

// TestClock turns the clock back: order is by id, and nothing breaks.
func TestClock(t *testing.T) {
	dir := t.TempDir()
	now := testTime
	s, err := Open(t.Context(), Options{Dir: dir, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i, step := range []time.Duration{0, 10 * 365 * 24 * time.Hour, -20 * 365 * 24 * time.Hour} {
		now = now.Add(step)
		propose(t, s, User(), note(fmt.Sprint(i), "tick"))
	}
	events, err := s.Events(t.Context(), AllReader(), Filter{})
	if err != nil || len(events) != 3 || events[0].ID != 1 || events[2].TSMillis >= events[0].TSMillis {
		t.Errorf("%+v, %v", events, err)
	}
	if hits := search(t, s, AllReader(), SearchRequest{Text: "tick"}); len(hits) != 3 {
		t.Errorf("%d hits", len(hits))
	}
	verifyOK(t, s)
}

func TestEvents(t *testing.T) {
	s := seeded(t)
	all := AllReader()
	ids := func(f Filter) string {
		t.Helper()
		events, err := s.Events(t.Context(), all, f)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, e := range events {
			out = append(out, fmt.Sprint(e.ID))
		}
		return strings.Join(out, " ")
	}
	for name, c := range map[string]struct {
		f    Filter
		want string
	}{
		"all":    {Filter{}, "1 2 3 4 5 6 7 8 9 10 11 12"},
		"kinds":  {Filter{Kinds: []string{"note.added", "run.started"}}, "3 4 8"},
		"actor":  {Filter{Actor: "system"}, "8 9 10 11 12"},
		"newest": {Filter{Newest: true, Limit: 2}, "12 11"},
		"after":  {Filter{AfterID: 10}, "11 12"},
		"since":  {Filter{Since: testTime.Add(2 * time.Second)}, "8 9 10 11 12"},
		"until":  {Filter{Until: testTime.Add(2 * time.Second), AfterID: 5}, "6 7"},
		"entity": {Filter{Entity: "run:t1"}, "8 9 10"},
		"mixed":  {Filter{Entity: "trace:t1", Kinds: []string{"node.started"}}, "9"},
		"none":   {Filter{Entity: "note:nothing"}, ""},
	} {
		if got := ids(c.f); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	for _, bad := range []string{"", "x:y", "event:0", "event:x", "note:", strings.Repeat("a:b", 1000)} {
		if _, err := s.Events(t.Context(), all, Filter{Entity: bad}); bad != "" && !errors.Is(err, ErrQuery) {
			t.Errorf("entity %.20q: %v", bad, err)
		}
	}
}
