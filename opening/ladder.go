package opening

import "slices"

// runs gives the trace and those of the runs that its nodes were, at any depth,
// each behind the one that it is in.
func (t *Trace) runs() []*Trace {
	all := []*Trace{t}
	for i := range t.Nodes {
		if a := t.Nodes[i].FinalAttempt; a != nil && a.Nested != nil {
			all = append(all, a.Nested.runs()...)
		}
	}
	return all
}

// RunIDs gives the trace ids of the run and of the runs that its nodes were.
func (t *Trace) RunIDs() []string {
	var ids []string
	for _, r := range t.runs() {
		ids = append(ids, r.TraceID)
	}
	return ids
}

// NestedOpenings gives the openings that nodes used, as they were, by name.
func (t *Trace) NestedOpenings() (map[string]*Opening, error) {
	out := map[string]*Opening{}
	for _, r := range t.runs()[1:] {
		o, err := ParseIR(r.OpeningIR)
		if err != nil {
			return nil, err
		}
		out[r.OpeningName] = o
	}
	return out, nil
}

// flat is the trace to look at: the nodes of the runs inside stand behind the
// node that they belong to, as node/inner, and their crossings among the others.
func (t *Trace) flat() *Trace {
	out := *t
	out.Nodes = t.flatNodes("")
	runs := t.runs()
	if len(runs) == 1 {
		return &out
	}
	out.Ladder = nil
	for _, r := range runs {
		out.Ladder = append(out.Ladder, r.Ladder...)
		out.LadderCut = out.LadderCut || r.LadderCut
	}
	slices.SortStableFunc(out.Ladder, func(a, b Crossing) int { return int(a.TSMillis - b.TSMillis) })
	return &out
}

// flatNodes lists the nodes with prefix in front of their names.
func (t *Trace) flatNodes(prefix string) []TraceNode {
	var out []TraceNode
	for _, n := range t.Nodes {
		inner := n.FinalAttempt
		n.NodeID = prefix + n.NodeID
		out = append(out, n)
		if inner != nil && inner.Nested != nil {
			out = append(out, inner.Nested.flatNodes(n.NodeID+"/")...)
		}
	}
	return out
}
