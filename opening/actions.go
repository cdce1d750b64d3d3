package opening

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/rmp"
)

// Actions tells of the requests for confirmation that agents make, and of the
// decisions about them (spec/04 "Running").
type Actions interface {
	// Watch begins to listen for what concerns a run.
	Watch(trace uuid.UUID) (ActionWatch, error)
	// Announce publishes a request again whose first announcement nobody may
	// remember, because it was made by a process that is gone.
	Announce(ctx context.Context, trace uuid.UUID, req *rmp.ActionRequest) error
}

// ActionWatch listens for the actions of one run.
type ActionWatch interface {
	// C has a token when there may be something to drain.
	C() <-chan struct{}
	// Drain gives what has been published and not yet drained, in order.
	Drain() []ActionMessage
	// Stop ends the watch and gives back what it holds.
	Stop()
}

// ActionMessage is a request or a decision; exactly one of the two is set.
type ActionMessage struct {
	Request  *ActionRequest
	Decision *ActionDecision
	Crossing Crossing
}

// ActionRequest is rmp.ActionRequest with its details in canonical JSON.
type ActionRequest struct {
	ID        string
	Node      string
	Agent     string
	Attempt   int
	Kind      string
	Summary   string
	Details   json.RawMessage
	Digest    string
	ExpiresAt time.Time
}

// ActionDecision is rmp.ActionDecision as far as a run needs it.
type ActionDecision struct {
	ID        string
	Digest    string
	Approved  bool
	Rationale string
	By        string
}

// maxActions is how many requests of one run may be open at once; those beyond
// it are not followed, and an agent that makes them waits on its own time.
const maxActions = 1000

// actionBook knows which actions of a run wait for a person.
type actionBook struct {
	watch ActionWatch // nil when nobody tells of actions
	open  map[string]*openAction
}

// openAction is a request that nobody has decided, and the attempt that made it.
type openAction struct {
	req *ActionRequest
	a   *attempt
}

// forget drops what an attempt that is over was waiting for.
func (b *actionBook) forget(a *attempt) {
	if a.asking == 0 {
		return
	}
	a.asking = 0
	for id, o := range b.open {
		if o.a == a {
			delete(b.open, id)
		}
	}
}

// stop ends the watch, if there is one.
func (b *actionBook) stop() {
	if b.watch != nil {
		b.watch.Stop()
	}
}

// news is closed over by the loop's select; a nil channel is never ready.
func (b *actionBook) news() <-chan struct{} {
	if b.watch == nil {
		return nil
	}
	return b.watch.C()
}

// watchActions begins to listen before the first node starts, so that no request
// is made that nobody hears.
func (r *runner) watchActions() error {
	if r.e.Actions == nil {
		return nil
	}
	watch, err := r.e.Actions.Watch(r.opt.TraceID)
	r.actions.watch = watch
	return err
}

// syncActions takes in what was published about actions so far. It comes before
// the end of an attempt is settled, so that a decision is on record before what
// it led to.
func (r *runner) syncActions() {
	if r.actions.watch == nil {
		return
	}
	for _, msg := range r.actions.watch.Drain() {
		r.crossing(msg.Crossing)
		switch {
		case msg.Request != nil:
			r.asked(msg.Request)
		case msg.Decision != nil:
			r.decided(msg.Decision)
		}
	}
}

// asked notes that an attempt waits for a person from now on. It gives its
// place up meanwhile, and its timeout stands still: what a person takes is
// bounded by the request's own expiry.
func (r *runner) asked(req *ActionRequest) {
	i, known := r.m.g.index[req.Node]
	if !known || r.attempts[i] == nil || len(r.actions.open) >= maxActions {
		return
	}
	a := r.attempts[i]
	_, twice := r.actions.open[req.ID]
	if twice || a.resp != nil || a.cancel == nil || a.req.Attempt != req.Attempt {
		return
	}
	r.actions.open[req.ID] = &openAction{req, a}
	a.decision = nil
	r.record(kindActionRequested, actionRequestedRecord{
		TraceID: r.ids.trace, ActionID: req.ID, Node: req.Node, Agent: req.Agent,
		Attempt: req.Attempt, Kind: req.Kind, Summary: req.Summary, Details: req.Details,
		Digest: req.Digest, ExpiresAtMS: req.ExpiresAt.UnixMilli(), Seq: r.seq,
	})
	r.event(kindActionRequested, levelWarn, actionRequestedMeta{
		ActionID: req.ID, Node: req.Node, Agent: req.Agent, Kind: req.Kind,
		Summary: req.Summary, Details: req.Details, Digest: req.Digest,
		ExpiresAtMS: req.ExpiresAt.UnixMilli(),
	}, "%s asks to %s: %s", req.Node, visible(req.Kind), visible(cut(req.Summary)))
	r.pause(a, req.ExpiresAt)
}

// pause lets the timeout of an attempt stand still until an action expires, and
// no longer: a host that dies while it asks must not hold the run for ever. A
// timeout that is over by now is not brought back.
func (r *runner) pause(a *attempt, until time.Time) {
	if a.asking++; a.asking == 1 {
		if !a.timer.Stop() {
			return
		}
		a.left = max(time.Until(a.due), time.Millisecond)
		a.due = time.Time{}
		r.apply(waits{a.node, true})
	}
	if a.left == 0 {
		return
	}
	wait := min(max(time.Until(until), 0), maxTimeout)
	if due := time.Now().Add(wait + a.left); due.After(a.due) {
		a.due = due
		a.timer.Reset(wait + a.left)
	}
}

// resume goes on with the timeout once nothing is left to decide.
func (r *runner) resume(a *attempt) {
	if a.asking--; a.asking > 0 || a.left == 0 || !a.timer.Stop() {
		return
	}
	a.due = time.Now().Add(a.left)
	a.timer.Reset(a.left)
	a.left = 0
	r.apply(waits{a.node, false})
}

// decided notes a decision. One that belongs to nothing that is open, or to
// other bytes than were asked about, is not a decision.
func (r *runner) decided(d *ActionDecision) {
	o := r.actions.open[d.ID]
	if o == nil || o.req.Digest != d.Digest {
		return
	}
	delete(r.actions.open, d.ID)
	r.record(kindActionDecided, actionDecidedRecord{
		TraceID: r.ids.trace, ActionID: d.ID, Node: o.req.Node, Digest: d.Digest,
		Approved: d.Approved, Rationale: d.Rationale, By: d.By, Seq: r.seq,
	})
	verb, level := "declined", levelWarn
	if d.Approved {
		verb, level = "approved", levelInfo
	}
	r.event(kindActionDecided, level, actionDecidedMeta{
		ActionID: d.ID, Node: o.req.Node, Approved: d.Approved,
		Rationale: d.Rationale, By: d.By, Digest: d.Digest,
	}, "%s: %s was %s by %s", o.req.Node, visible(o.req.Kind), verb, visible(d.By))
	if o.a.decision = d; o.a.parked {
		r.unpark(o.a, d)
		return
	}
	r.resume(o.a)
}
