package wasm

import (
	"debug/elf"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// jail is what a child of ours may reach: paths of the host, as Landlock
// enforces them, no network and no privileges. It is put on a thread, and what
// the thread starts inherits it.
//
// Landlock is a second wall: the first is that the code of a child opens
// nothing else. Where the kernel has no Landlock (before 5.13), or less of it,
// the rest of the jail holds all the same.
type jail struct {
	rules []jailRule
}

// jailRule lets a child use what lies at or below a path in some ways.
type jailRule struct {
	path   string
	access uint64 // LANDLOCK_ACCESS_FS_…
	follow bool   // path may be a link
}

// Ways to use files. Links, devices, sockets and FIFOs are never made, and
// only our own executable is run.
const (
	readFiles  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	writeFile  = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	writeFiles = readFiles | writeFile | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_DIR |
		unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REFER
	runFile = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE
)

// ofAFile are the ways to use a file; a rule for one may name no others.
const ofAFile = runFile | writeFile

// reading, and writing below, are rules.
func reading(path string) jailRule { return jailRule{path: path, access: readFiles} }

func writingBelow(path string) jailRule { return jailRule{path: path, access: writeFiles} }

// forGrants adds what the grants of an agent need. The folder of a single file
// is opened to get at the file, which needs the right to list it.
func forGrants(grants []fsGrant) []jailRule {
	var rules []jailRule
	for _, g := range grants {
		access := uint64(readFiles)
		if g.Write {
			access = writeFiles
		}
		rules = append(rules, jailRule{path: g.Path, access: access})
		if isDir, err := grantKind(g.Path); err == nil && !isDir {
			rules = append(rules, jailRule{path: filepath.Dir(g.Path), access: unix.LANDLOCK_ACCESS_FS_READ_DIR})
		}
	}
	return rules
}

// enter puts the calling thread, and all that it will start, into the jail.
// There is no way back. The thread must be locked to its goroutine for good.
func (j *jail) enter() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	for c := range uintptr(unix.CAP_LAST_CAP + 1) {
		_ = unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0) // who is not root has none to drop
	}
	abi := landlockABI()
	if abi < 1 {
		return nil
	}
	fd, err := newRuleset(abi)
	if err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	defer unix.Close(fd)
	handled := handledAccess(abi)
	for _, r := range append(j.rules, ownRules()...) {
		if err := addRule(fd, r, handled); err != nil {
			return fmt.Errorf("landlock: %s: %w", r.path, err)
		}
	}
	_, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(fd), 0, 0)
	if errno != 0 {
		return fmt.Errorf("landlock: %w", errno)
	}
	return nil
}

// landlockABI is the version of Landlock that the kernel has, 0 for none.
var landlockABI = sync.OnceValue(func() int {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
})

// handledAccess is every way to use files that a version knows of: what is
// handled and not allowed by a rule is denied
// (https://docs.kernel.org/userspace-api/landlock.html).
func handledAccess(abi int) uint64 {
	access := uint64(unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1)
	if abi >= 2 {
		access |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		access |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 5 {
		access |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	return access
}

// newRuleset denies all files, TCP (version 4), and signals and abstract
// sockets of others (version 6).
func newRuleset(abi int) (int, error) {
	attr := unix.LandlockRulesetAttr{Handled_access_fs: handledAccess(abi)}
	if abi >= 4 {
		attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if abi >= 6 {
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
	}
	if abi >= 7 { // before, it kept threads of one process from signalling each other
		attr.Scoped |= unix.LANDLOCK_SCOPE_SIGNAL
	}
	// A kernel takes a longer attr than it knows if the rest of it is zero.
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET,
		uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// addRule opens the path, as a rule without following a link in its place. What is not
// there needs no rule.
func addRule(ruleset int, r jailRule, handled uint64) error {
	flags := unix.O_PATH | unix.O_CLOEXEC
	if !r.follow {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := unix.Open(r.path, flags, 0)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	st, err := fstat(fd)
	if err != nil {
		return err
	}
	attr := unix.LandlockPathBeneathAttr{Allowed_access: r.access & handled, Parent_fd: int32(fd)}
	switch kindOf(&st) {
	case unix.S_IFDIR:
	case unix.S_IFREG:
		attr.Allowed_access &= ofAFile
	default:
		return nil // never opened either
	}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset),
		unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
	runtime.KeepAlive(&attr)
	if errno != 0 {
		return errno
	}
	return nil
}

// ownRules are for the start of this executable itself: the released one is
// static and needs nothing else, one that was built otherwise its libraries.
var ownRules = sync.OnceValue(func() []jailRule {
	rules := []jailRule{{selfExe, runFile, true}}
	f, err := elf.Open(selfExe)
	if err != nil {
		return rules
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			for _, dir := range []string{"/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"} {
				rules = append(rules, jailRule{dir, runFile, true})
			}
			break
		}
	}
	return rules
})

// KernelSupport is what the kernel has of the walls around children.
type KernelSupport struct {
	Landlock int  // version of its interface, 0 for none (landlock(7))
	Seccomp  bool // filters of system calls (seccomp(2))
}

// Kernel asks the kernel.
func Kernel() KernelSupport {
	refuse := uint32(unix.SECCOMP_RET_ERRNO)
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&refuse)))
	return KernelSupport{Landlock: landlockABI(), Seccomp: errno == 0}
}
