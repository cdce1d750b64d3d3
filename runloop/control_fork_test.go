package runloop

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/bus"
)

// forkOf is a fork of a run whose draft is written anew.
func forkOf(trace string) *ctrlRequest {
	return &ctrlRequest{Op: "run.fork", TraceID: trace, From: "draft", Flags: ctrlFlags{Confirm: "yes"}}
}

// TestRunsForkInDaemon: rlp runs fork has the daemon carry it out, follows it,
// and shows what was taken over and what differs.
func TestRunsForkInDaemon(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.daemon()
	h.people()
	c := h.dial(bus.KindCLI)
	trace := c.mustAsk(t, emailTo(t, "John Okafor", "yes")).TraceID
	c.until(t, trace, "the run ends", endedAs("ok"))

	out := h.rlp("runs", "fork", trace, "--from", "draft", "--yes", "--trace-out", "fork.json")
	for _, want := range []string{
		" from " + trace, `(?m)^reused +contacts`, `(?m)^reused +context`,
		`(?m)^ran +draft .*it is draft or depends on it; gave the same`, `2 reused, 3 ran`, `cost: 0\+0 tokens`,
	} {
		if !matches(t, want, out) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if out := h.rlp("replay", "fork.json"); !strings.Contains(out, "5 identical") {
		t.Errorf("replay: %s", out)
	}
	out = h.rlp("runs", "fork", trace, "-p", "tone=stern", "--json", "--yes")
	var report struct {
		TraceID string `json:"trace_id"`
		Reused  int
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || report.Reused != 4 {
		t.Errorf("%v in\n%s", err, out)
	}
	out = h.rlp("runs", "fork", report.TraceID, "--set", "send.with.topic=other", "--yes", "--detach")
	detached := c.until(t, strings.TrimSpace(out), "the detached fork ends", func(s *runState) bool { return s.Report != nil })
	if f := detached.Report.Fork; f == nil || f.Source != report.TraceID {
		t.Errorf("fork %+v", f)
	}
	for _, tt := range []struct {
		args, want string
		code       int
	}{
		{"--from nobody", `no node "nobody"`, exitUsage},
		{"--set sned.with.topic=x", `no node sned \(did you mean send`, exitUsage},
		{"-p recipent=x", "recipent", exitUsage},
		{"--from draft --agents-dir x", "--agents-dir needs --local", exitUsage},
		{"--from draft --grant writer", "--grant needs --local", exitUsage},
		{"--from draft --local --detach", "--local has none", exitUsage},
	} {
		_, errs, code := h.run("rlp", append([]string{"runs", "fork", trace}, strings.Fields(tt.args)...)...)
		if code != tt.code || !matches(t, tt.want, errs) {
			t.Errorf("%s: exit %d, %s", tt.args, code, errs)
		}
	}
	if _, errs, code := h.run("rlp", "runs", "fork", "fork.json", "--from", "draft"); code != exitUsage ||
		!strings.Contains(errs, "add --local") {
		t.Errorf("out of a file: exit %d, %s", code, errs)
	}
	h.rlp("kb", "verify")
}

// TestControlFork: run.fork that comes again, also to a later daemon, is the same
// run; what cannot be forked is refused before anything is on record.
func TestControlFork(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	d := h.daemon()
	h.people()
	c := h.dial(bus.KindCLI)
	trace := c.mustAsk(t, emailTo(t, "John Okafor", "yes")).TraceID
	c.until(t, trace, "the run ends", endedAs("ok"))
	waiting := c.mustAsk(t, emailTo(t, "John Okafor", "ask")).TraceID
	c.until(t, waiting, "it asks", waits)

	id := uuid.New()
	first, err := c.request(t.Context(), id, forkOf(trace))
	if err != nil || first.Op != "run.accepted" || first.TraceID != "trace:"+id.String() {
		t.Fatalf("answer %+v, %v", first, err)
	}
	state := c.until(t, first.TraceID, "the fork ends", endedAs("ok"))
	if f := state.Report.Fork; f == nil || f.Source != trace || f.From != "draft" || f.Reused != 2 || f.Ran != 3 {
		t.Errorf("fork %+v", f)
	}
	other := forkOf(trace)
	other.AgentDigests = map[string]string{"writer": "00"}
	set := forkOf(trace)
	set.Set = map[string]json.RawMessage{"draft": json.RawMessage(`[1]`)}
	nobody := forkOf(trace)
	nobody.From = "nobody"
	for _, tt := range []struct {
		req  *ctrlRequest
		want string
		code int
	}{
		{forkOf("x"), "trace_id x is not trace:<uuid>", exitUsage},
		{forkOf("trace:" + uuid.NewString()), "there is no run trace:", exitNotFound},
		{forkOf(waiting), "not_now: .* has not finished", exitFailed},
		{other, "writer is bundle [0-9a-f]{64} here, not 00", exitUsage},
		{set, "with of draft must be a JSON object", exitUsage},
		{nobody, `no node "nobody"`, exitUsage},
	} {
		if _, err := c.ask(t.Context(), tt.req); err == nil || !matches(t, tt.want, err.Error()) || exitCode(err) != tt.code {
			t.Errorf("%+v: %v, exit %d", tt.req, err, exitCode(err))
		}
	}
	d.signal(syscall.SIGKILL)
	d.wait()
	h.daemon()
	c = h.dial(bus.KindCLI)
	again, err := c.request(t.Context(), id, forkOf(trace))
	if err != nil || again.TraceID != first.TraceID || again.OpeningID != first.OpeningID {
		t.Errorf("to another daemon: %+v, %v", again, err)
	}
	if n := len(c.mustAsk(t, &ctrlRequest{Op: "run.list"}).Runs); n != 3 {
		t.Errorf("%d runs", n)
	}
}

// dozer is a sleeper whose first node gives the same when it is done again.
func dozer(dir string) string { return strings.ReplaceAll(sleeper(dir), "set -C; ", "") }

// made counts the files in a folder.
func made(t testing.TB, dir string) int {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// TestForkGoesOnAfterKill: the daemon is killed while a fork runs its first node;
// the next one takes over what is behind it, and runs it not again.
func TestForkGoesOnAfterKill(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.prober()
	d := h.daemon()
	dir := t.TempDir()
	awake := filepath.Join(dir, "awake")
	h.Check(os.WriteFile(awake, nil, 0o600))
	c := h.dial(bus.KindCLI)
	source := c.mustAsk(t, &ctrlRequest{Op: "run.submit", OpeningYAML: dozer(dir), Flags: ctrlFlags{Confirm: "yes"}}).TraceID
	c.until(t, source, "the run ends", endedAs("ok"))
	h.Check(os.Remove(awake))
	trace := c.mustAsk(t, &ctrlRequest{
		Op: "run.fork", TraceID: source, Set: map[string]json.RawMessage{"n0": json.RawMessage(`{"again":1}`)},
		Flags: ctrlFlags{Confirm: "yes"},
	}).TraceID
	eventually(t, "it is at work", func() bool { return made(t, dir) == 3 })
	d.signal(syscall.SIGKILL)
	d.wait()
	h.Check(os.WriteFile(awake, nil, 0o600))
	h.daemon()
	c = h.dial(bus.KindCLI)
	state := c.until(t, trace, "it ends", endedAs("ok"))
	finishedOnce(t, state, "n0 ok, n1 ok")
	if f := state.Report.Fork; f == nil || f.Reused != 1 || f.Ran != 1 || f.Nodes[0].Why != "it is told something else" {
		t.Errorf("fork %+v", f)
	}
	if n := made(t, dir); n != 4 {
		t.Errorf("%d files", n)
	}
	forkWithAgent(h, source)
	h.rlp("kb", "verify")
}

// forkWithAgent: the daemon forks with the bundle of --agent if it has that one.
func forkWithAgent(h *home, trace string) {
	here, other := filepath.Join(h.dir, ".runloop", "agents", "probe"), filepath.Join(h.dir, "other", "probe")
	out := h.rlp("runs", "fork", trace, "--agent", "probe="+here, "--yes")
	if !strings.Contains(out, "2 reused, 0 ran") {
		h.t.Errorf("with the same agent:\n%s", out)
	}
	h.Check(os.CopyFS(other, os.DirFS(here)))
	manifest := filepath.Join(other, "manifest.toml")
	text, err := os.ReadFile(manifest)
	h.Check(err)
	h.Check(os.WriteFile(manifest, []byte(strings.Replace(string(text), "1.0.0", "1.0.1", 1)), 0o600))
	_, errs, code := h.run("rlp", "runs", "fork", trace, "--agent", "probe="+other, "--yes")
	if code != exitUsage || !matches(h.t, "probe is bundle [0-9a-f]{64} here, not [0-9a-f]{64}", errs) {
		h.t.Errorf("with another agent: exit %d, %s", code, errs)
	}
}

// TestForkAsks: the person at the terminal decides what a fork in the daemon
// asks, and sees what became of it.
func TestForkAsks(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.daemon()
	h.people()
	c := h.dial(bus.KindCLI)
	trace := c.mustAsk(t, emailTo(t, "John Okafor", "yes")).TraceID
	c.until(t, trace, "the run ends", endedAs("ok"))
	for answer, want := range map[string]int{"y\r": exitOK, "n\r": exitDeclined} {
		term := h.terminal("rlp", "runs", "fork", trace, "--from", "send", "--progress", "plain")
		term.expect("Go ahead? [y/N]")
		term.typed(answer)
		if code := term.wait(); code != want {
			t.Errorf("%q: exit %d", answer, code)
		}
		term.expect("4 reused, 1 ran")
	}
}

// TestForkOfAFileIsHeld: a fork whose source was in a file lost its process. What
// it would have taken over runs only when somebody says so.
func TestForkOfAFileIsHeld(t *testing.T) {
	t.Parallel()
	h, elsewhere := newHome(t), newHome(t)
	h.prober()
	elsewhere.prober()
	dir := t.TempDir()
	awake, file := filepath.Join(dir, "awake"), filepath.Join(h.dir, "run.json")
	h.Check(os.WriteFile(awake, nil, 0o600))
	yaml := filepath.Join(elsewhere.dir, "dozer.yaml")
	h.Check(os.WriteFile(yaml, []byte(dozer(dir)), 0o600))
	elsewhere.rlp("run", yaml, "--local", "--yes", "--trace-out", file)
	h.Check(os.Remove(awake))
	local := h.command("rlp", "runs", "fork", file, "--set", "n0.with.again=1", "--local", "--yes")
	h.Check(local.Start())
	eventually(t, "it is at work", func() bool { return made(t, dir) == 3 })
	_ = local.Process.Kill()
	_ = local.Wait()
	h.Check(os.WriteFile(awake, nil, 0o600))
	h.daemon()
	c := h.dial(bus.KindCLI)
	trace := c.mustAsk(t, &ctrlRequest{Op: "run.list"}).Runs[0].TraceID
	c.until(t, trace, "it is held", endedAs("paused"))
	h.rlp("runs", "resume", trace)
	finishedOnce(t, c.until(t, trace, "it ends", endedAs("ok")), "n0 ok, n1 ok")
	if n := made(t, dir); n != 5 {
		t.Errorf("%d files", n)
	}
}
