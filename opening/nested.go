package opening

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"lukechampine.com/blake3"

	"github.com/runloop-os/runloop/rmp"
)

// OuterNode is a node that uses an opening, seen from the run of that opening:
// what its attempts spend is charged to the node and to its run as well.
type OuterNode struct {
	TraceID   uuid.UUID
	Node      string
	Budget    rmp.Budget
	RunBudget rmp.Budget
}

// within is what a run knows of the node that it is the attempt of.
type within struct {
	outer []OuterNode // the outermost first; at least one
	want  []string    // ports of its nodes that are asked for outside
}

// nestedRun is the executor of one attempt of a node that uses an opening. The
// attempt is a run of that opening, with records and a trace of its own:
//
//   - its parameters are the node's with map and what edges deliver: one edge to
//     a port gives the parameter of that name its value, several a list;
//   - the node's outputs are those of the run's nodes, letter.draft.out for the
//     port out of draft, as far as somebody outside asks for them;
//   - the node succeeds when the run is a success;
//   - its trace id follows from that of the outer run, the node and how often
//     the node was tried, so that a new attempt in place of a lost one goes on
//     with the same run;
//   - it is cancelled with the attempt, and its events are events of the outer
//     run, with node/ in front of its nodes.
type nestedRun struct {
	e     Engine // a copy, whose Sink is the outer run's
	o     *Opening
	outer *Plan
	req   *Request
	opt   RunOptions
}

// nestedFailed is the code of a run that was not a success.
const (
	nestedFailed = "opening_failed"
	nestedParam  = "bad_params" // it does not take what it was given
)

// executor gives what carries an attempt out: the engine's executor, or a run of
// the opening that its node uses.
func (r *runner) executor(a *attempt) Executor {
	n := r.p.Opening.Nodes[a.node]
	if n.Nested() == "" {
		return r.e.Executor
	}
	e := *r.e // nothing in it changes while it runs
	e.Sink = func(ev Event) { r.send(nestedMsg{a, ev}) }
	budget := a.req.RunBudget
	budget.DeadlineMillis = 0
	a.inner = NewControl()
	return &nestedRun{
		e: e, o: r.p.Openings[n.Nested()], outer: r.p, req: a.req,
		opt: RunOptions{
			TraceID: nestedTrace(r.opt.TraceID, n.ID, r.tries(a)), Seed: r.opt.Seed.within(n.ID), Flags: r.opt.Flags,
			Fork: r.fork.inside(n.ID), Control: a.inner,
			within: &within{
				outer: append(slices.Clone(r.outer()), OuterNode{r.opt.TraceID, n.ID, a.req.Budget, budget}),
				want:  r.wanted(n.ID),
			},
		},
	}
}

// tries is how many attempts of a node there were with the present one, those
// that were lost with their process not counted.
func (r *runner) tries(a *attempt) int { return r.m.nodes[a.node].tries }

// outer gives the nodes that the run is in, the outermost first.
func (r *runner) outer() []OuterNode {
	if r.opt.within == nil {
		return nil
	}
	return r.opt.within.outer
}

// outerTraces names the runs that the run is in, the outermost first.
func (r *runner) outerTraces() []string {
	var traces []string
	for _, o := range r.outer() {
		traces = append(traces, traceName(o.TraceID))
	}
	return traces
}

