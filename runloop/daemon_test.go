package runloop

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/runloop-os/runloop/bus"
)

// TestDaemonCheck: --check finds what would keep the daemon from starting, and
// starts nothing.
func TestDaemonCheck(t *testing.T) {
	for _, tt := range []struct {
		name, config, out, errs string
		code                    int
	}{
		{name: "defaults", out: "ok; would listen on "},
		{name: "level", config: "logging: { level: loud }", errs: `logging.level .*"loud": must be error`, code: 2},
		{name: "format", config: "logging: { format: xml }", errs: "must be auto, json or text", code: 2},
		{name: "group", config: "bus: { auth: { group: no-such-group } }", errs: "bus.auth.group", code: 2},
		{name: "kinds", config: "bus: { auth: { publishers: { action_decision: { allowed_kinds: [boss] } } } }",
			errs: `"boss": must be cli, agent`, code: 2},
		{name: "metrics", config: "observability: { metrics: { listen: '0.0.0.0:0' } }", errs: "allow_remote", code: 2},
		{name: "metrics by name", config: "observability: { metrics: { listen: 'example.org:1' } }", errs: "IP address", code: 2},
		{name: "remote metrics", config: "observability: { metrics: { listen: '0.0.0.0:0', allow_remote: true } }", out: "ok"},
		{name: "log file", config: "logging: { file: /no/such/folder/log }", errs: "logging.file", code: 2},
		{name: "queue", config: "bus: { limits: { queue_bytes: 1 } }", errs: "at least 65536", code: 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHome(t)
			h.config("version: 1\n" + tt.config)
			out, errs, code := h.run("runloopd", "--check")
			if code != tt.code || !strings.HasPrefix(out, tt.out) || !matches(t, tt.errs, errs) {
				t.Errorf("exit %d\n%s%s", code, out, errs)
			}
			if _, err := os.Stat(h.socket()); err == nil {
				t.Error("it made a socket")
			}
		})
	}
	if _, errs, code := newHome(t).run("runloopd", "now"); code != exitUsage {
		t.Errorf("an argument: exit %d, %s", code, errs)
	}
}

// TestDaemonLife: a line for the start, a line for the stop with its reason,
// files for nobody else, and nothing left behind.
func TestDaemonLife(t *testing.T) {
	h := newHome(t)
	d := h.daemon()
	for path, want := range map[string]os.FileMode{
		h.socket(): 0o600 | os.ModeSocket, filepath.Dir(h.socket()): 0o700 | os.ModeDir,
		filepath.Join(h.dir, ".runloop"): 0o700 | os.ModeDir,
	} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
	start := d.logged("started")
	if start["pid"] != float64(d.cmd.Process.Pid) || start["socket"] != h.socket() || start["level"] != "INFO" || start["time"] == "" {
		t.Errorf("started: %v", start)
	}
	var status daemonStatus
	if err := json.Unmarshal([]byte(h.rlp("status", "--json")), &status); err != nil || status.PID != d.cmd.Process.Pid ||
		status.Socket != h.socket() || status.Clients != 1 || status.Version == "" {
		t.Errorf("status %+v, %v", status, err)
	}
	d.signal(syscall.SIGTERM)
	if code := d.wait(); code != 0 {
		t.Errorf("exit %d", code)
	}
	if stop := d.logged("stopped"); stop == nil || stop["reason"] != "terminated" {
		t.Errorf("stopped: %v", stop)
	}
	if _, err := os.Stat(h.socket()); err == nil {
		t.Error("the socket is still there")
	}
	_, errs, code := h.run("rlp", "status")
	if code != exitNoDaemon || !strings.Contains(errs, "start one with `runloopd`") || strings.Count(errs, "\n") != 1 {
		t.Errorf("without a daemon: exit %d, %s", code, errs)
	}
}

// TestDaemonLogOnTerminal: people get text, not JSON.
func TestDaemonLogOnTerminal(t *testing.T) {
	h := newHome(t)
	d := h.terminal("runloopd")
	d.expect("level=INFO msg=started")
	d.typed("\x03")
	d.expect("msg=stopped reason=interrupt")
	if code := d.wait(); code != 0 {
		t.Errorf("exit %d", code)
	}
}

