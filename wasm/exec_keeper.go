package wasm

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of a program and all that it starts, as setrlimit has them.
const (
	execDataMax  = 2 << 30   // bytes of private memory of one process
	execFileMax  = 256 << 20 // bytes of one file
	execFilesMax = 256       // open at a time
	execTasksMax = 256       // beyond those that there are
)

// keeperMain is the process that stands between the host and one program: it runs
// the program under limits and, when that has ended or the host says so or is
// gone, ends all that came of it. As their subreaper it becomes the parent of
// every process that lost its own, so that none can slip away by forking twice
// or by starting a session. It returns the exit status.
func keeperMain() int {
	runtime.LockOSThread() // the parent-death signal is about this thread
	orders := os.NewFile(keeperOrderFD, "orders")
	reports := os.NewFile(keeperReportFD, "reports")
	var o keeperOrder
	err := keepDescriptors()
	if err == nil {
		err = json.NewDecoder(orders).Decode(&o)
	}
	if err == nil {
		err = o.confine()
	}
	var r keeperReport
	if err != nil {
		r.Error = err.Error()
	} else {
		r = o.run(orders)
	}
	if json.NewEncoder(reports).Encode(r) != nil {
		return 1
	}
	return 0
}

// keepDescriptors lets no descriptor but the first three through to a program,
// whoever this process has them from.
func keepDescriptors() error {
	if unix.CloseRange(keeperProgramFD, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return nil
	}
	open, err := os.ReadDir("/proc/self/fd") // before Linux 5.11
	for _, e := range open {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= keeperProgramFD {
			unix.CloseOnExec(fd)
		}
	}
	return err
}

// confine makes this process, and with it all that it starts, live within
// bounds: no new privileges, no core dumps, and limits on what one may use.
func (o *keeperOrder) confine() error {
	for _, set := range [][2]uintptr{{unix.PR_SET_CHILD_SUBREAPER, 1}, {unix.PR_SET_NO_NEW_PRIVS, 1}} {
		if err := unix.Prctl(int(set[0]), set[1], 0, 0, 0); err != nil {
			return err
		}
	}
	syscall.Umask(0o077)
	limits := map[int]uint64{
		unix.RLIMIT_CORE: 0, unix.RLIMIT_CPU: o.CPUSeconds, unix.RLIMIT_DATA: execDataMax,
		unix.RLIMIT_FSIZE: execFileMax, unix.RLIMIT_NOFILE: execFilesMax,
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		limits[unix.RLIMIT_NPROC] = uint64(info.Procs) + execTasksMax
	}
	for what, most := range limits {
		var old syscall.Rlimit
		if err := syscall.Getrlimit(what, &old); err != nil {
			return err
		}
		most = min(most, old.Max)
		if err := syscall.Setrlimit(what, &syscall.Rlimit{Cur: most, Max: most}); err != nil {
			return err
		}
	}
	return nil
}

// run starts the program, waits for it and ends what it left behind.
func (o *keeperOrder) run(orders *os.File) (r keeperReport) {
	path := o.Path
	if path == "" {
		path = "/proc/self/fd/3" // keeperProgramFD: what was checked is what runs
	} else if !isOpenAs(keeperProgramFD, path) {
		return keeperReport{Error: "it was changed while it was looked at"}
	}
	child, err := os.StartProcess(path, o.Argv, &os.ProcAttr{
		Dir: o.Dir, Env: o.Env, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return keeperReport{Error: reason(err).Error()}
	}
	// Or a program that closed its output would seem to have it open.
	for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		f.Close()
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		var b [1]byte
		_, _ = orders.Read(b[:]) // nothing more comes but the end
	}()
	status := waitFor(child, stopped)
	endAll()
	r = keeperReport{Started: true, Exit: status.ExitStatus()}
	if status.Signaled() {
		r.Signal = int(status.Signal())
	}
	return r
}

// isOpenAs reports whether fd is the file that has this name now.
func isOpenAs(fd int, path string) bool {
	var open, named unix.Stat_t
	return unix.Fstat(fd, &open) == nil && unix.Stat(path, &named) == nil &&
		open.Dev == named.Dev && open.Ino == named.Ino
}

// waitFor reaps until the program has ended, which the host's word brings about.
func waitFor(child *os.Process, stopped <-chan struct{}) syscall.WaitStatus {
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-stopped:
			_ = child.Kill() // it may have ended just now
		case <-done:
		}
	}()
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		if got == child.Pid || err != nil && err != syscall.EINTR {
			return status
		}
	}
}

// endAll ends every process below this one. It stops them first, until a look
// at the tree finds none that was running: one that forks faster than it can
// be killed would otherwise never end.
func endAll() {
	for reapAll() {
		for range 64 {
			if !signalAll(unix.SIGSTOP) {
				break
			}
		}
		signalAll(unix.SIGKILL)
		time.Sleep(time.Millisecond)
	}
}

// reapAll takes in every child that has ended and reports whether there are
// others.
func reapAll() bool {
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return false
		case got == 0:
			return true
		}
	}
}

// signalAll sends a signal to every process below this one and reports whether
// one of them was running.
func signalAll(sig syscall.Signal) (running bool) {
	tree := processTree()
	below := []int{os.Getpid()}
	for len(below) > 0 {
		children := tree[below[0]]
		below = below[1:]
		for _, p := range children {
			running = running || !strings.ContainsRune("TtZX", rune(p.state))
			_ = unix.Kill(p.pid, sig) // it may have ended just now
			below = append(below, p.pid)
		}
	}
	return running
}

type process struct {
	pid   int
	state byte // as ps shows it
}

// processTree lists the processes there are by their parents (proc(5)).
func processTree() map[int][]process {
	tree := map[int][]process{}
	dir, err := os.Open("/proc")
	if err != nil {
		return tree
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // what it read before an error is of use
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue
		}
		// pid (name) state ppid …, and a name may hold anything.
		f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(f) < 2 {
			continue
		}
		if parent, err := strconv.Atoi(f[1]); err == nil {
			tree[parent] = append(tree[parent], process{pid, f[0][0]})
		}
	}
	return tree
}
