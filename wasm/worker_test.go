package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runloop-os/runloop/rmp"
)

// foreignRig is a rig for a probe that did not come with the binary, and that
// somebody granted.
func foreignRig(t *testing.T, caps string, services Services) *rig {
	t.Helper()
	r := newRigIn(t, IsolationAuto, caps, services, map[string][]byte{"probe": probeModule(t, LifeCommand)})
	for i := range r.host.cfg.Catalog.sources {
		r.host.cfg.Catalog.sources[i].BuiltIn = false
	}
	r.host.cfg.Policy = &Policy{GrantNames: []string{"probe"}}
	return r
}

// TestForeignAgentsRunInWorkers: where an agent runs follows from where it
// comes from, unless the configuration says otherwise.
func TestForeignAgentsRunInWorkers(t *testing.T) {
	built, foreign := &Bundle{BuiltIn: true}, &Bundle{}
	for _, tt := range []struct {
		where  Isolation
		bundle *Bundle
		inline bool
	}{
		{"", built, true}, {"", foreign, false}, {IsolationAuto, foreign, false},
		{IsolationInline, foreign, true}, {IsolationWorker, built, false}, {IsolationWorker, foreign, false},
	} {
		h := &Host{cfg: HostConfig{Isolation: tt.where, Policy: &Policy{}}}
		if got := h.inline(tt.bundle); got != tt.inline {
			t.Errorf("%+v: %v", tt, got)
		}
	}
	r := foreignRig(t, "", Services{})
	before := r.host.cfg.Runtime.memories.guests.Load()
	out(t, r.do("echo"))
	if got := len(r.host.cfg.Runtime.codes); got == 0 || r.host.cfg.Runtime.memories.guests.Load() != before {
		t.Error("it ran in this process")
	}
}

// TestForeignInline: what is run in this process is compiled outside all the
// same.
func TestForeignInline(t *testing.T) {
	r := foreignRig(t, "", Services{})
	r.host.cfg.Isolation = IsolationInline
	out(t, r.do("echo"))
	module := probeModule(t, LifeCommand)
	dir := filepath.Join(testRuntime().cache.dir, hexSum(module))
	if _, err := os.Stat(filepath.Join(dir, moduleFile)); err != nil && !os.IsNotExist(err) {
		t.Error(err)
	}
}

