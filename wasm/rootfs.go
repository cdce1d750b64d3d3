package wasm

import (
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/tetratelabs/wazero/experimental/sys"
	wasisys "github.com/tetratelabs/wazero/sys"
	"golang.org/x/sys/unix"
)

// rootFS is one granted root as wazero sees it: a directory tree, or single
// files of a directory. A guest reaches regular files and directories below
// the root and nothing else.
//
//   - Paths are walked by os.Root, so that neither "..", links nor renames by
//     others lead outside; the last name is taken with the *at system calls on
//     the open directory. Nothing is checked first and used later.
//   - Links that stay inside are followed; guests make none, move none, and
//     read only relative ones.
//   - FIFOs, sockets and devices cannot be opened, and no call waits for one.
//   - The host's own directories are refused on the way to a file and at it.
//   - Modes are the host's business: Chmod is refused.
//
// A rootFS serves one instance; Close ends it.
type rootFS struct {
	path  string // on the host
	root  *os.Root
	dir   *os.File // the root's directory, owner of fd
	fd    int
	id    fileID
	write bool
	only  map[string]bool // single files by name, and whether they may be written
	guard *guardSet
	quota *fsQuota

	mu   sync.Mutex
	open map[*rootFile]struct{}
}

var _ sys.FS = (*rootFS)(nil)

// Close closes the root and all files that were opened through it. wazero
// closes files with their instance, but not when making the instance failed,
// which may be after its start section has opened some.
func (r *rootFS) Close() error {
	for _, f := range r.end() {
		_ = f.Close()
	}
	err := r.dir.Close()
	if cerr := r.root.Close(); err == nil {
		err = cerr
	}
	return err
}

// end makes the root useless and lists the files that are open.
func (r *rootFS) end() (files []*rootFile) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fd = -1 // the number may soon mean another file
	for f := range r.open {
		files = append(files, f)
	}
	return files
}

// dirFD is the descriptor of the root's directory.
func (r *rootFS) dirFD() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fd
}

// remember and forget keep track of open files.
func (r *rootFS) remember(f *rootFile) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		r.open = map[*rootFile]struct{}{}
	}
	r.open[f] = struct{}{}
}

func (r *rootFS) forget(f *rootFile) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, f)
}

// writable tells whether a name may be changed.
func (r *rootFS) writable(name string) bool {
	if r.only != nil {
		return r.only[name]
	}
	return r.write
}

// changes checks a path for an operation that changes the tree. In a root of
// single files nothing can be made, moved or removed.
func (r *rootFS) changes(p string) (rel string, slash bool, errno sys.Errno) {
	rel, slash, errno = cleanPath(p)
	switch {
	case errno != 0:
	case r.only != nil:
		errno = sys.EPERM
	case !r.write:
		errno = sys.EROFS
	}
	return rel, slash, errno
}

// OpenFile implements sys.FS. The mode of a new file is perm, less umask.
func (r *rootFS) OpenFile(p string, flag sys.Oflag, perm fs.FileMode) (sys.File, sys.Errno) {
	f, errno := r.openFile(p, flag, perm)
	if errno != 0 {
		return nil, openErrno(p, flag, perm, errno)
	}
	return f, 0
}

// openErrno is what a failure to open is reported as. wazero itself opens the
// root when it is first used, the only call with no mode at all, and panics on
// anything but ENOENT.
func openErrno(p string, flag sys.Oflag, perm fs.FileMode, errno sys.Errno) sys.Errno {
	if p == "." && flag == sys.O_RDONLY && perm == 0 {
		return sys.ENOENT
	}
	return errno
}

