package runloop

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/runloop-os/runloop/bus"
)

// probeWasm is the agent that makes the hostcalls it is told to make.
var probeWasm = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "probe.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out, "./wasm/testdata/probe")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, text)
	}
	return os.ReadFile(out)
})

// prober installs the agent and grants it a shell.
func (h *home) prober() {
	h.t.Helper()
	module, err := probeWasm()
	h.Check(err)
	dir := filepath.Join(h.dir, ".runloop", "agents", "probe")
	writeTestBundle(h, dir, "probe", module, "[capabilities]\nexec = [\"sh\"]\n",
		"[ports.in]\nin = \"any\"\n[ports.out]\nout = \"any\"\n")
	h.rlp("agent", "grant", "--yes", "probe")
}

// storm is an opening of n nodes in a diamond of rows, each of which does one
// thing in the world: it makes a file that is named by the key of the action.
func storm(n int, dir string) string {
	var b strings.Builder
	b.WriteString("version: 0\nname: storm\nnodes:\n")
	for i := range n {
		script := fmt.Sprintf(`set -C; : > %s/$RUNLOOP_IDEMPOTENCY_KEY; echo %d`, dir, i)
		with, _ := json.Marshal(map[string]any{"Do": "calls", "Calls": []any{map[string]any{
			"Op": "exec.run", "Args": map[string]any{"argv": []string{"sh", "-c", script}, "idempotent": true},
		}}})
		fmt.Fprintf(&b, "  - { id: n%d, use: 'agent:probe', timeout_ms: 60000, with: %s }\n", i, with)
	}
	b.WriteString("edges:\n")
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, "  - { from: n%d.out, to: n%d.in }\n", (i-1)/2, i)
	}
	return b.String()
}

// TestKillStorm kills the daemon with SIGKILL at random moments through runs, and
// starts it again. Every run must end as without that: no finished node runs
// again, each action in the world happens once, and the ledger is whole.
func TestKillStorm(t *testing.T) {
	runs := 6
	if os.Getenv("RUNLOOP_SOAK") != "" {
		runs = 500
	}
	h := newHome(t)
	h.prober()
	const nodes = 7
	rnd := rand.New(rand.NewPCG(1, uint64(runs)))
	d := h.daemon()
	kills := 0
	for left := runs; left > 0; {
		batch := min(left, 3) // they share their kills
		left -= batch
		dirs := map[string]string{}
		c := h.dial(bus.KindCLI)
		for i := range batch {
			dir := filepath.Join(h.dir, fmt.Sprintf("world%d-%d", left, i))
			h.Check(os.Mkdir(dir, 0o700))
			a := c.mustAsk(t, &ctrlRequest{Op: "run.submit", OpeningYAML: storm(nodes, dir), Flags: ctrlFlags{Confirm: "yes"}})
			dirs[a.TraceID] = dir
		}
		for range 2 + rnd.IntN(3) {
			time.Sleep(time.Duration(rnd.IntN(1500)) * time.Millisecond)
			d.signal(syscall.SIGKILL)
			d.wait()
			d = h.daemon()
			kills++
		}
		c = h.dial(bus.KindCLI)
		for trace, dir := range dirs {
			state := c.until(t, trace, "the run ends", func(s *runState) bool { return s.FinishedMS > 0 })
			checkStormed(t, h, state, dir, nodes)
		}
	}
	h.rlp("kb", "verify")
	t.Logf("%d runs, %d kills", runs, kills)
}

// checkStormed looks at what a run left behind.
func checkStormed(t *testing.T, h *home, s *runState, dir string, nodes int) {
	t.Helper()
	if s.Status != "ok" {
		t.Errorf("%s ended as %s: %s\n%s", s.TraceID, s.Status, s.Error, h.rlp("trace", s.TraceID))
	}
	finished := map[string]bool{}
	for _, n := range s.Nodes {
		if finished[n.Node] {
			t.Errorf("%s of %s ran again although it had finished", n.Node, s.TraceID)
		}
		finished[n.Node] = n.State == "ok"
	}
	made, err := os.ReadDir(dir)
	if err != nil || len(made) != nodes {
		t.Errorf("%d actions were carried out, want %d (%v)", len(made), nodes, err)
	}
	out := h.rlp("kb", "query", "--json", `SELECT payload_json FROM events WHERE kind = 'node.finished'
		AND instr(payload_json, '`+s.TraceID+`') ORDER BY id`)
	for i := range nodes {
		if strings.Count(out, fmt.Sprintf(`\"node\":\"n%d\"`, i)) != 1 {
			t.Errorf("n%d of %s has not ended once", i, s.TraceID)
		}
	}
}

// TestInDoubt: an action that was begun when its process died, and that cannot be
// told from its own repetition, is not carried out a second time.
func TestInDoubt(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.prober()
	d := h.daemon()
	begun := filepath.Join(h.dir, "begun")
	opening := strings.NewReplacer(`; echo 0`, "; echo x >> "+begun+"; sleep 60", `"idempotent":true`, `"idempotent":false`).
		Replace(storm(1, h.dir))
	opening = strings.Replace(opening, "edges:\n", "edges: []\n", 1)
	c := h.dial(bus.KindCLI)
	trace := c.mustAsk(t, &ctrlRequest{Op: "run.submit", OpeningYAML: opening, Flags: ctrlFlags{Confirm: "yes"}}).TraceID
	eventually(t, "it is begun", func() bool {
		_, err := os.Stat(begun)
		return !errors.Is(err, os.ErrNotExist)
	})
	d.signal(syscall.SIGKILL)
	d.wait()
	h.daemon()
	c = h.dial(bus.KindCLI)
	state := c.until(t, trace, "it ends", func(s *runState) bool { return s.FinishedMS > 0 })
	if out := h.rlp("trace", trace); !strings.Contains(out, "in_doubt") {
		t.Errorf("%s: %s", state.Status, out)
	}
	if b, err := os.ReadFile(begun); err != nil || string(b) != "x\n" {
		t.Errorf("it was carried out as %q (%v)", b, err)
	}
}
