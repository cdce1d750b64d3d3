package runloop

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runloop-os/runloop/bus"
)

// patience is how long a test waits for what must come. A machine that is busy
// makes tests slow, not wrong.
const patience = time.Minute

// eventually waits for something to become true.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it did not happen: %s", what)
		}
	}
}

// output collects what a process writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// home is the HOME of a user of the program, short enough for a socket's path.
type home struct {
	t   testing.TB
	dir string
	env []string
}

func newHome(t testing.TB, env ...string) *home {
	t.Helper()
	dir, err := os.MkdirTemp("", "rl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := &home{t: t, dir: dir, env: append([]string{
		"HOME=" + dir, "XDG_CACHE_HOME=" + moduleCache, "PATH=" + os.Getenv("PATH"), "TERM=xterm", "CI=1",
	}, env...)}
	return h
}

func (h *home) socket() string { return filepath.Join(h.dir, ".runloop", "sock", "rmp.sock") }

func (h *home) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Dir = h.env, h.dir
	return cmd
}

// Check stops the test at an error.
func (h *home) Check(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// run runs a program to its end.
func (h *home) run(name string, args ...string) (stdout, stderr string, code int) {
	h.t.Helper()
	cmd := h.command(name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// rlp runs rlp, which must succeed, and returns what it prints.
func (h *home) rlp(args ...string) string {
	h.t.Helper()
	out, errs, code := h.run("rlp", args...)
	if code != 0 {
		h.t.Fatalf("rlp %s: exit %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// config writes the user's configuration.
func (h *home) config(yaml string) {
	h.t.Helper()
	dir := filepath.Join(h.dir, ".runloop")
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(yaml), 0o600)); err != nil {
		h.t.Fatal(err)
	}
}

// people imports the contacts and notes that compose_email finds something in.
func (h *home) people() {
	h.t.Helper()
	testdata, err := filepath.Abs(filepath.Join(root, "testdata"))
	if err != nil {
		h.t.Fatal(err)
	}
	h.rlp("kb", "import", filepath.Join(testdata, "people"), filepath.Join(testdata, "notes"))
}

// process is a runloopd that a test started.
type process struct {
	*home
	cmd   *exec.Cmd
	log   *output
	ended chan struct{}
}

// daemon starts a runloopd that ends with the test at the latest.
func (h *home) daemon(args ...string) *process {
	h.t.Helper()
	return h.start(h.command("runloopd", args...))
}

// start starts a command that becomes a daemon, and waits until it serves.
func (h *home) start(cmd *exec.Cmd) *process {
	h.t.Helper()
	p := &process{home: h, cmd: cmd, log: &output{}, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait()
		close(p.ended)
	}()
	h.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.ended
		if h.t.Failed() {
			h.t.Logf("the daemon's log:\n%s", p.log)
		}
	})
	eventually(h.t, "the daemon starts: "+p.log.String(), func() bool { return p.logged("started") != nil || p.gone() })
	if p.gone() {
		h.t.Fatalf("the daemon did not start:\n%s", p.log)
	}
	return p
}

func (p *process) gone() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// logged returns the last line of the JSON log with a message, or nil.
func (p *process) logged(msg string) map[string]any {
	var found map[string]any
	for line := range strings.Lines(p.log.String()) {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) == nil && entry["msg"] == msg {
			found = entry
		}
	}
	return found
}

// signal sends a signal.
func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// wait waits for the end and returns the exit code, -1 for a signal.
func (p *process) wait() int {
	p.t.Helper()
	eventually(p.t, "the daemon ends", p.gone)
	return p.cmd.ProcessState.ExitCode()
}

// dial connects to the daemon, for the length of the test.
func (h *home) dial(kind bus.Kind) *daemonConn {
	h.t.Helper()
	cfg := &Loaded{}
	cfg.Runtime.SocketPath = h.socket()
	c, err := dialDaemon(h.t.Context(), cfg, kind)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	return c
}

// terminal is a pseudo-terminal with a program on it.
type terminal struct {
	t      testing.TB
	master *os.File
	shown  *output
	cmd    *exec.Cmd
	ended  chan struct{} // and all that it showed was read
}

// terminal runs a program on a terminal of its own.
func (h *home) terminal(name string, args ...string) *terminal {
	h.t.Helper()
	master, slave := openPTY(h.t)
	cmd := h.command(name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	slave.Close()
	p := &terminal{t: h.t, master: master, shown: &output{}, cmd: cmd, ended: make(chan struct{})}
	go func() {
		_, _ = io.Copy(p.shown, master) // until nobody has the other end
		_ = cmd.Wait()
		close(p.ended)
	}()
	h.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.ended
		master.Close()
		if h.t.Failed() {
			h.t.Logf("%s showed:\n%s", name, p.shown)
		}
	})
	return p
}

// openPTY opens both ends of a pseudo-terminal (pty(7)).
func openPTY(t testing.TB) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo-terminals here:", err)
	}
	var n int
	if err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err == nil {
		n, err = unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	}
	if err == nil {
		slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// expect waits until the terminal has shown a text.
func (p *terminal) expect(text string) {
	p.t.Helper()
	eventually(p.t, "the terminal shows "+text, func() bool { return strings.Contains(p.shown.String(), text) })
}

// typed types on the terminal; "\x03" is Ctrl-C.
func (p *terminal) typed(keys string) {
	p.t.Helper()
	if _, err := p.master.WriteString(keys); err != nil {
		p.t.Fatal(err)
	}
}

func (p *terminal) wait() int {
	p.t.Helper()
	eventually(p.t, "the program on the terminal ends", func() bool {
		select {
		case <-p.ended:
			return true
		default:
			return false
		}
	})
	return p.cmd.ProcessState.ExitCode()
}
