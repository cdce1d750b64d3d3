package opening

import (
	"cmp"
	"context"
	"fmt"
)

// What a fork needs follows from the records: run.started names the run that it
// comes from and the node of --from, and node.finished what was taken over. So
// another process, or nobody but a reader, can tell what became of it.

// Fork gives what a forked run is to go on taking over after its process ended:
// the source as the history has it. caps is that of [Fork]. It is nil for a run
// that is no fork, and fails with [ErrNoRun] when the history does not know the
// source, which may have been in a file.
func (rr *RecordedRun) Fork(ctx context.Context, h History, caps func(ref string) (string, error)) (*Fork, error) {
	if rr.ForkedFrom == "" {
		return nil, nil
	}
	id, err := (&Trace{TraceID: rr.ForkedFrom}).TraceUUID()
	if err != nil {
		return nil, fmt.Errorf("%w: forked_from: %w", ErrRecord, err)
	}
	source, err := LoadTrace(ctx, h, id)
	if err != nil {
		return nil, fmt.Errorf("the run %s that it was forked from: %w", rr.ForkedFrom, err)
	}
	f := &Fork{Source: source, From: rr.forkNode, Caps: caps}
	return f, f.Check(rr.Plan)
}

// CompareFork makes the report of a fork out of its trace and that of its source.
// from is the node that it was asked to run anew, if any.
func CompareFork(source, fork *Trace, from string) (*ForkReport, error) {
	o, err := ParseIR(fork.OpeningIR)
	if err != nil {
		return nil, err
	}
	return newForking(&Fork{Source: source, From: from}, o).report(fork), nil
}

// explain adds why steps ran that another process has decided about: nothing
// that counts for it has changed since.
func (k *forking) explain(t *Trace) {
	for i := range t.Nodes {
		n, a := &t.Nodes[i], t.Nodes[i].FinalAttempt
		if _, known := k.why[n.NodeID]; known || a == nil || a.ReusedFrom != nil {
			continue
		}
		if a.Caps != "" {
			k.caps[n.Agent] = a.Caps
		}
		_, k.why[n.NodeID] = k.reusable(&Request{
			Ref: n.Agent, Node: n.NodeID, Attempt: 1, Digest: cmp.Or(a.Digest, t.Agents[n.Agent]),
			With: a.With, Inputs: a.Inputs, Budget: a.Budget,
		})
	}
}