func (r *rootFS) openFile(p string, flag sys.Oflag, perm fs.FileMode) (*rootFile, sys.Errno) {
	rel, slash, errno := cleanPath(p)
	if errno != 0 {
		return nil, errno
	}
	if slash {
		if flag&sys.O_CREAT != 0 {
			return nil, sys.EISDIR
		}
		flag = flag&^sys.O_NOFOLLOW | sys.O_DIRECTORY
	}
	if errno := r.quota.openFile(); errno != 0 {
		return nil, errno
	}
	var f *rootFile
	errno = r.walk(rel, flag&sys.O_NOFOLLOW == 0, func(s fsSpot) (errno sys.Errno) {
		f, errno = r.openAt(s, flag, perm)
		return errno
	})
	if errno != 0 {
		r.quota.closeFile()
		return nil, errno
	}
	r.remember(f)
	return f, 0
}

// Lstat implements sys.FS.
func (r *rootFS) Lstat(p string) (wasisys.Stat_t, sys.Errno) { return r.stat(p, false) }

// Stat implements sys.FS.
func (r *rootFS) Stat(p string) (wasisys.Stat_t, sys.Errno) { return r.stat(p, true) }

func (r *rootFS) stat(p string, follow bool) (out wasisys.Stat_t, errno sys.Errno) {
	rel, slash, errno := cleanPath(p)
	if errno != 0 {
		return out, errno
	}
	follow = follow || slash
	errno = r.walk(rel, follow, func(s fsSpot) sys.Errno {
		st, errno := r.lstat(s)
		switch {
		case errno != 0:
			return errno
		case follow && kindOf(&st) == unix.S_IFLNK:
			return sys.ELOOP
		case slash && kindOf(&st) != unix.S_IFDIR:
			return sys.ENOTDIR
		}
		out = toStat(&st)
		return 0
	})
	return out, errno
}

// lstat reads the metadata of a place, unless it is guarded. What follows it
// may meet another file of that name, but in the same directory: for that to
// be the host's own, the host would have to move it there this very moment.
func (r *rootFS) lstat(s fsSpot) (unix.Stat_t, sys.Errno) {
	st, err := lstatAt(s.dir, s.name)
	if err != nil {
		return st, toErrno(err)
	}
	if r.guard.holds(idOf(&st)) {
		return st, errnoGuarded
	}
	return st, 0
}

// Mkdir implements sys.FS.
func (r *rootFS) Mkdir(p string, perm fs.FileMode) sys.Errno {
	rel, _, errno := r.changes(p)
	if errno != 0 {
		return errno
	}
	return r.walk(rel, false, func(s fsSpot) sys.Errno {
		if errno := r.quota.create(); errno != 0 {
			return errno
		}
		err := retry(func() error { return unix.Mkdirat(s.dir, s.name, uint32(perm.Perm())) })
		if err != nil {
			r.quota.uncreate()
		}
		return toErrno(err)
	})
}

// Chmod implements sys.FS. No WASI function asks for it.
func (r *rootFS) Chmod(string, fs.FileMode) sys.Errno { return sys.EPERM }

// Rename implements sys.FS. Both names are in this root: wazero refuses a
// rename from one to another. A symbolic link stays where its maker put it,
// as a link that moves may come to lead elsewhere.
func (r *rootFS) Rename(from, to string) sys.Errno {
	fromRel, fromSlash, errno := r.changes(from)
	if errno != 0 {
		return errno
	}
	toRel, toSlash, errno := r.changes(to)
	if errno != 0 {
		return errno
	}
	mustDir := fromSlash || toSlash
	return r.walk(fromRel, false, func(src fsSpot) sys.Errno {
		return r.walk(toRel, false, func(dst fsSpot) sys.Errno {
			return r.rename(src, dst, mustDir)
		})
	})
}

func (r *rootFS) rename(src, dst fsSpot, mustDir bool) sys.Errno {
	st, errno := r.lstat(src)
	switch {
	case errno != 0:
		return errno
	case mustDir && kindOf(&st) != unix.S_IFDIR:
		return sys.ENOTDIR
	case kindOf(&st) == unix.S_IFLNK:
		return sys.EPERM
	}
	if _, errno := r.lstat(dst); errno != 0 && errno != sys.ENOENT {
		return errno
	}
	return toErrno(retry(func() error { return unix.Renameat(src.dir, src.name, dst.dir, dst.name) }))
}

