package opening

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/runloop-os/runloop/rmp"
)

// Fork says what a run may take over from an earlier one. A step is taken over
// when it succeeded there and would be the same here: the same code, told the
// same, with the same inputs, budget and capabilities. So a change reaches as far
// as it changes outputs, and no farther. The seed is that of the earlier run.
type Fork struct {
	Source *Trace
	// From is a node that is to run anew whatever it is told, with all that
	// depends on it; empty for none.
	From string
	// Caps gives the digest of the capabilities that an agent would have now.
	Caps func(ref string) (string, error)
}

// Check says what is wrong with what is asked for, before anything runs: a source
// without values, or a node that the plan does not have.
func (f *Fork) Check(p *Plan) error {
	if f.Source.Redacted {
		return fmt.Errorf("fork %s: its values were redacted, so that nothing is left to go on with", f.Source.TraceID)
	}
	if f.From == "" {
		return nil
	}
	for _, n := range p.Opening.Nodes {
		if n.ID == f.From {
			return nil
		}
	}
	return fmt.Errorf("fork %s: the opening has no node %s", f.Source.TraceID, quote(f.From))
}

// forking is a fork while it runs.
type forking struct {
	*Fork
	forced map[string]bool
	steps  map[string]*TraceNode
	caps   map[string]string // by reference
	why    map[string]string // by node: why it was not taken over
}

func newForking(f *Fork, o *Opening) *forking {
	if f == nil {
		return nil
	}
	k := &forking{
		Fork: f, forced: o.descendants(f.From), steps: map[string]*TraceNode{},
		caps: map[string]string{}, why: map[string]string{},
	}
	for i := range f.Source.Nodes {
		k.steps[f.Source.Nodes[i].NodeID] = &f.Source.Nodes[i]
	}
	return k
}

// descendants gives a node and all that depends on it; nothing for "".
func (o *Opening) descendants(id string) map[string]bool {
	found := map[string]bool{}
	if id == "" {
		return found
	}
	next := map[string][]string{}
	for _, e := range o.Edges {
		next[e.From.Node] = append(next[e.From.Node], e.To.Node)
	}
	queue := []string{id}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		if !found[at] {
			found[at] = true
			queue = append(queue, next[at]...)
		}
	}
	return found
}

// reusable gives the recorded attempt that stands for a request, or says why
// there is none.
func (k *forking) reusable(req *Request) (a *Attempt, why string) {
	n := k.steps[req.Node]
	switch {
	case req.Attempt > 1:
		return nil, "" // it was decided about the first
	case k.forced[req.Node]:
		return nil, "it is " + k.From + " or depends on it"
	case n == nil:
		return nil, "the run did not have it"
	case isNested(req.Ref):
		return nil, "its steps are taken over one by one"
	case n.State.State != Succeeded:
		return nil, "it had not succeeded"
	}
	a = n.FinalAttempt
	caps, err := k.capsOf(req.Ref)
	switch {
	case a.Digest != req.Digest || n.Agent != req.Ref:
		return nil, "its code is other"
	case !bytes.Equal(a.With, orEmpty(req.With)):
		return nil, "it is told something else"
	case !bytes.Equal(mustJSON(orNoInputs(a.Inputs)), mustJSON(orNoInputs(req.Inputs))):
		return nil, "its inputs are other"
	case a.Budget.Tokens != req.Budget.Tokens || a.Budget.USD != req.Budget.USD:
		return nil, "its budget is other"
	case err != nil:
		return nil, "what it may do is not known: " + visible(err.Error())
	case a.Caps == "" || a.Caps != caps:
		return nil, "what it may do is other"
	}
	return a, ""
}

// orEmpty gives an empty map in place of nothing.
func orEmpty(with json.RawMessage) json.RawMessage {
	if len(with) == 0 {
		return json.RawMessage("{}")
	}
	return with
}

// capsOf asks once for each agent.
func (k *forking) capsOf(ref string) (string, error) {
	if digest, ok := k.caps[ref]; ok || k.Caps == nil {
		return digest, nil
	}
	digest, err := k.Caps(ref)
	if err == nil {
		k.caps[ref] = digest
	}
	return digest, err
}

// reuse ends an attempt that is about to start as the recorded one ended, if
// that stands for it. It costs nothing and takes no time.
func (r *runner) reuse(a *attempt) bool {
	if r.fork == nil {
		return false
	}
	old, why := r.fork.reusable(a.req)
	if old == nil {
		if a.req.Attempt == 1 {
			r.fork.why[a.req.Node] = why
		}
		return false
	}
	if a.reused = old.ReusedFrom; a.reused == nil {
		src := r.fork.Source
		a.reused = &Reused{Trace: src.TraceID, Node: a.req.Node, OpeningID: src.OpeningID, Attempt: old.Attempt}
	}
	a.req.Budget = old.Budget
	a.resp = &Response{
		Status: rmp.StatusOK, Ports: old.Outputs, ExitCode: old.ExitCode, Digest: old.Digest, Caps: old.Caps,
		Tape: old.Hostcalls, TapeCut: old.TapeCut,
	}
	for _, c := range r.apply(ended{node: a.node, status: rmp.StatusOK, ports: old.Outputs}) {
		r.settled(c.node)
	}
	return true
}

