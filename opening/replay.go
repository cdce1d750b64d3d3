package opening

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/rmp"
)

// ReplayOptions choose what of a trace is run again, and with which code.
type ReplayOptions struct {
	// Until limits the replay to a node and those that it depends on.
	Until string
	// Node limits the replay to one node.
	Node string
	// MaxParallel is how many nodes run at once; 0 is the number of processors.
	MaxParallel int
	// Present gives the digest of the agent that a reference stands for now. A
	// replay under other code than the recorded is refused with [OtherCode].
	// Nil looks at no digest before it runs.
	Present func(ref string) (digest string, err error)
	// Changed says for which references other code is what is wanted: it is
	// noted, and is no difference by itself. Nil means for none.
	Changed func(ref string) bool
	// Plan, when not nil, is the opening as it is now, with the parameters of the
	// run: nodes are told what it would tell them, and a node that would not run
	// now, or would and did not, is a difference.
	Plan *Plan
}

// OtherCode refuses a replay: agents are others than those that ran.
type OtherCode struct {
	TraceID string
	Agents  []ChangedAgent
}

// ChangedAgent is an agent whose code is not the recorded one. The digests are
// those of bundles, in hex.
type ChangedAgent struct {
	Ref      string `json:"ref"`
	Recorded string `json:"recorded"`
	Present  string `json:"present"`
}

// String names both digests.
func (c ChangedAgent) String() string {
	return fmt.Sprintf("agent %s was %s and is %s", visible(c.Ref), visible(c.Recorded), visible(c.Present))
}

// Error names every agent with both of its digests.
func (e *OtherCode) Error() string {
	parts := make([]string, len(e.Agents))
	for i, a := range e.Agents {
		parts[i] = a.String()
	}
	return fmt.Sprintf("replay %s: the code is not what ran: %s", visible(e.TraceID), strings.Join(parts, "; "))
}

// replayTimeout is for attempts that were told of no deadline or of a shorter
// one: a replay may be slower than the run was, but must end.
const replayTimeout = 30 * time.Second

// Replay runs the attempts of a trace again through exec, each with the inputs
// and the answers that were recorded, and compares. It records and reports
// nothing. An error means that there is nothing to run, that other code would
// run than is wanted ([*OtherCode], and [ErrUnknownAgent] for an agent that is
// gone), or that ctx ended.
//
// Of an error the code and the exit status must be the same, but not the
// message, and of the outputs all. What never reached an agent, was stopped
// from outside or has an incomplete tape cannot be compared, and is said to be
// so rather than counted as identical.
func Replay(
	ctx context.Context, t *Trace, exec Executor, opt ReplayOptions,
) (*ReplayReport, error) {
	id, err := t.TraceUUID()
	if err != nil {
		return nil, err
	}
	if t.Redacted {
		return nil, fmt.Errorf("replay %s: its values were redacted, so that nothing is left to run with", t.TraceID)
	}
	o, err := ParseIR(t.OpeningIR)
	if err != nil {
		return nil, err
	}
	wanted := opt.wanted(o)
	chosen, err := t.choose(wanted, opt)
	if err != nil {
		return nil, fmt.Errorf("replay %s: %w", t.TraceID, err)
	}
	if err := opt.checkCode(t, chosen); err != nil {
		return nil, err
	}
	rep := &ReplayReport{
		TraceID: t.TraceID, OpeningName: t.OpeningName, Nodes: make([]NodeReplay, len(chosen)),
	}
	p := &replayer{trace: t, id: id, exec: exec, opt: opt}
	if opt.Plan != nil {
		p.now = t.against(opt.Plan)
	}
	p.all(ctx, chosen, rep.Nodes)
	rep.Nodes = flatten(rep.Nodes)
	if p.now != nil {
		rep.Nodes = append(rep.Nodes, p.now.fresh(wanted)...)
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("replay %s: %w", t.TraceID, context.Cause(ctx))
	}
	if opt.Plan != nil {
		o = opt.Plan.Opening
	}
	rep.count(o)
	return rep, nil
}

// wanted says which nodes the options choose.
func (opt ReplayOptions) wanted(o *Opening) func(id string) bool {
	switch {
	case opt.Node != "":
		return func(id string) bool { return id == opt.Node }
	case opt.Until != "":
		needed := o.ancestors(opt.Until)
		return func(id string) bool { return needed[id] }
	}
	return func(string) bool { return true }
}

// choose lists the nodes to run again.
func (t *Trace) choose(wanted func(id string) bool, opt ReplayOptions) ([]*TraceNode, error) {
	var out []*TraceNode
	named := opt.Node == "" && opt.Until == ""
	for i := range t.Nodes {
		n := &t.Nodes[i]
		named = named || n.NodeID == opt.Node || n.NodeID == opt.Until
		if n.FinalAttempt != nil && wanted(n.NodeID) {
			out = append(out, n)
		}
	}
	if !named {
		return nil, fmt.Errorf("the trace has no node %s", quote(opt.Node+opt.Until))
	}
	if len(out) == 0 {
		return nil, errors.New("none of its nodes ran, so there is nothing to replay")
	}
	return out, nil
}

