package opening

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
)

// treeStore is a crashStore for several runs.
type treeStore struct{ crashStore }

func (s *treeStore) Records(_ context.Context, trace uuid.UUID) ([]Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Record
	for _, r := range s.records {
		var p struct {
			TraceID string `json:"trace_id"`
		}
		if json.Unmarshal(r.Payload, &p) == nil && p.TraceID == traceName(trace) {
			out = append(out, r)
		}
	}
	return out, nil
}

// count gives how many records there are of a kind about a node.
func (s *treeStore) count(kind, node string) int {
	n := 0
	for _, r := range s.records {
		if r.Kind == kind && (node == "" || strings.Contains(string(r.Payload), `"node":"`+node+`"`)) {
			n++
		}
	}
	return n
}

// treeRun is a run of outer with a store that dies.
type treeRun struct {
	t     *testing.T
	store *treeStore
	e     *Engine
	plan  *Plan
	ctl   *Control

	mu  sync.Mutex
	ran []string
}

func newTreeRun(t *testing.T) *treeRun {
	cat := shelf()
	p, err := Load("outer.opening", []byte(outer), cat, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &treeRun{t: t, store: &treeStore{crashStore{left: -1}}, plan: p}
	r.e = &Engine{Store: r.store, Catalog: cat, MaxParallel: 2, Executor: execFunc(r.execute)}
	return r
}

// names lists what ran.
func (r *treeRun) names() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(slices.Sorted(slices.Values(r.ran)), " ")
}

// execute takes a moment and notes what ran. A node whose end is on disk must not
// run again.
func (r *treeRun) execute(ctx context.Context, req *Request, obs Observer) *Response {
	r.mu.Lock()
	r.ran = append(r.ran, req.Node)
	r.store.mu.Lock()
	if r.store.count(kindNodeFinished, req.Node) > 0 {
		r.t.Errorf("%s runs again although it has finished", req.Node)
	}
	r.store.mu.Unlock()
	r.mu.Unlock()
	select {
	case <-time.After(10 * time.Millisecond):
		return speaks("I am "+req.Node)(ctx, req, obs)
	case <-ctx.Done():
		return failure("stopped", false, "stopped")
	}
}

// live runs it, or goes on with it, in a process of its own.
func (r *treeRun) live(opt ResumeOptions) (*Report, error) {
	r.ctl = NewControl()
	opt.Control = r.ctl
	rr, err := LoadRun(r.t.Context(), r.store, testTrace)
	if errors.Is(err, ErrNoRun) {
		return r.e.Run(r.t.Context(), r.plan, RunOptions{TraceID: testTrace, Seed: Seed{1}, Control: r.ctl})
	}
	if err != nil {
		r.t.Fatal(err)
	}
	if rr.Finished != "" {
		return rr.report(r.t.Context(), r.store)
	}
	return r.e.Resume(r.t.Context(), rr, opt)
}

// TestNestedCrash kills the process of a run with a run inside at every append,
// before and after it is on disk. The next process ends both as they would have
// ended, with one inner run, and runs nothing again that had finished.
func TestNestedCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		whole := newTreeRun(t)
		want, err := whole.live(ResumeOptions{})
		if err != nil || !want.Success {
			t.Fatalf("%+v %v", want, err)
		}
		for at := 1; ; at++ {
			for _, after := range []bool{false, true} {
				r := newTreeRun(t)
				r.store.left, r.store.after = at, after
				rep, err := r.live(ResumeOptions{})
				if err == nil {
					if at < 8 {
						t.Fatalf("the run makes only %d appends", at)
					}
					return
				}
				r.store.dead, r.store.left = false, -1
				rep, err = r.live(ResumeOptions{})
				if err != nil || !rep.Success || rep.Trace.FinalHash != want.Trace.FinalHash {
					t.Fatalf("killed at %d: %+v %v", at, rep, err)
				}
				if n := r.store.count(kindRunStarted, ""); n != 2 {
					t.Errorf("killed at %d: %d runs were begun", at, n)
				}
				tr, err := LoadTrace(t.Context(), r.store, testTrace)
				if err != nil || tr.FinalHash != want.Trace.FinalHash || tr.Nodes[2].FinalAttempt.Nested == nil {
					t.Errorf("killed at %d: the trace: %v", at, err)
				}
			}
		}
	})
}

// TestNestedSteer: a run inside is paused, resumed, stepped over and left with the
// one around it.
func TestNestedSteer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTreeRun(t)
		done := make(chan string, 1)
		go func() {
			rep, err := r.live(ResumeOptions{})
			if errors.Is(err, ErrLeft) {
				done <- "left"
				return
			}
			done <- fmt.Sprint(rep.Success, err)
		}()
		time.Sleep(15 * time.Millisecond) // a runs
		synctest.Wait()
		if err := r.ctl.Pause(t.Context(), "me"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := r.names(); got != "a first more" || r.store.count(kindRunPaused, "") != 2 {
			t.Errorf("paused, and %s ran; %d pauses are on record", got, r.store.count(kindRunPaused, ""))
		}
		if err := r.ctl.Leave(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if got := <-done; got != "left" {
			t.Fatalf("it ended: %s", got)
		}
		if n := r.store.count(kindRunFinished, "") + r.store.count("run.stopping", ""); n != 0 {
			t.Errorf("%d ends are on record of runs that were left", n)
		}
		rep, err := r.live(ResumeOptions{Unpause: true, By: "me"})
		if err != nil || !rep.Success || r.names() != "a b first last more" {
			t.Errorf("%+v %v; %v ran", rep, err, r.ran)
		}
	})
}
