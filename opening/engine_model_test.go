package opening

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/runloop-os/runloop/rmp"
)

// acted makes a fake agent of every node of a world: it does what the script
// says, after a time of its own.
func (w *world) acted(t *rapid.T) map[string]act {
	acts := map[string]act{}
	for i, n := range w.o.Nodes {
		waits := rapid.SliceOfN(rapid.IntRange(0, 50), 3, 3).Draw(t, "waits")
		acts[n.ID] = func(ctx context.Context, req *Request, obs Observer) *Response {
			obs.Log(Log{Stream: rmp.StreamStdout, Text: "working"})
			timer := time.NewTimer(time.Duration(waits[req.Attempt-1]) * time.Millisecond)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
				return failure("stopped", false, "stopped")
			}
			ev := w.event(i, req.Attempt)
			r := &Response{Status: ev.status, Ports: ev.ports, Error: ev.err, Digest: "d"}
			r.Tape = []Hostcall{{Op: "time.now", OK: json.RawMessage(strconv.Itoa(req.Attempt))}}
			return r
		}
	}
	return acts
}

// TestEngineModel runs random openings with random timing through the whole
// engine, some of them cancelled at some moment, and holds what it reports and
// records against the oracle and against the rules of spec/02 and spec/04.
func TestEngineModel(t *testing.T) {
	for seed := range modelCases() / 10 {
		gen := rapid.Custom(func(t *rapid.T) func(*testing.T) string {
			w := drawWorld(t, 7)
			acts := w.acted(t)
			cancelAt := rapid.SampledFrom([]int{-1, -1, 0, 1, 20, 60}).Draw(t, "cancel")
			return func(t *testing.T) string { return checkRun(t, w, acts, cancelAt) }
		})
		check := gen.Example(seed)
		synctest.Test(t, func(t *testing.T) {
			if msg := check(t); msg != "" {
				t.Fatalf("case %d: %s", seed, msg)
			}
		})
	}
}

