package wasm

import (
	"os"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero/experimental/sys"
)

// TestEscapes lets the escape guests loose on a jail that may be read, and on
// one that may be written.
func TestEscapes(t *testing.T) {
	for _, write := range []bool{false, true} {
		b := newBox(t)
		root := map[string]sys.FS{"/": b.root("jail", write, testQuota())}
		run := runGuest(t, hostileGuest(t, "escape"), root)
		run.wantOutput(t, "leaks=0")
		if n := run.number(t, "TOTAL tries="); n < 43 {
			t.Errorf("write=%v: only %d tries", write, n)
		}
		runGuest(t, hostileGuest(t, "escape_write"), root).wantOutput(t, "TOTAL leaks=0")
		b.check()
	}
}

// TestEscapesGo does the same with a program that the Go compiler made.
func TestEscapesGo(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a Go program")
	}
	guest := goGuest(t, string(readFile(t, "testdata/hostile/src/escape_go_guest.go.txt")))
	for _, write := range []bool{false, true} {
		b := newBox(t)
		run := runGuest(t, guest, map[string]sys.FS{"/": b.root("jail", write, testQuota())})
		if run.err != nil || strings.Contains(run.stdout, "LEAK") {
			t.Errorf("write=%v: %v\n%s", write, run.err, run.stdout)
		}
		b.check()
	}
}

// goFiles does what an honest program does with files.
const goFiles = `package main

import (
	"fmt"
	"io/fs"
	"os"
	"time"
)

func must(err error) {
	if err != nil {
		fmt.Println("FAILED", err)
		os.Exit(1)
	}
}

func main() {
	must(os.MkdirAll("/work/a/b", 0o755))
	must(os.WriteFile("/work/a/b/one.txt", []byte("first\n"), 0o644))
	f, err := os.OpenFile("/work/a/b/one.txt", os.O_APPEND|os.O_WRONLY, 0)
	must(err)
	_, err = f.WriteString("second\n")
	must(err)
	must(f.Sync())
	must(f.Close())
	data, err := os.ReadFile("/work/a/b/one.txt")
	must(err)
	fmt.Printf("%q\n", data)
	must(os.Rename("/work/a/b/one.txt", "/work/a/two.txt"))
	must(os.Truncate("/work/a/two.txt", 5))
	must(os.Chtimes("/work/a/two.txt", time.Unix(1, 0), time.Unix(2, 0)))
	st, err := os.Stat("/work/a/two.txt")
	must(err)
	fmt.Println(st.Size(), st.ModTime().Unix(), st.Mode().IsRegular())
	must(fs.WalkDir(os.DirFS("/work"), ".", func(p string, d fs.DirEntry, err error) error {
		fmt.Println("walk", p, d.IsDir())
		return err
	}))
	must(os.RemoveAll("/work/a"))
	_, err = os.Stat("/work/a")
	fmt.Println(os.IsNotExist(err))
	data, err = os.ReadFile("/notes/todo.txt")
	must(err)
	fmt.Printf("%q %v\n", data, os.WriteFile("/notes/new", nil, 0o600))
}
`

// TestHonestGuest checks that a granted root is good for work.
func TestHonestGuest(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a Go program")
	}
	dir := t.TempDir()
	for _, d := range []string{"work", "notes"} {
		if err := os.Mkdir(dir+"/"+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir+"/notes/todo.txt", []byte("milk"), 0o600); err != nil {
		t.Fatal(err)
	}
	quota := newFSQuota(defaultFSLimits())
	run := runGuest(t, goGuest(t, goFiles), map[string]sys.FS{
		"/work":  openRoot(t, fsGrant{Path: dir + "/work", Write: true}, nil, quota),
		"/notes": openRoot(t, fsGrant{Path: dir + "/notes"}, nil, quota),
	})
	run.wantOutput(t, `"first\nsecond\n"`, "5 2 true", "walk a/two.txt false", "walk a/b true", "true\n",
		`"milk" open /notes/new: Read-only file system`)
	if n := quota.open.Load(); n > 2 {
		t.Errorf("%d files are still open", n)
	}
}

// TestQuotaGuests runs the guests that use up descriptors, files and space.
func TestQuotaGuests(t *testing.T) {
	limits := FileLimits{OpenFiles: 64, Created: 500, Written: 3 << 20, Entries: 2000}
	tests := []struct {
		guest, after string
		most         int
		tripped      string
	}{
		{"open_many", "opened ", limits.OpenFiles, "open_files"},
		{"create_many", "created ", limits.Created, "files_created"},
		{"disk_fill", "wrote ", 3, "bytes_written"},
	}
	for _, tt := range tests {
		b := newBox(t)
		quota := newFSQuota(limits)
		run := runGuest(t, hostileGuest(t, tt.guest), map[string]sys.FS{"/": b.root("jail", true, quota)})
		n := run.number(t, tt.after)
		if n < tt.most*9/10 || n > tt.most {
			t.Errorf("%s got %d of %d:\n%s", tt.guest, n, tt.most, run.stdout)
		}
		if got := strings.Join(quota.Tripped(), " "); got != tt.tripped {
			t.Errorf("%s tripped %q, want %q", tt.guest, got, tt.tripped)
		}
		if used := diskUsage(t, b.path("jail")); used > limits.Written+1<<20 {
			t.Errorf("%s left %d bytes on the disk", tt.guest, used)
		}
		b.check()
	}
}

// diskUsage is the size of all files below a directory.
func diskUsage(t *testing.T, dir string) (total int64) {
	err := walkFiles(dir, func(size int64) { total += size })
	if err != nil {
		t.Fatal(err)
	}
	return total
}

// TestOddGuests runs guests that are after crashes and waits.
func TestOddGuests(t *testing.T) {
	b := newBox(t)
	root := func() map[string]sys.FS { return map[string]sys.FS{"/": b.root("jail", true, testQuota())} }
	runGuest(t, hostileGuest(t, "fd_probe"), root()).wantOutput(t, "fd 3 type 3", "open=4")
	runGuest(t, hostileGuest(t, "fifo_open"), root()).wantOutput(t, "fifo open -1 errno 63") // EPERM
	loop := runGuest(t, hostileGuest(t, "symlink_loop"), root())
	loop.wantOutput(t, "/loop -> -1", "/c0 -> -1")
	weird := runGuest(t, hostileGuest(t, "path_weird"), root())
	weird.wantOutput(t, "1MiB         37", "4096         37", "nul          28", "badutf8      63", "dotdot       63",
		"newline      0", "bidi         0", "deep-1MiB    37", "deep-4000    37")
	b.check()
}
