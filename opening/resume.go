package opening

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/rmp"
)

// Causes of the marks of a run.
const (
	causeRestart = "restart" // another process went on with it
	causeRequest = "request" // somebody asked for it
)

// ResumeOptions say how to go on with a run.
type ResumeOptions struct {
	// Control steers the run while it goes on; nil leaves it alone.
	Control *Control
	// Unpause goes on with a run that is paused; By says who asked.
	Unpause bool
	By      string
	// Hold, when it is not empty, pauses the run before anything starts, and
	// says why.
	Hold string
	// Agents are the digests, by reference, of agents that are to be used in
	// place of those that the run was planned with.
	Agents map[string]string
	// Fork goes on taking steps over, in a run that is a fork; nil runs what is
	// left. It is what [RecordedRun.Fork] gives.
	Fork *Fork

	within *within // of a run that a node is
}

// Resume goes on with a run that did not finish, from what its records say, and
// returns as [Engine.Run] does. Nodes that have finished do not run again. An
// attempt that was lost with its process is followed by a new one, which does
// not count as a retry; one that was parked waits on, or goes on behind its
// decision. The caller sees to it that no other process has the run. rr can be
// used once.
func (e *Engine) Resume(ctx context.Context, rr *RecordedRun, opt ResumeOptions) (*Report, error) {
	if e.Executor == nil {
		return nil, errors.New("resume a run: the engine has no executor")
	}
	if rr.Finished != "" {
		return nil, fmt.Errorf("resume a run: %w: it ended: %s", ErrOver, rr.Finished)
	}
	if opt.Fork != nil && opt.Fork.Source.TraceID != rr.ForkedFrom {
		return nil, fmt.Errorf("resume a run: it was not forked from %s", opt.Fork.Source.TraceID)
	}
	for ref, digest := range opt.Agents {
		rr.Plan.Digests[ref] = digest
	}
	r := newRunner(e, rr.Plan, RunOptions{
		TraceID: rr.TraceID, Seed: rr.Seed, Flags: rr.Flags, Limits: rr.Limits, Control: opt.Control, Fork: opt.Fork,
		within: opt.within,
	})
	if history, ok := e.Store.(History); ok {
		if err := rr.loadNested(ctx, history); err != nil {
			return nil, fmt.Errorf("resume a run: %w", err)
		}
	}
	r.takeOver(rr)
	r.goOn = func(ctx context.Context) { r.resumeRun(ctx, rr, opt) }
	return r.carryOut(ctx)
}

// takeOver puts the state of a recorded run into the runner.
func (r *runner) takeOver(rr *RecordedRun) {
	r.m, r.attempts, r.begun, r.clock = rr.m, rr.attempts, rr.Started, rr.clock
	r.m.max = r.e.maxParallel()
	r.ladder, r.told, r.cut, r.source = rr.ladder, len(rr.ladder), rr.cut, rr.ForkedFrom
	r.usage, r.seq, r.stopped, r.parked = rr.usage, rr.count, rr.stopped, rr.parked
	for id, rec := range rr.open {
		if a := r.attempts[r.m.g.index[rec.Node]]; a.parked && a.action == id {
			r.actions.open[id] = &openAction{actionOf(rec), a}
			a.asking = 1
			r.apply(waits{a.node, true})
		}
	}
	for _, a := range r.attempts {
		if a != nil && a.resp == nil {
			r.usage = addUsage(r.usage, a.spent)
			a.timeout = r.timeout(r.p.Opening.Nodes[a.node])
			a.req.Digest = r.p.Digests[a.req.Ref]
		}
	}
}

// resumeRun records that the run goes on and settles what was under way when its
// process ended.
func (r *runner) resumeRun(ctx context.Context, rr *RecordedRun, opt ResumeOptions) {
	switch restart := (runMarkRecord{Cause: causeRestart, Agents: opt.Agents}); {
	case opt.Hold != "":
		r.pauseRun(runMarkRecord{Cause: opt.Hold})
	case r.m.paused && opt.Unpause:
		r.unpauseRun(runMarkRecord{Cause: causeRequest, By: opt.By, Agents: opt.Agents})
	case !r.m.paused:
		r.unpauseRun(restart)
	}
	for i, a := range r.attempts {
		n := &r.m.nodes[i]
		switch {
		case n.backoff:
			r.retryIn(a, time.Until(time.UnixMilli(rr.due[i])))
		case n.state != Running:
		case a.parked:
			r.awaitExpiry(a)
			r.announce(ctx, a)
		default:
			r.recoverAttempt(a)
		}
	}
	if r.stopped != "" {
		r.endParked()
	}
}

