package runloop

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/examples"
	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/rmp"
	"github.com/runloop-os/runloop/wasm"
)

// emailTo is a submission of compose_email whose last node asks for a
// confirmation.
func emailTo(t testing.TB, recipient, confirm string) *ctrlRequest {
	t.Helper()
	text, err := fs.ReadFile(examples.Openings(), "compose_email.yaml")
	if err != nil {
		t.Fatal(err)
	}
	params, err := json.Marshal(map[string]string{"recipient": recipient, "topic": "Q4 plan"})
	if err != nil {
		t.Fatal(err)
	}
	return &ctrlRequest{
		Op: "run.submit", OpeningYAML: string(text), Params: params, Flags: ctrlFlags{Confirm: confirm},
	}
}

// mustAsk makes a control request that is not refused.
func (d *daemonConn) mustAsk(t testing.TB, req *ctrlRequest) *ctrlAnswer {
	t.Helper()
	a, err := d.ask(t.Context(), req)
	if err != nil {
		t.Fatalf("%s: %v", req.Op, err)
	}
	return a
}

// until asks for a run until it is as wanted.
func (d *daemonConn) until(t testing.TB, trace, what string, right func(*runState) bool) *runState {
	t.Helper()
	var state *runState
	eventually(t, what, func() bool {
		state = d.mustAsk(t, &ctrlRequest{Op: "run.get", TraceID: trace, Events: true}).Run
		return right(state)
	})
	return state
}

func waits(s *runState) bool { return len(s.Actions) == 1 }

func endedAs(status string) func(*runState) bool {
	return func(s *runState) bool { return s.Status == status }
}

// TestControlSubmit: a request that comes again, from whomever and also to a
// later daemon, is the same run.
func TestControlSubmit(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	d := h.daemon()
	h.people()
	c, other := h.dial(bus.KindCLI), h.dial(bus.KindCLI)
	id := uuid.New()
	trace := "trace:" + id.String()
	first, err := c.request(t.Context(), id, emailTo(t, "John Okafor", "yes"))
	if err != nil || first.Op != "run.accepted" || first.TraceID != trace || first.RequestID != id.String() ||
		first.OpeningName != "compose_email" || !strings.HasPrefix(first.OpeningID, "opening:") {
		t.Fatalf("answer %+v, %v", first, err)
	}
	for _, conn := range []*daemonConn{c, other} {
		again, err := conn.request(t.Context(), id, emailTo(t, "John Okafor", "yes"))
		if err != nil || again.OpeningID != first.OpeningID || again.TraceID != trace {
			t.Errorf("again: %+v, %v", again, err)
		}
	}
	state := c.until(t, trace, "the run ends", endedAs("ok"))
	if len(state.Nodes) != 5 || state.Nodes[4].State != "ok" || !state.Here || state.Report == nil || state.FinishedMS == 0 {
		t.Errorf("state %+v", state)
	}
	if n := len(c.mustAsk(t, &ctrlRequest{Op: "run.list"}).Runs); n != 1 {
		t.Errorf("%d runs", n)
	}
	d.signal(syscall.SIGTERM)
	d.wait()
	h.daemon()
	c = h.dial(bus.KindCLI)
	again, err := c.request(t.Context(), id, emailTo(t, "John Okafor", "yes"))
	if err != nil || again.OpeningID != first.OpeningID {
		t.Errorf("to another daemon: %+v, %v", again, err)
	}
	runs := c.mustAsk(t, &ctrlRequest{Op: "run.list", State: "ok"}).Runs
	if len(runs) != 1 || runs[0].TraceID != trace || runs[0].State != "ok" {
		t.Errorf("runs %+v", runs)
	}
	if state := c.mustAsk(t, &ctrlRequest{Op: "run.get", TraceID: trace}).Run; state.Status != "ok" || len(state.Nodes) != 5 {
		t.Errorf("out of the ledger: %+v", state)
	}
}

