package wasm

import (
	"bytes"
	"io/fs"
	"strings"

	"github.com/tetratelabs/wazero/experimental/sys"
	wasisys "github.com/tetratelabs/wazero/sys"
	"lukechampine.com/blake3"
)

// tapeFS is a file system behind a tape. In a replay its inner file system and
// files do nothing, and are not asked.
type tapeFS struct {
	tape  *fsTape
	inner sys.FS
	path  string
}

var _ sys.FS = (*tapeFS)(nil)

// OpenFile implements sys.FS. What a file is goes into the recording once, so
// that asking for it later needs no operation.
func (t *tapeFS) OpenFile(path string, flag sys.Oflag, perm fs.FileMode) (sys.File, sys.Errno) {
	args := fsArgs{Root: t.path, Path: path, Flag: uint32(flag), Perm: uint32(perm)}
	var inner sys.File // stays nil where the recording answers
	res, errno := t.tape.do("fs.open", args, func(res *fsResult) (errno sys.Errno) {
		if inner, errno = t.inner.OpenFile(path, flag, perm); errno != 0 {
			return errno
		}
		res.File = t.tape.files + 1
		res.Dir, _ = inner.IsDir()
		res.Dev, _ = inner.Dev()
		res.Ino, _ = inner.Ino()
		return 0
	})
	if errno != 0 {
		return nil, openErrno(path, flag, perm, errno)
	}
	t.tape.files = res.File
	return &tapeFile{tape: t.tape, fs: t, live: inner, path: path, open: res, append: flag&sys.O_APPEND != 0}, 0
}

// plain carries out an operation that answers nothing but an error.
func (t *tapeFS) plain(op string, args fsArgs, live func() sys.Errno) sys.Errno {
	args.Root = t.path
	_, errno := t.tape.do(op, args, func(*fsResult) sys.Errno { return live() })
	return errno
}

// statFunc is Stat or Lstat.
type statFunc func(path string) (wasisys.Stat_t, sys.Errno)

func (t *tapeFS) stat(op, path string, live statFunc) (wasisys.Stat_t, sys.Errno) {
	args := fsArgs{Root: t.path, Path: path}
	res, errno := t.tape.do(op, args, func(res *fsResult) sys.Errno {
		st, errno := live(path)
		res.Stat = fromStat(st)
		return errno
	})
	return res.Stat.stat(), errno
}

// Lstat implements sys.FS.
func (t *tapeFS) Lstat(path string) (wasisys.Stat_t, sys.Errno) {
	return t.stat("fs.lstat", path, t.inner.Lstat)
}

// Stat implements sys.FS.
func (t *tapeFS) Stat(path string) (wasisys.Stat_t, sys.Errno) {
	return t.stat("fs.stat", path, t.inner.Stat)
}

// Mkdir implements sys.FS.
func (t *tapeFS) Mkdir(path string, perm fs.FileMode) sys.Errno {
	args := fsArgs{Path: path, Perm: uint32(perm)}
	return t.plain("fs.mkdir", args, func() sys.Errno { return t.inner.Mkdir(path, perm) })
}

// Chmod implements sys.FS.
func (t *tapeFS) Chmod(path string, perm fs.FileMode) sys.Errno {
	args := fsArgs{Path: path, Perm: uint32(perm)}
	return t.plain("fs.chmod", args, func() sys.Errno { return t.inner.Chmod(path, perm) })
}

// Rename implements sys.FS.
func (t *tapeFS) Rename(from, to string) sys.Errno {
	args := fsArgs{Path: from, To: to}
	return t.plain("fs.rename", args, func() sys.Errno { return t.inner.Rename(from, to) })
}

// Rmdir implements sys.FS.
func (t *tapeFS) Rmdir(path string) sys.Errno {
	args := fsArgs{Path: path}
	return t.plain("fs.rmdir", args, func() sys.Errno { return t.inner.Rmdir(path) })
}

// Unlink implements sys.FS.
func (t *tapeFS) Unlink(path string) sys.Errno {
	args := fsArgs{Path: path}
	return t.plain("fs.unlink", args, func() sys.Errno { return t.inner.Unlink(path) })
}

// Link implements sys.FS.
func (t *tapeFS) Link(from, to string) sys.Errno {
	args := fsArgs{Path: from, To: to}
	return t.plain("fs.link", args, func() sys.Errno { return t.inner.Link(from, to) })
}

