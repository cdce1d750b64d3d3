package opening

import (
	"context"
	"errors"
	"strings"
)

// isNested reports whether a reference is that of an opening.
func isNested(ref string) bool { return strings.HasPrefix(ref, nestedRef("")) }

// nested replays the run that an attempt was. What the node itself gave follows
// from that run, which was checked when the trace was read.
func (p *replayer) nested(ctx context.Context, n *TraceNode, out NodeReplay) NodeReplay {
	a := n.FinalAttempt
	opt := p.opt
	opt.Node, opt.Until = "", ""
	if a.Nested == nil {
		out.Verdict, out.Why = NotReplayable, "the trace of its run did not come along"
		return out
	}
	if p.now != nil {
		req := &Request{Ref: n.Agent, Node: n.NodeID, With: a.With, Inputs: a.Inputs}
		out.Opening = p.now.request(n, req)
		x := &nestedRun{o: p.now.plan.Openings[strings.TrimPrefix(n.Agent, nestedRef(""))], outer: p.now.plan, req: req}
		plan, err := x.plan()
		if err != nil {
			out.Verdict = Different
			out.Differences = []Difference{{Kind: DiffOpening, Summary: "it would not run now: " + err.Error()}}
			return out
		}
		opt.Plan = plan
	}
	rep, err := Replay(ctx, a.Nested, p.exec, opt)
	if err != nil {
		out.Verdict, out.Why = NotReplayable, err.Error()
		return out
	}
	out.Verdict = Identical
	for _, inner := range rep.Nodes {
		inner.Node = n.NodeID + "/" + inner.Node
		out.inner = append(out.inner, inner)
	}
	return out
}

// flatten puts the nodes of runs inside behind the nodes that they were.
func flatten(nodes []NodeReplay) []NodeReplay {
	var out []NodeReplay
	for _, n := range nodes {
		inner := n.inner
		n.inner = nil
		out = append(append(out, n), inner...)
	}
	return out
}

// checkInner is checkCode for the run that an attempt was; what is refused is
// added to refused.
func (opt ReplayOptions) checkInner(a *Attempt, refused *OtherCode) error {
	if a.Nested == nil {
		return nil
	}
	var ran []*TraceNode
	for i := range a.Nested.Nodes {
		if n := &a.Nested.Nodes[i]; n.FinalAttempt != nil {
			ran = append(ran, n)
		}
	}
	err := opt.checkCode(a.Nested, ran)
	var other *OtherCode
	if errors.As(err, &other) {
		refused.Agents = append(refused.Agents, other.Agents...)
		return nil
	}
	return err
}
