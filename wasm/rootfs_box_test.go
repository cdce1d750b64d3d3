package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/experimental/sysfs"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	wasisys "github.com/tetratelabs/wazero/sys"
	"golang.org/x/sys/unix"
)

// fsBox is a directory with a jail, which guests get, and around it secrets
// and victims that must stay as they are. It is testdata/hostile/setup_box.sh
// and check_box.sh in Go.
type fsBox struct {
	t   testing.TB
	dir string
}

const boxSecret = "TOPSECRET-host-file\n"

func newBox(t testing.TB) *fsBox {
	b := &fsBox{t: t, dir: t.TempDir()}
	for _, d := range []string{"jail/sub", "emptydir"} {
		b.must(os.MkdirAll(b.path(d), 0o755))
	}
	for name, text := range map[string]string{
		"secret.txt": boxSecret, "victim.txt": "victim\n", "victim2.txt": "victim2\n", "jail/inside.txt": "inside\n",
	} {
		b.must(os.WriteFile(b.path(name), []byte(text), 0o600))
	}
	b.must(os.Chtimes(b.path("secret.txt"), b.then(), b.then()))
	for name, target := range map[string]string{
		"planted_rel": "../secret.txt", "planted_abs": b.path("secret.txt"), "planted_dir": "..",
		"chain1": "chain2", "chain2": "sub/../../secret.txt", "inside_link": "inside.txt", "sub/uplink": "../..",
	} {
		b.must(os.Symlink(target, b.path("jail/"+name)))
	}
	b.must(unix.Mkfifo(b.path("jail/fifo"), 0o600))
	return b
}

func (b *fsBox) path(name string) string { return filepath.Join(b.dir, name) }

func (b *fsBox) then() time.Time { return time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) }

func (b *fsBox) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// check reports everything that changed outside the jail.
func (b *fsBox) check() {
	b.t.Helper()
	for name, want := range map[string]string{"secret.txt": boxSecret, "victim.txt": "victim\n", "victim2.txt": "victim2\n"} {
		if got, err := os.ReadFile(b.path(name)); string(got) != want {
			b.t.Errorf("%s is now %q, %v", name, got, err)
		}
	}
	var st unix.Stat_t
	b.must(unix.Stat(b.path("secret.txt"), &st))
	if st.Nlink != 1 || st.Mtim.Sec != b.then().Unix() {
		b.t.Errorf("secret.txt has %d links and was changed at %d", st.Nlink, st.Mtim.Sec)
	}
	entries, err := os.ReadDir(b.dir)
	b.must(err)
	known := []string{"emptydir", "jail", "secret.txt", "victim.txt", "victim2.txt"}
	for _, e := range entries {
		if !slices.Contains(known, e.Name()) {
			b.t.Errorf("%s is new", e.Name())
		}
	}
	if len(entries) < len(known) {
		b.t.Errorf("only %d of %d entries are left", len(entries), len(known))
	}
}

// root opens a directory of the box as a rootFS.
func (b *fsBox) root(name string, write bool, quota *fsQuota) *rootFS {
	b.t.Helper()
	return openRoot(b.t, fsGrant{Path: b.path(name), Write: write}, nil, quota)
}

// openRoot opens a single grant and closes it when the test ends.
func openRoot(t testing.TB, grant fsGrant, guarded []string, quota *fsQuota) *rootFS {
	t.Helper()
	roots, err := openRoots([]fsGrant{grant}, guarded, quota)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = roots.Close() })
	return roots.Mounts()[0].FS
}

// testQuota is large enough for everything but the bombs.
func testQuota() *fsQuota {
	return newFSQuota(FileLimits{OpenFiles: 64, Created: 500, Written: 1 << 20, Entries: 2000})
}

// guestRun is what a guest did.
type guestRun struct {
	stdout string
	exit   uint32
	err    error // other than an exit
}

// runGuest runs a command under plain wazero with file systems at the given
// places. A guest that is still running after a while fails the test.
func runGuest(t testing.TB, module []byte, mounts map[string]sys.FS, args ...string) guestRun {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().
		WithDebugInfoEnabled(false).WithCloseOnContextDone(true).WithMemoryLimitPages(1024))
	defer rt.Close(context.Background())
	wasi_snapshot_preview1.MustInstantiate(ctx, rt)
	fsConfig := wazero.NewFSConfig()
	for _, path := range sortedKeys(mounts) {
		fsConfig = fsConfig.(sysfs.FSConfig).WithSysFSMount(mounts[path], path)
	}
	var stdout bytes.Buffer
	config := wazero.NewModuleConfig().WithStdout(&stdout).WithFSConfig(fsConfig).
		WithArgs(append([]string{"guest"}, args...)...)
	_, err := rt.InstantiateWithConfig(ctx, module, config)
	if ctx.Err() != nil {
		t.Fatalf("guest did not end: %v\n%s", err, stdout.String())
	}
	run := guestRun{stdout: stdout.String(), err: err}
	var exit *wasisys.ExitError
	if errors.As(err, &exit) {
		run.exit, run.err = exit.ExitCode(), nil
	}
	return run
}

// hostileGuest reads a guest of testdata/hostile.
func hostileGuest(t testing.TB, name string) []byte {
	t.Helper()
	return readFile(t, "testdata/hostile/wasm/"+name+".wasm")
}

// wantOutput fails unless a guest ended by itself and printed all of want.
func (g guestRun) wantOutput(t testing.TB, want ...string) {
	t.Helper()
	if g.err != nil {
		t.Errorf("guest failed: %v", g.err)
	}
	for _, w := range want {
		if !strings.Contains(g.stdout, w) {
			t.Errorf("guest did not print %q:\n%s", w, g.stdout)
		}
	}
}

// number finds the number after a word in what a guest printed.
func (g guestRun) number(t testing.TB, after string) (n int) {
	t.Helper()
	_, rest, ok := strings.Cut(g.stdout, after)
	if _, err := fmt.Sscan(rest, &n); !ok || err != nil {
		t.Fatalf("guest did not print a number after %q:\n%s", after, g.stdout)
	}
	return n
}
