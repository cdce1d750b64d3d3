package wasm

import (
	"io/fs"

	"github.com/tetratelabs/wazero/experimental/sys"
	"golang.org/x/sys/unix"
)

// openAt opens the last name of a path. It opens what is there, or makes what
// is not there; O_EXCL decides between the two, so that new files are counted
// rightly whoever else is at work. Truncation waits until it is known what has
// been opened.
func (r *rootFS) openAt(s fsSpot, flag sys.Oflag, perm fs.FileMode) (*rootFile, sys.Errno) {
	access, errno := r.access(s.name, flag)
	if errno != 0 {
		return nil, errno
	}
	const tries = 8 // somebody makes and removes the file all the time
	for range tries {
		fd, err := openAt(s.dir, s.name, access, 0)
		switch {
		case err == nil && flag&sys.O_EXCL != 0 && flag&sys.O_CREAT != 0:
			_ = unix.Close(fd)
			return nil, sys.EEXIST
		case err == nil:
			return r.newFile(fd, s.name, flag)
		case err == unix.ENOENT && flag&sys.O_CREAT != 0:
			fd, errno := r.create(s, access, perm)
			if errno == 0 {
				return r.newFile(fd, s.name, flag)
			} else if errno != sys.EEXIST {
				return nil, errno
			}
		default:
			return nil, r.openError(s, err, flag)
		}
	}
	return nil, sys.EAGAIN
}

// create makes a file that is not there.
func (r *rootFS) create(s fsSpot, access int, perm fs.FileMode) (int, sys.Errno) {
	if r.only != nil { // it was granted as it was, and is gone
		return -1, sys.ENOENT
	}
	if errno := r.quota.create(); errno != 0 {
		return -1, errno
	}
	fd, err := openAt(s.dir, s.name, access|unix.O_CREAT|unix.O_EXCL, uint32(perm.Perm()))
	if err != nil {
		r.quota.uncreate()
	}
	return fd, toErrno(err)
}

// access translates flags to those of open(2), without the ones that change
// anything, and refuses to write where that is not granted.
func (r *rootFS) access(name string, flag sys.Oflag) (int, sys.Errno) {
	flags := unix.O_RDONLY
	switch {
	case flag&sys.O_RDWR != 0:
		flags = unix.O_RDWR
	case flag&sys.O_WRONLY != 0:
		flags = unix.O_WRONLY
	case flag&sys.O_TRUNC != 0: // to be able to, though the guest may only read
		flags = unix.O_RDWR
	}
	if flag&sys.O_DIRECTORY != 0 {
		flags |= unix.O_DIRECTORY
	}
	if flag&(sys.O_SYNC|sys.O_RSYNC) != 0 {
		flags |= unix.O_SYNC
	} else if flag&sys.O_DSYNC != 0 {
		flags |= unix.O_DSYNC
	}
	changes := flags&unix.O_ACCMODE != unix.O_RDONLY || flag&(sys.O_CREAT|sys.O_TRUNC) != 0
	switch {
	case flag&sys.O_DIRECTORY != 0 && flags&unix.O_ACCMODE != unix.O_RDONLY:
		return 0, sys.EISDIR
	case changes && !r.writable(name):
		return 0, sys.EROFS
	}
	return flags, 0
}

// openError explains why a name did not open. A symbolic link is ELOOP or,
// where a directory is wanted, ENOTDIR; walk follows on ELOOP.
func (r *rootFS) openError(s fsSpot, err error, flag sys.Oflag) sys.Errno {
	if err == unix.ELOOP || err == unix.ENOTDIR && flag&sys.O_DIRECTORY != 0 {
		if flag&sys.O_CREAT != 0 && flag&sys.O_EXCL != 0 {
			return sys.EEXIST
		}
		if st, err := lstatAt(s.dir, s.name); err == nil && kindOf(&st) == unix.S_IFLNK {
			return sys.ELOOP
		}
	}
	return toErrno(err)
}

// newFile takes over a descriptor if it is of a kind that guests may have.
func (r *rootFS) newFile(fd int, name string, flag sys.Oflag) (*rootFile, sys.Errno) {
	f, errno := r.adopt(fd, flag)
	if errno == 0 && flag&sys.O_TRUNC != 0 && !f.isDir {
		errno = toErrno(retry(func() error { return unix.Ftruncate(fd, 0) }))
		f.size = 0
	}
	if errno == 0 && flag&sys.O_APPEND != 0 && !f.isDir {
		errno = f.setAppend(true)
	}
	if errno != 0 {
		_ = unix.Close(fd)
		return nil, errno
	}
	f.mayWrite = r.writable(name)
	return f, 0
}

// adopt looks at what has been opened.
func (r *rootFS) adopt(fd int, flag sys.Oflag) (*rootFile, sys.Errno) {
	st, err := fstat(fd)
	if err != nil {
		return nil, toErrno(err)
	}
	f := &rootFile{root: r, id: idOf(&st), fd: fd, size: st.Size}
	f.write = flag&(sys.O_WRONLY|sys.O_RDWR) != 0
	f.readable = flag&sys.O_WRONLY == 0
	switch kindOf(&st) {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		f.isDir = true
	default:
		return nil, errnoKind
	}
	if errno := r.allowed(fd, f.id); errno != 0 {
		return nil, errno
	}
	return f, 0
}
