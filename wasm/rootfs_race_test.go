package wasm

import (
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tetratelabs/wazero/experimental/sys"
	"golang.org/x/sys/unix"
)

// raceTime is how long attackers have: half a second in a short run, a minute
// in a soak, two seconds otherwise, or what the environment says.
func raceTime(t *testing.T) time.Duration {
	if s := os.Getenv("RUNLOOP_TEST_RACE"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if testing.Short() {
		return 500 * time.Millisecond
	}
	return time.Duration(soak(2, 60)) * time.Second
}

// raceBox has a jail in which names change between something inside and a
// link to its counterpart outside.
func raceBox(t *testing.T) *fsBox {
	b := newBox(t)
	for _, d := range []string{"jail/dir", "jail/deep1/deep2", "outside"} {
		b.must(os.MkdirAll(b.path(d), 0o755))
	}
	for name, text := range map[string]string{
		"jail/dir/f": "inside", "jail/file": "inside", "outside/f": boxSecret, "outside/victim": "victim",
	} {
		b.must(os.WriteFile(b.path(name), []byte(text), 0o600))
	}
	for name, target := range map[string]string{
		"jail/dirlink": "../outside", "jail/filelink": "../secret.txt",
		"jail/deep1/deep2/up": "../..", // the jail, and its parent when deep2 moves up
	} {
		b.must(os.Symlink(target, b.path(name)))
	}
	return b
}

// raceUntil runs functions over and over until the time is up, and tells how
// often each ran.
func raceUntil(d time.Duration, loops ...func()) []int64 {
	var wg sync.WaitGroup
	var stop atomic.Bool
	counts := make([]atomic.Int64, len(loops))
	for i, loop := range loops {
		wg.Go(func() {
			for !stop.Load() {
				loop()
				counts[i].Add(1)
			}
		})
	}
	time.Sleep(d)
	stop.Store(true)
	wg.Wait()
	total := make([]int64, len(loops))
	for i := range counts {
		total[i] = counts[i].Load()
	}
	return total
}

// raceVictim does everything a guest can do with the names that change.
type raceVictim struct {
	r       *rootFS
	escapes atomic.Int64
	inside  atomic.Int64
}

// read opens a path and looks where it ended up.
func (v *raceVictim) read(path string, flag sys.Oflag) {
	f, errno := v.r.OpenFile(path, flag, 0o600)
	if errno != 0 {
		return
	}
	buf := make([]byte, 64)
	n, _ := f.Read(buf)
	if strings.Contains(string(buf[:n]), "TOPSECRET") {
		v.escapes.Add(1)
	} else {
		v.inside.Add(1)
	}
	_ = f.Close()
}

// all goes once through the operations.
func (v *raceVictim) all() {
	for range 20 {
		v.read("dir/f", 0)
		v.read("file", 0)
		v.read("file", sys.O_NOFOLLOW)
	}
	v.read("dir/f/", 0)
	v.read("dir/../file", 0)
	v.read("deep1/deep2/up/secret.txt", 0)
	v.read("deep2/up/secret.txt", 0)
	v.read("dir/f", sys.O_RDWR)
	if st, errno := v.r.Stat("file"); errno == 0 && st.Size == int64(len(boxSecret)) {
		v.escapes.Add(1)
	}
	_ = errnoOfOpen(v.r, "dir/made", rwCreate)
	_ = v.r.Unlink("dir/made")
	_ = v.r.Mkdir("dir/newdir", 0o700)
	_ = v.r.Rmdir("dir/newdir")
	_ = v.r.Unlink("dir/victim")
	_ = v.r.Rename("dir/victim", "stolen")
	_ = v.r.Utimens("file", 1, 1)
	_ = v.r.Utimens("dir/f", 1, 1)
}

// TestSwapRace has somebody on the host exchange names with links while a
// guest uses them, and another guest move directories about.
func TestSwapRace(t *testing.T) {
	b := raceBox(t)
	quota := newFSQuota(FileLimits{OpenFiles: 64, Created: 1 << 40, Written: 1 << 40, Entries: 100})
	v := &raceVictim{r: b.root("jail", true, quota)}
	jail, err := os.Open(b.path("jail"))
	b.must(err)
	defer jail.Close()
	fd := int(jail.Fd())
	swap := func(a, b string) { _ = unix.Renameat2(fd, a, fd, b, unix.RENAME_EXCHANGE) }
	counts := raceUntil(raceTime(t), v.all,
		func() { swap("dir", "dirlink"); swap("file", "filelink") },
		func() { _ = v.r.Rename("deep1/deep2", "deep2"); _ = v.r.Rename("deep2", "deep1/deep2") })
	t.Logf("%d rounds against %d swaps and %d moves: %d reads inside, %d escapes",
		counts[0], counts[1], counts[2], v.inside.Load(), v.escapes.Load())
	if v.escapes.Load() > 0 || v.inside.Load() == 0 || counts[1] == 0 {
		t.Errorf("%d escapes, %d reads inside, %d swaps", v.escapes.Load(), v.inside.Load(), counts[1])
	}
	checkOutside(t, b)
}

// checkOutside looks at what the race could have changed.
func checkOutside(t *testing.T, b *fsBox) {
	entries, err := os.ReadDir(b.path("outside"))
	b.must(err)
	if len(entries) != 2 || entries[0].Name() != "f" || entries[1].Name() != "victim" {
		t.Errorf("outside holds %v", entries)
	}
	if st, err := os.Stat(b.path("outside/f")); err != nil || st.ModTime().Unix() < 2 {
		t.Errorf("outside/f: %v, %v", st.ModTime(), err)
	}
	b.must(os.RemoveAll(b.path("outside")))
	b.check()
}

// TestNaiveRace shows that the race is real: checking a path and then opening
// it loses.
func TestNaiveRace(t *testing.T) {
	b := raceBox(t)
	jail, err := os.Open(b.path("jail"))
	b.must(err)
	defer jail.Close()
	var escapes atomic.Int64
	counts := raceUntil(raceTime(t)/2,
		func() { _ = unix.Renameat2(int(jail.Fd()), "file", int(jail.Fd()), "filelink", unix.RENAME_EXCHANGE) },
		func() {
			st, err := os.Lstat(b.path("jail/file"))
			if err != nil || !st.Mode().IsRegular() {
				return
			}
			if data, _ := os.ReadFile(b.path("jail/file")); strings.Contains(string(data), "TOPSECRET") {
				escapes.Add(1)
			}
		})
	t.Logf("checking first: %d escapes in %d tries against %d swaps", escapes.Load(), counts[1], counts[0])
}

// TestConcurrentUse has several instances on one directory, as the race
// detector sees it.
func TestConcurrentUse(t *testing.T) {
	b := newBox(t)
	quota := newFSQuota(FileLimits{OpenFiles: 8, Created: 1 << 40, Written: 1 << 40, Entries: 1 << 20})
	r1, r2 := b.root("jail", true, quota), b.root("jail", true, quota)
	use := func(r *rootFS, name, other string) func() {
		return func() {
			f, errno := r.OpenFile(name, rwCreate|sys.O_APPEND, 0o600)
			if errno != 0 {
				return
			}
			_, _ = f.Write([]byte(name))
			_ = r.Rename(name, other)
			_, _ = f.Pread(make([]byte, 10), 0)
			_, _ = f.Stat()
			if d, errno := r.OpenFile(".", 0, 0); errno == 0 {
				_, _ = d.Readdir(-1)
				_ = d.Close()
			}
			_ = f.Close()
			_ = r.Unlink(other)
		}
	}
	shared := r1.mustOpen(t, "inside.txt", 0)
	raceUntil(raceTime(t)/4, use(r1, "a", "b"), use(r2, "a", "b"), use(r1, "b", "a"),
		func() { _, _ = shared.Read(make([]byte, 3)); _, _ = shared.Seek(0, 0) }, func() { _, _ = shared.Stat() })
	_ = shared.Close()
	if n := quota.open.Load(); n != 0 {
		t.Errorf("%d files count as open", n)
	}
	b.check()
}
