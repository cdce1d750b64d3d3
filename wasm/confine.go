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
var deniedCalls = []uint32{
	unix.SYS_SOCKET, unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_SENDMMSG,
	unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_RT_SIGQUEUEINFO,
	unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_GETFD, unix.SYS_PIDFD_SEND_SIGNAL,
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PERF_EVENT_OPEN,
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_CHROOT, unix.SYS_PIVOT_ROOT, unix.SYS_MOUNT, unix.SYS_UMOUNT2,
	unix.SYS_FSOPEN, unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT,
	unix.SYS_BPF, unix.SYS_IO_URING_SETUP, unix.SYS_USERFAULTFD, unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_ACCT,
	unix.SYS_SHMGET, unix.SYS_MSGGET, unix.SYS_SEMGET, unix.SYS_FANOTIFY_INIT, unix.SYS_PERSONALITY,
}

// Where a filter finds the number and the architecture of a call
// (linux/seccomp.h, struct seccomp_data), and the bit of the calls of x32,
// which are numbered anew.
const (
	callNumber = 0
	callArch   = 4
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
// process, a denied call fails with EPERM.
func callFilter() []unix.SockFilter {
	const (
		load  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		least = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		ret   = unix.BPF_RET | unix.BPF_K
	)
	f := []unix.SockFilter{
		{Code: load, K: callArch},
		{Code: equal, K: ourArch, Jt: 1},
		{Code: ret, K: unix.SECCOMP_RET_KILL_PROCESS},
		{Code: load, K: callNumber},
		{Code: least, K: x32Bit, Jf: 1},
		{Code: ret, K: unix.SECCOMP_RET_KILL_PROCESS},
	}
	for i, call := range deniedCalls {
		f = append(f, unix.SockFilter{Code: equal, K: call, Jt: uint8(len(deniedCalls) - i)})
	}
	return append(f,
		unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)})
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
