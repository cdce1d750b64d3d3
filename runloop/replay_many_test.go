package runloop

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/opening"
)

// soak is how many of something a test does: a few, or all with RUNLOOP_SOAK=1.
func soak(few, all int) int {
	if os.Getenv("RUNLOOP_SOAK") != "" {
		return all
	}
	return few
}

// slowly answers after a while, as models do.
type slowly struct {
	http.Handler
	wait time.Duration
}

func (s slowly) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	time.Sleep(s.wait)
	s.Handler.ServeHTTP(w, r)
}

// recorder runs openings for real, several at a time, and keeps their traces as
// they would come back from a file.
type recorder struct {
	t       *testing.T
	session *session
	mu      sync.Mutex
	traces  []*opening.Trace
	took    time.Duration // all runs, each for itself
}

func newRecorder(t *testing.T, p *person, opt sessionOptions) *recorder {
	t.Helper()
	cfg, err := p.config()
	if err != nil {
		t.Fatal(err)
	}
	s, err := openSession(t.Context(), p.IO, cfg, opt)
	if err != nil {
		t.Fatal(err)
	}
	client := s.bus.Client("rlp", bus.KindUI)
	ui, err := p.startDecider(t.Context(), localPeer{client}, deciderOptions{policy: yesByFlag, pause: func(ask func()) { ask() }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ui.close()
		client.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &recorder{t: t, session: s}
}

// record runs an opening once for each set of parameters.
func (r *recorder) record(src string, params []map[string]any, parallel int) {
	places := make(chan struct{}, parallel)
	var wg sync.WaitGroup
	for _, p := range params {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			if err := r.one(src, p); err != nil {
				r.t.Error(err)
			}
		})
	}
	wg.Wait()
}

