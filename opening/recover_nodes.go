package opening

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// What the records of nodes and actions say of a run.

// nodeStarted reads the beginning of an attempt. One that was running by then
// was lost.
func (rr *RecordedRun) nodeStarted(rec Record) error {
	var p nodeStartedRecord
	if err := json.Unmarshal(rec.Payload, &p); err != nil {
		return err
	}
	i, err := rr.node(p.Node)
	if err != nil {
		return err
	}
	n := &rr.m.nodes[i]
	if n.state == Running && rr.attempts[i].parked {
		return errors.New("its attempt is parked")
	}
	if n.state == Running {
		_, err = rr.m.apply(lost{i})
		rr.running--
	} else if n.backoff {
		_, err = rr.m.apply(due{i})
	}
	if err != nil {
		return err
	}
	if _, err := rr.m.apply(started{i}); err != nil {
		return err
	}
	if n.attempt != p.Attempt {
		return fmt.Errorf("attempt %d of %s comes where %d was due", p.Attempt, quote(p.Node), n.attempt)
	}
	rr.running++
	rr.attempts[i] = rr.attempt(i, p.TSMillis)
	return nil
}

// attempt gives the attempt of a node that begins here, with the inputs that it
// had by then.
func (rr *RecordedRun) attempt(i int, ts int64) *attempt {
	n, limits := rr.Plan.Opening.Nodes[i], rr.Plan.Opening.Policy.Limits().Tighter(rr.Limits)
	return &attempt{node: i, begun: time.UnixMilli(ts), req: &Request{
		Ref: n.Ref(), Node: n.ID, Attempt: rr.m.nodes[i].attempt, TraceID: rr.TraceID,
		OpeningID: OpeningID(rr.Plan.IRHash), Digest: rr.Plan.Digests[n.Ref()], Seed: rr.Seed,
		With: rr.Plan.With[i], Inputs: rr.m.inputs(i), Mode: rmp.ModeLive,
		RunBudget: rmp.Budget{Tokens: limits.BudgetTokens, USD: limits.BudgetUSD},
	}}
}

// finish puts what a record says about the end of an attempt into it.
func (rr *RecordedRun) finish(a *attempt, p *attemptRecord, ts int64) {
	if p.Budget != nil {
		a.req.Budget = *p.Budget
	}
	a.resp = &Response{
		Status: p.AttemptStatus, ExitCode: p.ExitCode, Micros: p.Micros, Digest: p.Digest, Caps: p.Caps,
		Tape: p.Hostcalls, TapeCut: p.TapeCut,
	}
	a.nested = p.NestedRun
	if p.Usage != nil {
		a.resp.Usage = *p.Usage
	}
	a.took = time.Duration(ts-a.begun.UnixMilli()) * time.Millisecond
	rr.usage = addUsage(rr.usage, a.resp.Usage)
	rr.ladder = append(rr.ladder, p.Ladder...)
}

// leaveSandbox notes that an attempt is not running any more.
func (rr *RecordedRun) leaveSandbox(a *attempt) {
	if a.parked {
		a.parked = false
		rr.parked--
		return
	}
	rr.running--
}

// nodeRetry reads the end of an attempt that another follows.
func (rr *RecordedRun) nodeRetry(rec Record) error {
	var p nodeRetryRecord
	if err := json.Unmarshal(rec.Payload, &p); err != nil {
		return err
	}
	i, err := rr.node(p.Node)
	if err != nil {
		return err
	}
	changes, err := rr.m.apply(ended{node: i, status: p.AttemptStatus, err: p.Error})
	if err != nil {
		return err
	}
	if len(changes) != 1 || !changes[0].retry {
		return errors.New("the node has no attempts left")
	}
	a := rr.attempts[i]
	rr.leaveSandbox(a)
	rr.finish(a, &p.attemptRecord, rec.TSMillis)
	a.resp.Error, a.recorded = p.Error, true
	rr.due[i] = p.DueMS
	return nil
}

