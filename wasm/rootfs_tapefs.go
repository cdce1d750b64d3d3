package wasm

import (
	"bytes"
	"io/fs"

	"github.com/tetratelabs/wazero/experimental/sys"
	wasisys "github.com/tetratelabs/wazero/sys"
	"lukechampine.com/blake3"
)

// tapeFS is a file system behind a tape.
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
	var inner sys.File
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
	switch {
	case errno != 0 && path == ".":
		return nil, sys.ENOENT // see rootFS.OpenFile
	case errno != 0:
		return nil, errno
	}
	t.tape.files = res.File
	return &tapeFile{tape: t.tape, inner: inner, open: res, append: flag&sys.O_APPEND != 0}, 0
}

// path1 carries out an operation on one path that answers nothing but an error.
func (t *tapeFS) path1(op string, args fsArgs, live func() sys.Errno) sys.Errno {
	args.Root = t.path
	_, errno := t.tape.do(op, args, func(*fsResult) sys.Errno { return live() })
	return errno
}

// metadata carries out Stat or Lstat.
func (t *tapeFS) metadata(op, path string, live func(string) (wasisys.Stat_t, sys.Errno)) (wasisys.Stat_t, sys.Errno) {
	res, errno := t.tape.do(op, fsArgs{Root: t.path, Path: path}, func(res *fsResult) sys.Errno {
		st, errno := live(path)
		res.Stat = fromStat(st)
		return errno
	})
	return res.Stat.stat(), errno
}

// Lstat implements sys.FS.
func (t *tapeFS) Lstat(path string) (wasisys.Stat_t, sys.Errno) {
	return t.metadata("fs.lstat", path, func(p string) (wasisys.Stat_t, sys.Errno) { return t.inner.Lstat(p) })
}

// Stat implements sys.FS.
func (t *tapeFS) Stat(path string) (wasisys.Stat_t, sys.Errno) {
	return t.metadata("fs.stat", path, func(p string) (wasisys.Stat_t, sys.Errno) { return t.inner.Stat(p) })
}

// Mkdir implements sys.FS.
func (t *tapeFS) Mkdir(path string, perm fs.FileMode) sys.Errno {
	args := fsArgs{Path: path, Perm: uint32(perm)}
	return t.path1("fs.mkdir", args, func() sys.Errno { return t.inner.Mkdir(path, perm) })
}

// Chmod implements sys.FS.
func (t *tapeFS) Chmod(path string, perm fs.FileMode) sys.Errno {
	args := fsArgs{Path: path, Perm: uint32(perm)}
	return t.path1("fs.chmod", args, func() sys.Errno { return t.inner.Chmod(path, perm) })
}

// Rename implements sys.FS.
func (t *tapeFS) Rename(from, to string) sys.Errno {
	return t.path1("fs.rename", fsArgs{Path: from, To: to}, func() sys.Errno { return t.inner.Rename(from, to) })
}

// Rmdir implements sys.FS.
func (t *tapeFS) Rmdir(path string) sys.Errno {
	return t.path1("fs.rmdir", fsArgs{Path: path}, func() sys.Errno { return t.inner.Rmdir(path) })
}

// Unlink implements sys.FS.
func (t *tapeFS) Unlink(path string) sys.Errno {
	return t.path1("fs.unlink", fsArgs{Path: path}, func() sys.Errno { return t.inner.Unlink(path) })
}

// Link implements sys.FS.
func (t *tapeFS) Link(from, to string) sys.Errno {
	return t.path1("fs.link", fsArgs{Path: from, To: to}, func() sys.Errno { return t.inner.Link(from, to) })
}

// Symlink implements sys.FS. The target is guest memory; the recording gets
// its own copy.
func (t *tapeFS) Symlink(target, path string) sys.Errno {
	args := fsArgs{Path: path, To: string([]byte(target))}
	return t.path1("fs.symlink", args, func() sys.Errno { return t.inner.Symlink(target, path) })
}

// Readlink implements sys.FS.
func (t *tapeFS) Readlink(path string) (string, sys.Errno) {
	res, errno := t.tape.do("fs.readlink", fsArgs{Root: t.path, Path: path}, func(res *fsResult) (errno sys.Errno) {
		res.Text, errno = t.inner.Readlink(path)
		return errno
	})
	return res.Text, errno
}

// Utimens implements sys.FS.
func (t *tapeFS) Utimens(path string, atim, mtim int64) sys.Errno {
	args := fsArgs{Path: path, Atim: atim, Mtim: mtim}
	return t.path1("fs.utimens", args, func() sys.Errno { return t.inner.Utimens(path, atim, mtim) })
}

