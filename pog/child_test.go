package pog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func mkfifo(path string) error { return syscall.Mkfifo(path, 0o600) }

// children are the programs a test can start in a process of its own.
var children = map[string]func(dir string) error{
	"append":    childAppend,
	"collect":   childCollect,
	"full disk": childFullDisk,
	"read only": childReadOnly,
	"results":   childResults,
}

// runChild runs one of them and returns its exit status.
func runChild(name, dir string) int {
	f, ok := children[name]
	if !ok {
		fmt.Println("no such child:", name)
		return 2
	}
	if err := f(dir); err != nil {
		fmt.Println("child:", err)
		return 1
	}
	return 0
}

func childCommand(name, dir string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "POG_TEST_CHILD="+name, "POG_TEST_DIR="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// childOK runs a child to its end.
func childOK(t testing.TB, name, dir string) {
	t.Helper()
	out, err := childCommand(name, dir).Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// childAppend appends from several goroutines, prints "id title" after each
// acknowledgement, and ends after POG_TEST_EVENTS events or never.
func childAppend(dir string) error {
	s, err := Open(context.Background(), Options{Dir: dir})
	if err != nil {
		return err
	}
	defer s.Close()
	left := make(chan int)
	go func() {
		defer close(left)
		for n := range max(envInt("POG_TEST_EVENTS"), 0) {
			left <- n
		}
		for n := 1_000_000; envInt("POG_TEST_EVENTS") == 0; n++ {
			left <- n
		}
	}()
	var wg sync.WaitGroup
	var mu sync.Mutex // whole lines
	for range 4 {
		wg.Go(func() {
			for n := range left {
				title := fmt.Sprintf("%d-%d-%d", os.Getpid(), n, rand.Int64())
				events, err := s.Propose(context.Background(), User(), note(title, strings.Repeat("x", n%500)))
				mu.Lock()
				if err != nil {
					fmt.Println("error", err)
				} else {
					fmt.Println(events[0].ID, title)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return nil
}

// TestCrash kills a process that appends, again and again, and looks for
// every event it acknowledged; security.md 74. POG_CRASH_ROUNDS makes it long.
func TestCrash(t *testing.T) {
	rounds := 4
	if n := envInt("POG_CRASH_ROUNDS"); n > 0 {
		rounds = n
	}
	dir := t.TempDir()
	acked := map[string]string{} // id → title
	for round := range rounds {
		killed := crashOnce(t, dir, acked)
		s := openStore(t, dir)
		checkAcked(t, s, acked)
		r := verifyOK(t, s)
		if round == rounds-1 {
			t.Logf("%d rounds, %d acknowledged, %d in the ledger, 0 lost; last killed after %v", rounds, len(acked), r.Events, killed)
		}
		s.Close()
	}
	if len(acked) < rounds {
		t.Fatalf("only %d events in %d rounds: the test tests little", len(acked), rounds)
	}
}

// crashOnce runs childAppend for a moment, kills it and notes what it said.
func crashOnce(t testing.TB, dir string, acked map[string]string) time.Duration {
	cmd := childCommand("append", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	after := time.Duration(rand.IntN(60)) * time.Millisecond
	for first := true; lines.Scan(); first = false {
		id, title, _ := strings.Cut(lines.Text(), " ")
		if id == "error" || id == "child:" {
			t.Errorf("child: %s", title)
		}
		acked[id] = title
		if first {
			time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
	}
	_ = cmd.Wait()
	return after
}

func checkAcked(t testing.TB, s *Store, acked map[string]string) {
	t.Helper()
	have := map[string]string{}
	rows := query(t, s, AllReader(), `SELECT json_group_object(id, json_extract(payload_json, '$.title')) FROM events`)
	for _, pair := range strings.Split(strings.Trim(rows, "{}"), ",") {
		id, title, _ := strings.Cut(pair, ":")
		have[strings.Trim(id, `"`)] = strings.Trim(title, `"`)
	}
	for id, title := range acked {
		if have[id] != title {
			t.Errorf("event %s was acknowledged as %s and is %q", id, title, have[id])
		}
	}
}

// TestTwoProcesses has two processes append to one ledger at once.
func TestTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("POG_TEST_EVENTS", "100")
	acked := map[string]string{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			out, err := childCommand("append", dir).Output()
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
			mu.Lock()
			defer mu.Unlock()
			for line := range strings.Lines(string(out)) {
				id, title, _ := strings.Cut(strings.TrimSpace(line), " ")
				if acked[id] != "" || id == "error" {
					t.Errorf("%s %s and %s", id, title, acked[id])
				}
				acked[id] = title
			}
		})
	}
	wg.Wait()
	s := openStore(t, dir)
	if r := verifyOK(t, s); r.Events != 200 || len(acked) != 200 {
		t.Errorf("%d events, %d acknowledged", r.Events, len(acked))
	}
	checkAcked(t, s, acked)
}

// childFullDisk fills the "disk" under a file size limit, reads, and goes on
// when there is room again.
func childFullDisk(dir string) error {
	signal.Ignore(syscall.SIGXFSZ)
	s, err := Open(context.Background(), Options{Dir: dir})
	if err != nil {
		return err
	}
	defer s.Close()
	ctx := context.Background()
	add := func(n int) error {
		_, err := s.Propose(ctx, User(), note(fmt.Sprint("note ", n), strings.Repeat("y", 2000)))
		return err
	}
	if err := add(0); err != nil {
		return err
	}
	if err := s.current(ctx); err != nil {
		return err
	}
	if err := setFileLimit(400 << 10); err != nil {
		return err
	}
	acked := 1
	for ; err == nil && acked < 10_000; acked++ {
		err = add(acked)
	}
	acked-- // the last one failed
	if CodeOf(err) != ErrDiskFull {
		return fmt.Errorf("after %d events: %w, want %s", acked, err, ErrDiskFull)
	}
	fmt.Println("full after", acked, "events:", err)
	for refused := 0; refused < 5; {
		// Looking into the first failure moved the log into the database, so
		// there may be room for a few more.
		switch err := add(acked); {
		case err == nil:
			acked++
		case CodeOf(err) == ErrDiskFull:
			refused++
		default:
			return fmt.Errorf("still full: %w", err)
		}
		if _, err := s.Query(ctx, AllReader(), `SELECT count(*) FROM notes`, nil, Limits{}); err != nil {
			return fmt.Errorf("reading on a full disk: %w", err)
		}
		if _, err := s.Search(ctx, AllReader(), SearchRequest{Text: "note"}); err != nil {
			return fmt.Errorf("searching on a full disk: %w", err)
		}
	}
	if err := setFileLimit(1 << 30); err != nil {
		return err
	}
	if err := add(acked); err != nil {
		return fmt.Errorf("with room again: %w", err)
	}
	res, err := s.Query(ctx, AllReader(), `SELECT count(*) FROM notes`, nil, Limits{})
	if err != nil || res.Rows[0][0] != int64(acked+1) {
		return fmt.Errorf("%v notes, want %d (%w)", res, acked+1, err)
	}
	r, err := s.Verify(ctx, VerifyOptions{})
	if err != nil || !r.OK() || r.Events != int64(acked+1) {
		return fmt.Errorf("verify: %+v, %w", r, err)
	}
	return nil
}

func setFileLimit(bytes uint64) error {
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: bytes, Max: 1 << 30})
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	childOK(t, "full disk", dir)
	verifyOK(t, openStore(t, dir)) // and the next start works
}

// TestFullDatabase has SQLite itself run out of pages, on the ledger and on
// the views.
func TestFullDatabase(t *testing.T) {
	s := newStore(t)
	propose(t, s, User(), note("first", "x"))
	if _, err := s.writer.conn.first(`PRAGMA max_page_count=60`); err != nil {
		t.Fatal(err)
	}
	var err error
	n := 1
	for ; err == nil && n < 1000; n++ {
		_, err = s.Propose(t.Context(), User(), note("more", strings.Repeat(fmt.Sprint(n), 2000)))
	}
	var se *StorageError
	if !errors.As(err, &se) || se.Code != ErrDiskFull || se.Path != s.ledgerDB.path {
		t.Fatalf("got %v", err)
	}
	if got := query(t, s, AllReader(), `SELECT count(*) FROM events`); got != fmt.Sprint(n-1) {
		t.Errorf("%s events, %d acknowledged", got, n-1)
	}
	if _, err := s.writer.conn.first(`PRAGMA max_page_count=1000000`); err != nil {
		t.Fatal(err)
	}
	propose(t, s, User(), note("again", "x"))
	verifyOK(t, s)

	s.mat.busy.Lock()
	_, err = s.mat.views.db.first(`PRAGMA max_page_count=1`)
	s.mat.busy.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		propose(t, s, User(), note("views full", strings.Repeat(fmt.Sprint(i), 1000)))
	}
	if got := query(t, s, AllReader(), `SELECT count(*) > 0 FROM notes`); got != "1" {
		t.Error("what is in the views is not read")
	}
	// The connection is made anew after the failure, without the limit.
	waitFor(t, "recovery", func() bool { return query(t, s, AllReader(), `SELECT count(*) FROM notes`) == fmt.Sprint(n+50) })
}

// TestUnknownCommit plays the COMMIT that says EIO although the disk has it:
// the calls are answered by what is there.
func TestUnknownCommit(t *testing.T) {
	s := newStore(t)
	written := propose(t, s, User(), note("written", "x"))
	pendingOf := func(d Delta) []pending {
		p := User()
		events, err := s.validate(&p, []Delta{d})
		if err != nil {
			t.Fatal(err)
		}
		return events
	}
	batch := []*proposal{
		{ctx: t.Context(), events: pendingOf(note("written", "x"))},
		{ctx: t.Context(), events: pendingOf(note("lost", "x"))},
		{ctx: t.Context(), events: pendingOf(note("refused", "x"))},
	}
	cause := storageError("append to", s.ledgerDB.path, syscall.EIO)
	refusal := &RefusedError{}
	answers := []answer{{}, {}, {err: refusal}}
	head, err := s.writer.reconcile(batch, answers, cause)
	if err != nil || head.EventID != 1 {
		t.Errorf("head %+v, %v", head, err)
	}
	if a := answers[0]; a.err != nil || a.events[0].ID != written[0].ID {
		t.Errorf("written: %+v", a)
	}
	if a := answers[1]; CodeOf(a.err) != ErrIO {
		t.Errorf("lost: %+v", a)
	}
	if a := answers[2]; a.err != refusal {
		t.Errorf("refused: %+v", a)
	}
	// When the ledger cannot be opened again nothing is known.
	if err := os.Rename(s.ledgerDB.path, s.ledgerDB.path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.ledgerDB.path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err = s.writer.reconcile(batch, answers, cause); err == nil {
		t.Error("reconciled with a directory")
	}
	if a := answers[0]; CodeOf(a.err) != ErrUnknown || !errors.Is(a.err, syscall.EIO) {
		t.Errorf("unknown: %+v", a)
	}
	if _, err := s.Propose(t.Context(), User(), note("later", "x")); CodeOf(err) != ErrNotRegular {
		t.Errorf("while it is away: %v", err)
	}
	if err := errors.Join(os.Remove(s.ledgerDB.path), os.Rename(s.ledgerDB.path+".away", s.ledgerDB.path)); err != nil {
		t.Fatal(err)
	}
	propose(t, s, User(), note("later", "x"))
	verifyOK(t, s)
}

// childReadOnly gives up its rights and tries to work where it may not.
func childReadOnly(dir string) error {
	if os.Getuid() == 0 {
		if err := syscall.Setuid(65534); err != nil {
			return err
		}
	}
	ctx := context.Background()
	for name, want := range map[string]Code{"new": ErrReadOnly, "old": ErrReadOnly, "closed": ErrReadOnly} {
		s, err := Open(ctx, Options{Dir: filepath.Join(dir, name)})
		if err == nil {
			_, err = s.Propose(ctx, User(), note("x", "y"))
			s.Close()
		}
		var se *StorageError
		if !errors.As(err, &se) || se.Code != want || !strings.Contains(err.Error(), dir) {
			return fmt.Errorf("%s: got %w, want %s", name, err, want)
		}
		fmt.Println(err)
	}
	return nil
}

// TestReadOnly works in directories without the right to write: an empty one,
// one with a store, and one that may not be entered.
func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "old")
	s := openStore(t, old)
	propose(t, s, User(), note("a", "b"))
	_ = dump(t, s)
	s.Close()
	for _, name := range []string{"new", "closed"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	modes := map[string]os.FileMode{"old/events.sqlite": 0o444, "old/pog.sqlite": 0o444, "old": 0o555, "new": 0o555, "closed": 0o000}
	for _, d := range []string{filepath.Dir(dir), dir} { // for another user to get here
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range modes {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	childOK(t, "read only", dir)
	for name := range modes {
		mode := os.FileMode(0o700)
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	verifyOK(t, openStore(t, old))
}
