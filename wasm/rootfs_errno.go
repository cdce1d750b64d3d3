package wasm

import (
	"errors"
	"io/fs"

	"github.com/tetratelabs/wazero/experimental/sys"
	wasisys "github.com/tetratelabs/wazero/sys"
	"golang.org/x/sys/unix"
)

// wazero knows twenty error numbers and turns every other into EIO on the way
// to the guest. These are the ones we pick where POSIX has a better name.
const (
	errnoOpenFiles = sys.EAGAIN // EMFILE: too many open files
	errnoSpace     = sys.EIO    // ENOSPC: bytes or files used up
	errnoTooMany   = sys.ERANGE // a directory with more entries than are listed
	errnoKind      = sys.EPERM  // a FIFO, socket or device
	errnoOutside   = sys.EPERM  // a path that leaves the root
	errnoGuarded   = sys.EACCES // something of the host's own
)

// toErrno maps an error of the os and unix packages. What os.Root refuses
// without an error number is a path that leaves the root.
func toErrno(err error) sys.Errno {
	var errno unix.Errno
	switch {
	case err == nil:
		return 0
	case errors.Is(err, fs.ErrClosed):
		return sys.EBADF
	case !errors.As(err, &errno):
		return errnoOutside
	}
	switch errno {
	case unix.EMFILE, unix.ENFILE:
		return errnoOpenFiles
	case unix.ENOSPC, unix.EDQUOT, unix.EFBIG:
		return errnoSpace
	case unix.ENXIO, unix.ENODEV: // open(2) of a socket, or of a FIFO nobody reads
		return errnoKind
	case unix.EXDEV:
		return sys.ENOTSUP
	case unix.ETXTBSY, unix.EBUSY:
		return sys.EACCES
	}
	return sys.UnwrapOSError(errno)
}

// retry repeats a system call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// fileID names a file on this machine as long as something holds it open.
type fileID struct{ dev, ino uint64 }

func idOf(st *unix.Stat_t) fileID { return fileID{dev: st.Dev, ino: st.Ino} }

// fstat reads the metadata of an open file.
func fstat(fd int) (st unix.Stat_t, err error) {
	err = retry(func() error { return unix.Fstat(fd, &st) })
	return st, err
}

// lstatAt reads the metadata of a name in an open directory; of a symbolic
// link, its own.
func lstatAt(dir int, name string) (st unix.Stat_t, err error) {
	err = retry(func() error { return unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return st, err
}

// openAt opens a name in an open directory. It never follows a link, never
// waits (a FIFO would), and never makes a terminal the controlling one.
func openAt(dir int, name string, flags int, perm uint32) (fd int, err error) {
	flags |= unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY
	err = retry(func() error {
		fd, err = unix.Openat(dir, name, flags, perm)
		return err
	})
	return fd, err
}

// kindOf is the type of a file, without its permissions.
func kindOf(st *unix.Stat_t) uint32 { return st.Mode & unix.S_IFMT }

// toStat converts metadata for wazero.
func toStat(st *unix.Stat_t) wasisys.Stat_t {
	return wasisys.Stat_t{
		Dev: st.Dev, Ino: st.Ino, Mode: toMode(st.Mode), Nlink: uint64(st.Nlink), Size: st.Size,
		Atim: st.Atim.Nano(), Mtim: st.Mtim.Nano(), Ctim: st.Ctim.Nano(),
	}
}

// toMode converts a type and permissions. Set-id and sticky bits mean nothing
// to a guest and are left out.
func toMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		m |= fs.ModeDir
	case unix.S_IFLNK:
		m |= fs.ModeSymlink
	case unix.S_IFIFO:
		m |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		m |= fs.ModeSocket
	case unix.S_IFCHR:
		m |= fs.ModeDevice | fs.ModeCharDevice
	case unix.S_IFBLK:
		m |= fs.ModeDevice
	default:
		m |= fs.ModeIrregular
	}
	return m
}
