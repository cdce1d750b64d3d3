package wasm

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero/experimental/sys"
	"golang.org/x/sys/unix"
)

const rwCreate = sys.O_RDWR | sys.O_CREAT

// open opens a file or fails the test.
func (r *rootFS) mustOpen(t testing.TB, path string, flag sys.Oflag) sys.File {
	t.Helper()
	f, errno := r.OpenFile(path, flag, 0o600)
	if errno != 0 {
		t.Fatalf("open %s: %v", path, errno)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// errnoOfOpen opens and closes a file.
func errnoOfOpen(r sys.FS, path string, flag sys.Oflag) sys.Errno {
	f, errno := r.OpenFile(path, flag, 0o600)
	if errno == 0 {
		_ = f.Close()
	}
	return errno
}

// TestPaths tries every kind of path with every operation that takes one, on a
// jail that may be written. Whatever the answer, nothing outside changes.
func TestPaths(t *testing.T) {
	b := newBox(t)
	r := b.root("jail", true, testQuota())
	paths := []string{"", ".", "..", "/", "//", "./", "../", "../secret.txt", "sub/../../secret.txt", "sub/../..",
		"/secret.txt", "//etc/passwd", "/../secret.txt", "planted_rel", "planted_rel/", "planted_abs", "planted_dir",
		"planted_dir/", "planted_dir/.", "planted_dir//", "planted_dir/..", "planted_dir/secret.txt", "chain1",
		"sub/uplink", "sub/uplink/", "sub/uplink/secret.txt", "a\x00b", "\xff\xfe", "planted_dir/../secret.txt",
		"inside.txt/../../secret.txt", "fifo/x", strings.Repeat("a/", 300), strings.Repeat("x", 5000)}
	for _, p := range paths {
		for _, flag := range []sys.Oflag{0, sys.O_RDWR, rwCreate, rwCreate | sys.O_EXCL, rwCreate | sys.O_TRUNC,
			sys.O_DIRECTORY, sys.O_NOFOLLOW, sys.O_NOFOLLOW | sys.O_DIRECTORY, sys.O_WRONLY | sys.O_APPEND} {
			f, errno := r.OpenFile(p, flag, 0o600)
			if errno != 0 {
				continue
			}
			buf := make([]byte, 100)
			if n, _ := f.Read(buf); strings.Contains(string(buf[:n]), "TOPSECRET") {
				t.Errorf("%q with %#x reads the secret", p, flag)
			}
			_ = f.Close()
		}
		if st, errno := r.Stat(p); errno == 0 && st.Size == int64(len(boxSecret)) {
			t.Errorf("stat %q: %v", p, st)
		}
		_, _ = r.Lstat(p)
		_, _ = r.Readlink(p)
		_ = r.Utimens(p, 1, 1)
		_ = r.Mkdir(p, 0o700)
		_ = r.Rename(p, "sub/new")
		_ = r.Rename("inside.txt", p)
		_ = r.Link(p, "hard")
		_ = r.Symlink(p, "soft")
		_ = r.Chmod(p, 0)
	}
	b.check()
}

// TestRemoveOutside removes through every path; only the jail may suffer.
func TestRemoveOutside(t *testing.T) {
	b := newBox(t)
	r := b.root("jail", true, testQuota())
	for _, p := range []string{"../victim.txt", "planted_dir/victim.txt", "planted_dir/emptydir", "planted_dir/emptydir/",
		"../emptydir", "sub/uplink/emptydir", "planted_dir/", ".", "./", "..", "planted_rel/", "sub/uplink/"} {
		if errno := r.Unlink(p); errno == 0 {
			t.Errorf("unlink %q", p)
		}
		if errno := r.Rmdir(p); errno == 0 {
			t.Errorf("rmdir %q", p)
		}
	}
	b.check()
}

// TestErrnos pins the answers for ordinary mistakes.
func TestErrnos(t *testing.T) {
	b := newBox(t)
	r := b.root("jail", true, testQuota())
	tests := []struct {
		name string
		got  sys.Errno
		want sys.Errno
	}{
		{"open missing", errnoOfOpen(r, "nothing", 0), sys.ENOENT},
		{"open below a file", errnoOfOpen(r, "inside.txt/x", 0), sys.ENOTDIR},
		{"open with a slash", errnoOfOpen(r, "inside.txt/", 0), sys.ENOTDIR},
		{"create with a slash", errnoOfOpen(r, "new/", rwCreate), sys.EISDIR},
		{"create below nothing", errnoOfOpen(r, "no/new", rwCreate), sys.ENOENT},
		{"exclusive on a file", errnoOfOpen(r, "inside.txt", rwCreate|sys.O_EXCL), sys.EEXIST},
		{"exclusive on a link", errnoOfOpen(r, "planted_rel", rwCreate|sys.O_EXCL), sys.EEXIST},
		{"write to a directory", errnoOfOpen(r, "sub", sys.O_RDWR), sys.EISDIR},
		{"a file as directory", errnoOfOpen(r, "inside.txt", sys.O_DIRECTORY), sys.ENOTDIR},
		{"link, not followed", errnoOfOpen(r, "inside_link", sys.O_NOFOLLOW), sys.ELOOP},
		{"link out", errnoOfOpen(r, "planted_rel", 0), sys.EPERM},
		{"absolute link", errnoOfOpen(r, "planted_abs", 0), sys.EPERM},
		{"fifo", errnoOfOpen(r, "fifo", 0), sys.EPERM},
		{"fifo for writing", errnoOfOpen(r, "fifo", sys.O_WRONLY), sys.EPERM},
		{"fifo for both", errnoOfOpen(r, "fifo", sys.O_RDWR), sys.EPERM},
		{"mkdir twice", r.Mkdir("sub", 0o700), sys.EEXIST},
		{"mkdir on a link with a slash", r.Mkdir("planted_dir/", 0o700), sys.EEXIST},
		{"rmdir full", r.Rmdir("sub"), sys.ENOTEMPTY},
		{"rmdir a file", r.Rmdir("inside.txt"), sys.ENOTDIR},
		{"rmdir a link with a slash", r.Rmdir("planted_dir/"), sys.ENOTDIR},
		{"unlink a directory", r.Unlink("sub"), sys.EISDIR},
		{"unlink a directory with a slash", r.Unlink("sub/"), sys.EISDIR},
		{"unlink a file with a slash", r.Unlink("inside.txt/"), sys.ENOTDIR},
		{"rename a link", r.Rename("inside_link", "moved"), sys.EPERM},
		{"rename a link with a slash", r.Rename("planted_dir/", "moved"), sys.ENOTDIR},
		{"rename a file to a directory name", r.Rename("inside.txt", "new/"), sys.ENOTDIR},
		{"rename onto a directory", r.Rename("inside.txt", "sub"), sys.EISDIR},
		{"symlink", r.Symlink("inside.txt", "s"), sys.EPERM},
		{"link", r.Link("inside.txt", "h"), sys.EPERM},
		{"symlink in place of a file", r.Symlink("x", "inside.txt"), sys.EEXIST},
		{"symlink with a slash", r.Symlink("x", "new/"), sys.ENOENT},
		{"symlink in place of a file, with a slash", r.Symlink("x", "inside.txt/"), sys.ENOTDIR},
		{"chmod", r.Chmod("inside.txt", 0o777), sys.EPERM},
		{"utimens through a link out", r.Utimens("planted_rel", 1, 1), sys.EPERM},
		{"utimens of a file as directory", r.Utimens("inside.txt/", 1, 1), sys.ENOTDIR},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, tt.got, tt.want)
		}
	}
	if _, errno := r.Readlink("planted_abs"); errno != sys.EPERM {
		t.Errorf("readlink of an absolute link: %v", errno)
	}
	if target, errno := r.Readlink("inside_link"); target != "inside.txt" || errno != 0 {
		t.Errorf("readlink: %q, %v", target, errno)
	}
	b.check()
}

