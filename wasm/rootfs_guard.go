package wasm

import (
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// checkPlace looks at where a root lies. It must not be the top of the tree
// nor part of the system, and neither be, contain nor lie inside something of
// the host's own. Everything is compared by device and inode.
func (r *rootFS) checkPlace() error {
	above, err := ancestors(r.fd)
	if err != nil {
		return &GrantError{CodeGrantMissing, r.path, "cannot be traced to the top: " + err.Error()}
	}
	top := len(above) == 1 && r.only == nil
	if top || isPseudoFS(r.fd) || slices.ContainsFunc(above, isSystemDir) {
		return &GrantError{CodeGrantSystem, r.path, "is part of the system and never granted"}
	}
	for name := range r.only {
		if st, err := lstatAt(r.fd, name); err == nil && r.guard.holds(idOf(&st)) {
			return guardError(filepath.Join(r.path, name), "is")
		}
	}
	if slices.ContainsFunc(above, r.guard.holds) {
		return guardError(r.path, "is or lies inside")
	}
	if r.only == nil && r.guard.isBelow(r.id) {
		return guardError(r.path, "contains")
	}
	return nil
}

func guardError(path, relation string) error {
	return &GrantError{CodeGrantGuarded, path, relation + " a directory or file of the program's own"}
}

// ancestors lists a directory and everything above it, up to the top.
func ancestors(dir int) (ids []fileID, err error) {
	err = ascend(dir, func(_ int, id fileID) bool {
		ids = append(ids, id)
		return true
	})
	return ids, err
}

// ascend visits an open directory, the one it lies in, and so on, until visit
// says no or the top is reached, which is its own parent.
func ascend(dir int, visit func(fd int, id fileID) bool) error {
	fd, below := dir, fileID{}
	defer func() {
		if fd != dir {
			_ = unix.Close(fd)
		}
	}()
	for {
		st, err := fstat(fd)
		if err != nil {
			return err
		}
		id := idOf(&st)
		if id == below || !visit(fd, id) {
			return nil
		}
		up, err := openAt(fd, "..", unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		if fd != dir {
			_ = unix.Close(fd)
		}
		fd, below = up, id
	}
}

// isSystemDir tells whether a directory is one of those that the kernel fills.
func isSystemDir(id fileID) bool {
	for _, path := range []string{"/proc", "/sys", "/dev"} {
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil && idOf(&st) == id {
			return true
		}
	}
	return false
}

// isPseudoFS tells whether an open file lies on a file system whose files are
// doors into the kernel. If the kernel does not say, it does.
func isPseudoFS(fd int) bool {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Fstatfs(fd, &st) }); err != nil {
		return true
	}
	switch int64(st.Type) {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.DEVPTS_SUPER_MAGIC, unix.CGROUP_SUPER_MAGIC,
		unix.CGROUP2_SUPER_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC,
		unix.BPF_FS_MAGIC, unix.NSFS_MAGIC, unix.EFIVARFS_MAGIC, unix.PSTOREFS_MAGIC,
		unix.SELINUX_MAGIC, unix.SMACK_MAGIC, unix.BINFMTFS_MAGIC:
		return true
	}
	return false
}

// guardSet holds the identities of the host's own directories and files. They
// are kept open, so that an inode number cannot come to mean something else.
type guardSet struct {
	fds map[fileID]int
}

// newGuardSet opens what exists of the given paths.
func newGuardSet(paths []string) *guardSet {
	g := &guardSet{fds: map[fileID]int{}}
	for _, p := range paths {
		fd, err := unix.Open(p, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		st, err := fstat(fd)
		if _, dup := g.fds[idOf(&st)]; err != nil || dup {
			_ = unix.Close(fd)
			continue
		}
		g.fds[idOf(&st)] = fd
	}
	return g
}

func (g *guardSet) close() {
	for _, fd := range g.fds {
		_ = unix.Close(fd)
	}
	g.fds = nil
}

// holds tells whether a file or directory is guarded itself.
func (g *guardSet) holds(id fileID) bool {
	_, ok := g.fds[id]
	return ok
}

// isBelow tells whether a guarded directory lies below a directory, however
// deep. A guarded file counts by its directory entry, which is found when it
// is used.
func (g *guardSet) isBelow(top fileID) bool {
	for _, fd := range g.fds {
		above, err := ancestors(fd)
		if err == nil && slices.Contains(above, top) {
			return true
		}
	}
	return false
}
