package pog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// putBlob keeps a value that no event names, as if it had been there for a while.
func putBlob(t testing.TB, s *Store, content string, age time.Duration) {
	t.Helper()
	blobs := s.opts.blobs()
	h := blobHash([]byte(content))
	if err := blobs.put(h, []byte(content)); err != nil {
		t.Fatal(err)
	}
	makeOlder(t, blobs.path(h), age)
}

func makeOlder(t testing.TB, path string, age time.Duration) {
	t.Helper()
	then := time.Now().Add(-age)
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
}

// largeResult is a finished node whose output is large and says what it is.
func largeResult(node, text string) Delta {
	return delta("node.finished", fmt.Sprintf(`{"node":%q,"outputs":{"out":%q},"status":"ok",%s}`,
		node, strings.Repeat(text+" ", 2*blobMin/(len(text)+1)), blobTrace))
}

// TestCollectBlobs removes what no event names, once it is old, and nothing else.
func TestCollectBlobs(t *testing.T) {
	s := newStore(t)
	ctx := context.Background()
	inner := fmt.Sprintf(`{"$blob":%q}`, strings.Repeat("i", 2*blobMin))
	list := `[` + strings.Repeat(inner+`,`, 100) + `1]`
	propose(t, s, System(), delta("node.finished", `{"node":"a","outputs":{"out":`+list+`},"status":"ok",`+blobTrace+`}`))
	used := blobsIn(t, s)
	if err := s.opts.blobs().each(func(h Hash, _ fs.FileInfo) error {
		makeOlder(t, s.opts.blobs().path(h), 2*BlobGrace)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	putBlob(t, s, `"0"`, 0)
	putBlob(t, s, `"11"`, 2*BlobGrace)
	unfinished := filepath.Join(filepath.Dir(s.opts.blobs().path(blobHash([]byte(`"0"`)))), blobTemp+"1")
	if err := os.WriteFile(unfinished, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	makeOlder(t, unfinished, 2*BlobGrace)
	want := Collected{Values: 1, Unfinished: 1, Bytes: 8, Named: used}
	for _, dryRun := range []bool{true, false} {
		if got, err := s.CollectBlobs(ctx, BlobGrace, dryRun); err != nil || *got != want {
			t.Errorf("dry run %v: %+v, %v", dryRun, got, err)
		}
	}
	if got, err := s.CollectBlobs(ctx, BlobGrace, false); err != nil || *got != (Collected{Named: used}) {
		t.Errorf("again: %+v, %v", got, err)
	}
	if n := blobsIn(t, s); n != used+1 {
		t.Errorf("%d are left of %d and one that is new", n, used)
	}
	verifyOK(t, s)
}

// TestCollectBlobsStops: what cannot be looked through may name anything.
func TestCollectBlobsStops(t *testing.T) {
	s := newStore(t)
	ctx := context.Background()
	inner := strings.Repeat("i", 2*blobMin)
	list := `[` + strings.Repeat(fmt.Sprintf(`%q,`, inner), 100) + `1]`
	propose(t, s, System(), delta("node.finished", `{"node":"a","outputs":{"out":`+list+`},"status":"ok",`+blobTrace+`}`))
	putBlob(t, s, `"1"`, 0)
	n := blobsIn(t, s)
	var outer string // it names the other
	_ = s.opts.blobs().each(func(h Hash, info fs.FileInfo) error {
		if content, _ := os.ReadFile(s.opts.blobs().path(h)); bytes.Contains(content, []byte(blobKey)) {
			outer = s.opts.blobs().path(h)
		}
		return nil
	})
	content, err := os.ReadFile(outer)
	if err != nil {
		t.Fatal(err)
	}
	for _, damage := range []func() error{
		func() error {
			return os.WriteFile(outer, bytes.Replace(content, []byte(blobKey), []byte("$blab"), 1), 0o600)
		},
		func() error { return os.Remove(outer) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if got, err := s.CollectBlobs(ctx, 0, false); CodeOf(err) != ErrCorrupt {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if left := blobsIn(t, s); left != n-1 {
		t.Errorf("%d of %d are left", left, n-1)
	}
}

// TestCollectBlobsWaits: a value is safe from before it is written until the event
// that names it is there, however old the file is and whoever collects.
func TestCollectBlobsWaits(t *testing.T) {
	s := newStore(t)
	p := System()
	pending, err := s.validate(&p, []Delta{largeResult("a", "there before")})
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range pending[0].blobs {
		putBlob(t, s, string(content), 1000*BlobGrace) // what an attempt left that failed
	}
	done, err := s.keepBlobs(t.Context(), pending)
	if err != nil {
		t.Fatal(err)
	}
	other := openStore(t, s.opts.Dir)
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if got, err := other.CollectBlobs(short, 0, false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while it is appended: %+v, %v", got, err)
	}
	collected := make(chan error)
	go func() {
		_, err := other.CollectBlobs(context.Background(), 0, false)
		collected <- err
	}()
	if _, err := s.writer.submit(&proposal{ctx: t.Context(), events: pending, done: done}); err != nil {
		t.Fatal(err)
	}
	if err := <-collected; err != nil {
		t.Error(err)
	}
	verifyOK(t, s)
	if n := blobsIn(t, s); n != 1 {
		t.Errorf("%d blobs", n)
	}
}

// TestProposeLetsBlobsGo: whatever comes of a proposal, what it kept can be
// collected afterwards.
func TestProposeLetsBlobsGo(t *testing.T) {
	s := newStore(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Propose(gone, System(), largeResult("a", "too late")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	propose(t, s, System(), largeResult("b", "once"))
	if _, err := s.Propose(t.Context(), System(), largeResult("b", "once")); CodeOf(err) != ErrDuplicate {
		t.Error(err)
	}
	bad := largeResult("c", "refused")
	bad.Evidence = []int64{99}
	if _, err := s.Propose(t.Context(), System(), bad); CodeOf(err) != ErrRefused {
		t.Error(err)
	}
	got, err := s.CollectBlobs(t.Context(), 0, false)
	if err != nil || got.Named != 1 || got.Values < 1 {
		t.Errorf("%+v, %v", got, err)
	}
	closed := openStore(t, t.TempDir())
	closed.Close()
	if _, err := closed.Propose(t.Context(), System(), largeResult("a", "closed")); CodeOf(err) != ErrClosed {
		t.Error(err)
	}
	if release, err := closed.opts.blobs().seize(t.Context()); err != nil {
		t.Error(err)
	} else {
		release()
	}
}

// TestCollectBlobsOfTwoLedgers: values beside one ledger may be another's.
func TestCollectBlobsOfTwoLedgers(t *testing.T) {
	dir, away := filepath.Join(t.TempDir(), "pog"), filepath.Join(t.TempDir(), "away.sqlite")
	open := func(ledger string) *Store {
		s, err := Open(t.Context(), Options{Dir: dir, EventsDB: ledger, ViewDB: filepath.Base(ledger) + ".views"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	stores := []*Store{open("events.sqlite"), open("trial.sqlite"), open(away)}
	for i, s := range stores {
		propose(t, s, System(), largeResult("a", fmt.Sprint("of ledger ", i)))
	}
	for i, s := range stores {
		if got, err := s.CollectBlobs(t.Context(), 0, false); err != nil || *got != (Collected{Named: 3}) {
			t.Errorf("by ledger %d: %+v, %v", i, got, err)
		}
	}
	for _, s := range stores {
		verifyOK(t, s)
		s.Close()
	}
	// The folder can be moved; a ledger that is not there stops it.
	moved := filepath.Join(filepath.Dir(dir), "moved")
	if err := errors.Join(os.Rename(dir, moved), os.Rename(away, away+".not")); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, moved)
	_, err := s.CollectBlobs(t.Context(), 0, false)
	if CodeOf(err) != ErrNotFound || !strings.Contains(err.Error(), away) || !strings.Contains(err.Error(), blobLedgerExt) {
		t.Errorf("one is missing: %v", err)
	}
	file, _ := s.opts.blobs().ledgerFile(away)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got, err := s.CollectBlobs(t.Context(), 0, false); err != nil || got.Named != 2 || got.Values != 1 {
		t.Errorf("it is given up: %+v, %v", got, err)
	}
}

// TestVacuum: the views are the same afterwards, and smaller.
func TestVacuum(t *testing.T) {
	s := newStore(t)
	for i := range 50 {
		propose(t, s, User(), note(fmt.Sprint(i), strings.Repeat(fmt.Sprint(i, " words "), 500)))
	}
	propose(t, s, System(), largeResult("a", "x"))
	putBlob(t, s, `"1"`, 2*BlobGrace)
	before := dump(t, s)
	if err := s.Rebuild(t.Context()); err != nil { // which leaves the old pages empty
		t.Fatal(err)
	}
	dry, err := s.Vacuum(t.Context(), BlobGrace, true)
	if err != nil || dry.Blobs.Values != 1 || dry.ViewsBefore != dry.ViewsAfter || !dry.DryRun {
		t.Errorf("%+v, %v", dry, err)
	}
	got, err := s.Vacuum(t.Context(), BlobGrace, false)
	if err != nil || got.Blobs != dry.Blobs || got.ViewsAfter >= got.ViewsBefore {
		t.Errorf("%+v, %v", got, err)
	}
	if dump(t, s) != before {
		t.Error("the views are others")
	}
	if n := blobsIn(t, s); n != 1 {
		t.Errorf("%d blobs", n)
	}
	verifyOK(t, s)
}

// childResults appends events with large values, few of which are new to the disk,
// and some that are refused, and prints each text that was acknowledged.
func childResults(dir string) error {
	s, err := Open(context.Background(), Options{Dir: dir})
	if err != nil {
		return err
	}
	defer s.Close()
	var wg sync.WaitGroup
	var mu sync.Mutex
	for worker := range 4 {
		wg.Go(func() {
			for n := 0; ; n++ {
				text, node := fmt.Sprint("value ", rand.IntN(300)), fmt.Sprintf("n%d-%d-%d", os.Getpid(), worker, n)
				d := largeResult(node, text)
				switch rand.IntN(6) {
				case 0: // what it leaves is what others may name
					d.Evidence = []int64{1 << 40}
				case 1: // and here nobody will
					d = largeResult(node, node)
					d.Evidence = []int64{1 << 40}
				}
				events, err := s.Propose(context.Background(), System(), d)
				mu.Lock()
				switch {
				case err == nil:
					fmt.Println("kept", events[0].ID)
				case !errors.Is(err, ErrRefused):
					fmt.Println("error", err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return nil
}

// childCollect collects for ever, with no grace.
func childCollect(dir string) error {
	s, err := Open(context.Background(), Options{Dir: dir})
	if err != nil {
		return err
	}
	defer s.Close()
	for {
		switch got, err := s.CollectBlobs(context.Background(), 0, false); {
		case err == nil:
			fmt.Println("collected", got.Values)
		case CodeOf(err) != ErrBusy: // appends leave no room
			fmt.Println("error", err)
		}
	}
}

// TestCollectCrash kills processes that append and one that collects, again and
// again: every event has its value, and garbage goes. POG_CRASH_ROUNDS makes it
// long.
func TestCollectCrash(t *testing.T) {
	rounds := 4
	if n := envInt("POG_CRASH_ROUNDS"); n > 0 {
		rounds = n
	}
	dir := t.TempDir()
	acked, collected := 0, 0
	for range rounds {
		var wg sync.WaitGroup
		lines := make(chan string)
		var running []*exec.Cmd
		for _, name := range []string{"results", "results", "collect"} {
			cmd := childCommand(name, dir)
			out, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			running = append(running, cmd)
			wg.Go(func() {
				for s := bufio.NewScanner(out); s.Scan(); {
					lines <- s.Text()
				}
				_ = cmd.Wait()
			})
		}
		go func() { wg.Wait(); close(lines) }()
		kill := func(within time.Duration) {
			for _, i := range rand.Perm(len(running)) {
				time.AfterFunc(time.Duration(rand.Int64N(int64(within))), func() { _ = running[i].Process.Kill() })
			}
		}
		stuck := time.AfterFunc(2*time.Minute, func() { kill(1) })
		// Each is killed once both sides have got somewhere, in any order.
		kept, swept, stopped := 0, 0, false
		for line := range lines {
			var n int
			switch {
			case strings.HasPrefix(line, "kept "):
				kept++
			case strings.HasPrefix(line, "collected "):
				fmt.Sscanf(line, "collected %d", &n)
				swept += n
			case !stopped:
				t.Error(line)
				stopped = true
				kill(1)
			}
			if kept >= 40 && swept >= 5 && !stopped {
				stopped = true
				kill(40 * time.Millisecond)
			}
		}
		if stuck.Stop(); !stopped {
			t.Errorf("%d events and %d values removed: one of the two sides did not get on", kept, swept)
		}
		acked, collected = acked+kept, collected+swept
		s := openStore(t, dir)
		if r := verifyOK(t, s); r.Events < int64(acked) {
			t.Errorf("%d events, %d acknowledged", r.Events, acked)
		}
		if _, err := s.CollectBlobs(t.Context(), 0, false); err != nil {
			t.Error(err)
		}
		if got, err := s.CollectBlobs(t.Context(), 0, true); err != nil || got.Values+got.Unfinished != 0 || got.Named != blobsIn(t, s) {
			t.Errorf("what is left: %+v, %v", got, err)
		}
		verifyOK(t, s)
		s.Close()
	}
	t.Logf("%d rounds, %d acknowledged, %d values removed beside them", rounds, acked, collected)
}
