package wasm

import (
	"io"
	"math"
	"sync"
	"unsafe"

	"github.com/tetratelabs/wazero/experimental/sys"
	wasisys "github.com/tetratelabs/wazero/sys"
	"golang.org/x/sys/unix"
)

// rootFile is a regular file or directory opened in a rootFS. It keeps its own
// offset, so that how far a write reaches is known before it is made.
type rootFile struct {
	root     *rootFS
	id       fileID
	isDir    bool
	readable bool
	write    bool // the descriptor is open for writing
	mayWrite bool // the root lets times be changed

	mu     sync.Mutex // serialises use and Close; wazero may close from outside
	fd     int        // -1 when closed
	append bool
	offset int64
	size   int64 // at least this many bytes are in the file
	names  []sys.Dirent
	listed bool // names has been read
}

var _ sys.File = (*rootFile)(nil)

// use locks an open file for one call.
func (f *rootFile) use() (unlock func(), errno sys.Errno) {
	f.mu.Lock()
	if f.fd < 0 {
		f.mu.Unlock()
		return nil, sys.EBADF
	}
	return f.mu.Unlock, 0
}

// Dev implements sys.File.
func (f *rootFile) Dev() (uint64, sys.Errno) { return f.id.dev, 0 }

// Ino implements sys.File.
func (f *rootFile) Ino() (wasisys.Inode, sys.Errno) { return f.id.ino, 0 }

// IsDir implements sys.File.
func (f *rootFile) IsDir() (bool, sys.Errno) { return f.isDir, 0 }

// IsAppend implements sys.File.
func (f *rootFile) IsAppend() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.append
}

// SetAppend implements sys.File.
func (f *rootFile) SetAppend(enable bool) sys.Errno {
	unlock, errno := f.use()
	if errno != 0 {
		return errno
	}
	defer unlock()
	if f.isDir {
		return sys.EISDIR
	}
	return f.setAppend(enable)
}

// setAppend lets the kernel do the appending, so that two writers do not
// overwrite each other.
func (f *rootFile) setAppend(enable bool) sys.Errno {
	flags, err := unix.FcntlInt(uintptr(f.fd), unix.F_GETFL, 0)
	if err != nil {
		return toErrno(err)
	}
	flags &^= unix.O_APPEND
	if enable {
		flags |= unix.O_APPEND
	}
	if _, err := unix.FcntlInt(uintptr(f.fd), unix.F_SETFL, flags); err != nil {
		return toErrno(err)
	}
	f.append = enable
	return 0
}

// Stat implements sys.File.
func (f *rootFile) Stat() (wasisys.Stat_t, sys.Errno) {
	unlock, errno := f.use()
	if errno != 0 {
		return wasisys.Stat_t{}, errno
	}
	defer unlock()
	st, err := fstat(f.fd)
	if err != nil {
		return wasisys.Stat_t{}, toErrno(err)
	}
	return toStat(&st), 0
}

// Read implements sys.File.
func (f *rootFile) Read(buf []byte) (int, sys.Errno) {
	unlock, errno := f.use()
	if errno != 0 {
		return 0, errno
	}
	defer unlock()
	n, errno := f.pread(buf, f.offset)
	f.offset += int64(n)
	return n, errno
}

// Pread implements sys.File.
func (f *rootFile) Pread(buf []byte, off int64) (int, sys.Errno) {
	unlock, errno := f.use()
	if errno != 0 {
		return 0, errno
	}
	defer unlock()
	return f.pread(buf, off)
}

// pread reads until buf is full or the file ends.
func (f *rootFile) pread(buf []byte, off int64) (n int, errno sys.Errno) {
	switch {
	case f.isDir:
		return 0, sys.EISDIR
	case !f.readable:
		return 0, sys.EBADF
	case off < 0:
		return 0, sys.EINVAL
	}
	for n < len(buf) {
		got := 0
		err := retry(func() (err error) {
			got, err = unix.Pread(f.fd, buf[n:], off+int64(n))
			return err
		})
		if err != nil || got == 0 {
			return n, toErrno(err)
		}
		n += got
	}
	return n, 0
}

// fileOffset is an int64 by another name. go vet holds every Seek(int64, int)
// against io.Seeker, while this one has to return wazero's kind of error.
type fileOffset = int64

