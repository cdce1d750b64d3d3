package runloop

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
	"github.com/runloop-os/runloop/wasm"
)

// decide answers an action request of a run as a user interface.
func (d *daemonConn) decide(t testing.TB, s *runState, approve bool) {
	t.Helper()
	raw, err := rmp.AppendMsgpack(nil, s.Actions[0])
	if err != nil {
		t.Fatal(err)
	}
	var req rmp.ActionRequest
	if _, err := req.UnmarshalMsg(raw); err != nil {
		t.Fatal(err)
	}
	trace, err := rmp.ParseTraceID(req.TraceID)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Send(t.Context(), &rmp.Message{
		SchemaID: rmp.CTActionDecision, TraceID: trace, TTLMS: 60_000, Meta: rmp.Meta{Topic: wasm.TopicActions},
		Payload: &rmp.ActionDecision{
			Op: rmp.OpActionDecision, ActionID: req.ActionID, TraceID: req.TraceID, Digest: req.Digest,
			Approved: approve, By: "user",
		},
	}); err != nil {
		t.Fatal(err)
	}
}

// finishedOnce wants every node of a run to have ended once, and as wanted.
func finishedOnce(t testing.TB, s *runState, want string) {
	t.Helper()
	ended := map[string]int{}
	var states []string
	for _, n := range s.Nodes {
		if n.State != "running" && n.State != "lost" {
			ended[n.Node]++
			states = append(states, n.Node+" "+n.State)
		}
	}
	if got := strings.Join(states, ", "); got != want {
		t.Errorf("nodes ended as %s\nwant %s", got, want)
	}
	for node, n := range ended {
		if n != 1 {
			t.Errorf("%s ended %d times", node, n)
		}
	}
}

const emailSent = "contacts ok, context ok, draft ok, review ok, send ok"

// TestParkedAcrossRestarts: a question stays open while no process lives, holds
// nothing while one does, and is answered by an interface that comes later.
func TestParkedAcrossRestarts(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	d := h.daemon()
	h.people()
	trace := h.dial(bus.KindCLI).mustAsk(t, emailTo(t, "John Okafor", "ask")).TraceID
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		c := h.dial(bus.KindCLI)
		c.until(t, trace, "it asks", waits)
		eventually(t, "nothing is held", func() bool {
			return strings.Contains(h.rlp("runs", "show", trace), "waiting")
		})
		d.signal(sig)
		d.wait()
		d = h.daemon()
	}
	ui := h.dial(bus.KindUI)
	ui.decide(t, ui.until(t, trace, "it asks again", waits), true)
	finishedOnce(t, ui.until(t, trace, "it ends", endedAs("ok")), emailSent)
	if n := strings.TrimSpace(h.rlp("kb", "query", "SELECT count(*) AS n FROM emails")); !strings.HasSuffix(n, "1") {
		t.Errorf("emails: %s", n)
	}
	if out := h.rlp("replay", trace); !strings.Contains(out, "5 identical") {
		t.Errorf("replay: %s", out)
	}
	h.rlp("kb", "verify")
}

