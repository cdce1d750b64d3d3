package wasm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero/experimental/sys"
	"golang.org/x/sys/unix"
)

// grantBox has a directory of documents beside one of the host's own.
func grantBox(t *testing.T) (dir, state string) {
	dir = t.TempDir()
	for _, d := range []string{"docs/deep", "state/keys"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"docs/a.txt", "docs/b.txt", "docs/deep/c.txt", "state/vault", "state/keys/key"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte(f), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, filepath.Join(dir, "state")
}

func grantCode(grants []fsGrant, guarded ...string) string {
	roots, err := openRoots(grants, guarded, testQuota())
	var refusal *GrantError
	switch {
	case err == nil:
		_ = roots.Close()
		return "ok"
	case errors.As(err, &refusal) && !strings.ContainsAny(err.Error(), "\n\x1b"):
		return refusal.Code
	}
	return err.Error()
}

func TestGrants(t *testing.T) {
	dir, state := grantBox(t)
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Symlink("docs", filepath.Join(dir, "doclink")))
	must(unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	must(os.Link(state+"/vault", filepath.Join(dir, "docs/vault")))
	tests := []struct{ path, want string }{
		{dir + "/docs", "ok"},
		{dir + "/docs/deep", "ok"},
		{dir + "/docs/a.txt", "ok"},
		{"docs", CodeGrantPath},
		{"", CodeGrantPath},
		{dir + "/docs/../docs", CodeGrantPath},
		{dir + "/docs/", CodeGrantPath},
		{dir + "//docs", CodeGrantPath},
		{dir + "/a\x1b[2J\n", CodeGrantPath},
		{dir + "/\xff", CodeGrantPath},
		{dir + "/nothing", CodeGrantMissing},
		{dir + "/docs/a.txt/x", CodeGrantMissing},
		{dir + "/doclink", CodeGrantKind},
		{dir + "/fifo", CodeGrantKind},
		{"/dev/null", CodeGrantKind},
		{"/", CodeGrantSystem},
		{"/proc", CodeGrantSystem},
		{"/proc/self", CodeGrantKind},
		{fmt.Sprintf("/proc/%d", os.Getpid()), CodeGrantSystem},
		{fmt.Sprintf("/proc/%d/environ", os.Getpid()), CodeGrantSystem},
		{"/sys", CodeGrantSystem},
		{"/sys/kernel", CodeGrantSystem},
		{"/dev", CodeGrantSystem},
		{state, CodeGrantGuarded},
		{state + "/keys", CodeGrantGuarded},
		{state + "/keys/key", CodeGrantGuarded},
		{dir, CodeGrantGuarded},
		{filepath.Dir(dir), CodeGrantGuarded},
		{dir + "/docs/vault", CodeGrantGuarded},
	}
	guarded := []string{state, state + "/vault", dir + "/not-there"}
	for _, tt := range tests {
		if got := grantCode([]fsGrant{{Path: tt.path, Write: true}}, guarded...); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.path, got, tt.want)
		}
	}
}

