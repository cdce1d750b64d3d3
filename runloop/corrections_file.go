package runloop

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/runloop-os/runloop/router"
)

// correctionsFile holds what the user said of the router's decisions, as it is
// read on every Enter. It is derived: the ledger has the same and more.
const correctionsFile = "router-corrections"

// readCorrections reads the small file in the folder for state. No file is no
// correction. Whatever else it meets there, a fifo or a file of somebody else's
// included, is not waited for and not believed.
func readCorrections(work string) (*router.Corrections, error) {
	if work == "" {
		return nil, nil
	}
	path := filepath.Join(work, correctionsFile)
	data, err := readOwn(path, router.MaxCorrectionsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	c, err := router.ParseCorrections(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// readOwn reads a regular file that only its owner, this user, can write. It
// does without package os, which would set up a poller to read it.
func readOwn(path string, most int) ([]byte, error) {
	const flags = unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY
	fd, err := unix.Open(path, flags, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, errors.New("is no regular file")
	case int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0:
		return nil, errors.New("can be written by others")
	case st.Size > int64(most):
		return nil, fmt.Errorf("has %d bytes, at most %d are read", st.Size, most)
	}
	buf := make([]byte, st.Size)
	for n := 0; n < len(buf); {
		m, err := unix.Read(fd, buf[n:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, err
		case m == 0:
			return buf[:n], nil
		}
		n += m
	}
	return buf, nil
}

// writeCorrections replaces the small file.
func writeCorrections(work string, list []router.Correction) error {
	f, err := os.CreateTemp(work, "."+correctionsFile+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	_, err = f.Write(router.FormatCorrections(list))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(work, correctionsFile))
}