// Rmdir implements sys.FS.
func (r *rootFS) Rmdir(p string) sys.Errno {
	rel, _, errno := r.changes(p)
	switch {
	case errno != 0:
		return errno
	case endsInDot(p): // rmdir(2): the name of a directory, not the directory
		return sys.EINVAL
	}
	return r.remove(rel, unix.AT_REMOVEDIR)
}

// Unlink implements sys.FS. It removes a symbolic link, not what it leads to.
func (r *rootFS) Unlink(p string) sys.Errno {
	rel, slash, errno := r.changes(p)
	switch {
	case errno != 0:
		return errno
	case endsInDot(p):
		return sys.EISDIR
	case slash: // right only for a directory, and that is not unlinked
		st, errno := r.stat(p, true)
		if errno == 0 && st.Mode.IsDir() {
			errno = sys.EISDIR
		}
		return errno
	}
	return r.remove(rel, 0)
}

func (r *rootFS) remove(rel string, flags int) sys.Errno {
	return r.walk(rel, false, func(s fsSpot) sys.Errno {
		if s.name == "." {
			return sys.EINVAL
		}
		if _, errno := r.lstat(s); errno != 0 {
			return errno
		}
		return toErrno(retry(func() error { return unix.Unlinkat(s.dir, s.name, flags) }))
	})
}

// Link implements sys.FS: guests make no links.
func (r *rootFS) Link(_, p string) sys.Errno { return r.noLink(p) }

// Symlink implements sys.FS: guests make no links.
func (r *rootFS) Symlink(_, p string) sys.Errno { return r.noLink(p) }

// noLink refuses to make a link, for the reason that would come first if
// links could be made.
func (r *rootFS) noLink(p string) sys.Errno {
	switch _, errno := r.stat(p, false); {
	case errno == 0:
		return sys.EEXIST
	case errno == sys.ENOENT && strings.HasSuffix(p, "/"), errno == sys.ENOTDIR:
		return errno
	}
	return sys.EPERM
}

// Readlink implements sys.FS. The target of an absolute link would tell the
// guest about the host and could not be followed anyway.
func (r *rootFS) Readlink(p string) (target string, errno sys.Errno) {
	rel, slash, errno := cleanPath(p)
	switch {
	case errno != 0:
		return "", errno
	case slash: // means what the link leads to, which is no link
		return "", sys.EINVAL
	}
	errno = r.walk(rel, false, func(s fsSpot) (errno sys.Errno) {
		target, errno = s.link()
		return errno
	})
	return target, errno
}

// Utimens implements sys.FS. Times are nanoseconds since the epoch or
// sys.UTIME_OMIT.
func (r *rootFS) Utimens(p string, atim, mtim int64) sys.Errno {
	rel, slash, errno := cleanPath(p)
	if errno != 0 {
		return errno
	}
	return r.walk(rel, true, func(s fsSpot) sys.Errno {
		st, errno := r.lstat(s)
		switch {
		case errno != 0:
			return errno
		case kindOf(&st) == unix.S_IFLNK:
			return sys.ELOOP
		case slash && kindOf(&st) != unix.S_IFDIR:
			return sys.ENOTDIR
		case !r.writable(s.name):
			return sys.EROFS
		}
		// If the name has become a link meanwhile, the link's own times change.
		return toErrno(retry(func() error {
			return unix.UtimesNanoAt(s.dir, s.name, toTimespecs(atim, mtim), unix.AT_SYMLINK_NOFOLLOW)
		}))
	})
}

// toTimespecs converts times for utimensat(2).
func toTimespecs(times ...int64) []unix.Timespec {
	ts := make([]unix.Timespec, len(times))
	for i, t := range times {
		ts[i] = unix.NsecToTimespec(t)
		if t == sys.UTIME_OMIT {
			ts[i] = unix.Timespec{Nsec: unix.UTIME_OMIT}
		}
	}
	return ts
}
