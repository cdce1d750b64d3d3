package wasm

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The names under which this program starts itself: argv[0] of a child that
// runs one guest, and of one that compiles one module.
const (
	workerName  = "runloop-worker"
	compileName = "runloop-compile"
)

// selfExe is this program, also when its file was replaced meanwhile.
const selfExe = "/proc/self/exe"

// RunChild is the whole program when it was started as a child of a [Host] or
// a [Runtime]: a main function calls it before it does anything else. ok is
// false when args are those of any other start.
func RunChild(args []string) (code int, ok bool) {
	if len(args) == 0 {
		return 0, false
	}
	switch args[0] {
	case workerName:
		return workerMain(), true
	case compileName:
		return compileMain(), true
	case keeperName:
		return keeperMain(), true
	}
	return 0, false
}

// child is a process of ours that works on something we do not trust. It has
// an empty environment, no terminal, a process group of its own and one
// socket, cannot gain privileges, is confined before it runs, and dies with
// this process.
type child struct {
	conn *conn
	proc *os.Process
	errs *os.File // its stderr, a file without a name
	done chan struct{}
	// state is how it ended, once done is closed.
	state *os.ProcessState
	peak  atomic.Int64 // of its memory, seen before it was killed
}

// startChild starts this program under another name, confined to what jail
// allows. stdin may be nil.
func startChild(name string, jail *jail, stdin *os.File) (*child, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, errorf(CodeHost, "starting a child: %v", err)
	}
	defer theirs.Close()
	c := &child{conn: newConn(ours), done: make(chan struct{})}
	if c.errs, err = memFile(name); err != nil {
		ours.Close()
		return nil, errorf(CodeHost, "starting a child: %v", err)
	}
	started := make(chan error, 1)
	go c.own(name, jail, []*os.File{stdin, nil, c.errs, theirs}, started)
	if err := <-started; err != nil {
		ours.Close()
		c.errs.Close()
		return nil, errorf(CodeHost, "starting a child: %v", err)
	}
	return c, nil
}

// own starts the child and waits for its end. Its thread is confined first,
// which the child inherits, and goes with it: the thread is never used for
// anything else, and the kernel kills the child should the thread end before.
func (c *child) own(name string, jail *jail, files []*os.File, started chan<- error) {
	runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		started <- err
		return
	}
	defer null.Close()
	for i, f := range files {
		if f == nil {
			files[i] = null
		}
	}
	if err := jail.enter(); err != nil {
		started <- err
		return
	}
	c.proc, err = os.StartProcess(selfExe, []string{name}, &os.ProcAttr{
		Dir: "/", Env: []string{},
		Files: files,
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		started <- err
		return
	}
	started <- nil
	c.state, _ = c.proc.Wait() // it is ours, and nobody else waits for it
	close(c.done)
}

// kill ends the child at once. It may be called at any time and again.
func (c *child) kill() {
	if !isClosed(c.done) {
		if peak := peakMemory(c.proc.Pid); peak > 0 {
			c.peak.Store(peak)
		}
	}
	_ = c.proc.Kill() // that it has ended already is fine
}

// close ends the child and returns when nothing is left of it.
func (c *child) close() {
	c.kill()
	<-c.done
	c.conn.close()
	c.errs.Close()
}

// used is the processor time of the child and its memory at its largest, in
// bytes or 0 if that is not known, once it is done.
func (c *child) used() (cpu time.Duration, resident int64) {
	return c.state.UserTime() + c.state.SystemTime(), peakOf(c.state, c.peak.Load())
}

// death says how a child ended that was not meant to. Its own last words are
// looked at only to tell a full memory from a crash.
func (c *child) death() *Error {
	<-c.done
	status, _ := c.state.Sys().(syscall.WaitStatus)
	var words [512]byte
	n, _ := c.errs.ReadAt(words[:], 0)
	switch {
	case status.Signaled() && status.Signal() == unix.SIGXCPU:
		return errorf(CodeCPULimit, "its process used more processor time than its limit")
	case outOfMemory(string(words[:n])):
		return errorf(CodeMemoryKill, "its process ran out of the memory it may have")
	case status.Signaled():
		return errorf(CodeWorkerDied, "its process was ended by signal %d (%v)", status.Signal(), status.Signal())
	}
	return errorf(CodeWorkerDied, "its process ended with status %d", status.ExitStatus())
}

// socketPair is two ends of a stream. Ours is for Go's poller, so that reading
// it holds no thread.
func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, nil, errors.Join(err, unix.Close(fds[0]), unix.Close(fds[1]))
	}
	return os.NewFile(uintptr(fds[0]), "child"), os.NewFile(uintptr(fds[1]), "parent"), nil
}

// memFile is a file without a name that holds what a child writes to stderr;
// the child's limit on the size of files bounds it.
func memFile(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// limits of a child, which it puts on itself before it touches what is not
// trusted. None can be raised again.
type childLimits struct {
	Data  uint64 // bytes of private memory
	CPU   uint64 // seconds
	Files uint64 // open ones
	Size  uint64 // bytes of one file that it writes
}

func (l childLimits) apply() error {
	for _, lim := range []struct {
		what  int
		value uint64
	}{
		{unix.RLIMIT_DATA, l.Data}, {unix.RLIMIT_CPU, l.CPU}, {unix.RLIMIT_NOFILE, l.Files},
		{unix.RLIMIT_FSIZE, l.Size}, {unix.RLIMIT_CORE, 0}, {unix.RLIMIT_MEMLOCK, 0},
		{unix.RLIMIT_MSGQUEUE, 0},
	} {
		if err := lower(lim.what, lim.value); err != nil {
			return fmt.Errorf("limit %d: %w", lim.what, err)
		}
	}
	return nil
}

// lower sets a limit, unless there is a lower one.
func lower(what int, value uint64) error {
	var have unix.Rlimit
	if err := unix.Getrlimit(what, &have); err != nil {
		return err
	}
	value = min(value, have.Max)
	return unix.Setrlimit(what, &unix.Rlimit{Cur: value, Max: value})
}
