package runloop

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
	"github.com/runloop-os/runloop/wasm"
)

// peer is a place on the bus, in this process or over a socket.
type peer interface {
	Send(ctx context.Context, m *rmp.Message) error
	Subscribe(ctx context.Context, filter string, opts bus.SubOptions) (*bus.Subscription, error)
}

// localPeer is a place on the bus in this process.
type localPeer struct{ *bus.Client }

// Subscribe implements peer.
func (p localPeer) Subscribe(_ context.Context, filter string, opts bus.SubOptions) (*bus.Subscription, error) {
	return p.Client.Subscribe(filter, opts)
}

// deciderOptions say which actions a decider answers, and how.
type deciderOptions struct {
	// of, when set, is asked for the ruling of each run; false leaves its
	// actions to somebody else. Otherwise policy holds for all.
	of     func(rmp.TraceID) (*ruling, bool)
	policy *ruling // nil: ask the person
	// pause gives the terminal to a question; nil where nobody is asked.
	pause func(func())
	// pending, when set, are the requests that were made before the decider
	// listened.
	pending func(context.Context) []*rmp.ActionRequest
}

// decider answers action requests: by a ruling that was made before, or by
// asking the person at the terminal. It is a user interface on the bus like
// any other.
type decider struct {
	deciderOptions
	io       *IO
	peer     peer
	requests *bus.Subscription
	refused  atomic.Bool
	stop     context.CancelFunc
	done     sync.WaitGroup

	terminal sync.Mutex // held while a question is open
	mu       sync.Mutex
	giveUp   context.CancelFunc // ends the open question, nil before the first
}

// ruling is a decision that needs no person.
type ruling struct {
	approve   bool
	by        string
	rationale string
}

func (o *IO) startDecider(ctx context.Context, p peer, opt deciderOptions) (*decider, error) {
	d := &decider{deciderOptions: opt, io: o, peer: p}
	var err error
	if d.requests, err = p.Subscribe(ctx, wasm.TopicActions, bus.SubOptions{}); err != nil {
		return nil, err
	}
	ctx, d.stop = context.WithCancel(ctx)
	d.done.Go(func() { d.serve(ctx) })
	return d, nil
}

// Ways to decide that a run brings along.
var (
	yesByFlag   = &ruling{true, "policy:--yes", "approved by --yes"}
	yesByConfig = &ruling{true, "policy:security.confirm_external_actions",
		"the configuration asks for no confirmation"}
	noTerminal = &ruling{false, "policy:no_terminal",
		"there is no terminal to ask on; run it on one, or approve with --yes"}
)

// ruling is how actions are decided without asking, or nil to ask.
func (o *IO) ruling(cfg *Loaded, yes bool) *ruling {
	switch {
	case yes:
		return yesByFlag
	case !cfg.Security.ConfirmExternalActions:
		return yesByConfig
	case !o.interactive():
		return noTerminal
	}
	return nil
}

// flags are kept with a run, so that its record shows who could decide.
func (r *ruling) flags() json.RawMessage {
	if r == nil {
		return nil
	}
	b, err := json.Marshal(map[string]string{"confirmations": r.by})
	if err != nil {
		return nil // a map of strings always marshals
	}
	return b
}

// declined reports whether an action was refused.
func (d *decider) declined() bool { return d.refused.Load() }

func (d *decider) close() {
	d.stop()
	d.done.Wait()
	d.requests.Close()
}

func (d *decider) serve(ctx context.Context) {
	early := map[requestKey]bool{} // they may come again on the topic
	if d.pending != nil {
		for _, req := range d.pending(ctx) {
			early[requestKey{req.ActionID, req.Attempt}] = true
			d.decide(ctx, req)
		}
	}
	for {
		msg, err := d.requests.Recv(ctx)
		if err != nil {
			return
		}
		req := &rmp.ActionRequest{}
		if msg.SchemaID != rmp.CTActionRequest || msg.Decode(req) != nil ||
			early[requestKey{req.ActionID, req.Attempt}] {
			continue
		}
		d.decide(ctx, req)
	}
}

// requestKey tells requests apart: another attempt asks again.
type requestKey struct {
	id      string
	attempt uint32
}

// decide answers a request if it is for this decider.
func (d *decider) decide(ctx context.Context, req *rmp.ActionRequest) {
	trace, err := rmp.ParseTraceID(req.TraceID)
	if err != nil {
		return
	}
	r, ours := d.ruling(trace, req.Outer)
	if !ours {
		return
	}
	if err := wasm.CheckAction(req); err != nil { // somebody else's, in its name
		d.io.warnf("a request for confirmation is left alone: %v", err)
		return
	}
	if r == nil {
		r = d.ask(ctx, req)
	}
	if r != nil {
		d.publish(ctx, trace, req, r)
	}
}

// instead gives up the open question, if there is one, and lets f have the
// terminal. The action still waits for a decision.
func (d *decider) instead(f func()) {
	d.mu.Lock()
	if d.giveUp != nil {
		d.giveUp()
	}
	d.mu.Unlock()
	d.terminal.Lock()
	defer d.terminal.Unlock()
	f()
}

// ruling is how the actions of a run are decided; those of an opening in another
// run as those of that run. False leaves it to somebody else.
func (d *decider) ruling(trace rmp.TraceID, outer []string) (*ruling, bool) {
	if d.of == nil {
		return d.policy, true
	}
	r, ours := d.of(trace)
	for i := 0; i < len(outer) && !ours; i++ {
		if id, err := rmp.ParseTraceID(outer[i]); err == nil {
			r, ours = d.of(id)
		}
	}
	return r, ours
}

// ask asks the person; nil means that the run was cancelled meanwhile, or the
// question given up.
func (d *decider) ask(ctx context.Context, req *rmp.ActionRequest) *ruling {
	ctx, giveUp := context.WithCancel(ctx)
	defer giveUp()
	d.mu.Lock()
	d.giveUp = giveUp
	d.mu.Unlock()
	d.terminal.Lock()
	defer d.terminal.Unlock()
	var yes bool
	var err error
	d.pause(func() { yes, err = confirmOnTerminal(ctx, d.io, req) })
	switch {
	case errors.Is(err, context.Canceled):
		return nil
	case err != nil:
		return &ruling{false, "user", "asking failed: " + err.Error()}
	case yes:
		return &ruling{true, "user", "approved on the terminal"}
	}
	return &ruling{false, "user", "declined on the terminal"}
}

func (d *decider) publish(ctx context.Context, trace rmp.TraceID, req *rmp.ActionRequest, r *ruling) {
	if !r.approve {
		d.refused.Store(true)
	}
	err := d.peer.Send(ctx, &rmp.Message{
		SchemaID: rmp.CTActionDecision, TraceID: trace, TTLMS: uint64(time.Minute.Milliseconds()),
		Meta: rmp.Meta{Topic: wasm.TopicActions, From: "user", To: "agent:" + req.Agent},
		Payload: &rmp.ActionDecision{
			Op: rmp.OpActionDecision, ActionID: req.ActionID, TraceID: req.TraceID, Digest: req.Digest,
			Approved: r.approve, Rationale: r.rationale, By: r.by,
		},
	})
	if err != nil && ctx.Err() == nil {
		d.io.warnf("the decision could not be delivered: %v", err)
	}
}