// nestedTrace names the run that a node's attempts are: a UUID of version 8 (RFC
// 9562, section 5.8).
func nestedTrace(outer uuid.UUID, node string, try int) uuid.UUID {
	h := blake3.New(32, nil)
	h.Write([]byte("nested\x00"))
	h.Write(outer[:])
	h.Write(mustJSON([]any{node, try}))
	id := uuid.UUID(h.Sum(nil)[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

// within gives the seed of the run that a node is.
func (s Seed) within(node string) Seed {
	h := blake3.New(32, s[:])
	h.Write([]byte("nested\x00" + node))
	return Seed(h.Sum(nil))
}

// wanted lists the output ports of a node that something in the opening asks
// for, or that are asked for outside.
func (r *runner) wanted(node string) []string {
	var ports []string
	add := func(ref PortRef) {
		if ref.Node == node {
			ports = append(ports, ref.Port)
		}
	}
	for _, e := range r.p.Opening.Edges {
		add(e.From)
	}
	for _, e := range r.p.Opening.exprs() {
		add(e.Port)
	}
	for _, ref := range r.p.Opening.saved() {
		add(ref)
	}
	if w := r.opt.within; w != nil {
		for _, port := range w.want {
			if inner, ok := strings.CutPrefix(port, node+"."); ok {
				ports = append(ports, inner)
			}
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// Execute implements [Executor].
func (x *nestedRun) Execute(ctx context.Context, req *Request, _ Observer) *Response {
	defer x.opt.Control.close() // also of a run that never began
	began := time.Now()
	resp := x.run(ctx)
	resp.Digest, resp.Micros = x.outer.Digests[req.Ref], time.Since(began).Microseconds()
	return resp
}

// run carries the opening out.
func (x *nestedRun) run(ctx context.Context) *Response {
	name := strings.TrimPrefix(x.req.Ref, "opening:")
	if len(x.opt.within.outer) > maxNesting {
		return failure(nestedFailed, false, "openings are in each other more than %d deep", maxNesting)
	}
	plan, err := x.plan()
	if err != nil {
		return failure(nestedParam, false, "the opening %s cannot take this: %v", name, err)
	}
	rep, err := x.goOn(ctx, plan)
	if err != nil {
		return failure(nestedFailed, false, "the run of the opening %s: %v", name, err)
	}
	return x.response(name, rep)
}

// goOn begins the run, or goes on with it if it is one that an earlier process
// had begun.
func (x *nestedRun) goOn(ctx context.Context, plan *Plan) (*Report, error) {
	history, ok := x.e.Store.(History)
	if !ok {
		return x.e.Run(ctx, plan, x.opt)
	}
	rr, err := LoadRun(ctx, history, x.opt.TraceID)
	switch {
	case errors.Is(err, ErrNoRun):
		return x.e.Run(ctx, plan, x.opt)
	case err != nil:
		return nil, err
	case rr.Finished != "":
		return rr.report(ctx, history)
	}
	// It may have been paused with the run around it, which goes on now.
	opt := ResumeOptions{Control: x.opt.Control, Unpause: true, within: x.opt.within}
	if f := x.opt.Fork; f != nil && f.Source.TraceID == rr.ForkedFrom {
		opt.Fork = f
	}
	return x.e.Resume(ctx, rr, opt)
}

// plan makes the plan of the run. It is checked against the present agents where
// the engine knows them, and runs those that the outer run was planned with.
func (x *nestedRun) plan() (*Plan, error) {
	if x.o == nil {
		return nil, errors.New("it is not on record")
	}
	params, err := x.params()
	if err != nil {
		return nil, err
	}
	var cat Catalog
	if x.e.Catalog != nil {
		cat = plannedCatalog{x.e.Catalog, x.outer.Openings}
	}
	p, err := newPlanIn(x.o, cat, params, x.outer.confirm)
	if err != nil {
		return nil, err
	}
	p.Openings, p.Digests = map[string]*Opening{}, map[string]string{}
	x.outer.lend(p, p.Opening)
	return p, nil
}

// lend gives a plan the digests and openings that one of its openings needs.
func (p *Plan) lend(to *Plan, o *Opening) {
	for _, n := range o.Nodes {
		if digest, ok := p.Digests[n.Ref()]; ok {
			to.Digests[n.Ref()] = digest
		}
		if inner := p.Openings[n.Nested()]; inner != nil && to.Openings[n.Nested()] == nil {
			to.Openings[n.Nested()] = inner
			p.lend(to, inner)
		}
	}
}

// plannedCatalog has the openings that a run was planned with in place of those
// that are there now.
type plannedCatalog struct {
	Catalog
	openings map[string]*Opening
}

// Opening implements [Openings].
func (c plannedCatalog) Opening(name string) (file string, text []byte, err error) {
	o := c.openings[name]
	if o == nil {
		return "", nil, ErrUnknownOpening
	}
	return name, o.YAML(), nil
}

// OpeningNames implements [Openings].
func (c plannedCatalog) OpeningNames() []string { return sortedKeys(c.openings) }

// params puts together what the opening is given.
func (x *nestedRun) params() (json.RawMessage, error) {
	params := map[string]json.RawMessage{}
	if len(x.req.With) > 0 {
		if err := json.Unmarshal(x.req.With, &params); err != nil {
			return nil, err
		}
	}
	edges := map[string]int{}
	for _, e := range x.outer.Opening.Edges {
		if e.To.Node == x.req.Node {
			edges[e.To.Port]++
		}
	}
	waits := !x.takes(waitPort)
	for port, values := range x.req.Inputs {
		switch {
		case port == waitPort && waits:
		case edges[port] > 1:
			params[port] = mustJSON(values)
		default:
			params[port] = values[0]
		}
	}
	return json.Marshal(params)
}

// takes reports whether the opening has a parameter of a name.
func (x *nestedRun) takes(name string) bool {
	src := newSource(x.o.Name)
	v := &volume{opening: x.o, defaults: &tree{kind: kindMap}}
	v.used = checkTemplates(src, withTrees(src, x.o))
	if len(x.o.Params) > 0 {
		v.defaults = mustTree(x.o.Params)
	}
	return slices.Contains(v.parameters(), name)
}

// response says how the run ended in the words of an attempt.
func (x *nestedRun) response(name string, rep *Report) *Response {
	resp := &Response{Status: rmp.StatusOK, Usage: rep.Usage, Nested: rep.Trace}
	switch rep.Status {
	case StatusOK:
		resp.Ports = rep.ports(x.opt.within.want)
		return resp
	case StatusCancelled:
		resp.Status = rmp.StatusCancelled
		resp.Error = &rmp.AgentError{Code: codeCancelled, Message: rep.Reason}
	case StatusTimeout:
		resp.Status = rmp.StatusTimeout
		resp.Error = &rmp.AgentError{Code: codeTimedOut, Message: name + ": " + rep.Reason, Retryable: true}
	default:
		resp.Status = rmp.StatusFailed
		resp.Error = &rmp.AgentError{Code: nestedFailed, Message: name + ": " + rep.Reason}
		for _, n := range rep.Nodes {
			if n.State == Failed && n.Error != nil && n.Error.Retryable {
				resp.Error.Retryable = true
			}
		}
	}
	return resp
}

// ports gives outputs of the run's nodes, named node.port.
func (rep *Report) ports(want []string) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	for _, n := range rep.Nodes {
		for port, value := range n.Outputs {
			if name := n.Node + "." + port; slices.Contains(want, name) {
				out[name] = value
			}
		}
	}
	return out
}

// inside gives what the run that a node is may take over from the one that the
// node was; nil runs all of it.
func (k *forking) inside(node string) *Fork {
	if k == nil || k.forced[node] || k.steps[node] == nil {
		return nil
	}
	a := k.steps[node].FinalAttempt
	if a == nil || a.Nested == nil {
		return nil
	}
	return &Fork{Source: a.Nested, Caps: k.Caps}
}

// InnerRuns gives the trace ids of the runs that attempts of a run were, and of
// those in them, as far as they are on record.
func (rr *RecordedRun) InnerRuns(ctx context.Context, h History) ([]uuid.UUID, error) {
	var ids []uuid.UUID
	for i, n := range rr.Plan.Opening.Nodes {
		if n.Nested() == "" {
			continue
		}
		for try := 1; try <= rr.m.nodes[i].tries+1; try++ { // a lost one is not counted
			id := nestedTrace(rr.TraceID, n.ID, try)
			inner, err := LoadRun(ctx, h, id)
			if errors.Is(err, ErrNoRun) {
				continue
			}
			if err != nil {
				return nil, err
			}
			more, err := inner.InnerRuns(ctx, h)
			if err != nil {
				return nil, err
			}
			ids = append(append(ids, id), more...)
		}
	}
	return ids, nil
}
