package opening

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/runloop-os/runloop/rmp"
)

// present is what a plan makes of a recorded run: which of its nodes would run
// now, and what they would be told, if everything that ran ended as it did.
type present struct {
	plan *Plan
	m    *machine
	ran  map[string]*TraceNode // of the trace, by id
	// unknown are nodes behind one that never ran, so that nobody knows what
	// they would be told.
	unknown map[string]bool
}

// against carries a plan out with the recorded ends of the nodes.
func (t *Trace) against(p *Plan) *present {
	v := &present{
		plan: p, m: newMachine(p.Opening, len(p.Opening.Nodes)+1),
		ran: map[string]*TraceNode{}, unknown: map[string]bool{},
	}
	for i := range t.Nodes {
		v.ran[t.Nodes[i].NodeID] = &t.Nodes[i]
	}
	for i, ok := v.m.next(); ok; i, ok = v.m.next() {
		v.apply(started{i})
		v.apply(v.end(i))
	}
	return v
}

// apply tells the machine what happens, which is what it said may happen.
func (v *present) apply(event any) {
	if _, err := v.m.apply(event); err != nil {
		panic("opening: internal error: " + err.Error())
	}
}

// end is how a node ended. One that never ran ends the chain of what is known.
func (v *present) end(i int) ended {
	n := v.ran[v.plan.Opening.Nodes[i].ID]
	if n == nil || n.FinalAttempt == nil {
		v.forget(i)
		return ended{node: i, status: rmp.StatusCancelled}
	}
	if a := n.FinalAttempt; a.Status == rmp.StatusOK {
		return ended{node: i, status: rmp.StatusOK, ports: a.Outputs}
	}
	return ended{node: i, status: rmp.StatusFailed} // whatever was tried, this was the last
}

// forget marks what is behind a node as unknown.
func (v *present) forget(i int) {
	queue := []int{i}
	for len(queue) > 0 {
		from := queue[0]
		queue = queue[1:]
		for _, e := range v.m.g.out[from] {
			to := v.m.g.to(e)
			if id := v.m.g.ids[to]; !v.unknown[id] {
				v.unknown[id] = true
				queue = append(queue, to)
			}
		}
	}
}

// request puts what the plan says into the request for a recorded attempt, and
// gives what of it is not as it was, in the form of a diff.
func (v *present) request(n *TraceNode, req *Request) (changes []string) {
	i, ok := v.m.g.index[n.NodeID]
	if !ok {
		return nil
	}
	if with := v.plan.With[i]; !bytes.Equal(with, req.With) {
		changes = append(changes, jsonDiff(req.With, with)...)
		req.With = with
	}
	if v.unknown[n.NodeID] {
		return changes
	}
	before, now := mustJSON(orNoInputs(req.Inputs)), mustJSON(v.m.inputs(i))
	if !bytes.Equal(before, now) {
		changes = append(changes, jsonDiff(before, now)...)
		req.Inputs = v.m.inputs(i)
	}
	return changes
}

// orNoInputs gives an empty map in place of none.
func orNoInputs(in map[string][]json.RawMessage) map[string][]json.RawMessage {
	if in == nil {
		return map[string][]json.RawMessage{}
	}
	return in
}

// misfit says why a recorded node would not run now as it did, "" if it would.
func (v *present) misfit(n *TraceNode) string {
	i, ok := v.m.g.index[n.NodeID]
	switch {
	case !ok:
		return "the opening has no such node now"
	case v.plan.Opening.Nodes[i].Ref() != n.Agent:
		return fmt.Sprintf("it was agent:%s and is agent:%s now",
			visible(n.Agent), visible(v.plan.Opening.Nodes[i].Ref()))
	case v.unknown[n.NodeID] || v.m.nodes[i].attempt > 0:
		return ""
	}
	return "it ran, and would be skipped now: " + v.m.root(i)
}

// fresh lists the nodes that would run now and did not, with why that is a
// difference.
func (v *present) fresh(chosen func(id string) bool) []NodeReplay {
	var out []NodeReplay
	for i, node := range v.plan.Opening.Nodes {
		n := v.ran[node.ID]
		why := "the opening did not have this node"
		switch {
		case !chosen(node.ID) || v.m.nodes[i].attempt == 0 || v.unknown[node.ID]:
			continue
		case n == nil:
		case n.FinalAttempt != nil || n.State.State == Cancelled:
			continue
		default:
			why = "it was skipped, and would run now"
		}
		out = append(out, NodeReplay{
			Node: node.ID, Agent: node.Ref(), Verdict: Different,
			Differences: []Difference{{Kind: DiffOpening, Summary: why}},
		})
	}
	return out
}

// GivenParams are the parameters of the run that are not the defaults of its
// opening: what it was given, as far as one can tell. With them a changed
// opening can be run in the same way, its new defaults included.
func (t *Trace) GivenParams() (json.RawMessage, error) {
	o, err := ParseIR(t.OpeningIR)
	if err != nil {
		return nil, err
	}
	var defaults, merged map[string]any
	if len(o.Params) > 0 {
		if err := json.Unmarshal(o.Params, &defaults); err != nil {
			return nil, fmt.Errorf("the defaults of the opening: %w", err)
		}
	}
	if err := json.Unmarshal(t.Params, &merged); err != nil {
		return nil, fmt.Errorf("the parameters of the run: %w", err)
	}
	dropDefaults(merged, defaults)
	return mustJSON(merged), nil
}

// dropDefaults takes out of values what is the same in defaults.
func dropDefaults(values, defaults map[string]any) {
	for key, def := range defaults {
		inner, isMap := values[key].(map[string]any)
		defInner, defMap := def.(map[string]any)
		if isMap && defMap {
			dropDefaults(inner, defInner)
			if len(inner) == 0 {
				delete(values, key)
			}
			continue
		}
		if val, ok := values[key]; ok && bytes.Equal(mustJSON(val), mustJSON(def)) {
			delete(values, key)
		}
	}
}
