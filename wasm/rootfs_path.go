package wasm

import (
	"os"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/tetratelabs/wazero/experimental/sys"
	"golang.org/x/sys/unix"
)

const (
	maxPathBytes  = 4096 // PATH_MAX of Linux
	maxPathParts  = 255  // every part costs a system call
	maxLinkFollow = 8    // as os.Root does for the links it follows
)

// cleanPath makes a guest's path relative to the root. wazero joins names with
// the name of an open directory, which leaves a slash in front when that is
// the root itself. A slash at the end is reported, and taken off: following it
// is where os.Root was wrong once (CVE-2026-39822).
func cleanPath(p string) (rel string, slash bool, errno sys.Errno) {
	switch {
	case len(p) > maxPathBytes:
		return "", false, sys.ENAMETOOLONG
	case strings.IndexByte(p, 0) >= 0, !utf8.ValidString(p):
		return "", false, sys.EINVAL
	case p == "":
		return "", false, sys.ENOENT
	}
	slash = strings.HasSuffix(p, "/")
	rel = path.Clean(strings.TrimLeft(p, "/"))
	switch {
	case rel == "..", strings.HasPrefix(rel, "../"):
		return "", false, errnoOutside
	case strings.Count(rel, "/") >= maxPathParts:
		return "", false, sys.ENAMETOOLONG
	}
	return rel, slash && rel != ".", 0
}

// endsInDot reports whether the last name of a guest's path is "." or "..",
// which names no entry of a directory.
func endsInDot(p string) bool {
	p = strings.TrimRight(p, "/")
	name := p[strings.LastIndexByte(p, '/')+1:]
	return name == "." || name == ".."
}

// splitPath separates the last name of a path from its directory. The path may
// end in a dot name when it came out of a symbolic link.
func splitPath(rel string) (dir, name string) {
	rel = strings.TrimRight(rel, "/")
	i := strings.LastIndexByte(rel, '/')
	dir, name = ".", rel[i+1:]
	if i >= 0 {
		dir = rel[:i]
	}
	if name == "." || name == ".." || name == "" {
		return rel, "."
	}
	return dir, name
}

// fsSpot is a name in a directory that is open, known to lie in the root and
// known not to be the host's own.
type fsSpot struct {
	dir  int
	name string
	file *os.File // owns dir; nil for the root's own directory
}

func (s fsSpot) close() {
	if s.file != nil {
		_ = s.file.Close()
	}
}

// link reads the target of a symbolic link. A link that does not start at its
// own directory leaves the root or is none of the guest's business.
func (s fsSpot) link() (target string, errno sys.Errno) {
	buf := make([]byte, maxPathBytes)
	n := 0
	err := retry(func() (err error) {
		n, err = unix.Readlinkat(s.dir, s.name, buf)
		return err
	})
	switch {
	case err != nil:
		return "", toErrno(err)
	case n == 0 || buf[0] == '/' || n == len(buf):
		return "", errnoOutside
	}
	return string(buf[:n]), 0
}

// spot opens the directory of a path. os.Root walks to it, following only
// links that stay inside; then the way back up proves that the directory lies
// in the root now and that nothing on the way is guarded.
func (r *rootFS) spot(rel string) (fsSpot, sys.Errno) {
	dir, name := splitPath(rel)
	if r.only != nil {
		return r.onlySpot(dir, name)
	}
	if dir == "." || dir == "" {
		return fsSpot{dir: r.dirFD(), name: name}, 0
	}
	f, err := r.root.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return fsSpot{}, toErrno(err)
	}
	s := fsSpot{dir: int(f.Fd()), name: name, file: f}
	if errno := r.climb(s.dir); errno != 0 {
		s.close()
		return fsSpot{}, errno
	}
	return s, 0
}

// onlySpot finds a name in a root that shows single files of a directory.
func (r *rootFS) onlySpot(dir, name string) (fsSpot, sys.Errno) {
	if _, ok := r.only[name]; dir != "." || !ok && name != "." {
		return fsSpot{}, sys.ENOENT
	}
	return fsSpot{dir: r.dirFD(), name: name}, 0
}

// climb goes up from an open directory to the root. Each step looks at the
// directory itself and not at a name, so that no renaming in between can lead
// it astray: it ends at the root, or the directory is not in it.
func (r *rootFS) climb(dir int) sys.Errno {
	errno := errnoOutside
	err := ascend(dir, func(fd int, id fileID) bool {
		if id == r.id {
			errno = 0
			return false
		}
		if guarded := r.allowed(fd, id); guarded != 0 {
			errno = guarded
			return false
		}
		return true
	})
	if err != nil {
		return toErrno(err)
	}
	return errno
}

// allowed refuses what is the host's own and what lies on a file system that
// the kernel makes up.
func (r *rootFS) allowed(fd int, id fileID) sys.Errno {
	if r.guard.holds(id) {
		return errnoGuarded
	}
	if id.dev != r.id.dev && isPseudoFS(fd) {
		return errnoGuarded
	}
	return 0
}

// walk finds a path and runs op at the place. op answers ELOOP when the name
// is a symbolic link that it does not take as it is; then walk goes on where
// the link leads, if follow is set and it stays inside the root.
func (r *rootFS) walk(rel string, follow bool, op func(fsSpot) sys.Errno) sys.Errno {
	for range maxLinkFollow {
		s, errno := r.spot(rel)
		if errno != 0 {
			return errno
		}
		errno = op(s)
		if errno != sys.ELOOP || !follow || r.only != nil {
			s.close()
			return errno
		}
		target, errno := s.link()
		s.close()
		if errno != 0 {
			return errno
		}
		dir, _ := splitPath(rel)
		rel = dir + "/" + target
	}
	return sys.ELOOP
}
