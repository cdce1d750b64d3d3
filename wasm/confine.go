package wasm

import (
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// confine puts the last of its confinement on a child, from inside and before
// it touches what is not trusted: limits, and system calls that it has no use
// for. What it may reach was settled before it started (see jail).
func confine(limits childLimits) error {
	if err := limits.apply(); err != nil {
		return err
	}
	// Nobody of the same user may look into it or steer it.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("dumpable: %w", err)
	}
	return denyCalls()
}

// deniedCalls are ways out of a process that a child never goes: to the
// network, to other programs and processes, to namespaces and mounts, and to
// parts of the kernel where faults were found.
var deniedCalls = append([]uint32{
	unix.SYS_SOCKET, unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_SENDMMSG,
	unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_RT_SIGQUEUEINFO,
	unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_GETFD, unix.SYS_PIDFD_SEND_SIGNAL,
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PERF_EVENT_OPEN,
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_CHROOT, unix.SYS_PIVOT_ROOT, unix.SYS_MOUNT, unix.SYS_UMOUNT2,
	unix.SYS_FSOPEN, unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT,
	unix.SYS_BPF, unix.SYS_IO_URING_SETUP, unix.SYS_USERFAULTFD, unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_ACCT,
	unix.SYS_SHMGET, unix.SYS_MSGGET, unix.SYS_SEMGET, unix.SYS_FANOTIFY_INIT, unix.SYS_PERSONALITY,
	unix.SYS_RT_TGSIGQUEUEINFO, unix.SYS_SETPRIORITY, unix.SYS_IOPRIO_SET, unix.SYS_SCHED_SETSCHEDULER,
	unix.SYS_SCHED_SETPARAM, unix.SYS_SCHED_SETATTR, unix.SYS_SCHED_SETAFFINITY, unix.SYS_PROCESS_MADVISE,
	unix.SYS_PROCESS_MRELEASE, unix.SYS_MIGRATE_PAGES, unix.SYS_MOVE_PAGES, unix.SYS_KCMP,
	unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR, unix.SYS_MQ_OPEN,
}, ownDeniedCalls...)

// callRule is a call that is allowed, or denied, by one of its arguments.
type callRule struct {
	call   uint32
	arg    uint32
	test   uint16 // of the argument's lower half against a value: BPF_JEQ, BPF_JSET
	values []uint32
	deny   bool // where one of values fits; else only there it is allowed
}

// callRules leave of calls that Go's runtime or the C library cannot do without
// what concerns this process alone. Landlock keeps signals in only from version
// 7 on, and limits not at all: a child that could set those of its parent could
// end it, and one that could fork would leave processes behind.
func callRules() []callRule {
	const setOwn, setSig, setOwnEx, fioSetOwn, siocSetGroup = 8, 10, 15, 0x8901, 0x8902
	return []callRule{
		{unix.SYS_TGKILL, 0, unix.BPF_JEQ, []uint32{uint32(unix.Getpid())}, false},
		{unix.SYS_PRLIMIT64, 0, unix.BPF_JEQ, []uint32{0}, false},
		{unix.SYS_CLONE, 0, unix.BPF_JSET, []uint32{unix.CLONE_THREAD}, false},
		{unix.SYS_FCNTL, 1, unix.BPF_JEQ, []uint32{setOwn, setSig, setOwnEx}, true},
		{unix.SYS_IOCTL, 1, unix.BPF_JEQ, []uint32{fioSetOwn, siocSetGroup}, true},
	}
}

// program is the part of the filter for a rule.
func (r *callRule) program() []unix.SockFilter {
	n := len(r.values)
	f := []unix.SockFilter{
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: r.call, Jf: uint8(n + 3)},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: callArgs + 8*r.arg},
	}
	for i, v := range r.values {
		f = append(f, unix.SockFilter{Code: unix.BPF_JMP | r.test | unix.BPF_K, K: v, Jt: uint8(n - i)})
	}
	fits, other := uint32(unix.SECCOMP_RET_ALLOW), uint32(unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM))
	if r.deny {
		fits, other = other, fits
	}
	return append(f, returns(other), returns(fits))
}

// returns ends the filter.
func returns(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}

// Where a filter finds the number and the architecture of a call
// (linux/seccomp.h, struct seccomp_data), and the bit of the calls of x32,
// which are numbered anew.
const (
	callNumber = 0
	callArch   = 4
	callArgs   = 16 // the first of six, of 8 bytes each, the lower half first
	x32Bit     = 0x40000000
)

// denyCalls has the kernel refuse deniedCalls to all threads of the process. A
// kernel without seccomp does without.
func denyCalls() error {
	filter := callFilter()
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&prog)))
	if errno != 0 && errno != unix.ENOSYS && errno != unix.EINVAL {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return nil
}

// callFilter is the program of the filter: another architecture ends the
// process, a denied call fails with EPERM. clone3 has its flags in memory, where
// no filter can look: it is said not to exist, and the C library uses clone.
func callFilter() []unix.SockFilter {
	const (
		load  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		least = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		deny  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	)
	f := []unix.SockFilter{
		{Code: load, K: callArch},
		{Code: equal, K: ourArch, Jt: 1},
		returns(unix.SECCOMP_RET_KILL_PROCESS),
		{Code: load, K: callNumber},
		{Code: least, K: x32Bit, Jf: 1},
		returns(unix.SECCOMP_RET_KILL_PROCESS),
	}
	for i, call := range deniedCalls {
		f = append(f, unix.SockFilter{Code: equal, K: call, Jt: uint8(len(deniedCalls) - i)})
	}
	f = append(f, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: 1}, returns(deny))
	f = append(f, unix.SockFilter{Code: equal, K: unix.SYS_CLONE3, Jf: 1},
		returns(unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS)))
	for _, r := range callRules() {
		f = append(f, r.program()...)
	}
	return append(f, returns(unix.SECCOMP_RET_ALLOW))
}

// outOfMemory tells from the first words on a child's stderr whether Go's
// runtime had no memory left.
func outOfMemory(words string) bool {
	for _, w := range []string{"out of memory", "cannot allocate memory", "errno=12"} {
		if strings.Contains(words, w) {
			return true
		}
	}
	return false
}
