package runloop

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/runloop-os/runloop/wasm"
)

// ctrlAgentWait is how long the answer to a request about an agent may wait for
// it; a client waits longer by asking again.
const ctrlAgentWait = answerTime / 2

// ps tells what agents do, all of them or those that the request names.
func (c *control) ps(req *ctrlRequest) ctrlAnswer {
	states := c.session.host.Agents()
	if len(req.Agents) > 0 {
		states = slices.DeleteFunc(states, func(s wasm.AgentState) bool { return !slices.Contains(req.Agents, s.Agent) })
	}
	return ctrlAnswer{Op: "ok", States: states}
}

// startAgents starts residents. One that takes longer than an answer may is
// left starting.
func (c *control) startAgents(ctx context.Context, req *ctrlRequest) ctrlAnswer {
	return c.eachAgent(ctx, req, func(ctx context.Context, ref string) error {
		err := c.session.host.StartAgent(ctx, ref)
		if ctx.Err() != nil {
			return nil
		}
		return err
	})
}

// stopAgents ends residents. That none runs is not an error.
func (c *control) stopAgents(ctx context.Context, req *ctrlRequest) ctrlAnswer {
	return c.eachAgent(ctx, req, func(ctx context.Context, ref string) error {
		_, err := c.session.host.StopAgent(ctx, ref)
		if ctx.Err() != nil {
			return nil
		}
		return err
	})
}

// releaseAgents takes agents out of quarantine.
func (c *control) releaseAgents(ctx context.Context, req *ctrlRequest) ctrlAnswer {
	return c.eachAgent(ctx, req, func(_ context.Context, ref string) error {
		was, err := c.session.host.ReleaseAgent(ref)
		if err == nil && !was {
			return &ctrlError{"not_found", "agent " + printable(ref) + " is not in quarantine"}
		}
		return err
	})
}

// eachAgent does something to each agent of a request and answers with their
// states; the first error ends it.
func (c *control) eachAgent(ctx context.Context, req *ctrlRequest, do func(context.Context, string) error) ctrlAnswer {
	if len(req.Agents) == 0 {
		return refusal("error", &ctrlError{"invalid", "which agents?"})
	}
	ctx, cancel := context.WithTimeout(ctx, ctrlAgentWait)
	defer cancel()
	for _, ref := range req.Agents {
		if err := do(ctx, ref); err != nil {
			return refusal("error", agentRefusal(err))
		}
	}
	return c.ps(req)
}

// agentRefusal gives an error of the host the code that clients know it by.
func agentRefusal(err error) error {
	var e *wasm.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code {
	case wasm.CodeUnknownAgent:
		return &ctrlError{"not_found", e.Message}
	case wasm.CodeInvalid:
		return &ctrlError{"invalid", e.Message}
	}
	return &ctrlError{e.Code, e.Message}
}

// startResidents starts the agents that the configuration names. One that does
// not start is no reason for the daemon not to.
func (d *daemon) startResidents(ctx context.Context) {
	for _, ref := range d.cfg.Agents.Residents {
		d.serving.Go(func() {
			began := time.Now()
			if err := d.session.host.StartAgent(ctx, ref); err != nil {
				d.log.Error("resident", "agent", ref, "error", err)
				return
			}
			d.log.Info("resident", "agent", ref, "ready_after", time.Since(began))
		})
	}
}
