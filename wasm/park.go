package wasm

import (
	"context"
	"errors"

	"github.com/runloop-os/runloop/rmp"
)

// An attempt that waits for a person gives its sandbox back. The request for
// confirmation comes back as a [ParkedError]; the guest is ended, and the
// response carries the tape so far. When the decision is there the attempt is
// run again with that tape: it answers what was asked before, the decision
// answers the action it was parked for, and what follows is for real. A guest
// without files is a function of its input, its clock, its randomness and the
// answers it gets, so it comes to the same point again, and nothing that it did
// on the way happens twice.

// ParkedError is what a request for confirmation fails with when nobody decides
// at once and the attempt may be parked.
type ParkedError struct{ Request *rmp.ActionRequest }

// Error implements error.
func (e *ParkedError) Error() string { return "the attempt waits for a decision" }

// parking is what a door knows of that.
type parking struct {
	able     bool                // the attempt can be resumed from its tape
	free     func() bool         // it holds nothing that cannot be brought back
	decision *rmp.ActionDecision // what the attempt is resumed with, until it has it
	live     func()              // called when the attempt has it
	parked   *rmp.ActionRequest  // what the attempt waits for
	remote   bool                // the guest is in a worker
}

// newParking reads from the request whether the attempt is resumed.
func (a *attempt) newParking() parking {
	p := parking{able: !a.tape.replay, free: a.handles.free}
	if a.req.Mode == rmp.ModeResume {
		p.decision, p.live = a.req.Decision, func() {
			a.stdout.forget()
			a.stderr.forget()
		}
	}
	return p
}

// resuming reports whether the attempt is still on its way to where it was
// parked.
func (p *parking) resuming() bool { return p.decision != nil }

// mayPark reports whether the attempt can be resumed from its tape. A resident lives
// on, and a file that is open cannot be opened again as it was.
func (d *door) mayPark() bool {
	return d.able && d.stay == nil && !d.tape.cut && d.free()
}

// passed notes a call that a resumed attempt had made before it was parked, so
// that its actions in the world keep their numbers.
func (d *door) passed(op string, args []byte) {
	if d.tape.replay {
		return
	}
	if asJSON, err := rmp.AppendJSON(nil, args); err == nil {
		d.effectKey(op, asJSON)
	}
}

// parkOn ends the guest if its request for confirmation was parked. One in a
// worker ends by itself when it is told, and hands over its clock.
func (d *door) parkOn(err error) bool {
	var p *ParkedError
	if !errors.As(err, &p) {
		return false
	}
	d.parked = p.Request
	if !d.remote {
		d.watch.kill(errParked)
	}
	return true
}

// performOrGoOn carries a call out, or answers the action that the attempt was
// parked for. A guest that asks for anything else then, or for the confirmation
// of other bytes, is not where it was.
func (d *door) performOrGoOn(ctx context.Context, op string, args []byte) ([]byte, error) {
	dec := d.decision
	if dec == nil {
		return d.stay.perform(ctx, d, op, args)
	}
	var ok []byte
	err := errDiverged
	if op == "action.confirm" || op == opToolCall && d.toolAsks(args) {
		ok, err = d.perform(ctx, op, args)
	}
	if d.decision != nil {
		d.tape.diverge(nil, &rmp.Hostcall{Op: op, Args: args})
		d.watch.kill(errDiverged)
		return nil, errDiverged
	}
	return ok, err
}

// decided is the decision that the attempt was parked for, if a is the action
// that it is about, to the last byte.
func (d *door) decided(a Action) (*Decision, error) {
	digest, err := actionDigest(a)
	if err != nil || digest != d.decision.Digest {
		return nil, errDiverged
	}
	dec := d.decision
	d.decision = nil
	d.live()
	return &Decision{Approved: dec.Approved, Rationale: dec.Rationale, By: dec.By}, nil
}

// codeParked is what a guest's worker is told in place of an answer.
const codeParked = "parked"

// parkedAnswer is that answer.
func parkedAnswer() *rmp.Hostcall {
	return &rmp.Hostcall{Op: "action.confirm", Err: &rmp.HostcallError{Code: codeParked}}
}

// parkedEnd is the end of a guest in a worker that was parked.
func (a *attempt) parkedEnd(e *workerEnd) ending {
	a.clock.takeOver(e.Readings, e.ClockCut, e.ClockLeft)
	if a.clock.cut {
		a.tape.cut = true
	}
	a.watch.kill(errParked)
	return ending{err: errParked}
}

// newTape is the tape that an attempt begins with.
func newTape(req *rmp.AgentRequest) (*tape, error) {
	t := &tape{replay: req.Mode == rmp.ModeReplay}
	if req.Mode == rmp.ModeResume && req.Decision == nil {
		return nil, errorf(CodeRequest, "a resumed attempt needs the decision that it waited for")
	}
	for _, call := range req.Tape {
		t.calls = append(t.calls, call)
		t.size += tapeSize(&call)
	}
	if !t.replay {
		t.prefix = len(t.calls)
	}
	return t, nil
}

// takeReadings takes the clock's readings off the end of a tape; nil means that
// it has none.
func (t *tape) takeReadings() ([]int64, error) {
	n := len(t.calls)
	if n == 0 || t.calls[n-1].Op != opClock {
		return nil, nil
	}
	var readings []int64
	if err := unmarshalMsgpack(t.calls[n-1].OK, &readings); err != nil {
		return nil, errorf(CodeRequest, "tape: %s: %v", opClock, err)
	}
	t.calls = t.calls[:n-1]
	t.prefix = min(t.prefix, n-1)
	return readings, nil
}

// toolAsks reports whether a tool.call is one that a person has to agree to.
func (d *door) toolAsks(args []byte) bool {
	var a struct {
		ID string `json:"id"`
	}
	return unmarshalMsgpack(args, &a) == nil && d.tools[a.ID] != nil && d.tools[a.ID].Confirm != ""
}
