package runloop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/broker"
	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/pog"
	"github.com/runloop-os/runloop/rmp"
)

// errInner says that a run is an attempt of a node of another.
var errInner = errors.New("the run is a part")

// resumeAll goes on with every run that no process has and that did not finish.
func (t *runTable) resumeAll(ctx context.Context) {
	open, err := unfinishedRuns(ctx, t.session.store)
	if err != nil {
		t.session.warn(fmt.Errorf("looking for runs to go on with: %w", err))
		return
	}
	for _, id := range open {
		_, err := t.resume(ctx, id, opening.ResumeOptions{}, false)
		if err != nil && !errors.Is(err, errOwned) && !errors.Is(err, errInner) && ctx.Err() == nil {
			t.session.warn(fmt.Errorf("the run trace:%s cannot go on: %w", id, err))
		}
	}
}

// unfinishedRuns are the runs without an end, the oldest first.
func unfinishedRuns(ctx context.Context, store *pog.Store) ([]uuid.UUID, error) {
	res, err := store.Query(ctx, pog.AllReader(), `SELECT trace_id FROM runs
		WHERE finished_ms IS NULL AND started_ms IS NOT NULL ORDER BY id`, nil, pog.Limits{Rows: 1 << 20})
	if err != nil {
		return nil, err
	}
	var open []uuid.UUID
	for _, row := range res.Rows {
		if id, err := uuid.Parse(textOf(row[0])); err == nil {
			open = append(open, id)
		}
	}
	return open, nil
}

// resume goes on with a run from its record, unless it goes on here already. A run whose agents are not those
// that it was planned with is held until somebody accepts them (accept).
func (t *runTable) resume(ctx context.Context, id uuid.UUID, opt opening.ResumeOptions, accept bool) (*run, error) {
	t.resuming.Lock()
	defer t.resuming.Unlock()
	if r := t.get(rmp.TraceID(id)); r != nil && r.endedAt().IsZero() {
		return r, nil
	}
	owner, err := t.session.owners().take(id)
	if err != nil {
		return nil, err
	}
	r, err := t.resumeOwned(ctx, id, owner, opt, accept)
	if err != nil {
		owner.release(errors.Is(err, opening.ErrNoRun) || errors.Is(err, opening.ErrOver) || errors.Is(err, errInner))
	}
	return r, err
}

func (t *runTable) resumeOwned(ctx context.Context, id uuid.UUID, owner *runOwner, opt opening.ResumeOptions, accept bool) (*run, error) {
	rr, err := opening.LoadRun(ctx, runStore{t.session.store}, id)
	if err != nil {
		return nil, err
	}
	if rr.Finished != "" {
		return nil, fmt.Errorf("%w: it ended: %s", opening.ErrOver, rr.Finished)
	}
	if rr.Outer != "" {
		return nil, fmt.Errorf("%w of %s, which it goes on with", errInner, rr.Outer)
	}
	if changed := t.session.changedAgents(rr.OpenAgents()); len(changed) > 0 {
		if opt.Agents = changed.digests(); !accept || changed.missing() {
			opt.Agents, opt.Unpause = nil, false
			opt.Hold = changed.String()
		}
	}
	if err := t.takesOver(ctx, rr, &opt); err != nil {
		return nil, err
	}
	if rr.Paused && (rr.Why == opt.Hold || opt.Hold == "") {
		opt.Hold = "" // it is on record
	}
	inner, err := rr.InnerRuns(ctx, runStore{t.session.store})
	if err != nil {
		return nil, err
	}
	if err := t.session.restoreBudget(ctx, id, inner); err != nil {
		return nil, err
	}
	return t.begin(&run{
		id: id, plan: rr.Plan, policy: rulingOfFlags(rr.Flags), started: rr.Started, cut: true,
		paused: rr.Paused && !opt.Unpause,
	}, owner, func(ctx context.Context, e *opening.Engine, ctl *opening.Control) (*opening.Report, error) {
		opt.Control = ctl
		return e.Resume(ctx, rr, opt)
	})
}

// takesOver has a fork go on taking steps over. One whose source is not in the
// knowledge base would run steps again that are done, so it is held until
// somebody wants that.
func (t *runTable) takesOver(ctx context.Context, rr *opening.RecordedRun, opt *opening.ResumeOptions) error {
	var err error
	opt.Fork, err = rr.Fork(ctx, runStore{t.session.store}, t.session.capsDigest(nil))
	if err == nil || ctx.Err() != nil {
		return err
	}
	opt.Fork = nil
	if opt.Hold == "" && !opt.Unpause {
		opt.Hold = "no more steps can be taken over (" + err.Error() + "); rlp runs resume runs all that are left"
	}
	return nil
}

// changedAgent is an agent that is not the one that a run was planned with.
type changedAgent struct{ ref, planned, now string }

type changedAgents []changedAgent

// changedAgents compares what a run was planned with and what is installed.
func (s *session) changedAgents(planned map[string]string) changedAgents {
	var out changedAgents
	for _, ref := range slices.Sorted(maps.Keys(planned)) {
		now := ""
		if m, err := (planCatalog{s.catalog}).Manifest(ref); err == nil {
			now = m.Digest
		}
		if want := planned[ref]; want != "" && want != now {
			out = append(out, changedAgent{ref, want, now})
		}
	}
	return out
}

func (c changedAgents) digests() map[string]string {
	out := map[string]string{}
	for _, a := range c {
		out[a.ref] = a.now
	}
	return out
}

// missing reports whether an agent is not there at all.
func (c changedAgents) missing() bool {
	for _, a := range c {
		if a.now == "" {
			return true
		}
	}
	return false
}