// TestReadOnly checks that a root granted for reading stays as it is.
func TestReadOnly(t *testing.T) {
	b := newBox(t)
	r := b.root("jail", false, testQuota())
	f := r.mustOpen(t, "inside_link", 0)
	buf := make([]byte, 10)
	if n, errno := f.Read(buf); string(buf[:n]) != "inside\n" || errno != 0 {
		t.Errorf("read %q, %v", buf[:n], errno)
	}
	if _, errno := f.Write([]byte("x")); errno != sys.EBADF {
		t.Errorf("write: %v", errno)
	}
	for name, errno := range map[string]sys.Errno{
		"open to write":    errnoOfOpen(r, "inside.txt", sys.O_RDWR),
		"open to truncate": errnoOfOpen(r, "inside.txt", sys.O_TRUNC),
		"create":           errnoOfOpen(r, "new", rwCreate),
		"create, exists":   errnoOfOpen(r, "inside.txt", sys.O_CREAT),
		"mkdir":            r.Mkdir("new", 0o700),
		"rename":           r.Rename("inside.txt", "new"),
		"unlink":           r.Unlink("inside.txt"),
		"rmdir":            r.Rmdir("sub"),
		"utimens":          r.Utimens("inside.txt", 1, 1),
		"utimens of file":  f.Utimens(1, 1),
	} {
		if errno != sys.EROFS {
			t.Errorf("%s: %v", name, errno)
		}
	}
	b.check()
}

