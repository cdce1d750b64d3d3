package enter

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"syscall"

	"github.com/runloop-os/runloop/router"
)

// CorrectionsFile holds, in the folder for state, what the user said of the
// router's decisions, as it is read on every Enter. It is derived: the ledger has
// the same and more.
const CorrectionsFile = "router-corrections"

// ReadCorrections reads the small file in the folder for state, "" for none. No
// file is no correction. Whatever else it meets there, a fifo or a file of
// somebody else's included, is not waited for and not believed.
func ReadCorrections(work string) (*router.Corrections, error) {
	if work == "" {
		return nil, nil
	}
	path := work + "/" + CorrectionsFile
	data, err := readOwn(path, router.MaxCorrectionsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var c *router.Corrections
	if err == nil {
		c, err = router.ParseCorrections(data)
	}
	if err != nil {
		return nil, errors.New(path + ": " + err.Error())
	}
	return c, nil
}

// readOwn reads a regular file that only its owner, this user, can write. It
// does without package os, which would set up a poller to read it.
func readOwn(path string, most int) ([]byte, error) {
	const flags = syscall.O_RDONLY | syscall.O_CLOEXEC | syscall.O_NOFOLLOW | syscall.O_NONBLOCK | syscall.O_NOCTTY
	fd, err := syscall.Open(path, flags, 0)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(fd)
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return nil, err
	}
	switch {
	case st.Mode&syscall.S_IFMT != syscall.S_IFREG:
		return nil, errors.New("is no regular file")
	case int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0:
		return nil, errors.New("can be written by others")
	case st.Size > int64(most):
		return nil, errors.New("has " + strconv.FormatInt(st.Size, 10) + " bytes, at most " + strconv.Itoa(most) + " are read")
	}
	buf := make([]byte, st.Size)
	for n := 0; n < len(buf); {
		m, err := syscall.Read(fd, buf[n:])
		switch {
		case errors.Is(err, syscall.EINTR):
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