// TestParkedWithFilesAcrossRestarts: the same of an agent that reads and writes
// files and holds a secret. What it did before the question it has done once.
func TestParkedWithFilesAcrossRestarts(t *testing.T) {
	t.Parallel()
	h := newHome(t, "A_RAW=CANARY-3")
	dir, err := os.MkdirTemp("", "rlfiles")
	h.Check(err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	h.Check(os.WriteFile(filepath.Join(dir, "in.txt"), []byte("as it was"), 0o600))
	module, err := probeWasm()
	h.Check(err)
	caps := fmt.Sprintf("[capabilities]\nfs = [{ path = %q, write = true }]\nsecrets = [\"a/raw\"]\nsecrets_raw = [\"a/raw\"]\n", dir)
	writeTestBundle(h, filepath.Join(h.dir, ".runloop", "agents", "probe"), "probe", module, caps,
		"[ports.in]\nin = \"any\"\n[ports.out]\nout = \"any\"\n")
	h.rlp("agent", "grant", "--yes", "probe")
	with, err := json.Marshal(map[string]any{"Do": "waits", "Dir": dir, "Secret": "a/raw", "Value": true})
	h.Check(err)
	d := h.daemon()
	trace := h.dial(bus.KindCLI).mustAsk(t, &ctrlRequest{
		Op: "run.submit", OpeningYAML: "version: 0\nname: w\nnodes:\n  - { id: n, use: 'agent:probe', with: " + string(with) + " }\nedges: []\n",
		Flags: ctrlFlags{Confirm: "ask"},
	}).TraceID
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		h.dial(bus.KindCLI).until(t, trace, "it asks", waits)
		eventually(t, "nothing is held", func() bool {
			return strings.Contains(h.rlp("runs", "show", trace), "waiting")
		})
		d.signal(sig)
		d.wait()
		d = h.daemon()
	}
	h.Check(os.WriteFile(filepath.Join(dir, "in.txt"), []byte("as it is"), 0o600))
	ui := h.dial(bus.KindUI)
	ui.decide(t, ui.until(t, trace, "it asks again", waits), true)
	finishedOnce(t, ui.until(t, trace, "it ends", endedAs("ok")), "n ok")
	if log, err := os.ReadFile(filepath.Join(dir, "log.txt")); err != nil || string(log) != "before\nafter\n" {
		t.Errorf("it wrote %q, %v", log, err)
	}
	out := h.rlp("trace", trace, "--format", "json")
	if !strings.Contains(out, `"before":"as it was"`) || !strings.Contains(out, `"after":"as it is"`) || strings.Contains(out, "CANARY") {
		t.Errorf("trace %s", out)
	}
	if out := h.rlp("replay", trace); !strings.Contains(out, "1 identical, 0 different") {
		t.Errorf("replay: %s", out)
	}
	h.rlp("kb", "verify")
}

// TestPauseAcrossRestarts: a paused run starts nothing, also under another
// daemon, and goes on node by node or as a whole.
func TestPauseAcrossRestarts(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	d := h.daemon()
	h.people()
	c := h.dial(bus.KindCLI)
	trace := c.mustAsk(t, emailTo(t, "John Okafor", "yes")).TraceID
	h.rlp("runs", "pause", trace)
	h.rlp("runs", "pause", trace) // it is
	d.signal(syscall.SIGKILL)
	d.wait()
	d = h.daemon()
	c = h.dial(bus.KindCLI)
	before := len(c.until(t, trace, "it is paused", endedAs("paused")).Nodes)
	for range 2 {
		eventually(t, "a node is ready", func() bool {
			_, _, code := h.run("rlp", "runs", "step", trace)
			return code == 0
		})
	}
	c.until(t, trace, "they ran", func(s *runState) bool {
		running := 0
		for _, n := range s.Nodes {
			if n.State == "running" {
				running++
			}
		}
		return running == 0 && len(s.Nodes) >= before+2
	})
	d.signal(syscall.SIGTERM)
	d.wait()
	h.daemon()
	c = h.dial(bus.KindCLI)
	c.until(t, trace, "it is paused", endedAs("paused"))
	h.rlp("runs", "resume", trace)
	finishedOnce(t, c.until(t, trace, "it ends", endedAs("ok")), emailSent)
	_, errs, code := h.run("rlp", "runs", "step", trace)
	if code == 0 || !strings.Contains(errs, "has ended") {
		t.Errorf("step of an ended run: exit %d, %s", code, errs)
	}
	h.rlp("kb", "verify")
}

// TestCancelOfAnUnloadedRun: a run that lost its process is cancelled through
// the daemon that picked it up.
func TestCancelAcrossRestarts(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	d := h.daemon()
	h.people()
	c := h.dial(bus.KindCLI)
	trace := c.mustAsk(t, emailTo(t, "John Okafor", "ask")).TraceID
	c.until(t, trace, "it asks", waits)
	d.signal(syscall.SIGKILL)
	d.wait()
	_, errs, code := h.run("rlp", "runs", "cancel", trace)
	if code != exitNoDaemon || !strings.Contains(errs, "runloopd") {
		t.Errorf("without a daemon: exit %d, %s", code, errs)
	}
	h.daemon()
	c = h.dial(bus.KindCLI)
	h.rlp("runs", "cancel", trace)
	finishedOnce(t, c.until(t, trace, "it ends", endedAs("cancelled")),
		"contacts ok, context ok, draft ok, review ok, send cancelled")
	h.rlp("kb", "verify")
}

// sleeper is an opening of one node that runs a program which takes long and may
// be run again, and of one behind it.
func sleeper(dir string) string {
	return strings.NewReplacer("; echo 0", "; test -e "+dir+"/awake || sleep 60").Replace(storm(2, dir))
}

