package opening

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/runloop-os/runloop/rmp"
)

// errKilled is what a crashStore says from the moment on at which its process
// is dead: what is appended after it never was.
var errKilled = errors.New("killed")

// crashStore is a disk that outlives processes. A process dies at an append,
// before or after what it appends is durable.
type crashStore struct {
	mu      sync.Mutex
	records []Record
	left    int  // appends until the process dies; negative: it lives
	after   bool // it dies when the append is on disk
	dead    bool
}

func (s *crashStore) Append(_ context.Context, records []Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return errKilled
	}
	s.left--
	s.dead = s.left == 0
	if s.dead && !s.after {
		return errKilled
	}
	for _, r := range records {
		r.TSMillis = time.Now().UnixMilli()
		s.records = append(s.records, r)
	}
	if s.dead {
		return errKilled
	}
	return nil
}

func (s *crashStore) Records(context.Context, uuid.UUID) ([]Record, error) {
	return s.records, nil
}

// life is one process that has the run, and how it comes to its end.
type life struct {
	appends int // until it is killed; negative: it is not
	after   bool
	steerAt int // ms until somebody does something, or -1
	what    string
	down    int // ms until the next process has the run
}

func drawLives(t *rapid.T) []life {
	var lives []life
	for range rapid.IntRange(0, 5).Draw(t, "lives") {
		lives = append(lives, life{
			appends: rapid.SampledFrom([]int{-1, 1, 2, 3, 4, 5, 8, 13}).Draw(t, "appends"),
			after:   rapid.Bool().Draw(t, "after"),
			steerAt: rapid.SampledFrom([]int{-1, 0, 3, 20, 60}).Draw(t, "steer at"),
			what:    rapid.SampledFrom([]string{"pause", "step", "leave", "leave idle", "cancel", "pause"}).Draw(t, "what"),
			down:    rapid.SampledFrom([]int{0, 5, 500, 100_000}).Draw(t, "down"),
		})
	}
	return lives
}

// drawAsks says which nodes ask a person, and what the answer is: yes, no, or
// none at all.
func (w *world) drawAsks(t *rapid.T) map[string]string {
	asks := map[string]string{}
	for _, n := range w.o.Nodes {
		if a := rapid.SampledFrom([]string{"", "", "", "yes", "no", "late"}).Draw(t, "asks"); a != "" {
			asks[n.ID] = a
		}
	}
	return asks
}

// crashed is a run that goes through several lives, with all that happened in
// the world meanwhile.
type crashed struct {
	w     *world
	asks  map[string]string
	waits map[string]int
	store *crashStore

	mu       sync.Mutex
	ctl      *Control
	decide   func(*ActionDecision)
	running  map[string]bool
	finished map[string]bool
	bad      string
	told     map[string]*ActionDecision
}

func (c *crashed) wrong(format string, args ...any) {
	if c.bad == "" {
		c.bad = fmt.Sprintf(format, args...)
	}
}

// Execute implements Executor: it works for a while, asks if the node asks, and
// does what the script says about the try that this is.
func (c *crashed) Execute(ctx context.Context, req *Request, _ Observer) *Response {
	c.mu.Lock()
	if c.running[req.Node] {
		c.wrong("%s runs twice at once", req.Node)
	}
	if c.onDisk(kindNodeFinished, req.Node) > 0 {
		c.wrong("%s runs again although it has finished", req.Node)
	}
	c.running[req.Node] = true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.running, req.Node)
		c.mu.Unlock()
	}()
	select {
	case <-time.After(time.Duration(c.waits[req.Node]) * time.Millisecond):
	case <-ctx.Done():
		return failure("stopped", false, "stopped")
	}
	tape := []Hostcall{{Op: "time.now", OK: json.RawMessage("1")}}
	if c.asks[req.Node] != "" {
		if req.Mode != rmp.ModeResume {
			return &Response{Status: rmp.StatusParked, Tape: tape, Usage: rmp.Usage{TokensIn: 1},
				Action: &ActionRequest{
					ID: "act-" + req.Node, Node: req.Node, Agent: "echo", Attempt: req.Attempt, Kind: "send",
					Summary: "s", Details: json.RawMessage(`{}`), Digest: "d",
					ExpiresAt: time.Now().Add(time.Minute),
				}}
		}
		if len(req.Tape) != 1 || req.Decision == nil || req.Decision.Digest != "d" {
			c.wrong("%s goes on without tape or decision", req.Node)
		}
		c.mu.Lock()
		c.told[req.Node] = req.Decision
		c.mu.Unlock()
		tape = append(tape, Hostcall{Op: "action.confirm", OK: json.RawMessage("true")})
	}
	i, try := c.script(req.Node)
	ev := c.w.event(i, try)
	return &Response{Status: ev.status, Ports: ev.ports, Error: ev.err, Digest: "d", Tape: tape}
}

