package runloop

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/rmp"
)

// submit starts a run whose trace id is the request's. Where there is such a
// run already, also one of an earlier daemon, the request is one that came
// again.
func (c *control) submit(ctx context.Context, id rmp.TraceID, req *ctrlRequest) ctrlAnswer {
	if known := c.known(ctx, id); known != nil {
		return *known
	}
	policy, err := c.policy(req.Flags.Confirm)
	if err != nil {
		return refusal("run.rejected", err)
	}
	plan, err := c.plan(req)
	if err != nil {
		return rejected(err)
	}
	limits := c.session.live.Load().askedLimits(plan.Opening.Policy, req.Limits)
	return c.begin(ctx, id, req, &run{plan: plan, policy: policy, limits: limits})
}

// plan makes the plan of the opening that a request brings.
func (c *control) plan(req *ctrlRequest) (*opening.Plan, error) {
	if err := req.Limits.Check(); err != nil {
		return nil, err
	}
	if string(req.Params) == "null" {
		req.Params = nil
	}
	catalog := c.session.openings(c.session.live.Load().Openings.SearchDirs)
	catalog.along = req.openings()
	return opening.Load(orText(req.Source, "opening.yaml"), []byte(req.OpeningYAML), catalog, req.Params)
}

// preview says what a run would be, and begins none.
func (c *control) preview(ctx context.Context, req *ctrlRequest) ctrlAnswer {
	plan, err := c.plan(req)
	if err != nil {
		return rejected(err)
	}
	p := c.session.preview(req.Source, plan, req.Limits)
	p.Estimate = c.session.io.estimateOf(ctx, c.session.cfg, p.OpeningID)
	return ctrlAnswer{Op: "ok", Preview: p}
}

// begin starts a run that is planned, with the agents that the request wants.
func (c *control) begin(ctx context.Context, id rmp.TraceID, req *ctrlRequest, r *run) ctrlAnswer {
	err := checkDigests(r.plan, req.AgentDigests)
	if err == nil {
		r.id = uuid.UUID(id)
		err = c.runs.start(ctx, r)
	}
	if err != nil {
		return refusal("run.rejected", err)
	}
	return accepted(r.id, opening.OpeningID(r.plan.IRHash), r.plan.Opening.Name)
}

// checkDigests holds the agents of a plan against those that are wanted, by
// reference or as agent:NAME.
func checkDigests(plan *opening.Plan, wanted map[string]string) error {
	for _, ref := range slices.Sorted(maps.Keys(wanted)) {
		if got := plan.Digests[strings.TrimPrefix(ref, "agent:")]; got != wanted[ref] {
			return &ctrlError{"digest_mismatch",
				ref + " is bundle " + orText(got, "unknown") + " here, not " + wanted[ref]}
		}
	}
	return nil
}

func accepted(id uuid.UUID, openingID, name string) ctrlAnswer {
	return ctrlAnswer{Op: "run.accepted", TraceID: "trace:" + id.String(), OpeningID: openingID, OpeningName: name}
}

func rejected(err error) ctrlAnswer {
	a := ctrlAnswer{Op: "run.rejected", Code: "invalid_opening", Reason: err.Error()}
	errors.As(err, &a.Problems)
	return a
}

// known is the answer to a submission whose run is there already, or nil.
func (c *control) known(ctx context.Context, id rmp.TraceID) *ctrlAnswer {
	run, err := readRun(ctx, c.session.store, uuid.UUID(id))
	var a ctrlAnswer
	switch {
	case err != nil:
		a = refusal("run.rejected", err)
	case run == nil:
		return nil
	default:
		a = accepted(uuid.UUID(id), run.OpeningID, run.OpeningName)
	}
	return &a
}

// policy is how the actions of a run are decided; nil leaves it to a user
// interface.
func (c *control) policy(confirm string) (*ruling, error) {
	switch confirm {
	case "", "ask":
		if !c.session.live.Load().Security.ConfirmExternalActions {
			return yesByConfig, nil
		}
		return nil, nil
	case "yes":
		return yesByFlag, nil
	case "no":
		return noTerminal, nil
	}
	return nil, &ctrlError{"invalid", "flags.confirm " + confirm + ": ask, yes or no"}
}

func traceOf(req *ctrlRequest) (rmp.TraceID, error) {
	id, err := rmp.ParseTraceID(req.TraceID)
	if err != nil {
		return id, &ctrlError{"invalid", "trace_id " + req.TraceID + " is not trace:<uuid>"}
	}
	return id, nil
}

// get tells the state of a run and of each of its nodes.
func (c *control) get(ctx context.Context, req *ctrlRequest) ctrlAnswer {
	state, err := c.state(ctx, req)
	if err != nil {
		return refusal("error", err)
	}
	return ctrlAnswer{Op: "ok", TraceID: state.TraceID, Run: state}
}

// state is that of a run of this daemon or, without events, one that only the
// ledger remembers.
func (c *control) state(ctx context.Context, req *ctrlRequest) (*runState, error) {
	id, err := traceOf(req)
	if err != nil {
		return nil, err
	}
	var state *runState
	if r := c.runs.get(id); r != nil {
		r.settled(ctx)
		state = r.state(req.Events)
		if state.Actions, err = c.pending(ctx, r); err != nil {
			return nil, err
		}
	} else if state, err = c.recorded(ctx, uuid.UUID(id)); err != nil {
		return nil, err
	}
	state.Nodes, err = readNodes(ctx, c.session.store, uuid.UUID(id))
	return state, err
}

func (c *control) recorded(ctx context.Context, id uuid.UUID) (*runState, error) {
	run, err := readRun(ctx, c.session.store, id)
	if err != nil {
		return nil, err
	}
	if run == nil {
		return nil, &ctrlError{"not_found", "there is no run trace:" + id.String()}
	}
	return &runState{
		TraceID: run.TraceID, OpeningID: run.OpeningID, OpeningName: run.OpeningName, Status: run.State,
		StartedMS: run.StartedMS, FinishedMS: run.FinishedMS, Error: run.Error, EventsCut: true,
	}, nil
}

// pending are a run's action requests without a decision: those of attempts that
// wait in their sandbox, and those of parked ones.
func (c *control) pending(ctx context.Context, r *run) ([]json.RawMessage, error) {
	var out []json.RawMessage
	open := c.session.confirm.Pending("trace:" + r.id.String())
	for _, req := range append(open, r.waitingActions(ctx)...) {
		raw, err := req.MarshalMsg(nil)
		if err != nil {
			return nil, err
		}
		js, err := rmp.AppendJSON(nil, raw)
		if err != nil {
			return nil, err
		}
		out = append(out, js)
	}
	return out, nil
}

func (c *control) list(ctx context.Context, req *ctrlRequest) ctrlAnswer {
	runs, err := listRuns(ctx, c.session.store, req.State, req.Limit)
	if err != nil {
		return refusal("error", err)
	}
	return ctrlAnswer{Op: "ok", Runs: runs}
}