// String says in a sentence what changed.
func (c changedAgents) String() string {
	var parts []string
	for _, a := range c {
		what := "is bundle " + a.now + " now"
		if a.now == "" {
			what = "is not installed here"
		}
		parts = append(parts, fmt.Sprintf("agent %s %s, and the run was planned with %s", a.ref, what, a.planned))
	}
	return strings.Join(parts, "; ")
}

// restoreBudget charges the run with what its calls to models have cost so far,
// and those of the runs in it.
func (s *session) restoreBudget(ctx context.Context, id uuid.UUID, inner []uuid.UUID) error {
	s.broker.EndRun("trace:" + id.String()) // it may have been here before
	var calls []broker.Record
	for _, id := range append([]uuid.UUID{id}, inner...) {
		events, err := s.store.Events(ctx, pog.AllReader(), pog.Filter{
			Entity: "trace:" + id.String(), Kinds: []string{"broker.call"},
		})
		if err != nil {
			return err
		}
		for _, e := range events {
			call := broker.Record{Trace: "trace:" + id.String()}
			if err := readCall(e.Payload, &call); err != nil {
				return err
			}
			calls = append(calls, call)
		}
	}
	s.broker.Restore(calls) // without a time: the day is not charged again
	return nil
}

// readCall reads what a call cost, and who is charged, as recordCall wrote it.
func readCall(payload json.RawMessage, call *broker.Record) error {
	var c struct {
		Node      string               `json:"node"`
		TokensIn  int64                `json:"tokens_in"`
		TokensOut int64                `json:"tokens_out"`
		USD       float64              `json:"usd"`
		Outer     []broker.OuterRecord `json:"outer"`
	}
	err := json.Unmarshal(payload, &c)
	call.Node, call.TokensIn, call.TokensOut, call.USD, call.Outer = c.Node, c.TokensIn, c.TokensOut, c.USD, c.Outer
	return err
}

// rulingOfFlags is the ruling that a run was begun with.
func rulingOfFlags(flags json.RawMessage) *ruling {
	var f struct{ Confirmations string }
	if json.Unmarshal(flags, &f) != nil {
		return nil
	}
	for _, r := range []*ruling{yesByFlag, yesByConfig, noTerminal} {
		if r.by == f.Confirmations {
			return r
		}
	}
	return nil
}

// leave has every run end that only waits for people or, with now, every one;
// their records say where they stand.
func (t *runTable) leave(ctx context.Context, now bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.runs {
		go func() { _ = r.ctl.Leave(ctx, now) }() // it ends by itself or has ended
	}
}

// loaded finds a run that a request names, and goes on with it if no process
// has it.
func (c *control) loaded(ctx context.Context, req *ctrlRequest, opt opening.ResumeOptions) (*run, error) {
	id, err := traceOf(req)
	if err != nil {
		return nil, err
	}
	r, err := c.runs.resume(ctx, uuid.UUID(id), opt, req.Accept)
	switch {
	case err == nil:
		return r, nil
	case errors.Is(err, errOwned):
		err = &ctrlError{"owned", err.Error() + " (rlp run --local); it is steered there"}
	case errors.Is(err, errInner):
		err = &ctrlError{"inner", err.Error()}
	case errors.Is(err, opening.ErrNoRun):
		err = &ctrlError{"not_found", "there is no run trace:" + uuid.UUID(id).String()}
	case errors.Is(err, opening.ErrOver):
		err = &ctrlError{"ended", "the run has ended"}
	}
	return nil, err
}

// steer carries out run.pause, run.resume, run.step and run.cancel.
func (c *control) steer(ctx context.Context, req *ctrlRequest) ctrlAnswer {
	by := orText(req.By, "user")
	opt := opening.ResumeOptions{By: by, Unpause: req.Op == "run.resume"}
	if req.Op == "run.pause" {
		opt.Hold = "request"
	}
	r, err := c.loaded(ctx, req, opt)
	if err != nil {
		return refusal("error", err)
	}
	a := ctrlAnswer{Op: "ok", TraceID: "trace:" + r.id.String()}
	switch req.Op {
	case "run.cancel":
		err = r.ctl.Cancel(ctx)
	case "run.pause":
		err = r.ctl.Pause(ctx, by)
	case "run.step":
		a.Node, err = r.ctl.Step(ctx)
	case "run.resume":
		err = c.unpause(ctx, r, req, by)
	}
	if err != nil {
		return refusal("error", steerError(err))
	}
	return a
}

// unpause goes on with a run that is loaded.
func (c *control) unpause(ctx context.Context, r *run, req *ctrlRequest, by string) error {
	held, planned, err := r.ctl.State(ctx)
	if err != nil || !held {
		return err
	}
	changed := c.session.changedAgents(planned)
	if len(changed) > 0 && (!req.Accept || changed.missing()) {
		return &ctrlError{"digest_mismatch", changed.String() + changed.hint()}
	}
	return r.ctl.Resume(ctx, by, changed.digests())
}

// hint says what can be done about it.
func (c changedAgents) hint() string {
	if c.missing() {
		return ""
	}
	return "; to go on with what is here: rlp runs resume --accept-agents"
}

func steerError(err error) error {
	switch {
	case errors.Is(err, opening.ErrSteer):
		return &ctrlError{"not_now", err.Error()}
	case errors.Is(err, opening.ErrOver):
		return &ctrlError{"ended", "the run has ended"}
	}
	return err
}

// waitingActions are the requests that parked attempts of a run have made.
func (r *run) waitingActions(ctx context.Context) []*rmp.ActionRequest {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	open, err := r.ctl.Waiting(ctx)
	if err != nil {
		return nil // it has ended, or is about to tell
	}
	return open
}