// Seek implements sys.File. Of a directory only the start can be sought.
func (f *rootFile) Seek(offset fileOffset, whence int) (fileOffset, sys.Errno) {
	unlock, errno := f.use()
	if errno != 0 {
		return 0, errno
	}
	defer unlock()
	if f.isDir {
		if offset != 0 || whence != io.SeekStart {
			return 0, sys.EINVAL
		}
		f.names, f.listed = nil, false
		return 0, 0
	}
	var base int64
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		base = f.offset
	case io.SeekEnd:
		st, err := fstat(f.fd)
		if err != nil {
			return 0, toErrno(err)
		}
		base = st.Size
	default:
		return 0, sys.EINVAL
	}
	if offset > math.MaxInt64-base || base+offset < 0 {
		return 0, sys.EINVAL
	}
	f.offset = base + offset
	return f.offset, 0
}

// Write implements sys.File.
func (f *rootFile) Write(buf []byte) (int, sys.Errno) {
	unlock, errno := f.use()
	if errno != 0 {
		return 0, errno
	}
	defer unlock()
	n, errno := f.pwrite(buf, f.offset)
	f.offset += int64(n)
	if f.append && n > 0 { // the kernel wrote at the end, wherever that was
		if st, err := fstat(f.fd); err == nil {
			f.offset, f.size = st.Size, st.Size
		}
	}
	return n, errno
}

// Pwrite implements sys.File.
func (f *rootFile) Pwrite(buf []byte, off int64) (int, sys.Errno) {
	unlock, errno := f.use()
	if errno != 0 {
		return 0, errno
	}
	defer unlock()
	return f.pwrite(buf, off)
}

// pwrite writes all of buf or nothing that the quota does not cover. Writing
// beyond the end leaves a hole, which counts as if it were written.
func (f *rootFile) pwrite(buf []byte, off int64) (n int, errno sys.Errno) {
	switch {
	case f.isDir:
		return 0, sys.EISDIR
	case !f.write:
		return 0, sys.EBADF
	case off < 0 || off > math.MaxInt64-int64(len(buf)):
		return 0, sys.EINVAL
	}
	hole := f.hole(off)
	if errno := f.root.quota.write(hole + int64(len(buf))); errno != 0 {
		return 0, errno
	}
	for n < len(buf) && errno == 0 {
		err := retry(func() error {
			put, err := unix.Pwrite(f.fd, buf[n:], off+int64(n))
			n += max(put, 0)
			return err
		})
		errno = toErrno(err)
	}
	f.root.quota.unwrite(int64(len(buf) - n))
	if n > 0 {
		f.size = max(f.size, off+int64(n))
	}
	return n, errno
}

// hole is how far off lies beyond the end of the file.
func (f *rootFile) hole(off int64) int64 {
	if off <= f.size || f.append {
		return 0
	}
	if st, err := fstat(f.fd); err == nil {
		f.size = st.Size // another writer may have been there
	}
	return max(off-f.size, 0)
}

// Truncate implements sys.File. Growing counts as writing.
func (f *rootFile) Truncate(size int64) sys.Errno {
	unlock, errno := f.use()
	if errno != 0 {
		return errno
	}
	defer unlock()
	switch {
	case f.isDir:
		return sys.EISDIR
	case !f.write:
		return sys.EBADF
	case size < 0:
		return sys.EINVAL
	}
	grown := f.hole(size)
	if errno := f.root.quota.write(grown); errno != 0 {
		return errno
	}
	if err := retry(func() error { return unix.Ftruncate(f.fd, size) }); err != nil {
		f.root.quota.unwrite(grown)
		return toErrno(err)
	}
	f.size = size
	return 0
}

// Sync implements sys.File.
func (f *rootFile) Sync() sys.Errno { return f.flush(unix.Fsync) }

// Datasync implements sys.File.
func (f *rootFile) Datasync() sys.Errno { return f.flush(unix.Fdatasync) }

func (f *rootFile) flush(sync func(fd int) error) sys.Errno {
	unlock, errno := f.use()
	if errno != 0 {
		return errno
	}
	defer unlock()
	return toErrno(retry(func() error { return sync(f.fd) }))
}

// Utimens implements sys.File.
func (f *rootFile) Utimens(atim, mtim int64) sys.Errno {
	unlock, errno := f.use()
	if errno != 0 {
		return errno
	}
	defer unlock()
	if !f.mayWrite {
		return sys.EROFS
	}
	ts := toTimespecs(atim, mtim)
	// utimensat(2) without a path is futimens(3); the unix package has no name
	// for it.
	_, _, e := unix.Syscall6(unix.SYS_UTIMENSAT,
		uintptr(f.fd), 0, uintptr(unsafe.Pointer(&ts[0])), 0, 0, 0)
	if e != 0 {
		return toErrno(e)
	}
	return 0
}

// Close implements sys.File.
func (f *rootFile) Close() sys.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fd < 0 {
		return 0
	}
	err := unix.Close(f.fd)
	f.fd = -1
	f.root.quota.closeFile()
	f.root.forget(f)
	return toErrno(err)
}
