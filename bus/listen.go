package bus

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Reasons for which a socket cannot be made.
var (
	// ErrRunning is returned when another daemon serves the path.
	ErrRunning = errors.New("already running")
	// ErrSocketPath is returned for a path that must not be used: too long,
	// a link, something that is not a socket, or in a directory that others
	// may write to.
	ErrSocketPath = errors.New("unusable socket path")
)

// maxSocketPath is what fits into a sockaddr_un with its final NUL (unix(7)).
const maxSocketPath = 107

// Listen makes the socket file path and listens on it. The file has mode 0600,
// or 0660 and the group gid when that is not zero; its directory, made when it
// is not there, 0700 or 0750. A socket that nobody serves is replaced, one that
// is served is [ErrRunning]. Nothing else is ever removed.
//
// A lock on the file path + ".lock" decides between two daemons that start at
// once. It is held until the listener is closed, which removes the socket; the
// lock file stays.
func Listen(path string, gid uint32) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("listen: %w: %s: %d bytes, at most %d fit; set runtime.socket_path to a shorter one",
			ErrSocketPath, path, len(path), maxSocketPath)
	}
	if err := prepareDir(filepath.Dir(path), gid); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	lock, err := lockFile(path + ".lock")
	if err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%w, pid %s (%s)", ErrRunning, servedBy(path), path)
		}
		return nil, fmt.Errorf("listen: %w", err)
	}
	ln, err := listenLocked(path, gid)
	if err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("listen: %w", err)
	}
	return &lockedListener{UnixListener: ln, lock: lock}, nil
}

// lockedListener gives up its lock after the socket is gone.
type lockedListener struct {
	*net.UnixListener
	lock *os.File
}

// Close stops listening, removes the socket and gives up the lock.
func (l *lockedListener) Close() error {
	return errors.Join(l.UnixListener.Close(), l.lock.Close())
}

// prepareDir makes the directory of the socket, or checks that others cannot
// put something else into the place of the socket.
func prepareDir(dir string, gid uint32) error {
	mode := fs.FileMode(0o700)
	if gid != 0 {
		mode = 0o750
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, mode); err == nil && gid != 0 {
		return os.Chown(dir, -1, int(gid))
	} else if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return fmt.Errorf("%w: %s is not a directory", ErrSocketPath, dir)
	case !ok || st.Uid != uint32(os.Geteuid()) && st.Uid != 0:
		return fmt.Errorf("%w: %s belongs to another user", ErrSocketPath, dir)
	case info.Mode()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0:
		return fmt.Errorf("%w: others may write to %s; chmod go-w it", ErrSocketPath, dir)
	}
	return nil
}

// lockFile locks a file of its own, without waiting.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		if errors.Is(err, unix.ELOOP) {
			err = fmt.Errorf("%w: %s is a symbolic link", ErrSocketPath, path)
		}
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// listenLocked makes the socket once no other daemon can want to.
func listenLocked(path string, gid uint32) (*net.UnixListener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	// Until the mode is set the directory and the peer's uid keep others out.
	if err := protect(path, gid); err != nil {
		_ = ln.Close()
		return nil, err
	}
	return ln, nil
}

// protect sets group and mode of the socket.
func protect(path string, gid uint32) error {
	if gid == 0 {
		return os.Chmod(path, 0o600)
	}
	if err := os.Chown(path, -1, int(gid)); err != nil {
		return err
	}
	return os.Chmod(path, 0o660)
}

// removeStale removes a socket that nobody serves, and refuses everything
// else that is in its place.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("%w: %s is there and is not a socket (%s)", ErrSocketPath, path, info.Mode().Type())
	}
	// A server that does not know of the lock may still be there.
	if pid := servedBy(path); pid != nobody {
		return fmt.Errorf("%w, pid %s (%s)", ErrRunning, pid, path)
	}
	return os.Remove(path)
}

// nobody is the pid of a socket that is not served.
const nobody = "none"

// servedBy returns the pid of the process that serves a socket, or nobody.
// Only a refused connection proves that: a server may be too busy to answer,
// or not let us in.
func servedBy(path string) string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nobody
	case err != nil:
		return "unknown"
	}
	defer func() { _ = conn.Close() }()
	if peer, err := peerOf(conn.(*net.UnixConn)); err == nil {
		return fmt.Sprint(peer.PID)
	}
	return "unknown"
}