// TestGrantSets grants several things at once.
func TestGrantSets(t *testing.T) {
	dir, _ := grantBox(t)
	docs, a, b, c := dir+"/docs", dir+"/docs/a.txt", dir+"/docs/b.txt", dir+"/docs/deep/c.txt"
	tests := []struct {
		grants []fsGrant
		want   string
	}{
		{nil, ""},
		{[]fsGrant{{docs, false}, {docs, true}, {docs, false}}, "docs:rw"},
		{[]fsGrant{{b, false}, {a, true}}, "docs[a.txt:rw b.txt:r]"},
		{[]fsGrant{{a, false}, {a, true}}, "docs[a.txt:rw]"},
		{[]fsGrant{{docs, true}, {a, true}, {c, false}}, "docs:rw"},
		{[]fsGrant{{a, false}, {docs, false}}, "docs:r"},
		{[]fsGrant{{docs, false}, {docs + "/deep", true}}, "docs:r docs/deep:rw"},
		{[]fsGrant{{docs, false}, {docs + "/deep", true}, {c, true}}, "docs:r docs/deep:rw"},
		{[]fsGrant{{docs, false}, {a, true}}, CodeGrantConflict},
		{[]fsGrant{{docs, false}, {c, true}}, CodeGrantConflict},
		{[]fsGrant{{a, false}, {dir + "/nothing", false}}, CodeGrantMissing},
	}
	for _, tt := range tests {
		roots, err := openRoots(tt.grants, nil, testQuota())
		var refusal *GrantError
		if errors.As(err, &refusal) {
			if refusal.Code != tt.want {
				t.Errorf("%v: %v, want %s", tt.grants, err, tt.want)
			}
			continue
		}
		var got []string
		for _, m := range roots.Mounts() {
			got = append(got, strings.TrimPrefix(m.Path, dir+"/")+describe(m.FS))
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%v: %v, want %s", tt.grants, got, tt.want)
		}
		if err := roots.Close(); err != nil {
			t.Error(err)
		}
	}
}

// describe shows what a root allows.
func describe(r *rootFS) string {
	mode := func(write bool) string {
		if write {
			return ":rw"
		}
		return ":r"
	}
	if r.only == nil {
		return mode(r.write)
	}
	var names []string
	for _, name := range sortedKeys(r.only) {
		names = append(names, name+mode(r.only[name]))
	}
	return fmt.Sprint(names)
}

// TestSingleFiles uses a root that shows two files of a directory.
func TestSingleFiles(t *testing.T) {
	dir, _ := grantBox(t)
	docs := dir + "/docs"
	roots, err := openRoots([]fsGrant{{docs + "/a.txt", true}, {docs + "/b.txt", false}}, nil, testQuota())
	if err != nil {
		t.Fatal(err)
	}
	defer roots.Close()
	r := roots.Mounts()[0].FS
	names, errno := r.mustOpen(t, ".", 0).Readdir(-1)
	if len(names) != 2 || names[0].Name != "a.txt" || names[1].Name != "b.txt" || errno != 0 {
		t.Errorf("the directory shows %v, %v", names, errno)
	}
	tests := []struct {
		name string
		got  sys.Errno
		want sys.Errno
	}{
		{"write a", errnoOfOpen(r, "a.txt", sys.O_RDWR|sys.O_TRUNC), 0},
		{"read b", errnoOfOpen(r, "b.txt", 0), 0},
		{"write b", errnoOfOpen(r, "b.txt", sys.O_WRONLY), sys.EROFS},
		{"another file", errnoOfOpen(r, "vault", 0), sys.ENOENT},
		{"new file", errnoOfOpen(r, "new", rwCreate), sys.ENOENT},
		{"below", errnoOfOpen(r, "deep/c.txt", 0), sys.ENOENT},
		{"through it", errnoOfOpen(r, "a.txt/../../state/vault", 0), sys.EPERM},
		{"mkdir", r.Mkdir("d", 0o700), sys.EPERM},
		{"rename", r.Rename("a.txt", "b.txt"), sys.EPERM},
		{"unlink", r.Unlink("a.txt"), sys.EPERM},
		{"utimens a", r.Utimens("a.txt", 1, 1), 0},
		{"utimens b", r.Utimens("b.txt", 1, 1), sys.EROFS},
		{"utimens of the directory", r.Utimens(".", 1, 1), sys.EROFS},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, tt.got, tt.want)
		}
	}
	// What was granted is a file. A link in its place leads nowhere, and a file
	// that is gone is not made again.
	_ = os.Remove(docs + "/b.txt")
	if err := os.Symlink("deep/c.txt", docs+"/b.txt"); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(docs + "/a.txt")
	if errno := errnoOfOpen(r, "b.txt", 0); errno != sys.ELOOP {
		t.Errorf("a link instead of the file: %v", errno)
	}
	if errno := errnoOfOpen(r, "a.txt", rwCreate); errno != sys.ENOENT {
		t.Errorf("a file that is gone: %v", errno)
	}
}

