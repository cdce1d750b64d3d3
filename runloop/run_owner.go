package runloop

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// errOwned says that another process has a run; it is wrapped with which.
var errOwned = errors.New("another process has the run")

// runOwners keeps two processes from having the same run. Who has a run holds a
// lock (flock(2)) on a file of the run's beside the ledger. The kernel takes the
// lock back when its process ends, however that comes about, so that there is
// neither a lease to renew nor a stale owner.
type runOwners struct{ dir string }

// runOwner is a run that this process has.
type runOwner struct{ file *os.File }

func (s *session) owners() runOwners { return runOwners{filepath.Join(s.places.pog, "runs")} }

// take makes a run this process's own.
func (o runOwners) take(id uuid.UUID) (*runOwner, error) {
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return nil, fmt.Errorf("the lock of a run: %w", err)
	}
	path := filepath.Join(o.dir, id.String()+".lock")
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, fmt.Errorf("the lock of a run: %w", err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			defer f.Close()
			return nil, fmt.Errorf("%w: process %s", errOwned, pidIn(f))
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("the lock of a run: %w", err)
		}
		if !isAt(f, path) { // its owner has ended the run and removed the file
			f.Close()
			continue
		}
		if err := f.Truncate(0); err == nil {
			_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0) // only to be told
		}
		return &runOwner{f}, nil
	}
}

// pidIn is the process that a lock file names.
func pidIn(f *os.File) string {
	b := make([]byte, 20)
	n, _ := f.ReadAt(b, 0)
	if pid := strings.TrimSpace(string(b[:n])); pid != "" {
		return printable(pid)
	}
	return "unknown"
}

// isAt reports whether an open file is the one at path.
func isAt(f *os.File, path string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(open, there)
}

// release lets the run go; the file goes, too, when the run is over for good.
func (o *runOwner) release(over bool) {
	if over {
		_ = os.Remove(o.file.Name()) // what stays is only an empty lock
	}
	o.file.Close()
}