// TestControlRefusals: what is wrong with a request is said, with a code.
func TestControlRefusals(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.daemon()
	c := h.dial(bus.KindCLI)
	bad := emailTo(t, "x", "ask")
	bad.Params, bad.OpeningYAML = nil, "version: 0\nname: x\nnodes:\n  - { id: a, use: 'agent:nobody' }\nedges: []\n"
	digest := emailTo(t, "x", "ask")
	digest.AgentDigests = map[string]string{"agent:writer": "00"}
	for _, tt := range []struct {
		req  *ctrlRequest
		want string
		code int
	}{
		{&ctrlRequest{Op: "run.sumbit"}, `unknown_op: there is no op run.sumbit \(did you mean run.submit\?\)`, exitFailed},
		{&ctrlRequest{Op: "run.get", TraceID: "x"}, "trace_id x is not trace:<uuid>", exitUsage},
		{&ctrlRequest{Op: "run.get", TraceID: "trace:" + uuid.NewString()}, "there is no run trace:", exitNotFound},
		{&ctrlRequest{Op: "run.cancel", TraceID: "trace:" + uuid.NewString()}, "no run trace:", exitNotFound},
		{bad, "nobody", exitUsage},
		{digest, "agent:writer is bundle .* here, not 00", exitUsage},
		{emailTo(t, "x", "maybe"), "flags.confirm maybe: ask, yes or no", exitUsage},
		{&ctrlRequest{Op: "run.submit", OpeningYAML: "]["}, "opening.yaml", exitUsage},
	} {
		_, err := c.ask(t.Context(), tt.req)
		var problems opening.Problems
		if p, ok := err.(opening.Problems); ok { // shown by rlp as a list
			problems = p
		}
		if err == nil || !matches(t, tt.want, err.Error()) || problems == nil && exitCode(err) != tt.code {
			t.Errorf("%s: %v, exit %d", tt.req.Op, err, exitCode(err))
		}
	}
}

// TestControlReplies: the daemon puts an answer nowhere where it would pass for
// another's word.
func TestControlReplies(t *testing.T) {
	for topic, want := range map[string]bool{
		"rlp/ctrl/replies/1": true, "me": true, "rlp/runs/" + uuid.NewString() + "/agents/a/1": true,
		"": false, "a/+": false, topicCtrl: false, wasm.TopicActions: false, "agent/writer": false,
		topicMetrics: false, bus.TopicDrops: false, "rlp/runs/" + uuid.NewString() + "/events": false,
	} {
		if got := mayReplyTo(topic); got != want {
			t.Errorf("%q: %v", topic, got)
		}
	}
}

// TestControlDescribe: what the daemon would run, and what that may do.
func TestControlDescribe(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.daemon()
	c := h.dial(bus.KindCLI)
	all := c.mustAsk(t, &ctrlRequest{Op: "agents.describe"}).Agents
	i := slices.IndexFunc(all, func(a describedAgent) bool { return a.Ref == "agent:writer" })
	if i < 0 || all[i].Digest == "" || all[i].Caps == nil || len(all[i].Out) == 0 || len(all[i].With) == 0 {
		t.Errorf("agents %+v", all)
	}
	some := c.mustAsk(t, &ctrlRequest{Op: "agents.describe", Agents: []string{"agent:nobody"}}).Agents
	if len(some) != 1 || some[0].Error == "" {
		t.Errorf("agents %+v", some)
	}
}

// TestControlAnswers: the memory of answers is bounded, by number and by bytes,
// and the same request is carried out once however many ask at a time.
func TestControlAnswers(t *testing.T) {
	a := newAnswers()
	id := func(n int) (id rmp.TraceID) {
		id[0], id[1], id[2] = byte(n), byte(n>>8), byte(n>>16)
		return id
	}
	for n := range 3 * answersKept {
		g, first := a.of(id(n))
		if !first {
			t.Fatal("a new one is none")
		}
		a.give(g, []byte("x"))
	}
	if len(a.given) > answersKept || len(a.order) > answersKept || a.bytes > answersKept {
		t.Errorf("%d answers, %d bytes", len(a.given), a.bytes)
	}
	if g, first := a.of(id(3*answersKept - 1)); first || string(g.raw) != "x" {
		t.Error("the last one is forgotten")
	}
	for n := range 100 {
		g, _ := a.of(id(1<<20 + n))
		a.give(g, make([]byte, answersBytes/10))
		if a.bytes > answersBytes {
			t.Fatalf("%d bytes", a.bytes)
		}
	}
}