// script finds the node's number and which try this is, by what is on disk: an
// attempt that a process took with it was none.
func (c *crashed) script(node string) (i, try int) {
	fmt.Sscanf(node, "n%d", &i)
	return i, 1 + c.onDisk(kindNodeRetry, node)
}

// onDisk counts the records of a kind about a node.
func (c *crashed) onDisk(kind, node string) (n int) {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	for _, r := range c.store.records {
		if r.Kind == kind && strings.Contains(string(r.Payload), `"node":"`+node+`"`) {
			n++
		}
	}
	return n
}

// fakeActions tells of decisions that the test makes.
type fakeActions struct {
	mu  sync.Mutex
	ch  chan struct{}
	out []ActionMessage
	c   *crashed
}

func (f *fakeActions) Watch(uuid.UUID) (ActionWatch, error) { return f, nil }
func (f *fakeActions) C() <-chan struct{}                   { return f.ch }
func (f *fakeActions) Stop()                                {}

func (f *fakeActions) Announce(_ context.Context, _ uuid.UUID, req *rmp.ActionRequest) error {
	f.c.answer(req.ActionID, req.Node, f)
	return nil
}

func (f *fakeActions) Drain() []ActionMessage {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.out
	f.out = nil
	return out
}

// answer lets a person answer after a while, unless nobody ever does. In a
// process that is gone by then nobody hears it.
func (c *crashed) answer(id, node string, f *fakeActions) {
	if c.asks[node] == "late" {
		return
	}
	time.AfterFunc(7*time.Millisecond, func() {
		f.mu.Lock()
		f.out = append(f.out, ActionMessage{Decision: &ActionDecision{
			ID: id, Digest: "d", Approved: c.asks[node] == "yes", By: "user",
		}})
		f.mu.Unlock()
		select {
		case f.ch <- struct{}{}:
		default:
		}
	})
}

// engine makes the engine of one process.
func (c *crashed) engine(f *fakeActions) *Engine {
	return &Engine{
		Executor: c, Store: c.store, Actions: f, MaxParallel: c.w.max,
		Sink: func(ev Event) {
			var m struct {
				Node     string
				ActionID string `json:"action_id"`
			}
			_ = json.Unmarshal(ev.Meta, &m)
			switch ev.Kind {
			case kindActionRequested:
				c.answer(m.ActionID, m.Node, f)
			case kindNodeFinished:
				c.mu.Lock()
				if c.finished[m.Node] {
					c.wrong("%s ends twice", m.Node)
				}
				c.finished[m.Node] = true
				c.mu.Unlock()
			case kindNodeStarted:
				if c.finished[m.Node] {
					c.wrong("%s starts although it has finished", m.Node)
				}
			}
		},
	}
}

// live is one process: it starts the run or goes on with it.
func (c *crashed) live(t *testing.T, l life, p *Plan) (*Report, error) {
	f := &fakeActions{ch: make(chan struct{}, 1), c: c}
	c.store.dead, c.store.left, c.store.after = false, l.appends, l.after
	ctl := NewControl()
	ctx, cancel := context.WithCancel(t.Context())
	var steering sync.WaitGroup
	defer func() {
		cancel()
		steering.Wait()
	}()
	if l.steerAt >= 0 {
		steering.Go(func() {
			select {
			case <-time.After(time.Duration(l.steerAt) * time.Millisecond):
				c.steer(ctx, ctl, l.what)
			case <-ctx.Done():
			}
		})
	}
	if len(c.store.records) == 0 {
		return c.engine(f).Run(ctx, p, RunOptions{TraceID: testTrace, Seed: Seed{1}, Control: ctl})
	}
	rr, err := LoadRun(ctx, c.store, testTrace)
	if err != nil {
		return nil, err
	}
	if rr.Finished != "" {
		return nil, ErrOver
	}
	if rr.Paused != c.pausedOnDisk() {
		c.wrong("the pause did not survive")
	}
	opt := ResumeOptions{Control: ctl, Unpause: l.what != "step" || l.steerAt < 0}
	return c.engine(f).Resume(ctx, rr, opt)
}