// tapeFile is an open file behind a tape.
type tapeFile struct {
	tape   *fsTape
	inner  sys.File
	open   fsResult // of the fs.open that made it
	append bool
	closed bool
}

var _ sys.File = (*tapeFile)(nil)

// do carries out an operation on the file.
func (f *tapeFile) do(op string, args fsArgs, live func(*fsResult) sys.Errno) (fsResult, sys.Errno) {
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
	errno := f.plain("fs.set_append", fsArgs{On: on}, func() sys.Errno { return f.inner.SetAppend(on) })
	if errno == 0 {
		f.append = on
	}
	return errno
}

// Stat implements sys.File.
func (f *tapeFile) Stat() (wasisys.Stat_t, sys.Errno) {
	res, errno := f.do("fs.fstat", fsArgs{}, func(res *fsResult) sys.Errno {
		st, errno := f.inner.Stat()
		res.Stat = fromStat(st)
		return errno
	})
	return res.Stat.stat(), errno
}

// read carries out Read or Pread. The recording holds the data.
func (f *tapeFile) read(op string, args fsArgs, buf []byte, live func([]byte) (int, sys.Errno)) (int, sys.Errno) {
	args.Len = len(buf)
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
	return f.read("fs.read", fsArgs{}, buf, func(b []byte) (int, sys.Errno) { return f.inner.Read(b) })
}

// Pread implements sys.File.
func (f *tapeFile) Pread(buf []byte, off int64) (int, sys.Errno) {
	return f.read("fs.pread", fsArgs{Off: off}, buf, func(b []byte) (int, sys.Errno) { return f.inner.Pread(b, off) })
}

// write carries out Write or Pwrite. The recording holds a digest, enough to
// notice that a replay writes something else.
func (f *tapeFile) write(op string, args fsArgs, buf []byte, live func([]byte) (int, sys.Errno)) (int, sys.Errno) {
	sum := blake3.Sum256(buf)
	args.Len, args.Sum = len(buf), sum[:]
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
	return f.write("fs.write", fsArgs{}, buf, func(b []byte) (int, sys.Errno) { return f.inner.Write(b) })
}

// Pwrite implements sys.File.
func (f *tapeFile) Pwrite(buf []byte, off int64) (int, sys.Errno) {
	return f.write("fs.pwrite", fsArgs{Off: off}, buf, func(b []byte) (int, sys.Errno) { return f.inner.Pwrite(b, off) })
}

// Seek implements sys.File.
func (f *tapeFile) Seek(offset fileOffset, whence int) (fileOffset, sys.Errno) {
	res, errno := f.do("fs.seek", fsArgs{Off: offset, Whence: whence}, func(res *fsResult) (errno sys.Errno) {
		res.N, errno = f.inner.Seek(offset, whence)
		return errno
	})
	return res.N, errno
}

// Readdir implements sys.File.
func (f *tapeFile) Readdir(n int) ([]sys.Dirent, sys.Errno) {
	res, errno := f.do("fs.readdir", fsArgs{Len: n}, func(res *fsResult) sys.Errno {
		names, errno := f.inner.Readdir(n)
		for _, d := range names {
			res.Names = append(res.Names, fsDirent{d.Name, d.Ino, uint32(d.Type)})
		}
		return errno
	})
	names := make([]sys.Dirent, 0, len(res.Names))
	for _, d := range res.Names {
		names = append(names, sys.Dirent{Name: d.Name, Ino: d.Ino, Type: modeOf(d.Type)})
	}
	return names, errno
}

// Truncate implements sys.File.
func (f *tapeFile) Truncate(size int64) sys.Errno {
	return f.plain("fs.truncate", fsArgs{Off: size}, func() sys.Errno { return f.inner.Truncate(size) })
}

// Sync implements sys.File.
func (f *tapeFile) Sync() sys.Errno {
	return f.plain("fs.sync", fsArgs{}, func() sys.Errno { return f.inner.Sync() })
}

// Datasync implements sys.File.
func (f *tapeFile) Datasync() sys.Errno {
	return f.plain("fs.datasync", fsArgs{}, func() sys.Errno { return f.inner.Datasync() })
}

// Utimens implements sys.File.
func (f *tapeFile) Utimens(atim, mtim int64) sys.Errno {
	args := fsArgs{Atim: atim, Mtim: mtim}
	return f.plain("fs.futimens", args, func() sys.Errno { return f.inner.Utimens(atim, mtim) })
}

// Close implements sys.File. It is not on the tape: files that a guest leaves
// open are closed after it has ended, when there is nothing to replay.
func (f *tapeFile) Close() sys.Errno {
	if f.closed || f.inner == nil {
		return 0
	}
	f.closed = true
	return f.inner.Close()
}

func modeOf(mode uint32) fs.FileMode { return fs.FileMode(mode) }