// TestSpecialFiles opens what is neither file nor directory.
func TestSpecialFiles(t *testing.T) {
	b := newBox(t)
	l, err := net.Listen("unix", b.path("jail/socket"))
	b.must(err)
	defer l.Close()
	r := b.root("jail", true, testQuota())
	names := []string{"socket", "fifo"}
	if err := unix.Mknod(b.path("jail/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err == nil {
		names = append(names, "null") // only root can
	}
	for _, name := range names {
		for _, flag := range []sys.Oflag{0, sys.O_WRONLY, sys.O_RDWR, rwCreate | sys.O_TRUNC, sys.O_NONBLOCK} {
			if errno := errnoOfOpen(r, name, flag); errno != sys.EPERM {
				t.Errorf("%s with %#x: %v", name, flag, errno)
			}
		}
		if st, errno := r.Stat(name); errno != 0 || st.Mode.IsRegular() {
			t.Errorf("stat %s: %v, %v", name, st.Mode, errno)
		}
	}
}

// TestFile goes through the methods of an open file.
func TestFile(t *testing.T) {
	b := newBox(t)
	quota := testQuota()
	r := b.root("jail", true, quota)
	f := r.mustOpen(t, "sub/file", rwCreate)
	write := func(n int, errno sys.Errno) {
		t.Helper()
		if errno != 0 {
			t.Errorf("wrote %d: %v", n, errno)
		}
	}
	write(f.Write([]byte("hello world")))
	write(f.Pwrite([]byte("W"), 6))
	if off, errno := f.Seek(-5, io.SeekEnd); off != 6 || errno != 0 {
		t.Errorf("seek: %d, %v", off, errno)
	}
	buf := make([]byte, 100)
	if n, errno := f.Read(buf); string(buf[:n]) != "World" || errno != 0 {
		t.Errorf("read %q, %v", buf[:n], errno)
	}
	if n, errno := f.Read(buf); n != 0 || errno != 0 {
		t.Errorf("read at the end: %d, %v", n, errno)
	}
	if n, errno := f.Pread(buf[:4], 1); string(buf[:n]) != "ello" || errno != 0 {
		t.Errorf("pread %q, %v", buf[:n], errno)
	}
	if errno := f.Truncate(5); errno != 0 {
		t.Error(errno)
	}
	if errno := f.SetAppend(true); errno != 0 || !f.IsAppend() {
		t.Error(errno)
	}
	write(f.Write([]byte("!")))
	if off, _ := f.Seek(0, io.SeekCurrent); off != 6 {
		t.Errorf("after appending at %d", off)
	}
	if errno := f.SetAppend(false); errno != 0 || f.IsAppend() {
		t.Error(errno)
	}
	if errno := f.Utimens(1e9, sys.UTIME_OMIT); errno != 0 {
		t.Error(errno)
	}
	st, errno := f.Stat()
	if errno != 0 || st.Size != 6 || st.Atim != 1e9 || st.Mtim == 1e9 || !st.Mode.IsRegular() {
		t.Errorf("stat: %+v, %v", st, errno)
	}
	for name, call := range map[string]func() sys.Errno{"sync": f.Sync, "datasync": f.Datasync, "close": f.Close, "close again": f.Close} {
		if errno := call(); errno != 0 && errno != sys.EBADF {
			t.Errorf("%s: %v", name, errno)
		}
	}
	if got := string(readFile(t, b.path("jail/sub/file"))); got != "hello!" {
		t.Errorf("file holds %q", got)
	}
	closedFile(t, f)
	if quota.open.Load() != 0 {
		t.Errorf("%d files count as open", quota.open.Load())
	}
}

// closedFile checks that a closed file answers EBADF.
func closedFile(t *testing.T, f sys.File) {
	_, read := f.Read(make([]byte, 1))
	_, pread := f.Pread(make([]byte, 1), 0)
	_, write := f.Write([]byte("x"))
	_, pwrite := f.Pwrite([]byte("x"), 0)
	_, seek := f.Seek(0, 0)
	_, readdir := f.Readdir(1)
	_, stat := f.Stat()
	for i, errno := range []sys.Errno{read, pread, write, pwrite, seek, readdir, stat, f.Truncate(1), f.Sync(),
		f.Datasync(), f.Utimens(1, 1), f.SetAppend(true)} {
		if errno != sys.EBADF {
			t.Errorf("call %d on a closed file: %v", i, errno)
		}
	}
}

// TestCloseRoot leaves files open in a root that ends.
func TestCloseRoot(t *testing.T) {
	b := newBox(t)
	quota := testQuota()
	roots, err := openRoots([]fsGrant{{b.path("jail"), true}}, nil, quota)
	b.must(err)
	r := roots.Mounts()[0].FS
	files := []sys.File{r.mustOpen(t, ".", 0), r.mustOpen(t, "inside.txt", 0), r.mustOpen(t, "new", rwCreate)}
	b.must(roots.Close())
	for _, f := range files {
		if _, errno := f.Stat(); errno != sys.EBADF {
			t.Errorf("a file of a closed root: %v", errno)
		}
	}
	if n := quota.open.Load(); n != 0 {
		t.Errorf("%d files count as open", n)
	}
	if errno := errnoOfOpen(r, "inside.txt", 0); errno == 0 {
		t.Error("a closed root opens files")
	}
}

// TestFileLimits tries numbers at the edges of what a file can have.
func TestFileLimits(t *testing.T) {
	b := newBox(t)
	quota := testQuota()
	f := b.root("jail", true, quota).mustOpen(t, "file", rwCreate)
	_, far := f.Pwrite([]byte("x"), 1<<62)
	_, last := f.Pwrite([]byte("x"), math.MaxInt64)
	_, negative := f.Pwrite([]byte("x"), -1)
	_, readNegative := f.Pread(make([]byte, 1), -1)
	_, seekOver := f.Seek(math.MaxInt64, io.SeekCurrent)
	_, seekUnder := f.Seek(-1, io.SeekStart)
	_, seekOdd := f.Seek(0, 9)
	tests := map[string][2]sys.Errno{
		"far write":      {far, sys.EIO},
		"last write":     {last, sys.EINVAL},
		"negative write": {negative, sys.EINVAL},
		"negative read":  {readNegative, sys.EINVAL},
		"seek under":     {seekUnder, sys.EINVAL},
		"seek, odd":      {seekOdd, sys.EINVAL},
		"seek over":      {seekOver, 0},
		"truncate":       {f.Truncate(1 << 40), sys.EIO},
		"truncate below": {f.Truncate(-1), sys.EINVAL},
	}
	for name, tt := range tests {
		if tt[0] != tt[1] {
			t.Errorf("%s: %v, want %v", name, tt[0], tt[1])
		}
	}
	if _, errno := f.Seek(1, io.SeekCurrent); errno != sys.EINVAL {
		t.Errorf("seek past the largest offset: %v", errno)
	}
	if st, _ := f.Stat(); st.Size != 0 || quota.written.Load() != 0 {
		t.Errorf("the file has %d bytes, %d are counted", st.Size, quota.written.Load())
	}
}

// TestByteQuota checks what counts as written.
func TestByteQuota(t *testing.T) {
	b := newBox(t)
	quota := newFSQuota(FileLimits{OpenFiles: 9, Created: 9, Written: 100, Entries: 9})
	r := b.root("jail", true, quota)
	f := r.mustOpen(t, "file", rwCreate)
	step := func(what string, errno sys.Errno, written int64) {
		t.Helper()
		if got := quota.written.Load(); got != written || (errno != 0) != strings.HasPrefix(what, "refused") {
			t.Errorf("%s: %v, %d bytes counted, want %d", what, errno, got, written)
		}
	}
	_, errno := f.Write(make([]byte, 10))
	step("write", errno, 10)
	_, errno = f.Pwrite(make([]byte, 10), 0)
	step("overwrite", errno, 20)
	_, errno = f.Pwrite(make([]byte, 5), 20)
	step("write behind a hole", errno, 35)
	step("grow", f.Truncate(45), 55)
	step("shrink", f.Truncate(0), 55)
	_, errno = f.Pwrite(make([]byte, 1), 45)
	step("refused behind a hole", errno, 55)
	_, errno = f.Pwrite(make([]byte, 45), 0)
	step("the last byte", errno, 100)
	_, errno = f.Pwrite(make([]byte, 1), 0)
	step("refused", errno, 100)
	step("refused to grow", f.Truncate(46), 100)
	if got := fmt.Sprint(quota.Tripped()); got != "[bytes_written]" {
		t.Error(got)
	}
}

// TestFileQuota checks that failed attempts are given back.
func TestFileQuota(t *testing.T) {
	b := newBox(t)
	quota := newFSQuota(FileLimits{OpenFiles: 2, Created: 2, Written: 9, Entries: 9})
	r := b.root("jail", true, quota)
	for range 5 {
		_ = r.Mkdir("sub", 0o700)
		_ = errnoOfOpen(r, "no/file", rwCreate)
		_ = errnoOfOpen(r, "nothing", 0)
		_ = errnoOfOpen(r, "fifo", 0)
	}
	a, c := r.mustOpen(t, "a", rwCreate), r.mustOpen(t, "inside.txt", 0)
	if errno := errnoOfOpen(r, "inside.txt", 0); errno != sys.EAGAIN {
		t.Errorf("third open file: %v", errno)
	}
	if errno := errnoOfOpen(r, ".", 0); errno != sys.EAGAIN {
		t.Errorf("the root, when nothing more may be opened: %v", errno)
	}
	if _, errno := r.OpenFile(".", 0, 0); errno != sys.ENOENT {
		t.Errorf("the root, opened by wazero: %v", errno)
	}
	_, _ = a.Close(), c.Close()
	if errno := r.Mkdir("second", 0o700); errno != 0 {
		t.Errorf("second new file: %v", errno)
	}
	if errno := errnoOfOpen(r, "third", rwCreate); errno != sys.EIO {
		t.Errorf("third new file: %v", errno)
	}
	if errno := r.Mkdir("third", 0o700); errno != sys.EIO {
		t.Errorf("third new directory: %v", errno)
	}
	if got := fmt.Sprint(quota.Tripped()); got != "[open_files files_created]" {
		t.Error(got)
	}
}

// TestReaddir checks order, parts, rewinding, types and the limit.
func TestReaddir(t *testing.T) {
	b := newBox(t)
	b.must(os.WriteFile(b.path("jail/\xff"), nil, 0o600))
	quota := testQuota()
	r := b.root("jail", true, quota)
	d := r.mustOpen(t, ".", sys.O_DIRECTORY)
	for range 2 {
		var got []string
		for {
			entries, errno := d.Readdir(2)
			if errno != 0 {
				t.Fatal(errno)
			}
			if len(entries) == 0 {
				break
			}
			for _, e := range entries {
				got = append(got, fmt.Sprintf("%s:%v:%v", e.Name, e.Type, e.Ino != 0))
			}
		}
		want := "[chain1:L---------:true chain2:L---------:true fifo:p---------:true inside.txt:----------:true " +
			"inside_link:L---------:true planted_abs:L---------:true planted_dir:L---------:true " +
			"planted_rel:L---------:true sub:d---------:true]"
		if fmt.Sprint(got) != want {
			t.Errorf("got  %v\nwant %s", got, want)
		}
		if _, errno := d.Seek(0, io.SeekStart); errno != 0 {
			t.Error(errno)
		}
	}
	if all, errno := d.Readdir(-1); len(all) != 9 || errno != 0 {
		t.Errorf("%d entries, %v", len(all), errno)
	}
	if _, errno := r.mustOpen(t, "inside.txt", 0).Readdir(1); errno != sys.ENOTDIR {
		t.Error(errno)
	}
	quota.limits.Entries = 8
	if _, errno := r.mustOpen(t, ".", 0).Readdir(1); errno != sys.ERANGE {
		t.Errorf("a directory over the limit: %v", errno)
	}
}

// TestLargeDirectory lists a directory far over the limit, which must cost
// neither much time nor much memory.
func TestLargeDirectory(t *testing.T) {
	dir := t.TempDir()
	for i := range 5_000 {
		if err := os.WriteFile(fmt.Sprintf("%s/%d", dir, i), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := openRoot(t, fsGrant{Path: dir}, nil, testQuota()).mustOpen(t, ".", 0)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, errno := d.Readdir(10)
	runtime.ReadMemStats(&after)
	if errno != sys.ERANGE || after.TotalAlloc-before.TotalAlloc > 4<<20 {
		t.Errorf("%v, %d bytes allocated", errno, after.TotalAlloc-before.TotalAlloc)
	}
}

// TestLinksInside follows links that stay inside, over several steps.
func TestLinksInside(t *testing.T) {
	b := newBox(t)
	for name, target := range map[string]string{
		"jail/sub/back": "../inside.txt", "jail/l1": "sub/l2", "jail/sub/l2": "back",
		"jail/dirlink": "sub/", "jail/loop": "loop", "jail/dangling": "sub/made", "jail/dots": "sub/..",
	} {
		b.must(os.Symlink(target, b.path(name)))
	}
	r := b.root("jail", true, testQuota())
	for _, p := range []string{"sub/back", "l1", "dirlink/back", "dirlink/../inside.txt", "dots/inside.txt"} {
		f := r.mustOpen(t, p, 0)
		buf := make([]byte, 7)
		if n, errno := f.Read(buf); !bytes.Equal(buf[:n], []byte("inside\n")) {
			t.Errorf("%s: %q, %v", p, buf[:n], errno)
		}
	}
	if errno := errnoOfOpen(r, "loop", 0); errno != sys.ELOOP {
		t.Errorf("loop: %v", errno)
	}
	if errno := errnoOfOpen(r, "dangling", rwCreate); errno != 0 {
		t.Errorf("dangling: %v", errno)
	}
	if _, err := os.Stat(b.path("jail/sub/made")); err != nil {
		t.Error(err)
	}
	if st, errno := r.Stat("dirlink"); errno != 0 || !st.Mode.IsDir() {
		t.Errorf("stat dirlink: %v, %v", st.Mode, errno)
	}
	if st, errno := r.Lstat("dirlink"); errno != 0 || st.Mode.Type() != fs.ModeSymlink {
		t.Errorf("lstat dirlink: %v, %v", st.Mode, errno)
	}
	if st, errno := r.Lstat("dirlink/"); errno != 0 || !st.Mode.IsDir() {
		t.Errorf("lstat dirlink/: %v, %v", st.Mode, errno)
	}
}

// TestMovedDirectory opens a directory, which is then moved out of the root:
// names below it are not found through the old path, nor is its parent.
func TestMovedDirectory(t *testing.T) {
	b := newBox(t)
	b.must(os.MkdirAll(b.path("jail/a/b"), 0o755))
	r := b.root("jail", true, testQuota())
	s, errno := r.spot("a/b/x")
	if errno != 0 {
		t.Fatal(errno)
	}
	defer s.close()
	b.must(os.Rename(b.path("jail/a"), filepath.Join(t.TempDir(), "away")))
	if errno := r.climb(s.dir); errno != sys.EPERM {
		t.Errorf("climbing from a directory outside: %v", errno)
	}
	if errno := errnoOfOpen(r, "a/b/x", rwCreate); errno != sys.ENOENT {
		t.Errorf("open: %v", errno)
	}
}

// TestRemoveDot: what "." names is a directory, not an entry that could be
// removed.
func TestRemoveDot(t *testing.T) {
	b := newBox(t)
	r := b.root("jail", true, testQuota())
	if errno := r.Mkdir("empty", 0o755); errno != 0 {
		t.Fatal(errno)
	}
	for _, p := range []string{"empty/.", "empty/./", "empty/sub/..", "."} {
		if errno := r.Rmdir(p); errno == 0 {
			t.Errorf("rmdir %s works", p)
		}
		if errno := r.Unlink(p); errno == 0 {
			t.Errorf("unlink %s works", p)
		}
	}
	if errno := r.Rmdir("empty"); errno != 0 {
		t.Error(errno)
	}
}