// ancestors gives a node and all that it depends on.
func (o *Opening) ancestors(id string) map[string]bool {
	sources := map[string][]string{}
	for _, e := range o.Edges {
		sources[e.To.Node] = append(sources[e.To.Node], e.From.Node)
	}
	found := map[string]bool{}
	queue := []string{id}
	for len(queue) > 0 {
		next := queue[0]
		queue = queue[1:]
		if !found[next] {
			found[next] = true
			queue = append(queue, sources[next]...)
		}
	}
	return found
}

// checkCode refuses agents that are not there, or not the recorded ones and
// not meant to be others.
func (opt ReplayOptions) checkCode(t *Trace, nodes []*TraceNode) error {
	if opt.Present == nil {
		return nil
	}
	refused := &OtherCode{TraceID: t.TraceID}
	seen := map[ChangedAgent]bool{}
	for _, n := range nodes {
		if isNested(n.Agent) {
			if err := opt.checkInner(n.FinalAttempt, refused); err != nil {
				return err
			}
			continue
		}
		if n.FinalAttempt.notReplayable() != "" {
			continue
		}
		c := ChangedAgent{Ref: n.Agent, Recorded: n.FinalAttempt.Digest}
		var err error
		if c.Present, err = opt.Present(n.Agent); err != nil {
			return fmt.Errorf("replay %s: agent %s: %w", t.TraceID, visible(n.Agent), err)
		}
		if c.Present != c.Recorded && !opt.mayChange(n.Agent) && !seen[c] {
			seen[c] = true
			refused.Agents = append(refused.Agents, c)
		}
	}
	if len(refused.Agents) > 0 {
		return refused
	}
	return nil
}

// mayChange reports whether other code is wanted for a reference.
func (opt ReplayOptions) mayChange(ref string) bool { return opt.Changed != nil && opt.Changed(ref) }

// replayer runs attempts of one trace again.
type replayer struct {
	trace *Trace
	id    uuid.UUID
	exec  Executor
	opt   ReplayOptions
	now   *present // nil: the opening is the recorded one
}

// all runs nodes again, several at a time, and returns when none runs any more.
func (p *replayer) all(ctx context.Context, nodes []*TraceNode, out []NodeReplay) {
	parallel := p.opt.MaxParallel
	if parallel <= 0 {
		parallel = runtime.GOMAXPROCS(0)
	}
	places := make(chan struct{}, parallel)
	var wg sync.WaitGroup
	for i, n := range nodes {
		places <- struct{}{}
		wg.Go(func() {
			out[i] = p.node(ctx, n)
			<-places
		})
	}
	wg.Wait()
}

// node runs one node again and compares.
func (p *replayer) node(ctx context.Context, n *TraceNode) NodeReplay {
	out := NodeReplay{Node: n.NodeID, Agent: n.Agent}
	a := n.FinalAttempt
	if out.Why = a.notReplayable(); out.Why != "" {
		out.Verdict = NotReplayable
		return out
	}
	if p.now != nil {
		if why := p.now.misfit(n); why != "" {
			out.Verdict = Different
			out.Differences = []Difference{{Kind: DiffOpening, Summary: why}}
			return out
		}
	}
	if isNested(n.Agent) {
		return p.nested(ctx, n, out)
	}
	limit := max(time.Duration(a.Budget.DeadlineMillis)*time.Millisecond, replayTimeout)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req := &Request{
		Ref: n.Agent, Node: n.NodeID, Attempt: a.Attempt,
		TraceID: p.id, OpeningID: p.trace.OpeningID, Seed: p.trace.Seed,
		With: a.With, Inputs: a.Inputs, Budget: a.Budget,
		Mode: rmp.ModeReplay, Tape: a.Hostcalls,
	}
	if from := a.ReusedFrom; from != nil { // it saw the names of the run that it comes from
		if id, err := parseTraceName(from.Trace); err == nil {
			req.TraceID, req.OpeningID, req.Attempt = id, from.OpeningID, from.Attempt
		}
	}
	if p.now != nil {
		out.Opening = p.now.request(n, req)
	}
	mayChange := p.opt.mayChange(n.Agent)
	if p.opt.Present != nil && !mayChange {
		req.Digest = a.Digest // it may have been changed since it was looked at
	}
	resp := p.exec.Execute(ctx, req, deaf{})
	if resp == nil {
		resp = failure(codeHost, false, "the executor gave no answer")
	}
	if resp.Digest == "" && resp.Status != rmp.StatusOK {
		out.Verdict, out.Why = NotReplayable, "the agent could not be run: "+describeError(resp.Error)
		return out
	}
	out.compare(a, resp, mayChange)
	return out
}

// deaf is an Observer that does not listen.
type deaf struct{}

// Log implements Observer.
func (deaf) Log(Log) {}

// Crossing implements Observer.
func (deaf) Crossing(Crossing) {}

// notReplayable says why an attempt cannot be run again: its end did not come
// from the agent, or not all of its answers are known.
func (a *Attempt) notReplayable() string {
	switch {
	case a.TapeCut:
		return "its answers were too large to record"
	case a.Status == rmp.StatusTimeout:
		return "it was stopped because it took too long"
	case a.Status == rmp.StatusCancelled:
		return "it was cancelled"
	case a.Digest == "":
		return "it never reached an agent: " + describeError(a.Error)
	}
	return ""
}
