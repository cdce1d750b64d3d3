package pog

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const peekTrace = "0b1c2d3e-0000-4000-8000-00000000000a"

// listing is the names, sizes and times of all files below dir.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			b.WriteString(path + " " + info.ModTime().String() + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPeek(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	if _, err := Peek(ctx, Options{Dir: filepath.Join(dir, "none")}, "run.finished", peekTrace); !errors.Is(err, ErrNotFound) {
		t.Errorf("no ledger: %v", err)
	}
	s, err := Open(ctx, Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDelta("run.finished", map[string]any{"trace_id": "trace:" + peekTrace, "status": "ok"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Propose(ctx, System(), d); err != nil {
		t.Fatal(err)
	}
	// While somebody has the store open, what is in its log is seen.
	if _, err := Peek(ctx, Options{Dir: dir}, "run.finished", peekTrace); err != nil {
		t.Errorf("open elsewhere: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := listing(t, dir)
	ev, err := Peek(ctx, Options{Dir: dir}, "run.finished", "trace:"+strings.ToUpper(peekTrace))
	if err != nil || !strings.Contains(string(ev.Payload), `"status":"ok"`) {
		t.Errorf("got %+v, %v", ev, err)
	}
	for _, missing := range [][2]string{{"run.started", peekTrace}, {"run.finished", "0b1c2d3e-0000-4000-8000-00000000000b"}} {
		if _, err := Peek(ctx, Options{Dir: dir}, missing[0], missing[1]); !errors.Is(err, ErrNotFound) {
			t.Errorf("%v: %v", missing, err)
		}
	}
	if after := listing(t, dir); after != before {
		t.Errorf("it changed the store:\n%s\n%s", before, after)
	}
}

// TestPeekFifo: what is no file is not waited for.
func TestPeekFifo(t *testing.T) {
	opts := Options{Dir: t.TempDir()}
	paths, err := opts.paths()
	if err == nil {
		err = syscall.Mkfifo(paths.EventsDB, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = Peek(context.Background(), opts, "run.finished", peekTrace)
	var storage *StorageError
	if !errors.As(err, &storage) || storage.Code != ErrNotRegular {
		t.Errorf("a fifo: %v", err)
	}
}
