package bus_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/runloop-os/runloop/bus"
)

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
}

func TestListenModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run", "loop")
	path := filepath.Join(dir, "rmp.sock")
	for _, tt := range []struct {
		gid       uint32
		dir, sock fs.FileMode
	}{{0, 0o700, 0o600}, {uint32(os.Getgid()), 0o750, 0o660}} {
		if tt.gid == 0 && os.Getgid() != 0 || tt.gid != 0 || os.Getgid() == 0 && tt.dir == 0o700 {
			_ = os.RemoveAll(dir)
			ln, err := bus.Listen(path, tt.gid)
			if err != nil {
				t.Fatal(err)
			}
			if got := mode(t, dir).Perm(); got != tt.dir {
				t.Errorf("directory %v, want %v", got, tt.dir)
			}
			if got := mode(t, path); got.Perm() != tt.sock || got.Type() != fs.ModeSocket {
				t.Errorf("socket %v, want %v", got, tt.sock)
			}
			_ = ln.Close()
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("after Close: %v", err)
			}
		}
	}
}

func TestListenGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may give a file to any group")
	}
	path := filepath.Join(t.TempDir(), "run", "s")
	ln, err := bus.Listen(path, 4242)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if got := mode(t, path).Perm(); got != 0o660 {
		t.Errorf("socket %v", got)
	}
	if got := mode(t, filepath.Dir(path)).Perm(); got != 0o750 {
		t.Errorf("directory %v", got)
	}
}

// stale leaves a socket behind that nobody serves.
func stale(t *testing.T, path string) {
	t.Helper()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	_ = ln.Close()
}

func TestListenPlaces(t *testing.T) {
	live := func(t *testing.T, path string) {
		ln, err := net.Listen("unix", path) // one that knows nothing of the lock
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ln.Close() })
	}
	for _, tt := range []struct {
		name string
		make func(*testing.T, string)
		want error
	}{
		{"nothing", func(*testing.T, string) {}, nil},
		{"stale", stale, nil},
		{"live", live, bus.ErrRunning},
		{"ours", func(t *testing.T, path string) {
			ln, err := bus.Listen(path, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = ln.Close() })
		}, bus.ErrRunning},
		{"file", func(t *testing.T, path string) { write(t, path) }, bus.ErrSocketPath},
		{"directory", func(t *testing.T, path string) { _ = os.Mkdir(path, 0o700) }, bus.ErrSocketPath},
		{"link to a socket", func(t *testing.T, path string) {
			stale(t, path+"2")
			_ = os.Symlink(path+"2", path)
		}, bus.ErrSocketPath},
		{"dangling link", func(t *testing.T, path string) { _ = os.Symlink("nowhere", path) }, bus.ErrSocketPath},
		{"lock is a link", func(t *testing.T, path string) {
			write(t, path+".victim")
			_ = os.Symlink(path+".victim", path+".lock")
		}, bus.ErrSocketPath},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			tt.make(t, path)
			before, _ := os.Lstat(path)
			ln, err := bus.Listen(path, 0)
			if !errors.Is(err, tt.want) {
				t.Fatalf("Listen: %v, want %v", err, tt.want)
			}
			if err == nil {
				_ = ln.Close()
				return
			}
			if after, err := os.Lstat(path); before != nil && (err != nil || !os.SameFile(before, after)) {
				t.Errorf("what was there is gone: %v", err)
			}
			if pid := fmt.Sprintf("pid %d", os.Getpid()); tt.want == bus.ErrRunning && !strings.Contains(err.Error(), pid) {
				t.Errorf("%v does not name %s", err, pid)
			}
		})
	}
}

func write(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestListenPaths(t *testing.T) {
	dir := t.TempDir()
	long := filepath.Join(dir, strings.Repeat("x", 107-len(dir)))
	if _, err := bus.Listen(long, 0); !errors.Is(err, bus.ErrSocketPath) || !strings.Contains(err.Error(), "108") {
		t.Errorf("108 bytes: %v", err)
	}
	ln, err := bus.Listen(long[:107], 0)
	if err != nil {
		t.Errorf("107 bytes: %v", err)
	} else {
		_ = ln.Close()
	}
	open := filepath.Join(dir, "open")
	if err := errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	if _, err := bus.Listen(filepath.Join(open, "s"), 0); !errors.Is(err, bus.ErrSocketPath) {
		t.Errorf("a directory that others may write to: %v", err)
	}
	write(t, filepath.Join(dir, "file"))
	if _, err := bus.Listen(filepath.Join(dir, "file", "s"), 0); err == nil {
		t.Error("a directory that is a file")
	}
}

// TestListenRace: of many that start at once exactly one wins, and a stale
// socket makes no difference.
func TestListenRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for range 200 {
		stale(t, path)
		var won atomic.Int32
		var wg sync.WaitGroup
		lns := make(chan net.Listener, 8)
		for range 8 {
			wg.Go(func() {
				ln, err := bus.Listen(path, 0)
				if err == nil {
					won.Add(1)
					lns <- ln
				} else if !errors.Is(err, bus.ErrRunning) {
					t.Errorf("Listen: %v", err)
				}
			})
		}
		wg.Wait()
		if n := won.Load(); n != 1 {
			t.Fatalf("%d won", n)
		}
		if conn, err := net.Dial("unix", path); err != nil {
			t.Fatalf("the winner does not listen: %v", err)
		} else {
			_ = conn.Close()
		}
		_ = (<-lns).Close()
	}
}

// TestServeAnyUnixListener: a listener from socket activation will do, one
// that has no peer credentials will not.
func TestServeAnyUnixListener(t *testing.T) {
	b := newBus(t, bus.Config{})
	srv := b.NewServer(bus.ServerConfig{})
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip("no loopback")
	}
	defer tcp.Close()
	if err := srv.Serve(tcp); err == nil {
		t.Error("TCP is served")
	}
	path := filepath.Join(t.TempDir(), "s")
	unix, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	file, err := unix.File()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	_ = errors.Join(file.Close())
	done := make(chan error)
	go func() { done <- srv.Serve(ln) }()
	c := dial(t, path, bus.KindCLI)
	if _, err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	_ = c.Close()
	_ = b.Close()
	if err := <-done; !errors.Is(err, bus.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
	_ = unix.Close()
	if err := srv.Serve(ln); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("Serve after the end: %v", err)
	}
}