// TestDaemonNotify: the service manager is told of each step, on a real socket.
func TestDaemonNotify(t *testing.T) {
	h := newHome(t)
	path := filepath.Join(h.dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	next := func() string {
		t.Helper()
		buf := make([]byte, 4096)
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	h.env = append(h.env, "NOTIFY_SOCKET="+path)
	d := h.daemon()
	if got := next(); got != "READY=1" {
		t.Errorf("start: %q", got)
	}
	d.signal(syscall.SIGHUP)
	if got := next(); !matches(t, `^RELOADING=1\nMONOTONIC_USEC=\d+$`, got) {
		t.Errorf("reload: %q", got)
	}
	if got := next(); got != "READY=1" {
		t.Errorf("reloaded: %q", got)
	}
	d.signal(syscall.SIGTERM)
	if got := next(); got != "STOPPING=1" {
		t.Errorf("end: %q", got)
	}
	d.wait()
}

// TestDaemonReload: what can change does, what cannot is named, and what is
// wrong changes nothing.
func TestDaemonReload(t *testing.T) {
	h := newHome(t)
	file := filepath.Join(h.dir, "log")
	conf := "version: 1\nlogging: { level: %s, file: " + file + " }\nruntime: { max_parallel: %d }\nui: { theme: %s }\n"
	h.config(fmt.Sprintf(conf, "info", 1, "mono"))
	cmd := h.command("runloopd")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()
	logged := func(name, text string) {
		t.Helper()
		eventually(t, text, func() bool {
			b, _ := os.ReadFile(name)
			return strings.Contains(string(b), text)
		})
	}
	logged(file, `"msg":"started"`)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the log file: %v, %v", info.Mode(), err)
	}
	h.config(fmt.Sprintf(conf, "debug", 3, "neon"))
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Signal(syscall.SIGHUP)
	logged(file, `"msg":"reloaded","level":"debug","confirm_external_actions":true,"max_parallel":3`)
	logged(file, `"msg":"these keys need a restart","keys":"ui.theme"`)
	h.config(fmt.Sprintf(conf, "shout", 4, "neon"))
	_ = cmd.Process.Signal(syscall.SIGHUP)
	logged(file, "reload refused; the old configuration stays")
	h.config("version: 1")
	h.rlp("status") // it is still there
}

// TestDaemonOnce: one daemon for a socket; the other one says who is there. A
// socket that nobody serves any more is no obstacle.
func TestDaemonOnce(t *testing.T) {
	h := newHome(t)
	first := h.daemon()
	pid := strconv.Itoa(first.cmd.Process.Pid)
	for range 3 {
		if _, errs, code := h.run("runloopd"); code != exitFailed || !strings.Contains(errs, "already running, pid "+pid+" ") {
			t.Errorf("a second daemon: exit %d, %s", code, errs)
		}
	}
	client := h.dial(bus.KindCLI)
	first.signal(syscall.SIGKILL)
	first.wait()
	eventually(t, "the client learns of it", func() bool { return client.Err() != nil })
	if err := client.Err(); !strings.Contains(err.Error(), "closed") {
		t.Errorf("the client: %v", err)
	}
	if _, err := os.Stat(h.socket()); err != nil {
		t.Fatal("SIGKILL leaves the socket:", err)
	}
	if _, errs, code := h.run("rlp", "status"); code != exitNoDaemon {
		t.Errorf("on a stale socket: exit %d, %s", code, errs)
	}
	second := h.daemon()
	h.rlp("status")
	second.signal(syscall.SIGTERM)
	second.wait()
}

// TestDaemonSocketActivation: a socket from the service manager is used, and
// left to it.
func TestDaemonSocketActivation(t *testing.T) {
	h := newHome(t)
	path := filepath.Join(h.dir, "given.sock")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	file, err := ln.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	// The variable has the pid of who is to use it (sd_listen_fds(3)).
	cmd := h.command("sh", "-c", "LISTEN_PID=$$ exec runloopd")
	cmd.Env = append(cmd.Env, "LISTEN_FDS=1")
	cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	d := h.start(cmd)
	if got := d.logged("started")["socket"]; got != path {
		t.Errorf("listens on %v", got)
	}
	h.env = append(h.env, "RUNLOOP__RUNTIME__SOCKET_PATH="+path)
	h.rlp("status")
	d.signal(syscall.SIGTERM)
	if code := d.wait(); code != 0 {
		t.Errorf("exit %d", code)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error("the manager's socket was removed")
	}
}

// TestDaemonConnects: a thousand clients come and go, and nothing of them stays.
func TestDaemonConnects(t *testing.T) {
	h := newHome(t)
	h.daemon()
	watch := h.dial(bus.KindTUI)
	var before processMetrics
	for i := range 1000 {
		if i == 10 { // what is made once has been made
			before = watch.process(t, func(processMetrics) bool { return true })
		}
		c, err := bus.Dial(t.Context(), h.socket(), bus.DialOptions{Name: "x", Kind: bus.KindCLI})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Subscribe(t.Context(), "a/#", bus.SubOptions{}); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	const pool = 8 // that the ledger's pool of connections may have grown by
	watch.process(t, func(p processMetrics) bool {
		return p.OpenFiles <= before.OpenFiles+pool && p.Goroutines <= before.Goroutines+pool
	})
}

// process follows the daemon's own figures until they are right.
func (d *daemonConn) process(t testing.TB, right func(processMetrics) bool) processMetrics {
	t.Helper()
	var last processMetrics
	for end := time.Now().Add(patience); time.Now().Before(end); {
		snap := d.nextSnapshot(t)
		if last = snap.Process; right(last) {
			return last
		}
	}
	t.Fatalf("the daemon still has %d files and %d goroutines", last.OpenFiles, last.Goroutines)
	return last
}
