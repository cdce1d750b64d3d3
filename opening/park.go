package opening

import (
	"encoding/json"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// An attempt that waits for a person is parked (spec/04 "Running": a request
// for confirmation waits without holding a worker). Its host has ended the
// guest and handed over the tape so far. Once the decision is there the attempt
// is launched again: its host answers from the tape until that is used up, then
// with the decision, and from then on for real. Nothing of what came before the
// question happens twice, and no process has to live while the question is open.

// park takes an attempt out of its sandbox. It reports false for a host that
// does not say what the attempt waits for.
func (r *runner) park(a *attempt, resp *Response) bool {
	if resp.Action == nil || resp.TapeCut || r.stopped != "" {
		return false
	}
	id := resp.Action.ID
	if a.action, a.tape = id, resp.Tape; a.decision == nil || a.decision.ID != id {
		if r.asked(resp.Action); r.actions.open[id] == nil {
			return false // there are too many open
		}
	}
	a.spent, a.micros = addUsage(a.spent, resp.Usage), a.micros+resp.Micros
	r.usage = addUsage(r.usage, resp.Usage)
	left := a.left
	if left == 0 {
		left = max(time.Until(a.due), time.Millisecond)
	}
	a.left, a.cancel = left, nil
	a.resp = resp
	r.record(kindNodeParked, nodeParkedRecord{
		TraceID: r.ids.trace, Node: a.req.Node, Agent: a.req.Ref, Attempt: a.req.Attempt,
		ActionID: id, LeftMS: left.Milliseconds(), Seq: r.seq, attemptRecord: r.recordOf(a),
	})
	a.resp = nil
	r.parked++
	a.parked = true
	if d := a.decision; d != nil && d.ID == id {
		r.unpark(a, d) // somebody was quicker than the host
		return true
	}
	r.awaitExpiry(a)
	return true
}

// awaitExpiry arranges that a parked attempt is told in the end that nobody
// decided.
func (r *runner) awaitExpiry(a *attempt) {
	id := a.action
	wait := max(time.Until(r.actions.open[id].req.ExpiresAt), 0)
	a.timer = time.AfterFunc(wait, func() { r.send(expireMsg{id}) })
}

// expired decides an action that nobody decided in time.
func (r *runner) expired(id string) {
	if o := r.actions.open[id]; o != nil && o.a.parked {
		r.decided(&ActionDecision{
			ID: id, Digest: o.req.Digest, Rationale: "nobody decided in time", By: "timeout",
		})
	}
}

// unpark launches a parked attempt again, with the decision.
func (r *runner) unpark(a *attempt, d *ActionDecision) {
	if a.timer != nil {
		a.timer.Stop()
	}
	a.parked, a.asking = false, 0
	r.parked--
	if r.m.nodes[a.node].waiting {
		r.apply(waits{a.node, false})
	}
	r.resumeWith(a, d)
}

// endParked ends the attempts that are parked, because the run was stopped.
func (r *runner) endParked() {
	for _, a := range r.attempts {
		if a == nil || !a.parked {
			continue
		}
		a.timer.Stop()
		a.parked = false
		r.parked--
		r.actions.forget(a)
		r.endStopped(a)
	}
}

// endStopped settles an attempt that has no sandbox and whose run was stopped.
func (r *runner) endStopped(a *attempt) {
	a.took = r.e.now().Sub(a.begun)
	a.resp = &Response{
		Status: rmp.StatusCancelled, Tape: a.tape, Usage: a.spent, Micros: a.micros,
		Error: &rmp.AgentError{Code: codeCancelled, Message: r.stopReason()},
	}
	for _, c := range r.apply(ended{node: a.node, status: a.resp.Status, err: a.resp.Error}) {
		r.settled(c.node)
	}
}

// wireAction gives a request for confirmation as the payload that travels.
func (r *runner) wireAction(q *ActionRequest) (*rmp.ActionRequest, error) {
	details, err := packOr(q.Details, "{}")
	if err != nil {
		return nil, err
	}
	return &rmp.ActionRequest{
		Op: rmp.OpActionRequest, ActionID: q.ID, TraceID: r.ids.trace, OpeningID: r.ids.opening,
		Node: q.Node, Agent: q.Agent, Attempt: uint32(q.Attempt), Kind: q.Kind, Summary: q.Summary,
		Details: details, Digest: q.Digest, ExpiresAtMS: q.ExpiresAt.UnixMilli(), Outer: r.outerTraces(),
	}, nil
}

// actionOf reads a request back from its record.
func actionOf(rec *actionRequestedRecord) *ActionRequest {
	return &ActionRequest{
		ID: rec.ActionID, Node: rec.Node, Agent: rec.Agent, Attempt: rec.Attempt, Kind: rec.Kind,
		Summary: rec.Summary, Details: orEmptyMap(rec.Details), Digest: rec.Digest,
		ExpiresAt: time.UnixMilli(rec.ExpiresAtMS),
	}
}

// orEmptyMap is a JSON map, also in place of nothing.
func orEmptyMap(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("{}")
	}
	return raw
}
