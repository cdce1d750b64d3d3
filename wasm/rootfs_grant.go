package wasm

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Codes of a [GrantError].
const (
	// CodeGrantPath: not an absolute path in its shortest form.
	CodeGrantPath = "grant_path"
	// CodeGrantMissing: nothing is there, or it cannot be opened.
	CodeGrantMissing = "grant_missing"
	// CodeGrantKind: neither a directory nor a regular file.
	CodeGrantKind = "grant_kind"
	// CodeGrantSystem: /, or a file system that the kernel makes up.
	CodeGrantSystem = "grant_system"
	// CodeGrantGuarded: is, contains or lies inside a directory of the host's own.
	CodeGrantGuarded = "grant_guarded"
	// CodeGrantConflict: a file grant that asks for more than the grant of its directory.
	CodeGrantConflict = "grant_conflict"
)

// GrantError says why a directory or file cannot be granted to an agent.
type GrantError struct {
	Code    string // one of the CodeGrant constants
	Path    string // as granted
	Message string // one line
}

// Error gives code, path and reason on one line.
func (e *GrantError) Error() string {
	return e.Code + ": " + quoteName(e.Path) + " " + e.Message
}

// fsGrant is a directory, or a single file, that an agent may use.
type fsGrant struct {
	Path  string // absolute
	Write bool
}

// fsMount is a file system and where the guest sees it.
type fsMount struct {
	Path string
	FS   *rootFS
}

// fsRoots are the open roots of one agent instance.
type fsRoots struct {
	mounts []fsMount // sorted by path
	guard  *guardSet
}

// Mounts lists the roots, sorted by path.
func (r *fsRoots) Mounts() []fsMount { return r.mounts }

// Close lets go of all roots.
func (r *fsRoots) Close() error {
	var first error
	for _, m := range r.mounts {
		if err := m.FS.Close(); err != nil && first == nil {
			first = err
		}
	}
	r.guard.close()
	return first
}

// openRoots opens the granted roots of one instance, all of them counting
// against one quota. The guarded paths are the host's own: directories (state,
// configuration, cache, secrets) or files (a socket). They need not exist.
//
// A granted file appears as the only name of its directory, since WASI has no
// other way to give it; several files of a directory share one mount.
//
// # Errors
//
// Every error is a [*GrantError]; nothing stays open then. The checks are made
// each time, so that a directory that was replaced or moved since it was
// granted is judged again; what happens later is caught when a path is used
// (see rootFS).
func openRoots(grants []fsGrant, guarded []string, quota *fsQuota) (*fsRoots, error) {
	roots := &fsRoots{guard: newGuardSet(guarded)}
	dirs, files, err := sortGrants(grants)
	for _, path := range sortedKeys(dirs) {
		if err == nil {
			err = roots.add(path, &rootFS{path: path, write: dirs[path], quota: quota})
		}
	}
	for _, path := range sortedKeys(files) {
		if err == nil {
			err = roots.add(path, &rootFS{path: path, only: files[path], quota: quota})
		}
	}
	if err != nil {
		_ = roots.Close()
		return nil, err
	}
	slices.SortFunc(roots.mounts, func(a, b fsMount) int { return strings.Compare(a.Path, b.Path) })
	return roots, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// fileGrants are granted files by directory and name, and whether they may be
// written.
type fileGrants map[string]map[string]bool

// sortGrants separates directories from files, the latter by directory. The
// same path granted twice may be written if one of the grants says so.
func sortGrants(grants []fsGrant) (dirs map[string]bool, files fileGrants, err error) {
	dirs, files = map[string]bool{}, fileGrants{}
	for _, g := range grants {
		isDir, err := grantKind(g.Path)
		if err != nil {
			return nil, nil, err
		}
		if isDir {
			dirs[g.Path] = dirs[g.Path] || g.Write
			continue
		}
		dir, name := filepath.Split(g.Path)
		dir = filepath.Clean(dir)
		if files[dir] == nil {
			files[dir] = map[string]bool{}
		}
		files[dir][name] = files[dir][name] || g.Write
	}
	for _, g := range grants {
		if err := mergeFile(g, dirs, files); err != nil {
			return nil, nil, err
		}
	}
	return dirs, files, nil
}

// mergeFile drops a file that is granted with a directory around it anyway.
// Two mounts for one directory would hide each other.
func mergeFile(g fsGrant, dirs map[string]bool, files fileGrants) error {
	dir, name := filepath.Split(g.Path)
	dir = filepath.Clean(dir)
	if _, isFile := files[dir][name]; !isFile {
		return nil
	}
	for around := dir; ; around = filepath.Dir(around) {
		write, granted := dirs[around]
		if granted && files[dir][name] && !write {
			return &GrantError{CodeGrantConflict, g.Path,
				"may be written while its directory may only be read: " +
					"grant the directory with write, or only the file"}
		}
		if granted {
			delete(files[dir], name)
			if len(files[dir]) == 0 {
				delete(files, dir)
			}
			return nil
		}
		if around == filepath.Dir(around) {
			return nil
		}
	}
}

// grantKind looks at a granted path without opening it for use.
func grantKind(path string) (isDir bool, err error) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || !utf8.ValidString(path) ||
		strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return false, &GrantError{CodeGrantPath, path,
			"must be an absolute path without dots, double slashes or control characters"}
	}
	var st unix.Stat_t
	if err := retry(func() error { return unix.Lstat(path, &st) }); err != nil {
		return false, &GrantError{CodeGrantMissing, path, "cannot be looked at: " + err.Error()}
	}
	switch kindOf(&st) {
	case unix.S_IFREG:
		return false, nil
	case unix.S_IFDIR:
		return true, nil
	case unix.S_IFLNK:
		return false, &GrantError{CodeGrantKind, path, "is a symbolic link: grant what it leads to"}
	}
	return false, &GrantError{CodeGrantKind, path, "is neither a directory nor a regular file"}
}

// add opens a root and checks it. The trailing "/." makes the kernel refuse
// anything but a directory, even if it was replaced a moment ago: a FIFO would
// be waited for.
func (roots *fsRoots) add(path string, r *rootFS) (err error) {
	r.guard = roots.guard
	if r.root, err = os.OpenRoot(path + "/."); err != nil {
		return &GrantError{CodeGrantMissing, path, "cannot be opened: " + unwrapped(err)}
	}
	if r.dir, err = r.root.Open("."); err != nil {
		_ = r.root.Close()
		return &GrantError{CodeGrantMissing, path, "cannot be opened: " + unwrapped(err)}
	}
	r.fd = int(r.dir.Fd())
	roots.mounts = append(roots.mounts, fsMount{Path: path, FS: r}) // from here Close cleans up
	st, err := fstat(r.fd)
	if err != nil {
		return &GrantError{CodeGrantMissing, path, "cannot be looked at: " + err.Error()}
	}
	r.id = idOf(&st)
	return r.checkPlace()
}

func unwrapped(err error) string {
	if perr, ok := err.(*os.PathError); ok {
		err = perr.Err
	}
	return err.Error()
}
