package wasm

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/tetratelabs/wazero/experimental/sys"
)

// tapeEntry is an operation as a test keeps it.
type tapeEntry struct {
	Op           string
	Args, Result json.RawMessage
}

// memoryTape keeps a recording as JSON and plays it back.
type memoryTape struct {
	t       testing.TB
	entries []tapeEntry
	at      int
	strays  int // operations that the recording does not have
}

func (m *memoryTape) record(op string, args, result any) {
	m.entries = append(m.entries, tapeEntry{op, m.encode(args), m.encode(result)})
}

func (m *memoryTape) encode(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		m.t.Error(err)
	}
	return data
}

func (m *memoryTape) next(op string, args, result any) error {
	if m.at == len(m.entries) || m.entries[m.at].Op != op || !bytes.Equal(m.entries[m.at].Args, m.encode(args)) {
		m.strays++
		return errors.New("the recording goes on differently")
	}
	m.at++
	return json.Unmarshal(m.entries[m.at-1].Result, result)
}

// TestReplayGuests runs guests with a recording tape, then again with nothing
// but the recording: they print the same.
func TestReplayGuests(t *testing.T) {
	guests := map[string][]byte{}
	for _, name := range []string{"escape", "escape_write", "open_many", "path_weird", "symlink_loop", "fd_probe", "disk_fill"} {
		guests[name] = hostileGuest(t, name)
	}
	if !testing.Short() {
		guests["a Go program"] = goGuest(t, goFiles)
	}
	for _, name := range sortedKeys(guests) {
		b := newBox(t)
		b.must(os.MkdirAll(b.path("jail/notes"), 0o755))
		b.must(os.WriteFile(b.path("jail/notes/todo.txt"), []byte("milk"), 0o600))
		recording := &memoryTape{t: t}
		tape, quota := recordTape(recording.record), testQuota()
		first := runGuest(t, guests[name], map[string]sys.FS{
			"/work":  tape.mount("/work", b.root("jail/sub", true, quota)),
			"/notes": tape.mount("/notes", b.root("jail/notes", false, quota)),
			"/":      tape.mount("/", b.root("jail", true, quota)),
		})
		replay := replayTape(recording.next)
		again := runGuest(t, guests[name], map[string]sys.FS{
			"/work": replay.mount("/work", nil), "/notes": replay.mount("/notes", nil), "/": replay.mount("/", nil),
		})
		if first.stdout == "" || again != first || recording.strays > 0 || recording.at != len(recording.entries) {
			t.Errorf("%s: %d of %d operations, %d strays\n--- recorded\n%s%v\n--- replayed\n%s%v", name, recording.at,
				len(recording.entries), recording.strays, first.stdout, first.err, again.stdout, again.err)
		}
		b.check()
	}
}

// TestTapeDivergence replays a recording to a guest that does something else.
func TestTapeDivergence(t *testing.T) {
	b := newBox(t)
	recording := &memoryTape{t: t}
	recorded := recordTape(recording.record).mount("/r", b.root("jail", true, testQuota()))
	f, errno := recorded.OpenFile("file", rwCreate, 0o600)
	if errno != 0 {
		t.Fatal(errno)
	}
	_, _ = f.Write([]byte("one"))
	replay := replayTape(recording.next).mount("/r", nil)
	if _, errno := replay.OpenFile("other", rwCreate, 0o600); errno != sys.EIO {
		t.Errorf("another file: %v", errno)
	}
	if _, errno := replay.OpenFile(".", 0, 0); errno != sys.ENOENT {
		t.Errorf("the root, which must not be EIO: %v", errno)
	}
	g, errno := replay.OpenFile("file", rwCreate, 0o600)
	if errno != 0 {
		t.Fatal(errno)
	}
	if n, errno := g.Write([]byte("two")); n != 0 || errno != sys.EIO {
		t.Errorf("other data: %d, %v", n, errno)
	}
	if n, errno := g.Write([]byte("one")); n != 3 || errno != 0 {
		t.Errorf("the same data: %d, %v", n, errno)
	}
	if _, errno := g.Stat(); errno != sys.EIO || recording.strays != 4 {
		t.Errorf("past the end: %v, %d strays", errno, recording.strays)
	}
}

// TestTapeMethods puts every method of both interfaces through a recording.
func TestTapeMethods(t *testing.T) {
	b := newBox(t)
	recording := &memoryTape{t: t}
	b.must(os.WriteFile(b.path("jail/data"), []byte("some data"), 0o600))
	live := tapeTour(t, recordTape(recording.record).mount("/r", b.root("jail", true, testQuota())))
	replayed := tapeTour(t, replayTape(recording.next).mount("/r", nil))
	if !slices.Equal(live, replayed) {
		t.Errorf("live     %q\nreplayed %q", live, replayed)
	}
	ops := map[string]bool{}
	for _, e := range recording.entries {
		ops[e.Op] = true
	}
	if len(ops) != 24 {
		t.Errorf("%d kinds of operations are on the tape: %v", len(ops), sortedKeys(ops))
	}
	b.check()
}

// tapeTour calls everything once and returns the answers.
func tapeTour(t *testing.T, fsys sys.FS) (answers []string) {
	note := func(v ...any) {
		data, err := json.Marshal(v)
		if err != nil {
			t.Error(err)
		}
		answers = append(answers, string(data))
	}
	f, errno := fsys.OpenFile("data", sys.O_RDWR, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	buf := make([]byte, 4)
	n, errno := f.Read(buf)
	note(n, errno, buf)
	n, errno = f.Pread(buf, 5)
	note(n, errno, buf)
	off, errno := f.Seek(2, io.SeekStart)
	note(off, errno)
	n, errno = f.Write([]byte("12"))
	note(n, errno)
	n, errno = f.Pwrite([]byte("34"), 6)
	note(n, errno)
	note(f.Truncate(8), f.Sync(), f.Datasync(), f.Utimens(5e9, 6e9), f.SetAppend(true), f.IsAppend())
	st, errno := f.Stat()
	note(st, errno)
	dev, _ := f.Dev()
	ino, _ := f.Ino()
	dir, _ := f.IsDir()
	note(dev, ino, dir, f.Close())
	d, errno := fsys.OpenFile("sub", sys.O_DIRECTORY, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	names, errno := d.Readdir(-1)
	note(names, errno, d.Close())
	st, errno = fsys.Stat("inside_link")
	note(st, errno)
	st, errno = fsys.Lstat("inside_link")
	note(st, errno)
	target, errno := fsys.Readlink("inside_link")
	note(target, errno)
	note(fsys.Mkdir("m", 0o700), fsys.Rename("m", "n"), fsys.Rmdir("n"), fsys.Unlink("data"), fsys.Chmod("fifo", 0),
		fsys.Link("a", "b"), fsys.Symlink("a", "b"), fsys.Utimens("inside.txt", 7e9, sys.UTIME_OMIT))
	return answers
}

// TestErrnoNames checks that every error number that wazero has survives the
// way into a recording and back.
func TestErrnoNames(t *testing.T) {
	for errno := sys.EACCES; errno <= sys.EROFS; errno++ {
		if got := errnoOf(errnoName(errno)); got != errno {
			t.Errorf("%v comes back as %v", errno, got)
		}
	}
	if errnoOf("") != 0 || errnoName(0) != "" || errnoOf("EWHAT") != sys.EIO || errnoName(9999) != "EIO" {
		t.Error("success or an unknown error is mapped wrongly")
	}
}