// workers lists the children of this process that are workers.
func workers(t *testing.T) (pids []int) {
	t.Helper()
	lists, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lists {
		line, _ := os.ReadFile(l)
		if string(line) != workerName+"\x00" {
			continue
		}
		stat, _ := os.ReadFile(filepath.Join(filepath.Dir(l), "stat"))
		var pid, parent int
		_, rest, _ := strings.Cut(string(stat), ") ")
		if _, err := fmt.Sscan(filepath.Base(filepath.Dir(l)), &pid); err != nil {
			t.Fatal(err)
		}
		var state string
		if _, err := fmt.Sscan(rest, &state, &parent); err == nil && parent == os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestWorkerThatIsKilled loses one attempt and nothing else.
func TestWorkerThatIsKilled(t *testing.T) {
	r := foreignRig(t, "", Services{})
	out(t, r.do("echo"))
	done := make(chan *rmp.AgentResponse, 1)
	req := r.request("probe", `{"Do":"busy"}`, nil)
	go func() { done <- r.host.perform(context.Background(), req, func(rmp.AgentLog) {}) }()
	var res *rmp.AgentResponse
	for res == nil {
		for _, pid := range workers(t) { // one may wait from other tests
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		select {
		case res = <-done:
		case <-time.After(50 * time.Millisecond):
		}
	}
	if res.Status != rmp.StatusFailed || res.Error.Code != CodeWorkerDied || !strings.Contains(res.Error.Message, "signal") {
		t.Errorf("%s %+v", res.Status, res.Error)
	}
	out(t, r.do("echo"))
	noChildren(t)
}

// TestWorkerIsConfined asks a worker's own process, before it runs a guest,
// what it can reach.
func TestWorkerIsConfined(t *testing.T) {
	if landlockABI() < 1 {
		t.Skip("this kernel has no Landlock")
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("TOPSECRET"), 0o600); err != nil {
		t.Fatal(err)
	}
	granted := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := startChild(spyName, &jail{rules: forGrants([]fsGrant{{Path: granted, Write: true}})}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.conn.sendJSON(msgJob, spyJob{Secret: secret, Granted: granted, Listener: l.Addr().String()}); err != nil {
		t.Fatal(err)
	}
	var saw map[string]string
	if err := c.conn.expect(msgEnd, &saw); err != nil {
		t.Fatal(err, c.death())
	}
	for what, got := range saw {
		if ok := got == ""; ok != (what == "write granted") {
			t.Errorf("%s: %q", what, got)
		}
	}
	if len(saw) < 9 {
		t.Errorf("it tried only %v", saw)
	}
}

// spyName is the name of a child that tries to get out.
const spyName = "runloop-test-spy"

type spyJob struct{ Secret, Granted, Listener string }

// spyMain tries to get out of its confinement and tells what came of it.
func spyMain() int {
	c := childConn()
	var job spyJob
	if c.expect(msgJob, &job) != nil {
		return 1
	}
	if confine(childLimits{Data: 1 << 30, CPU: 10, Files: 64, Size: 1 << 20}) != nil {
		return 1
	}
	saw := map[string]string{}
	try := func(what string, f func() error) {
		saw[what] = ""
		if err := f(); err != nil {
			saw[what] = err.Error()
		}
	}
	try("read secret", func() error { _, err := os.ReadFile(job.Secret); return err })
	try("list /", func() error { _, err := os.ReadDir("/"); return err })
	try("read /etc/passwd", func() error { _, err := os.ReadFile("/etc/passwd"); return err })
	try("write /tmp", func() error { return os.WriteFile("/tmp/rl_pwned", nil, 0o600) })
	try("connect", func() error { _, err := net.Dial("tcp", job.Listener); return err })
	try("udp", func() error { _, err := net.Dial("udp", job.Listener); return err })
	try("unix socket", func() error { _, err := net.Dial("unix", "/run/dbus/system_bus_socket"); return err })
	try("signal parent", func() error { return syscall.Kill(os.Getppid(), syscall.SIGURG) })
	for what, call := range map[string][4]uintptr{
		"signal a thread of the parent": {unix.SYS_TGKILL, uintptr(os.Getppid()), uintptr(os.Getppid()), uintptr(syscall.SIGURG)},
		"queue a signal for the parent": {unix.SYS_RT_TGSIGQUEUEINFO, uintptr(os.Getppid()), uintptr(os.Getppid()), uintptr(syscall.SIGURG)},
		"limit the parent":              {unix.SYS_PRLIMIT64, uintptr(os.Getppid()), unix.RLIMIT_CORE, 0},
		"take input from the socket":    {unix.SYS_FCNTL, 3, unix.F_SETOWN, uintptr(os.Getppid())},
		"fork":                          {unix.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0},
	} {
		try(what, func() error {
			got, _, errno := syscall.RawSyscall(call[0], call[1], call[2], call[3])
			if what == "fork" && errno == 0 && got == 0 {
				unix.Exit(0)
			}
			if errno != 0 {
				return errno
			}
			return nil
		})
	}
	try("run", func() error { return syscall.Exec("/proc/self/exe", []string{"rlp", "version"}, nil) })
	try("start a process", func() error {
		_, err := os.StartProcess("/proc/self/exe", []string{"rlp", "version"}, &os.ProcAttr{})
		return err
	})
	try("link out", func() error { return os.Symlink(job.Secret, job.Granted+"/link") })
	try("large file", func() error {
		return os.WriteFile(job.Granted+"/large", make([]byte, 2<<20), 0o600)
	})
	try("write granted", func() error { return os.WriteFile(job.Granted+"/file", []byte("x"), 0o600) })
	if c.sendJSON(msgEnd, saw) != nil {
		return 1
	}
	return 0
}

// wireAttempt is an attempt whose worker is the test.
func wireAttempt(t testing.TB) (*attempt, context.Context) {
	t.Helper()
	a := newRawAttempt(&WASIConfig{}, DefaultLimits)
	ctx, watch := newStopwatch(context.Background(), time.Minute)
	t.Cleanup(watch.stop)
	a.watch, a.door.watch = watch, watch
	a.openStreams()
	return a, ctx
}

// served has serve read what a worker sent.
func served(t testing.TB, a *attempt, ctx context.Context, sent []byte) error {
	t.Helper()
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	go func() {
		_, _ = theirs.Write(sent)
		_ = syscall.Shutdown(int(theirs.Fd()), syscall.SHUT_WR)
		var sink [4096]byte
		for {
			if n, err := theirs.Read(sink[:]); n == 0 || err != nil {
				break
			}
		}
		theirs.Close()
	}()
	w := &worker{&child{conn: newConn(ours)}}
	end, err := w.serve(ctx, a, input{})
	if err == nil {
		_, err = a.endOf(ctx, end)
	}
	return err
}

// message is one message as a worker would send it.
func message(kind msgKind, payload string) []byte {
	n := len(payload)
	return append([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), byte(kind)}, payload...)
}

// TestHostileWorker has a worker that its guest took over send what it should
// not: each is refused, and none is believed.
func TestHostileWorker(t *testing.T) {
	call := func(op string, args []byte) string {
		b, err := (&rmp.Hostcall{Op: op, Args: args}).MarshalMsg(nil)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for name, sent := range map[string][]byte{
		"a length of 4 GiB":      {0xff, 0xff, 0xff, 0xff, byte(msgStdout)},
		"a kind nobody knows":    message('?', ""),
		"a message for a child":  message(msgAnswer, "x"),
		"a call that is no map":  message(msgCall, "\x93\x01\x02\x03"),
		"a call without args":    message(msgCall, call("time.now", []byte{0x90})),
		"deep nesting":           message(msgCall, strings.Repeat("\x91", 1<<16)),
		"a map of 4 Gi entries":  message(msgCall, "\xdf\xff\xff\xff\xff"),
		"a forged answer":        message(msgNote, call("time.now", emptyMap)),
		"files that it has not":  message(msgNote, call("fs.open", emptyMap)),
		"a tape where none is":   message(msgReplay, call("fs.open", emptyMap)),
		"input that nobody has":  message(msgRead, "\x00\x00\x00\x01"),
		"an end that is no JSON": message(msgEnd, "{"),
	} {
		a, ctx := wireAttempt(t)
		if err := served(t, a, ctx, sent); !errors.Is(err, errWire) {
			t.Errorf("%s: %v", name, err)
		}
	}
	a, ctx := wireAttempt(t)
	if err := served(t, a, ctx, message(msgEnd, `{"code":"load_refused:module_limit"}`)); err != nil {
		t.Error(err)
	}
	end, err := a.endOf(ctx, &workerEnd{Code: "denied", Message: "x", Exit: 0, Tripped: []string{"\x1b[2J"}, Memory: 1 << 60})
	if err != nil || !errors.Is(end.err, &Error{Code: CodeWorkerDied}) || len(end.tripped) > 0 || end.memory > 1<<40 {
		t.Errorf("%+v, %v", end, err)
	}
}

// TestHostileNotes has a worker fill the memory of this process by way of the
// tape: with what counts as nothing.
func TestHostileNotes(t *testing.T) {
	note := func(c rmp.Hostcall) []byte {
		b, err := c.MarshalMsg(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	a, _ := wireAttempt(t)
	a.tape.off = false
	a.caps = &Caps{FS: []FSGrant{{Path: "/srv"}}}
	long := rmp.Hostcall{Op: "fs.stat", Args: emptyMap, Err: &rmp.HostcallError{Message: strings.Repeat("x", 2<<20)}}
	if err := a.note(note(long)); !errors.Is(err, errWire) {
		t.Errorf("a note with an error: %v", err)
	}
	for range tapeMax / entryCost {
		if err := a.note(note(rmp.Hostcall{Op: "fs.", Args: emptyMap})); err != nil {
			t.Fatal(err)
		}
	}
	if !a.tape.cut || a.tape.calls != nil {
		t.Errorf("%d notes were kept", len(a.tape.calls))
	}
	kept := &tape{}
	for range 3 {
		kept.record(long)
	}
	if !kept.cut {
		t.Error("the text of errors does not count")
	}
}

// FuzzWorkerMessages reads whatever a worker may send.
func FuzzWorkerMessages(f *testing.F) {
	f.Add(message(msgStdout, "hello"))
	f.Add(message(msgEnd, `{"exit":3}`))
	f.Add(bytes.Repeat(message(msgCall, "\x82\xa2op\xa8time.now\xa4args\x80"), 2))
	f.Fuzz(func(t *testing.T, sent []byte) {
		a, ctx := wireAttempt(t)
		_ = served(t, a, ctx, sent)
	})
}

// TestWorkerPool keeps a worker waiting, and ends it with the runtime.
func TestWorkerPool(t *testing.T) {
	before := openFDs(t)
	r := NewRuntime(RuntimeConfig{CacheDir: testRuntime().cache.dir, KeepReady: 1})
	module := hostileGuest(t, "ok_hello")
	for range 3 {
		if _, err := r.RunWASI(context.Background(), WASIConfig{Module: module, Args: []string{"x"}}); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(20 * time.Second); r.workers.waiting() == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no worker waits")
		}
	}
	if n := r.workers.waiting(); n > 1 {
		t.Errorf("%d wait", n)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if after := openFDs(t); after > before+2 {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
	noChildren(t)
}
