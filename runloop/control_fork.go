package runloop

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/rmp"
)

// fork starts a run that takes over what it can from one of the knowledge base,
// with the agents, rights and configuration of the daemon. Its trace id is the
// request's; a request that comes again is answered as with submit.
func (c *control) fork(ctx context.Context, id rmp.TraceID, req *ctrlRequest) ctrlAnswer {
	if known := c.known(ctx, id); known != nil {
		return *known
	}
	policy, err := c.policy(req.Flags.Confirm)
	if err != nil {
		return refusal("run.rejected", err)
	}
	source, err := c.forkSource(ctx, req)
	if err != nil {
		return refusal("run.rejected", err)
	}
	plan, err := c.session.planFork(source, &forkChange{params: req.Params, set: req.Set})
	if err != nil {
		return rejected(err)
	}
	f := &opening.Fork{Source: source, From: req.From, Caps: c.session.capsDigest(nil)}
	if err := f.Check(plan); err != nil {
		return refusal("run.rejected", &ctrlError{"invalid", err.Error()})
	}
	return c.begin(ctx, id, req, &run{plan: plan, policy: policy, fork: f})
}

// forkSource reads the run that a fork comes from.
func (c *control) forkSource(ctx context.Context, req *ctrlRequest) (*opening.Trace, error) {
	id, err := traceOf(req)
	if err != nil {
		return nil, err
	}
	t, err := opening.LoadTrace(ctx, runStore{c.session.store}, uuid.UUID(id))
	switch {
	case errors.Is(err, opening.ErrNoRun):
		return nil, &ctrlError{"not_found", "there is no run trace:" + uuid.UUID(id).String()}
	case errors.Is(err, opening.ErrUnfinished):
		return nil, &ctrlError{"not_now", err.Error()}
	}
	return t, err
}