func checkRun(t *testing.T, w *world, acts map[string]act, cancelAt int) string {
	p, err := NewPlan(w.o, nil, nil)
	if err != nil {
		return err.Error()
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if cancelAt >= 0 {
		defer time.AfterFunc(time.Duration(cancelAt)*time.Millisecond, cancel).Stop()
	}
	r := runPlan(ctx, p, &Engine{MaxParallel: w.max}, acts)
	if r.err != nil {
		return r.err.Error()
	}
	cancelled := r.rep.Status == StatusCancelled
	o := newOracle(w)
	allOK := true
	for _, n := range r.rep.Nodes {
		want := o.of(n.Node)
		allOK = allOK && (n.State == Succeeded || n.State == Skipped)
		if n.State != want && !(cancelled && n.State == Cancelled) {
			return fmt.Sprintf("%s is %s, want %s", n.Node, n.State, want)
		}
	}
	if !cancelled && r.rep.Success != allOK {
		return fmt.Sprintf("success is %v, states are %s", r.rep.Success, r.states())
	}
	for _, check := range []func(*world, *run) string{checkTrail, checkRecords, checkFold} {
		if msg := check(w, r); msg != "" {
			return msg
		}
	}
	tr, err := ParseTrace(r.rep.Trace.JSON())
	if err != nil {
		return err.Error()
	}
	if rep, err := Replay(context.Background(), tr, &fakeExecutor{acts: acts}, ReplayOptions{}); err == nil && !rep.Same() {
		return "the replay differs:\n" + rep.Text()
	}
	return ""
}

// checkTrail holds the events against their rules: a run begins and ends once,
// every node ends once, whatever an agent says is said while it runs, and no
// node starts before its sources have ended.
func checkTrail(w *world, r *run) string {
	trail := r.trail()
	if trail[0] != "run.started" || r.events[len(trail)-1].Kind != "run.finished" {
		return fmt.Sprintf("the run does not begin and end: %q", trail)
	}
	running, finished := map[string]bool{}, map[string]bool{}
	for i, ev := range r.events {
		if i > 0 && ev.TSMillis < r.events[i-1].TSMillis {
			return "time goes backwards"
		}
		var m struct{ Node string }
		if err := json.Unmarshal(ev.Meta, &m); err != nil {
			return err.Error()
		}
		switch ev.Kind {
		case "node.started":
			for _, e := range w.o.Edges {
				if e.To.Node == m.Node && !finished[e.From.Node] {
					return fmt.Sprintf("%s starts before %s has ended: %q", m.Node, e.From.Node, trail)
				}
			}
			if running[m.Node] = true; finished[m.Node] || len(running) > w.max {
				return fmt.Sprintf("%s starts when it must not: %q", m.Node, trail)
			}
		case "node.stdout":
			if !running[m.Node] {
				return fmt.Sprintf("%s talks when it does not run: %q", m.Node, trail)
			}
		case "node.retry":
			delete(running, m.Node)
		case "node.finished":
			if finished[m.Node] {
				return fmt.Sprintf("%s ends twice: %q", m.Node, trail)
			}
			finished[m.Node] = true
			delete(running, m.Node)
		}
	}
	if len(finished) != len(w.o.Nodes) || len(running) > 0 {
		return fmt.Sprintf("not all nodes have ended: %q", trail)
	}
	return ""
}

// checkRecords holds the records against the events: the same, without what is
// only said.
func checkRecords(_ *world, r *run) string {
	var said []string
	for i, ev := range r.trail() {
		switch r.events[i].Kind {
		case "node.stdout", "node.stderr", "node.retry":
		default:
			said = append(said, ev)
		}
	}
	kinds := r.store.kinds()
	last := len(kinds) - 1
	if !slices.Equal(kinds[:last], said) || r.store.records[last].Kind != "run.trace" {
		return fmt.Sprintf("records %q\nevents %q", kinds, said)
	}
	for _, rec := range r.store.records {
		if c, err := canonical(rec.Payload); err != nil || string(c) != string(rec.Payload) {
			return fmt.Sprintf("the payload of %s is not canonical: %v", rec.Kind, err)
		}
	}
	return ""
}

// checkFold reads a run back from its records alone, as a restarted engine
// would: at every prefix the machine must take the events, and at the end it
// must be where the run was.
func checkFold(w *world, r *run) string {
	for cut := range r.store.records {
		m, err := fold(r.store.records[:cut])
		if err != nil {
			return fmt.Sprintf("after %d records: %v", cut, err)
		}
		if cut < len(r.store.records)-2 || m == nil {
			continue
		}
		for i, n := range r.rep.Nodes {
			if m.nodes[i].state != n.State || m.nodes[i].attempt != n.Attempt {
				return fmt.Sprintf("read back, %s is %s after %d attempts; it was %s after %d",
					n.Node, m.nodes[i].state, m.nodes[i].attempt, n.State, n.Attempt)
			}
		}
	}
	return ""
}

// fold rebuilds a machine from records.
func fold(records []Record) (*machine, error) {
	var m *machine
	for _, rec := range records {
		switch rec.Kind {
		case kindRunStarted:
			var p runStartedRecord
			if err := json.Unmarshal(rec.Payload, &p); err != nil {
				return nil, err
			}
			o, err := ParseIR(p.OpeningIR)
			if err != nil {
				return nil, err
			}
			if hashHex(p.OpeningIR) != p.OpeningIRHash {
				return nil, fmt.Errorf("the hash of the IR is wrong")
			}
			m = newMachine(o, len(o.Nodes))
		case kindNodeStarted:
			var p nodeStartedRecord
			if err := json.Unmarshal(rec.Payload, &p); err != nil {
				return nil, err
			}
			i := m.g.index[p.Node]
			if p.After != nil {
				if _, err := m.apply(ended{node: i, status: p.After.Status, err: p.After.Error}); err != nil {
					return nil, err
				}
				if _, err := m.apply(due{i}); err != nil {
					return nil, err
				}
			}
			if _, err := m.apply(started{i}); err != nil {
				return nil, err
			}
		case kindNodeFinished:
			if err := foldFinished(m, rec.Payload); err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

func foldFinished(m *machine, payload json.RawMessage) error {
	var p nodeFinishedRecord
	if err := json.Unmarshal(payload, &p); err != nil {
		return err
	}
	ev := ended{node: m.g.index[p.Node], err: p.Error, ports: p.Outputs}
	switch p.Status {
	case StatusSkipped:
		return nil // it follows from what is known
	case StatusOK:
		ev.status = rmp.StatusOK
	case StatusError:
		ev.status, ev.err = rmp.StatusFailed, &rmp.AgentError{Code: p.Error.Code, Message: p.Error.Message}
	case StatusCancelled:
		if _, err := m.apply(stop{}); err != nil {
			return err
		}
		ev.status = rmp.StatusCancelled
		if m.nodes[ev.node].state == Cancelled {
			return nil
		}
	}
	_, err := m.apply(ev)
	return err
}