// TestControlClientDies: a run outlives who submitted it, and somebody else
// decides and follows it to its end.
func TestControlClientDies(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.daemon()
	h.people()
	term := h.terminal("rlp", "run", "compose_email", "--progress", "plain", "-p", "recipient=John Okafor", "-p", "topic=Q4 plan")
	term.expect("Go ahead? [y/N]")
	_ = term.cmd.Process.Kill()
	term.wait()
	c := h.dial(bus.KindCLI)
	runs := c.mustAsk(t, &ctrlRequest{Op: "run.list", State: "running"}).Runs
	if len(runs) != 1 {
		t.Fatalf("runs %+v", runs)
	}
	trace := runs[0].TraceID
	c.until(t, trace, "the action waits", waits)

	// Somebody who only looks on leaves it alone, with a terminal and without.
	looker := h.terminal("rlp", "runs", "follow", trace, "--progress", "plain")
	looker.expect("Go ahead? [y/N]")
	looker.typed("\x03")
	if code := looker.wait(); code != exitInterrupted || !strings.Contains(looker.shown.String(), "the run goes on") {
		t.Errorf("who looked on: exit %d", code)
	}
	piped := h.command("rlp", "runs", "follow", trace)
	var events output
	piped.Stdout = &events
	if err := piped.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it catches up", func() bool { return strings.Contains(events.String(), "action.requested") })

	late := h.terminal("rlp", "runs", "follow", trace, "--progress", "plain")
	late.expect("Go ahead? [y/N]")
	late.typed("y\r")
	if code := late.wait(); code != exitOK || !strings.Contains(late.shown.String(), trace) {
		t.Errorf("who decided: exit %d", code)
	}
	if err := piped.Wait(); err != nil {
		t.Errorf("who followed without a terminal: %v", err)
	}
	var kinds []string
	for line := range strings.Lines(events.String()) {
		var ev opening.Event
		if err := json.Unmarshal([]byte(line), &ev); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(ev.Kind, "node.std") {
			kinds = append(kinds, ev.Kind)
		}
	}
	want := "run.started" + strings.Repeat(" node.started node.finished", 4) +
		" node.started action.requested action.decided node.finished run.finished"
	if got := strings.Join(kinds, " "); got != want {
		t.Errorf("late events:\n%s\nwant\n%s", got, want)
	}
	state := c.mustAsk(t, &ctrlRequest{Op: "run.get", TraceID: trace}).Run
	if state.Status != "ok" || len(state.Actions) != 0 {
		t.Errorf("state %+v", state)
	}
}

// TestControlInterrupt: Ctrl-C asks whether to cancel the run or leave it, the
// second one ends at once.
func TestControlInterrupt(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.daemon()
	h.people()
	c := h.dial(bus.KindCLI)
	for _, tt := range []struct{ keys, status, shown string }{
		{"l\r", "running", "the run goes on; follow it with: rlp runs follow trace:"},
		{"\r", "cancelled", "cancelled"},
		{"\x03", "cancelled", "the run is being cancelled"},
	} {
		term := h.terminal("rlp", "run", "compose_email", "--progress", "plain", "-p", "recipient=John Okafor", "-p", "topic=Q4 plan")
		term.expect("Go ahead? [y/N]")
		term.typed("\x03")
		term.expect("Cancel the run, or leave it to the daemon? [C/l]")
		term.typed(tt.keys)
		if code := term.wait(); code != exitInterrupted {
			t.Errorf("%q: exit %d", tt.keys, code)
		}
		term.expect(tt.shown)
		run := c.mustAsk(t, &ctrlRequest{Op: "run.list", Limit: 1}).Runs[0]
		c.until(t, run.TraceID, tt.status, endedAs(tt.status))
	}
	for _, answer := range []string{"n\r", "\r", "whatever\r"} {
		term := h.terminal("rlp", "run", "compose_email", "--progress", "plain", "-p", "recipient=John Okafor", "-p", "topic=Q4 plan")
		term.expect("Go ahead? [y/N]")
		term.typed(answer)
		if code := term.wait(); code != exitDeclined {
			t.Errorf("%q: exit %d", answer, code)
		}
	}
}

