package runloop

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/rmp"
	"github.com/runloop-os/runloop/wasm"
)

// decider answers the action requests of a local run: by what the flags and
// the configuration say, by asking the person at the terminal, or, where there
// is none, with no. It is a user interface on the bus like any other.
type decider struct {
	io       *IO
	client   *bus.Client
	requests *bus.Subscription
	policy   *ruling // decides without asking; nil asks
	pause    func(func())

	refused atomic.Bool
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// ruling is a decision that needs no person.
type ruling struct {
	approve   bool
	by        string
	rationale string
}

func (s *session) startDecider(ctx context.Context, plan *opening.Plan, yes bool, view *runView) (*decider, error) {
	d := &decider{io: s.io, client: s.bus.Client("rlp", bus.KindUI), pause: view.pause, policy: s.ruling(yes)}
	var err error
	if d.requests, err = d.client.Subscribe(wasm.TopicActions, bus.SubOptions{}); err != nil {
		return nil, err
	}
	ctx, d.stop = context.WithCancel(ctx)
	d.done.Go(func() { d.serve(ctx) })
	return d, nil
}

// ruling is how actions are decided without asking, or nil to ask.
func (s *session) ruling(yes bool) *ruling {
	switch {
	case yes:
		return &ruling{true, "policy:--yes", "approved by --yes"}
	case !s.cfg.Security.ConfirmExternalActions:
		return &ruling{true, "policy:security.confirm_external_actions", "the configuration asks for no confirmation"}
	case !s.io.interactive():
		return &ruling{false, "policy:no_terminal",
			"there is no terminal to ask on; run it on one, or approve with --yes"}
	}
	return nil
}

// flags are kept with the run, so that its record shows who could decide.
func (d *decider) flags() json.RawMessage {
	if d.policy == nil {
		return nil
	}
	b, err := json.Marshal(map[string]string{"confirmations": d.policy.by})
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
	d.client.Close()
}

func (d *decider) serve(ctx context.Context) {
	for {
		msg, err := d.requests.Recv(ctx)
		if err != nil {
			return
		}
		var req rmp.ActionRequest
		if msg.SchemaID != rmp.CTActionRequest || msg.Decode(&req) != nil {
			continue
		}
		r := d.policy
		if r == nil {
			r = d.ask(ctx, &req)
		}
		if r != nil {
			d.publish(ctx, msg.TraceID, &req, r)
		}
	}
}

// ask asks the person; nil means that the run was cancelled meanwhile.
func (d *decider) ask(ctx context.Context, req *rmp.ActionRequest) *ruling {
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
	err := d.client.Send(ctx, &rmp.Message{
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