// pausedOnDisk says whether the last mark is a pause.
func (c *crashed) pausedOnDisk() bool {
	paused := false
	for _, r := range c.store.records {
		switch r.Kind {
		case kindRunPaused:
			paused = true
		case kindRunResumed:
			paused = paused && strings.Contains(string(r.Payload), `"cause":"restart"`)
		}
	}
	return paused
}

// steer does something to the run from outside.
func (c *crashed) steer(ctx context.Context, ctl *Control, what string) {
	switch what {
	case "pause":
		if ctl.Pause(ctx, "test") == nil {
			time.Sleep(200 * time.Millisecond)
			_ = ctl.Resume(ctx, "test", nil)
		}
	case "step":
		if ctl.Pause(ctx, "test") != nil {
			return
		}
		for {
			_, err := ctl.Step(ctx)
			if err != nil && !errors.Is(err, ErrSteer) {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	case "leave":
		_ = ctl.Leave(ctx, true)
	case "leave idle":
		if ctl.Pause(ctx, "test") == nil {
			_ = ctl.Leave(ctx, false)
		}
	case "cancel":
		_ = ctl.Cancel(ctx)
	}
}

// TestCrashModel takes random openings through random crashes, pauses, steps and
// people who answer or do not, and holds the end against the oracle, which knows
// of none of these.
func TestCrashModel(t *testing.T) {
	for seed := range crashCases() {
		gen := rapid.Custom(func(t *rapid.T) func(*testing.T) string {
			c := &crashed{
				w: drawWorld(t, 7), store: &crashStore{}, waits: map[string]int{},
				running: map[string]bool{}, finished: map[string]bool{},
				told: map[string]*ActionDecision{},
			}
			c.asks = c.w.drawAsks(t)
			for _, n := range c.w.o.Nodes {
				c.waits[n.ID] = rapid.IntRange(0, 50).Draw(t, "wait")
			}
			lives := drawLives(t)
			return func(t *testing.T) string { return c.check(t, lives) }
		})
		check := gen.Example(seed)
		synctest.Test(t, func(t *testing.T) {
			if msg := check(t); msg != "" {
				t.Fatalf("case %d: %s", seed, msg)
			}
		})
	}
}

func crashCases() int {
	if os.Getenv("RUNLOOP_SOAK") != "" {
		return 100_000
	}
	return 600
}

// check lives through all lives and one more that nothing disturbs.
func (c *crashed) check(t *testing.T, lives []life) string {
	p, err := NewPlan(c.w.o, nil, nil)
	if err != nil {
		return err.Error()
	}
	cancelled := false
	for n, l := range append(lives, life{appends: -1, steerAt: -1}) {
		rep, err := c.live(t, l, p)
		synctest.Wait()
		switch {
		case c.bad != "":
			return c.bad
		case err == nil:
			return c.verdict(rep, cancelled || l.what == "cancel")
		case errors.Is(err, ErrOver):
			return "" // killed after its last append
		case !errors.Is(err, errKilled) && !errors.Is(err, ErrLeft):
			return fmt.Sprintf("life %d: %v", n, err)
		}
		cancelled = cancelled || l.what == "cancel"
		time.Sleep(time.Duration(l.down) * time.Millisecond)
	}
	return "the last life ended early"
}

// verdict holds the end of the run against the oracle.
func (c *crashed) verdict(rep *Report, cancelled bool) string {
	o := newOracle(c.w)
	for _, n := range rep.Nodes {
		want := o.of(n.Node)
		if n.State != want && !(cancelled && n.State == Cancelled) {
			return fmt.Sprintf("%s is %s, want %s", n.Node, n.State, want)
		}
		// An answer may come too late because its process was down.
		d, answer := c.told[n.Node], c.asks[n.Node]
		if d != nil && d.Approved != (answer == "yes") && (answer != "yes" || d.By != "timeout") {
			return fmt.Sprintf("%s was told %v, but the answer was %s", n.Node, d.Approved, answer)
		}
	}
	tr, err := LoadTrace(context.Background(), c.store, testTrace)
	if err != nil {
		return err.Error()
	}
	if got, want := string(tr.JSON()), string(rep.Trace.JSON()); got != want {
		return fmt.Sprintf("read back, the trace is\n%s\nit was\n%s", got, want)
	}
	if _, err := ParseTrace(tr.JSON()); err != nil {
		return err.Error()
	}
	return ""
}
