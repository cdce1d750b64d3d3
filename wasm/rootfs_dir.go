package wasm

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tetratelabs/wazero/experimental/sys"
	"golang.org/x/sys/unix"
)

// Readdir implements sys.File. Names come sorted, so that a replay sees what
// the run saw; that takes reading them all, hence the limit. Names that are
// not UTF-8 are left out: WASI has no way to say them.
func (f *rootFile) Readdir(n int) ([]sys.Dirent, sys.Errno) {
	unlock, errno := f.use()
	if errno != 0 {
		return nil, errno
	}
	defer unlock()
	if !f.isDir {
		return nil, sys.ENOTDIR
	}
	if !f.listed {
		if f.names, errno = f.list(); errno != 0 {
			return nil, errno
		}
		f.listed = true
	}
	if n <= 0 || n > len(f.names) {
		n = len(f.names)
	}
	out := f.names[:n:n]
	f.names = f.names[n:]
	return out, 0
}

// list reads the whole directory through a descriptor of its own, so that a
// second listing starts at the beginning.
func (f *rootFile) list() ([]sys.Dirent, sys.Errno) {
	fd, err := openAt(f.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, toErrno(err)
	}
	defer unix.Close(fd)
	var names []sys.Dirent
	buf := make([]byte, 32<<10)
	for {
		n := 0
		err := retry(func() (err error) {
			n, err = unix.Getdents(fd, buf)
			return err
		})
		switch {
		case err != nil:
			return nil, toErrno(err)
		case n <= 0:
			slices.SortFunc(names, func(a, b sys.Dirent) int { return strings.Compare(a.Name, b.Name) })
			return names, 0
		}
		names = f.appendEntries(names, fd, buf[:n])
		if errno := f.root.quota.entries(len(names)); errno != 0 {
			return nil, errno
		}
	}
}

// appendEntries decodes what getdents64(2) wrote: inode and offset of eight
// bytes each, the length of the record in two, the type in one, a name that
// ends in NUL.
func (f *rootFile) appendEntries(names []sys.Dirent, dir int, buf []byte) []sys.Dirent {
	const header = 19
	for len(buf) > header {
		size := int(binary.NativeEndian.Uint16(buf[16:]))
		if size < header || size > len(buf) {
			return names // the kernel does not do this
		}
		name, _, _ := bytes.Cut(buf[header:size], []byte{0})
		d := sys.Dirent{Ino: binary.NativeEndian.Uint64(buf), Name: string(name)}
		mode := uint32(buf[18]) << 12 // DT_ values are S_IF values shifted
		buf = buf[size:]
		if !f.shows(d.Name) {
			continue
		}
		if mode == 0 { // a file system that does not tell
			if st, err := lstatAt(dir, d.Name); err == nil {
				mode = st.Mode
			}
		}
		d.Type = toMode(mode).Type()
		names = append(names, d)
	}
	return names
}

// shows tells whether a name is listed.
func (f *rootFile) shows(name string) bool {
	if name == "." || name == ".." || !utf8.ValidString(name) {
		return false
	}
	_, granted := f.root.only[name]
	return f.root.only == nil || granted
}