// TestDrainLeavesRuns: SIGTERM gives up what does not end in time, and the next
// daemon goes on with it.
func TestDrainLeavesRuns(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.config("version: 1\nruntime: { drain_ms: 200 }\n")
	h.prober()
	d := h.daemon()
	dir := t.TempDir()
	c := h.dial(bus.KindCLI)
	trace := c.mustAsk(t, &ctrlRequest{Op: "run.submit", OpeningYAML: sleeper(dir), Flags: ctrlFlags{Confirm: "yes"}}).TraceID
	eventually(t, "it is at work", func() bool {
		made, err := os.ReadDir(dir)
		return err == nil && len(made) == 1
	})
	d.signal(syscall.SIGTERM)
	if code := d.wait(); code != 0 {
		t.Errorf("exit %d", code)
	}
	h.Check(os.WriteFile(filepath.Join(dir, "awake"), nil, 0o600))
	h.daemon()
	c = h.dial(bus.KindCLI)
	finishedOnce(t, c.until(t, trace, "it ends", endedAs("ok")), "n0 ok, n1 ok")
	if made, _ := os.ReadDir(dir); len(made) != 3 {
		t.Errorf("%d files", len(made))
	}
}

// TestLocalRunIsTakenOver: a run belongs to the process that carries it out, and
// to the daemon once that is gone.
func TestLocalRunIsTakenOver(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.prober()
	dir := t.TempDir()
	file := filepath.Join(h.dir, "sleeper.yaml")
	h.Check(os.WriteFile(file, []byte(sleeper(dir)), 0o600))
	local := h.command("rlp", "run", file, "--local", "--yes")
	h.Check(local.Start())
	eventually(t, "it is at work", func() bool {
		made, err := os.ReadDir(dir)
		return err == nil && len(made) == 1
	})
	h.daemon()
	c := h.dial(bus.KindCLI)
	trace := c.mustAsk(t, &ctrlRequest{Op: "run.list"}).Runs[0].TraceID
	_, errs, code := h.run("rlp", "runs", "pause", trace)
	if code == 0 || !strings.Contains(errs, "another process has the run") {
		t.Errorf("pause: exit %d, %s", code, errs)
	}
	_ = local.Process.Kill()
	_ = local.Wait()
	h.Check(os.WriteFile(filepath.Join(dir, "awake"), nil, 0o600))
	eventually(t, "it is free", func() bool {
		_, _, code := h.run("rlp", "runs", "resume", trace)
		return code == 0
	})
	finishedOnce(t, c.until(t, trace, "it ends", endedAs("ok")), "n0 ok, n1 ok")
}

// TestChangedAgentIsHeld: a run does not go on with other agents than it was
// planned with, until somebody says so.
func TestChangedAgentIsHeld(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.prober()
	d := h.daemon()
	dir := t.TempDir()
	c := h.dial(bus.KindCLI)
	trace := c.mustAsk(t, &ctrlRequest{Op: "run.submit", OpeningYAML: sleeper(dir), Flags: ctrlFlags{Confirm: "yes"}}).TraceID
	eventually(t, "it is at work", func() bool {
		made, err := os.ReadDir(dir)
		return err == nil && len(made) == 1
	})
	d.signal(syscall.SIGKILL)
	d.wait()
	h.Check(os.WriteFile(filepath.Join(dir, "awake"), nil, 0o600))
	manifest := filepath.Join(h.dir, ".runloop", "agents", "probe", "manifest.toml")
	text, err := os.ReadFile(manifest)
	h.Check(err)
	h.Check(os.WriteFile(manifest, []byte(strings.Replace(string(text), "1.0.0", "1.0.1", 1)), 0o600))
	h.rlp("agent", "grant", "--yes", "probe")
	h.daemon()
	c = h.dial(bus.KindCLI)
	c.until(t, trace, "it is held", endedAs("paused"))
	_, errs, code := h.run("rlp", "runs", "resume", trace)
	if code != exitUsage || !strings.Contains(errs, "agent probe is bundle") || !strings.Contains(errs, "--accept-agents") {
		t.Errorf("resume: exit %d, %s", code, errs)
	}
	h.rlp("runs", "resume", "--accept-agents", trace)
	finishedOnce(t, c.until(t, trace, "it ends", endedAs("ok")), "n0 ok, n1 ok")
	h.rlp("kb", "verify")
}