// Symlink implements sys.FS. The target is guest memory; the recording gets a
// copy.
func (t *tapeFS) Symlink(target, path string) sys.Errno {
	args := fsArgs{Path: path, To: strings.Clone(target)}
	return t.plain("fs.symlink", args, func() sys.Errno { return t.inner.Symlink(target, path) })
}

// Readlink implements sys.FS.
func (t *tapeFS) Readlink(path string) (string, sys.Errno) {
	args := fsArgs{Root: t.path, Path: path}
	res, errno := t.tape.do("fs.readlink", args, func(res *fsResult) (errno sys.Errno) {
		res.Text, errno = t.inner.Readlink(path)
		return errno
	})
	return res.Text, errno
}

// Utimens implements sys.FS.
func (t *tapeFS) Utimens(path string, atim, mtim int64) sys.Errno {
	args := fsArgs{Path: path, Atim: atim, Mtim: mtim}
	return t.plain("fs.utimens", args, func() sys.Errno { return t.inner.Utimens(path, atim, mtim) })
}

// tapeFile is an open file behind a tape.
type tapeFile struct {
	tape   *fsTape
	fs     *tapeFS
	live   sys.File // nil while only the recording knows it
	path   string
	open   fsResult // of the fs.open that made it
	append bool
}

var _ sys.File = (*tapeFile)(nil)

// inner is the file itself. One that was opened while the recording answered can be
// had only if it is a root, which is where it was: an attempt that holds another is
// not taken out of its sandbox (see handles).
func (f *tapeFile) inner() sys.File {
	if f.live != nil {
		return f.live
	}
	f.live = sys.UnimplementedFile{}
	if f.path != rootPath {
		return f.live
	}
	root, errno := f.fs.inner.OpenFile(f.path, 0, 0)
	if errno != 0 {
		return f.live
	}
	dev, _ := root.Dev()
	ino, _ := root.Ino()
	if dev != f.open.Dev || ino != f.open.Ino { // another folder has its name
		root.Close()
		return f.live
	}
	f.live = root
	return root
}

// rootPath is what a root is called inside of itself.
const rootPath = "."

// tapeCall carries out an operation and fills in what it answers.
type tapeCall func(*fsResult) sys.Errno

// do puts an operation on the file on the tape.
func (f *tapeFile) do(op string, args fsArgs, live tapeCall) (fsResult, sys.Errno) {
	args.File = f.open.File
	return f.tape.do(op, args, live)
}

// plain carries out an operation that answers nothing but an error.
func (f *tapeFile) plain(op string, args fsArgs, live func() sys.Errno) sys.Errno {
	_, errno := f.do(op, args, func(*fsResult) sys.Errno { return live() })
	return errno
}

// Dev implements sys.File.
func (f *tapeFile) Dev() (uint64, sys.Errno) { return f.open.Dev, 0 }

// Ino implements sys.File.
func (f *tapeFile) Ino() (wasisys.Inode, sys.Errno) { return f.open.Ino, 0 }

// IsDir implements sys.File.
func (f *tapeFile) IsDir() (bool, sys.Errno) { return f.open.Dir, 0 }

// IsAppend implements sys.File.
func (f *tapeFile) IsAppend() bool { return f.append }

// SetAppend implements sys.File.
func (f *tapeFile) SetAppend(on bool) sys.Errno {
	args := fsArgs{On: on}
	errno := f.plain("fs.set_append", args, func() sys.Errno { return f.inner().SetAppend(on) })
	if errno == 0 {
		f.append = on
	}
	return errno
}

// Stat implements sys.File.
func (f *tapeFile) Stat() (wasisys.Stat_t, sys.Errno) {
	res, errno := f.do("fs.fstat", fsArgs{}, func(res *fsResult) sys.Errno {
		st, errno := f.inner().Stat()
		res.Stat = fromStat(st)
		return errno
	})
	return res.Stat.stat(), errno
}

// dataFunc reads into, or writes from, a part of guest memory.
type dataFunc func(buf []byte) (int, sys.Errno)