func (r *recorder) one(src string, params map[string]any) error {
	raw, err := json.Marshal(params)
	if err != nil {
		return err
	}
	plan, err := opening.Load("test.yaml", []byte(src), planCatalog{r.session.catalog}, raw)
	if err != nil {
		return err
	}
	engine, release := r.session.engine(func(opening.Event) {})
	defer release()
	rep, err := engine.Run(context.Background(), plan, opening.RunOptions{})
	if err != nil {
		return err
	}
	trace, err := opening.ParseTrace(rep.Trace.JSON())
	if err != nil {
		return err
	}
	if !rep.Success {
		return fmt.Errorf("%s: %s", rep.TraceID, rep.Reason)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.traces = append(r.traces, trace)
	r.took += time.Duration(rep.DurationMS) * time.Millisecond
	return nil
}

// newCrew is a recorder with somebody to write to and something to write about.
func newCrew(t *testing.T, environ ...string) *recorder {
	t.Helper()
	p := newPerson(t, environ...)
	p.must(t, "kb", "add", "contact", "Ada Fern", "--email", "ada@example.com")
	p.must(t, "kb", "add", "note", "Winter release", "--body", "The freeze starts on Monday.")
	return newRecorder(t, p, sessionOptions{})
}

// TestReplayMany records many runs of the crew, with and without a model that
// takes its time, and replays all of them: they are identical to the last byte.
func TestReplayMany(t *testing.T) {
	wait := time.Duration(soak(50, 2000)) * time.Millisecond
	srv := httptest.NewServer(slowly{&modelServer{text: "Hi Ada,\n\nit rained all day.\n\nBest regards"}, wait})
	defer srv.Close()
	_, src, err := findOpening("compose_email", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var params []map[string]any
	for i := range soak(4, 500) {
		params = append(params, map[string]any{"recipient": "Ada Fern", "topic": "winter release", "tone": fmt.Sprint("plain ", i)})
	}
	crew, slow := newCrew(t), newCrew(t,
		`RUNLOOP__MODELS__BROKER__PROVIDERS=[{"id":"here","kind":"http","base_url":"`+srv.URL+`"}]`,
		"RUNLOOP__MODELS__DEFAULT=here:test-model")
	crew.record(string(src), params, 4)
	slow.record(string(src), params, 16)
	if t.Failed() {
		return
	}
	r, err := openReplayer(t.Context(), newPerson(t).IO, crew.session.cfg, sessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.replayAll(t, crew.traces[:1]) // the first loads the modules
	r.replayAll(t, crew.traces)
	took := r.replayAll(t, slow.traces)
	t.Logf("%d runs with a slow model took %s, their replay %s: %.1f times faster",
		len(slow.traces), slow.took, took, slow.took.Seconds()/took.Seconds())
	if os.Getenv("RUNLOOP_SOAK") != "" && slow.took < 20*took {
		t.Error("a replay is not 20 times faster")
	}
}

// replayAll replays traces one after the other and gives how long that took.
func (r *replayer) replayAll(t *testing.T, traces []*opening.Trace) time.Duration {
	t.Helper()
	start := time.Now()
	for _, trace := range traces {
		rep, err := r.replay(t.Context(), trace, opening.ReplayOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if !rep.Same() || rep.Identical != len(trace.Nodes) {
			t.Fatalf("not identical:\n%s", rep.Text())
		}
	}
	return time.Since(start)
}

// mutantOpening is a small graph of tiny agents.
const mutantOpening = `
version: 0
name: mutants
nodes:
  - {id: last, use: agent:t3}
  - {id: first, use: agent:t0}
  - {id: left, use: agent:t1}
  - {id: right, use: agent:t2}
edges:
  - {from: first.out, to: left.in}
  - {from: first.out, to: right.in}
  - {from: left.out, to: last.in}
  - {from: right.out, to: last.in}
`

// mutantOrder is the order in which its nodes start.
var mutantOrder = []struct{ node, agent string }{{"first", "t0"}, {"left", "t1"}, {"right", "t2"}, {"last", "t3"}}

// TestReplayMutants changes agents at random, one or several at a time, and
// holds the first divergent step that a replay names against what was changed.
func TestReplayMutants(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	dir := t.TempDir()
	guests := map[string]*tinyGuest{}
	for _, n := range mutantOrder {
		guests[n.agent] = randomGuest(r)
		guests[n.agent].install(t, dir, n.agent)
	}
	p := newPerson(t)
	live := newRecorder(t, p, sessionOptions{agentsDir: dir, grants: []string{"t0", "t1", "t2", "t3"}})
	live.record(mutantOpening, []map[string]any{{}}, 1)
	if t.Failed() {
		return
	}
	trace := live.traces[0]
	for i := range soak(6, 100) {
		mutants := filepath.Join(t.TempDir(), fmt.Sprint(i))
		want, wanted := "", false
		changed := map[string]bool{}
		for _, n := range mutantOrder {
			g := guests[n.agent]
			if len(changed) == 0 && n.node == "last" || r.IntN(3) == 0 {
				m, kind, call := g.mutate(r)
				if !wanted {
					want, wanted = fmt.Sprintf("%s %s %d", n.node, kind, call), true
				}
				g, changed[n.agent] = m, true
			}
			g.install(t, mutants, n.agent)
		}
		if got := replayMutants(t, live.session.cfg, trace, mutants, changed); got != want {
			t.Errorf("mutant %d: the first divergent step is %q, want %q", i, got, want)
		}
	}
}

// replayMutants replays with the agents of a folder and gives the first divergent
// step in a few words.
func replayMutants(t *testing.T, cfg *Loaded, trace *opening.Trace, dir string, changed map[string]bool) string {
	t.Helper()
	r, err := openReplayer(t.Context(), newPerson(t).IO, cfg, sessionOptions{agentsDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rep, err := r.replay(t.Context(), trace, opening.ReplayOptions{Changed: func(ref string) bool { return changed[ref] }})
	if err != nil {
		t.Fatal(err)
	}
	if rep.First == nil {
		return "none\n" + rep.Text()
	}
	return fmt.Sprintf("%s %s %d", rep.First.Node, rep.First.Kind, rep.First.Call)
}

// TestReplaySealed watches the system calls of a replay: it opens no socket, and
// writes nothing but its lock on the cache of compiled modules.
func TestReplaySealed(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed, so that nobody can see which system calls a replay makes")
	}
	p := newPerson(t)
	p.must(t, "kb", "add", "contact", "Ada Fern", "--email", "ada@example.com")
	trace := traceOfRun.FindString(p.must(t, "run", "compose_email", "--local", "--json", "--yes", "-p", "recipient=Ada Fern", "-p", "topic=x"))
	p.must(t, "replay", trace) // compiled code is in the cache from here on
	log := filepath.Join(t.TempDir(), "calls")
	rlp, err := exec.LookPath("rlp")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(strace, "-f", "-qq", "-o", log, "-e", "trace=network,openat,open,creat,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,truncate",
		rlp, "replay", trace)
	cmd.Env = append(p.Environ, "PATH="+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil && strings.Contains(string(out), "ptrace") {
		t.Skipf("processes may not be traced here: %s", out)
	}
	if err != nil || !strings.Contains(string(out), "5 identical") {
		t.Fatalf("%v\n%s", err, out)
	}
	calls, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(calls), "events.sqlite") {
		t.Fatalf("nothing was seen:\n%s", calls)
	}
	for line := range strings.Lines(string(calls)) {
		reads := strings.Contains(line, "O_RDONLY") || strings.Contains(line, "ENOENT") || strings.Contains(line, "/dev/null")
		_, call, _ := strings.Cut(strings.TrimSpace(line), " ")
		call = strings.TrimSpace(call)
		switch {
		case reads || strings.Contains(line, moduleCache) || strings.HasPrefix(call, "+++") || strings.HasPrefix(call, "---"):
		case strings.HasPrefix(call, "<..."): // the end of a call that was seen
		default:
			t.Errorf("a replay does %s", line)
		}
	}
}