// recoverAttempt settles an attempt whose process ended while it ran: it goes on
// behind the decision that it had been parked for, or it is lost.
func (r *runner) recoverAttempt(a *attempt) {
	d := a.decision
	switch {
	case r.stopped != "":
		r.endStopped(a)
	case a.action != "" && d != nil && d.ID == a.action:
		r.resumeWith(a, d)
	default:
		r.apply(lost{a.node})
	}
}

// announce asks again what a parked attempt has asked.
func (r *runner) announce(ctx context.Context, a *attempt) {
	if r.e.Actions == nil {
		return
	}
	req, err := r.wireAction(r.actions.open[a.action].req)
	if err == nil {
		// Who cannot be told now asks the control plane for what is open.
		_ = r.e.Actions.Announce(ctx, r.opt.TraceID, req)
	}
}

// resumeWith launches an attempt again that was parked, with the decision.
func (r *runner) resumeWith(a *attempt, d *ActionDecision) {
	req := *a.req
	req.Mode, req.Tape, req.Decision = rmp.ModeResume, a.tape, d
	a.req = &req
	r.batch.starts = append(r.batch.starts, a)
}

// LoadTrace puts the trace of a finished run together again.
func LoadTrace(ctx context.Context, h History, trace uuid.UUID) (*Trace, error) {
	rr, err := LoadRun(ctx, h, trace)
	if err != nil {
		return nil, err
	}
	rep, err := rr.report(ctx, h)
	if err != nil {
		return nil, err
	}
	return rep.Trace, nil
}

// report gives the report of a finished run, with its trace. History tells of the
// runs that its nodes are.
func (rr *RecordedRun) report(ctx context.Context, h History) (*Report, error) {
	if rr.end == nil || rr.Finished == "" {
		return nil, fmt.Errorf("%s: %w", traceName(rr.TraceID), ErrUnfinished)
	}
	if err := rr.loadNested(ctx, h); err != nil {
		return nil, err
	}
	r := &runner{
		e: &Engine{}, p: rr.Plan, opt: RunOptions{TraceID: rr.TraceID, Seed: rr.Seed}, m: rr.m,
		ids:      ids{trace: traceName(rr.TraceID), opening: OpeningID(rr.Plan.IRHash)},
		attempts: rr.attempts, ladder: rr.ladder, cut: rr.cut, source: rr.ForkedFrom,
		usage: rr.usage, stopped: rr.stopped, begun: rr.Started,
	}
	rep := r.report()
	rep.Status, rep.Success, rep.Reason = rr.end.Status, rr.end.Success, rr.end.Reason
	rep.Trace = r.trace(rep)
	if rep.Trace.FinalHash != rr.end.FinalHash || rep.Trace.OpeningIRHash != rr.end.OpeningIRHash {
		return nil, fmt.Errorf("%w: its nodes do not give the hash that the run ended with", ErrRecord)
	}
	return rep, nil
}

// loadNested fetches the traces of the runs that nodes of the run were.
func (rr *RecordedRun) loadNested(ctx context.Context, h History) error {
	for _, a := range rr.attempts {
		if a == nil || a.resp == nil || a.nested == "" || a.resp.Nested != nil {
			continue
		}
		if a.nested == traceName(rr.TraceID) {
			return fmt.Errorf("%w: it is inside of itself", ErrRecord)
		}
		id, err := (&Trace{TraceID: a.nested}).TraceUUID()
		if err != nil {
			return err
		}
		if a.resp.Nested, err = LoadTrace(ctx, h, id); err != nil {
			return fmt.Errorf("the run of node %s: %w", quote(a.req.Node), err)
		}
	}
	return nil
}
