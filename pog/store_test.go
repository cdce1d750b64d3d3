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
)

// TestHammer does everything at once and closes the store in the middle:
// every call ends, with a result or with ErrClosed.
func TestHammer(t *testing.T) {
	s := seeded(t)
	ctx := context.Background()
	calls := []func(n int) error{
		func(n int) error {
			_, err := s.Propose(ctx, User(), note("hammer", fmt.Sprint(n)))
			return err
		},
		func(n int) error {
			_, err := s.Propose(ctx, Agent("a", DomainNotes), note("nail", fmt.Sprint(n)), note("nail", fmt.Sprint(n, "b")))
			return err
		},
		func(int) error {
			_, err := s.Query(ctx, AllReader(), `SELECT count(*) FROM notes`, nil, Limits{})
			return err
		},
		func(int) error {
			_, err := s.Query(ctx, AgentReader(DomainNotes), `SELECT count(*) FROM events`, nil, Limits{})
			return err
		},
		func(int) error {
			_, err := s.Search(ctx, AgentReader(DomainNotes), SearchRequest{Text: "hammer"})
			return err
		},
		func(int) error { _, err := s.Why(ctx, AllReader(), "run:t1"); return err },
		func(int) error { _, err := s.Verify(ctx, VerifyOptions{}); return err },
		func(int) error { _, err := s.Stats(ctx); return err },
		func(n int) error {
			if n%10 == 0 {
				return s.Rebuild(ctx)
			}
			_, err := s.Head(ctx)
			return err
		},
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i, call := range calls {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := call(n); err != nil && !errors.Is(err, ErrClosed) {
					t.Errorf("call %d: %v", i, err)
					return
				}
			}
		})
	}
	waitFor(t, "progress", func() bool { h, err := s.Head(ctx); return err == nil && h.EventID > 200 })
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	close(stop)
	wg.Wait()
	s = openStore(t, s.opts.Dir)
	verifyOK(t, s)
}

// TestOldAndNewViews has views of another version: older ones are made
// again, newer ones are refused and left alone.
func TestOldAndNewViews(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	propose(t, s, User(), note("kept", "x"))
	want := dump(t, s)
	s.Close()
	path := filepath.Join(dir, "pog.sqlite")
	if err := rawExec(t, path, `PRAGMA user_version=0; DROP TABLE safe_notes; INSERT INTO snapshots VALUES(1, 2, 3, 'a migration')`); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir)
	if got := dump(t, s); got != want {
		t.Error("old views were not made again")
	}
	if got := query(t, s, AllReader(), `SELECT comment FROM snapshots`); got != "a migration" {
		t.Errorf("the log of snapshots: %q", got)
	}
	s.Close()
	if err := rawExec(t, path, fmt.Sprintf(`PRAGMA user_version=%d`, viewsVersion+1)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{Dir: dir}); CodeOf(err) != ErrNewerSchema {
		t.Errorf("newer views: %v", err)
	}
}

// TestPinnedReader keeps a reader's snapshot while the store grows. Nothing
// is lost, the log shows in the statistics and is put away afterwards.
func TestPinnedReader(t *testing.T) {
	s := newStore(t)
	propose(t, s, User(), note("first", "x"))
	reader, err := openReader(s.ledgerDB)
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.exec(`BEGIN`); err != nil {
		t.Fatal(err)
	}
	if _, err := readHead(t.Context(), reader); err != nil { // takes the snapshot
		t.Fatal(err)
	}
	for i := range 40 {
		propose(t, s, User(), note("more", strings.Repeat(fmt.Sprint(i), 100_000)))
	}
	st, err := s.Stats(t.Context())
	if err != nil || st.Bytes["events.sqlite-wal"] < 4<<20 {
		t.Errorf("%+v, %v", st, err)
	}
	if l, err := readHead(t.Context(), reader); err != nil || l.EventID != 1 {
		t.Errorf("the reader's snapshot moved: %+v, %v", l, err)
	}
	if err := reader.close(); err != nil {
		t.Fatal(err)
	}
	verifyOK(t, s)
	s.Close()
	if _, err := os.Stat(s.ledgerDB.path + "-wal"); err == nil {
		t.Error("the log is still there")
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for code := range codeText {
		if code.Error() == "" || strings.Contains(code.Error(), "\n") {
			t.Errorf("%s: %q", code, code.Error())
		}
	}
	for code, hint := range hints {
		err := &StorageError{Code: code, Op: "append to", Path: "/x/y", Err: errors.New("two\nlines")}
		text := err.Error()
		if !strings.HasPrefix(text, "append to /x/y: ") || !strings.HasSuffix(text, hint) || strings.Contains(text, "\n") {
			t.Errorf("%q", text)
		}
		if CodeOf(fmt.Errorf("more: %w", err)) != code || !errors.Is(err, code) {
			t.Errorf("%s is lost", code)
		}
	}
	if CodeOf(nil) != "" || CodeOf(errors.New("x")) != "" || CodeOf(ErrNotFound) != ErrNotFound {
		t.Error("codes of errors without one")
	}
	if got := Code("other").Error(); got != "other" {
		t.Error(got)
	}
	if storageError("a", "b", nil) != nil {
		t.Error("nil became an error")
	}
	if err := storageError("read", "/x", context.Canceled); !errors.Is(err, context.Canceled) || CodeOf(err) != "" {
		t.Errorf("%v", err)
	}
}