// nodeParked reads that an attempt waits for a person. What it spent is counted
// when it ends, which says so in all.
func (rr *RecordedRun) nodeParked(rec Record) error {
	var p nodeParkedRecord
	if err := json.Unmarshal(rec.Payload, &p); err != nil {
		return err
	}
	i, err := rr.node(p.Node)
	if err != nil {
		return err
	}
	a := rr.attempts[i]
	if rr.m.nodes[i].state != Running || a.parked || a.req.Attempt != p.Attempt {
		return errors.New("its attempt is not running")
	}
	if p.Budget != nil {
		a.req.Budget = *p.Budget
	}
	if p.Usage != nil {
		a.spent = addUsage(a.spent, *p.Usage)
	}
	a.micros += p.Micros
	a.parked, a.action, a.tape = true, p.ActionID, p.Hostcalls
	a.left = time.Duration(max(p.LeftMS, 1)) * time.Millisecond
	rr.ladder = append(rr.ladder, p.Ladder...)
	rr.running--
	rr.parked++
	if d := a.decision; d != nil && d.ID == p.ActionID {
		rr.unpark(a)
	}
	return nil
}

// unpark notes that a parked attempt runs again, with its decision.
func (rr *RecordedRun) unpark(a *attempt) {
	a.parked = false
	rr.parked--
	rr.running++
}

// action reads a request for confirmation or a decision.
func (rr *RecordedRun) action(rec Record) error {
	if rec.Kind == kindActionRequested {
		p := &actionRequestedRecord{}
		if err := json.Unmarshal(rec.Payload, p); err != nil {
			return err
		}
		i, err := rr.node(p.Node)
		if err != nil {
			return err
		}
		rr.open[p.ActionID] = p
		if a := rr.attempts[i]; a != nil {
			a.decision = nil
		}
		return nil
	}
	var p actionDecidedRecord
	if err := json.Unmarshal(rec.Payload, &p); err != nil {
		return err
	}
	i, err := rr.node(p.Node)
	if err != nil {
		return err
	}
	req, a := rr.open[p.ActionID], rr.attempts[i]
	if req == nil || req.Digest != p.Digest || a == nil {
		return errors.New("nobody asked for that decision")
	}
	delete(rr.open, p.ActionID)
	a.decision = &ActionDecision{
		ID: p.ActionID, Digest: p.Digest, Approved: p.Approved, Rationale: p.Rationale, By: p.By,
	}
	if a.parked && a.action == p.ActionID {
		rr.unpark(a)
	}
	return nil
}

// nodeFinished reads the end of a node. One that was skipped or cancelled before
// it ran follows from what is known.
func (rr *RecordedRun) nodeFinished(rec Record) error {
	var p nodeFinishedRecord
	if err := json.Unmarshal(rec.Payload, &p); err != nil {
		return err
	}
	i, err := rr.node(p.Node)
	if err != nil {
		return err
	}
	if p.Status == StatusSkipped {
		return nil // it may be told before its cause, in the order of the file
	}
	if rr.m.nodes[i].state == Running && p.AttemptStatus == "" {
		// Its attempt was lost, and the run stopped before there was another.
		if _, err := rr.m.apply(ended{node: i, status: rmp.StatusCancelled}); err != nil {
			return err
		}
		rr.leaveSandbox(rr.attempts[i])
	}
	if rr.m.nodes[i].state == Running {
		ev := ended{node: i, status: p.AttemptStatus, ports: p.Outputs, err: p.Error}
		if _, err := rr.m.apply(ev); err != nil {
			return err
		}
		rr.leaveSandbox(rr.attempts[i])
		rr.finish(rr.attempts[i], &p.attemptRecord, rec.TSMillis)
		rr.attempts[i].resp.Ports, rr.attempts[i].resp.Error = p.Outputs, p.Error
		rr.attempts[i].reused = p.ReusedFrom
	}
	n := &rr.m.nodes[i]
	if !n.state.final() || statusOf(n.state) != p.Status {
		return fmt.Errorf("node %s is %s, not %s", quote(p.Node), n.state, quote(string(p.Status)))
	}
	if a := rr.attempts[i]; a != nil && a.resp != nil {
		n.warned = lastWarning(a.resp.Tape)
	}
	return nil
}