// read carries out Read or Pread. The recording holds the data.
func (f *tapeFile) read(op string, off int64, buf []byte, live dataFunc) (int, sys.Errno) {
	args := fsArgs{Off: off, Len: len(buf)}
	res, errno := f.do(op, args, func(res *fsResult) sys.Errno {
		n, errno := live(buf)
		res.Data = bytes.Clone(buf[:n])
		return errno
	})
	if len(res.Data) > len(buf) {
		return 0, sys.EIO
	}
	return copy(buf, res.Data), errno
}

// Read implements sys.File.
func (f *tapeFile) Read(buf []byte) (int, sys.Errno) {
	return f.read("fs.read", 0, buf, func(b []byte) (int, sys.Errno) { return f.inner().Read(b) })
}

// Pread implements sys.File.
func (f *tapeFile) Pread(buf []byte, off int64) (int, sys.Errno) {
	live := func(b []byte) (int, sys.Errno) { return f.inner().Pread(b, off) }
	return f.read("fs.pread", off, buf, live)
}

// write carries out Write or Pwrite. The recording holds a digest, enough to
// notice that a replay writes something else.
func (f *tapeFile) write(op string, off int64, buf []byte, live dataFunc) (int, sys.Errno) {
	sum := blake3.Sum256(buf)
	args := fsArgs{Off: off, Len: len(buf), Sum: sum[:]}
	res, errno := f.do(op, args, func(res *fsResult) sys.Errno {
		n, errno := live(buf)
		res.N = int64(n)
		return errno
	})
	if res.N < 0 || res.N > int64(len(buf)) {
		return 0, sys.EIO
	}
	return int(res.N), errno
}

// Write implements sys.File.
func (f *tapeFile) Write(buf []byte) (int, sys.Errno) {
	return f.write("fs.write", 0, buf, func(b []byte) (int, sys.Errno) { return f.inner().Write(b) })
}

// Pwrite implements sys.File.
func (f *tapeFile) Pwrite(buf []byte, off int64) (int, sys.Errno) {
	live := func(b []byte) (int, sys.Errno) { return f.inner().Pwrite(b, off) }
	return f.write("fs.pwrite", off, buf, live)
}

// Seek implements sys.File.
func (f *tapeFile) Seek(offset fileOffset, whence int) (fileOffset, sys.Errno) {
	args := fsArgs{Off: offset, Whence: whence}
	res, errno := f.do("fs.seek", args, func(res *fsResult) (errno sys.Errno) {
		res.N, errno = f.inner().Seek(offset, whence)
		return errno
	})
	return res.N, errno
}

// Readdir implements sys.File.
func (f *tapeFile) Readdir(n int) ([]sys.Dirent, sys.Errno) {
	res, errno := f.do("fs.readdir", fsArgs{Len: n}, func(res *fsResult) sys.Errno {
		names, errno := f.inner().Readdir(n)
		for _, d := range names {
			res.Names = append(res.Names, fsDirent{d.Name, d.Ino, uint32(d.Type)})
		}
		return errno
	})
	names := make([]sys.Dirent, 0, len(res.Names))
	for _, d := range res.Names {
		names = append(names, sys.Dirent{Name: d.Name, Ino: d.Ino, Type: fs.FileMode(d.Type)})
	}
	return names, errno
}

// Truncate implements sys.File.
func (f *tapeFile) Truncate(size int64) sys.Errno {
	args := fsArgs{Off: size}
	return f.plain("fs.truncate", args, func() sys.Errno { return f.inner().Truncate(size) })
}

// Sync implements sys.File.
func (f *tapeFile) Sync() sys.Errno {
	return f.plain("fs.sync", fsArgs{}, func() sys.Errno { return f.inner().Sync() })
}

// Datasync implements sys.File.
func (f *tapeFile) Datasync() sys.Errno {
	return f.plain("fs.datasync", fsArgs{}, func() sys.Errno { return f.inner().Datasync() })
}

// Utimens implements sys.File.
func (f *tapeFile) Utimens(atim, mtim int64) sys.Errno {
	args := fsArgs{Atim: atim, Mtim: mtim}
	return f.plain("fs.futimens", args, func() sys.Errno { return f.inner().Utimens(atim, mtim) })
}

// Close implements sys.File. It is not on the tape: files that a guest leaves
// open are closed after it has ended, when there is nothing to replay.
func (f *tapeFile) Close() sys.Errno {
	if f.tape.closed != nil {
		f.tape.closed(f.open.File)
	}
	if f.live == nil {
		return 0
	}
	return f.live.Close()
}