// TestGuardAtUse moves the host's own directory into a root after the grant:
// it is not reached, whichever way. A link and a bind mount count as well.
func TestGuardAtUse(t *testing.T) {
	dir, state := grantBox(t)
	roots, err := openRoots([]fsGrant{{dir + "/docs", true}}, []string{state, state + "/vault"}, testQuota())
	if err != nil {
		t.Fatal(err)
	}
	defer roots.Close()
	r := roots.Mounts()[0].FS
	for from, to := range map[string]string{state: dir + "/docs/deep/state"} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("deep/state", dir+"/docs/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(dir+"/docs/deep/state/vault", dir+"/docs/vault"); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"deep/state", "deep/state/", "deep/state/vault", "deep/state/keys", "deep/state/keys/key",
		"link", "link/vault", "link/keys/key", "vault", "deep/../deep/state/vault"} {
		if errno := errnoOfOpen(r, p, 0); errno != sys.EACCES {
			t.Errorf("open %s: %v", p, errno)
		}
		if _, errno := r.Stat(p); errno != sys.EACCES {
			t.Errorf("stat %s: %v", p, errno)
		}
		if errno := r.Utimens(p, 1, 1); errno != sys.EACCES {
			t.Errorf("utimens %s: %v", p, errno)
		}
	}
	for name, errno := range map[string]sys.Errno{
		"create": errnoOfOpen(r, "deep/state/new", rwCreate), "mkdir": r.Mkdir("deep/state/new", 0o700),
		"unlink": r.Unlink("deep/state/vault"), "unlink the link": r.Unlink("vault"),
		"rmdir": r.Rmdir("deep/state"), "rename": r.Rename("deep/state", "mine"),
		"rename over": r.Rename("a.txt", "deep/state/vault"), "rename out": r.Rename("deep/state/keys/key", "key"),
	} {
		if errno != sys.EACCES {
			t.Errorf("%s: %v", name, errno)
		}
	}
	if got := grantCode([]fsGrant{{dir + "/docs", false}}, dir+"/docs/deep/state"); got != CodeGrantGuarded {
		t.Errorf("granting it again: %s", got)
	}
}

// TestKernelFiles mounts /proc inside a root, which takes privileges.
func TestKernelFiles(t *testing.T) {
	dir, _ := grantBox(t)
	at := dir + "/docs/deep"
	if err := unix.Mount("/proc", at, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("cannot mount: %v", err)
	}
	defer unix.Unmount(at, unix.MNT_DETACH)
	r := openRoot(t, fsGrant{Path: dir + "/docs"}, nil, testQuota())
	for _, p := range []string{"deep", "deep/self/environ", "deep/self", "deep/1/mem", "deep/self/root/etc/passwd"} {
		if errno := errnoOfOpen(r, p, 0); errno == 0 {
			t.Errorf("%s opens", p)
		}
	}
}

// TestReplacedRoot puts something else in the place of a root: the root that
// is open stays what it was, and opening anew looks again.
func TestReplacedRoot(t *testing.T) {
	dir, state := grantBox(t)
	docs := dir + "/docs"
	r := openRoot(t, fsGrant{Path: docs}, nil, testQuota())
	if err := os.Rename(docs, dir+"/old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("state", docs); err != nil {
		t.Fatal(err)
	}
	if errno := errnoOfOpen(r, "vault", 0); errno != sys.ENOENT {
		t.Errorf("the root follows the name: %v", errno)
	}
	if errno := errnoOfOpen(r, "a.txt", 0); errno != 0 {
		t.Errorf("the root lost its files: %v", errno)
	}
	if got := grantCode([]fsGrant{{docs, false}}, state); got != CodeGrantKind {
		t.Errorf("opening anew: %s", got)
	}
}