// TestControlSignalWithoutTerminal: where nobody can be asked a signal cancels.
func TestControlSignalWithoutTerminal(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.daemon()
	spin, err := os.ReadFile(filepath.Join(root, "wasm", "testdata", "hostile", "wasm", "spin.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	writeTestBundle(h, filepath.Join(h.dir, ".runloop", "agents", "spin"), "spin", spin, "[capabilities]\n",
		"[ports.in]\nin = \"any\"\n[ports.out]\nout = \"any\"\n")
	h.rlp("agent", "grant", "spin", "--yes")
	file := filepath.Join(h.dir, "spin.yaml")
	text := "version: 0\nname: spin\nnodes:\n  - { id: spin, use: 'agent:spin', timeout_ms: 600000 }\nedges: []\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := h.command("rlp", "run", file)
	var out output
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(out.String())
		}
	})
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node starts", func() bool { return strings.Contains(out.String(), "node.started") })
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || !strings.Contains(out.String(), `"status":"cancelled"`) {
		t.Errorf("exit %d\n%s", code, out.String())
	}
	// Somebody else cancels: that is a failure, and no interrupt.
	cmd = h.command("rlp", "run", file)
	out = output{}
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node starts", func() bool { return strings.Contains(out.String(), "node.started") })
	c := h.dial(bus.KindCLI)
	run := c.mustAsk(t, &ctrlRequest{Op: "run.list", State: "running"}).Runs[0]
	h.rlp("runs", "cancel", run.TraceID)
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitFailed {
		t.Errorf("exit %d\n%s", code, out.String())
	}
}

// TestDaemonDrain: runs have until the deadline, those who follow them see the
// end, and nobody new is let in meanwhile.
func TestDaemonDrain(t *testing.T) {
	t.Parallel()
	h := newHome(t, "RUNLOOP__RUNTIME__DRAIN_MS=1500")
	d := h.daemon()
	h.people()
	ui := h.dial(bus.KindUI)
	a := ui.mustAsk(t, emailTo(t, "John Okafor", "ask"))
	ui.until(t, a.TraceID, "the action waits", waits)
	d.signal(syscall.SIGTERM)
	eventually(t, "it stops", func() bool { return d.logged("stopping") != nil })
	if _, errs, code := h.run("rlp", "status"); code != exitNoDaemon || !strings.Contains(errs, "shutdown") && !d.gone() {
		t.Errorf("a newcomer: exit %d, %s", code, errs)
	}
	if code := d.wait(); code != 0 {
		t.Errorf("exit %d", code)
	}
	if d.logged("stopped")["reason"] != "terminated" {
		t.Error("no reason")
	}
}

// TestDaemonSecondSignal does not wait for the runs.
func TestDaemonSecondSignal(t *testing.T) {
	t.Parallel()
	h := newHome(t, "RUNLOOP__RUNTIME__DRAIN_MS=3600000")
	d := h.daemon()
	h.people()
	ui := h.dial(bus.KindUI)
	a := ui.mustAsk(t, emailTo(t, "John Okafor", "ask"))
	ui.until(t, a.TraceID, "the action waits", waits)
	d.signal(syscall.SIGTERM)
	eventually(t, "it stops", func() bool { return d.logged("stopping") != nil })
	d.signal(syscall.SIGHUP) // which ends nothing
	time.Sleep(50 * time.Millisecond)
	d.signal(syscall.SIGTERM)
	d.wait()
	if ws := d.cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signal() != syscall.SIGTERM {
		t.Errorf("ended by %v", ws)
	}
	if d.logged("stopped at once")["reason"] != "second signal: terminated" {
		t.Error("no reason")
	}
}
