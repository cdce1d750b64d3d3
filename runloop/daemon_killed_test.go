package runloop

import (
	"strings"
	"syscall"
	"testing"

	"github.com/runloop-os/runloop/bus"
)

// TestDaemonKilled: who follows a run learns that the daemon is gone, after
// waiting for it a little.
func TestDaemonKilled(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	d := h.daemon()
	h.people()
	ui := h.dial(bus.KindUI)
	a := ui.mustAsk(t, emailTo(t, "John Okafor", "ask"))
	ui.until(t, a.TraceID, "the action waits", waits)
	cmd := h.command("rlp", "runs", "follow", a.TraceID)
	var out output
	cmd.Stdout, cmd.Stderr = &out, &out
	h.Check(cmd.Start())
	eventually(t, "it follows", func() bool { return strings.Contains(out.String(), "action.requested") })
	d.signal(syscall.SIGKILL)
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitNoDaemon || !strings.Contains(out.String(), "what became of the run: rlp runs show trace:") {
		t.Errorf("exit %d\n%s", code, out.String())
	}
	if _, err := ui.ask(t.Context(), &ctrlRequest{Op: "status"}); err == nil {
		t.Error("a dead daemon answers")
	}
}

// TestDaemonReturns: a run goes on in the daemon that is started after one was
// killed, and who follows it sees the end.
func TestDaemonReturns(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	d := h.daemon()
	h.people()
	ui := h.dial(bus.KindUI)
	a := ui.mustAsk(t, emailTo(t, "John Okafor", "ask"))
	ui.until(t, a.TraceID, "the action waits", waits)
	cmd := h.command("rlp", "runs", "follow", a.TraceID)
	var out output
	cmd.Stdout, cmd.Stderr = &out, &out
	h.Check(cmd.Start())
	eventually(t, "it follows", func() bool { return strings.Contains(out.String(), "action.requested") })
	d.signal(syscall.SIGKILL)
	d.wait()
	h.daemon()
	late := h.terminal("rlp", "runs", "follow", a.TraceID, "--progress", "plain")
	late.expect("Go ahead? [y/N]")
	late.typed("y\r")
	if code := late.wait(); code != exitOK {
		t.Errorf("who decided: exit %d", code)
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), `"kind":"run.finished"`) {
		t.Errorf("who followed: %v\n%s", err, out.String())
	}
}
