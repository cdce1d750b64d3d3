package opening

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
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
		case "node.stdout", "node.stderr":
		default:
			said = append(said, ev)
		}
	}
	kinds := slices.DeleteFunc(r.store.kinds(), func(k string) bool {
		return strings.HasPrefix(k, kindRunStopping)
	})
	last := len(kinds) - 1
	if !slices.Equal(kinds[:last], said) || !strings.HasPrefix(kinds[last], "run.trace") {
		return fmt.Sprintf("records %q\nevents %q", kinds, said)
	}
	for _, rec := range r.store.records {
		if c, err := canonical(rec.Payload); err != nil || string(c) != string(rec.Payload) {
			return fmt.Sprintf("the payload of %s is not canonical: %v", rec.Kind, err)
		}
	}
	return ""
}

// checkFold reads a run back from its records alone: it must be possible at every
// prefix, and give what the run was, down to its trace.
func checkFold(_ *world, r *run) string {
	var rr *RecordedRun
	for cut := range r.store.records {
		var err error
		if rr, err = ReadRun(r.store.records[:cut+1]); err != nil {
			return fmt.Sprintf("after %d records: %v", cut+1, err)
		}
	}
	for i, n := range r.rep.Nodes {
		if rr.m.nodes[i].state != n.State || rr.m.nodes[i].attempt != n.Attempt {
			return fmt.Sprintf("read back, %s is %s after %d attempts; it was %s after %d",
				n.Node, rr.m.nodes[i].state, rr.m.nodes[i].attempt, n.State, n.Attempt)
		}
	}
	tr, err := LoadTrace(context.Background(), r.store, testTrace)
	if err != nil {
		return err.Error()
	}
	if got, want := string(tr.JSON()), string(r.rep.Trace.JSON()); got != want {
		return fmt.Sprintf("read back, the trace is\n%s\nit was\n%s", got, want)
	}
	return ""
}