// forkedFrom names the run that this one comes from, "" for none.
func (r *runner) forkedFrom() string {
	if r.fork == nil {
		return r.source
	}
	return r.fork.Source.TraceID
}

// ForkReport compares a fork with the run that it comes from. Nodes are in the
// order of the file, those of a run inside behind the node that it was.
type ForkReport struct {
	TraceID string     `json:"trace_id"`
	Source  string     `json:"source"`
	From    string     `json:"from,omitempty"`
	Nodes   []ForkNode `json:"nodes"`
	Reused  int        `json:"reused"`
	Ran     int        `json:"ran"`
	// Before is what the earlier run cost, After what this one did.
	Before ForkCost `json:"before"`
	After  ForkCost `json:"after"`
}

// ForkCost is what the last attempts of a run cost; time is that in sandboxes,
// in microseconds.
type ForkCost struct {
	TokensIn  int64   `json:"tokens_in"`
	TokensOut int64   `json:"tokens_out"`
	USD       float64 `json:"usd"`
	Micros    int64   `json:"us"`
}

// ForkNode compares a step.
type ForkNode struct {
	Node   string `json:"node"`
	Agent  string `json:"agent"`
	State  State  `json:"state"`
	Before State  `json:"before,omitempty"` // in the earlier run
	Reused bool   `json:"reused"`
	Why    string `json:"why,omitempty"` // it was not taken over
	// Same says that it gave what it gave before; Lines are the difference.
	Same  bool     `json:"same"`
	Lines []string `json:"lines,omitempty"`
}

// report compares the fork, which has ended, with its source.
func (k *forking) report(t *Trace) *ForkReport {
	k.explain(t)
	rep := &ForkReport{
		TraceID: t.TraceID, Source: k.Source.TraceID, From: k.From,
		Before: k.Source.cost(), After: t.cost(),
	}
	before := map[string]*TraceNode{}
	for _, n := range k.Source.flatNodes("") {
		before[n.NodeID] = &n
	}
	for _, n := range t.flatNodes("") {
		out := compareStep(before[n.NodeID], &n)
		switch a := n.FinalAttempt; {
		case a == nil:
		case a.ReusedFrom != nil:
			out.Reused = true
			rep.Reused++
		case a.Nested == nil: // of one that was a run, its steps count
			rep.Ran++
			fallthrough
		default:
			out.Why = k.why[n.NodeID]
		}
		rep.Nodes = append(rep.Nodes, out)
	}
	return rep
}

// compareStep compares what a step gave with what it gave before, if it was
// there.
func compareStep(old, n *TraceNode) ForkNode {
	out := ForkNode{Node: n.NodeID, Agent: n.Agent, State: n.State.State}
	var before, after map[string]json.RawMessage
	if old != nil {
		if out.Before = old.State.State; old.FinalAttempt != nil {
			before = old.FinalAttempt.Outputs
		}
	}
	if n.FinalAttempt != nil {
		after = n.FinalAttempt.Outputs
	}
	if out.Same = out.Before == out.State && outputHash(before) == outputHash(after); !out.Same {
		out.Lines = jsonDiff(portsJSON(before), portsJSON(after))
	}
	return out
}

// portsJSON gives outputs, or nothing for none.
func portsJSON(ports map[string]json.RawMessage) []byte {
	if ports == nil {
		return nil
	}
	return mustJSON(ports)
}

// cost adds up what the last attempts cost.
func (t *Trace) cost() ForkCost {
	var c ForkCost
	for _, n := range t.Nodes {
		if a := n.FinalAttempt; a != nil {
			c.TokensIn += a.Usage.TokensIn
			c.TokensOut += a.Usage.TokensOut
			c.USD += a.Usage.USD
			c.Micros += a.Micros
		}
	}
	return c
}

// Text gives the report for people.
func (r *ForkReport) Text() string {
	var b strings.Builder
	for _, n := range r.Nodes {
		verb := "ran"
		switch {
		case n.Reused:
			verb = "reused"
		case n.State != Succeeded && n.State != Failed:
			verb = strings.ToLower(string(n.State))
		}
		fmt.Fprintf(&b, "%-10s%s (agent:%s)", verb, visible(n.Node), visible(n.Agent))
		if n.Why != "" {
			b.WriteString(": " + n.Why)
		}
		switch {
		case !n.Same && n.Before != "" && n.Before != n.State:
			fmt.Fprintf(&b, "; was %s, is %s", n.Before, n.State)
		case !n.Same:
			b.WriteString("; gave something else")
		case verb == "ran":
			b.WriteString("; gave the same")
		}
		b.WriteString("\n")
		for _, l := range n.Lines {
			b.WriteString("    " + l + "\n")
		}
	}
	fmt.Fprintf(&b, "%d reused, %d ran\n", r.Reused, r.Ran)
	fmt.Fprintf(&b, "cost: %s, was %s\n", r.After, r.Before)
	return b.String()
}

// String puts the cost on a line.
func (c ForkCost) String() string {
	return fmt.Sprintf("%d+%d tokens, $%.4f, %s", c.TokensIn, c.TokensOut, c.USD, milliseconds(c.Micros))
}
