package opening

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/runloop-os/runloop/rmp"
)

// record adds a record to the batch.
func (r *runner) record(kind string, payload any) {
	if r.seq++; r.e.Store != nil {
		r.batch.records = append(r.batch.records, Record{Kind: kind, Payload: mustJSON(payload)})
	}
}

// event adds an event to the batch.
func (r *runner) event(kind, level string, meta any, format string, args ...any) {
	if r.e.Sink == nil {
		return
	}
	r.batch.events = append(r.batch.events, Event{
		TSMillis: r.e.now().UnixMilli(), TraceID: r.ids.trace, RunID: r.ids.trace,
		OpeningID: r.ids.opening, Kind: kind, Level: level,
		Message: fmt.Sprintf(format, args...), Meta: mustJSON(meta),
	})
}

// recordStart notes that the run begins, with all that is needed to begin it
// again.
func (r *runner) recordStart() {
	o := r.p.Opening
	rec := runStartedRecord{
		TraceID: r.ids.trace, OpeningID: r.ids.opening, OpeningName: o.Name,
		OpeningIR: r.p.IR, OpeningIRHash: r.p.IRHash, Params: r.p.Params,
		Seed: r.opt.Seed, Agents: r.p.Digests, Flags: r.opt.Flags, Limits: r.opt.Limits, ForkedFrom: r.forkedFrom(),
		Openings: r.p.nestedIRs(),
	}
	if r.fork != nil {
		rec.ForkNode = r.fork.From
	}
	if outer := r.outer(); len(outer) > 0 {
		last := outer[len(outer)-1]
		rec.Outer = &outerRecord{traceName(last.TraceID), last.Node}
	}
	r.record(kindRunStarted, rec)
	r.event(kindRunStarted, levelInfo, runStartedMeta{
		OpeningName: o.Name, Params: r.p.Params, Nodes: r.m.g.ids,
	}, "%s: %s", o.Name, plural(len(o.Nodes), "node"))
}

// recordAttempt notes that an attempt begins.
func (r *runner) recordAttempt(a *attempt) {
	r.record(kindNodeStarted, nodeStartedRecord{
		TraceID: r.ids.trace, Node: a.req.Node, Agent: a.req.Ref, Attempt: a.req.Attempt,
		TSMillis: a.begun.UnixMilli(),
	})
	r.event(kindNodeStarted, levelInfo, nodeStartedMeta{
		Node: a.req.Node, Agent: a.req.Ref, Attempt: a.req.Attempt,
	}, "%s: attempt %d of %s", a.req.Node, a.req.Attempt, a.req.Ref)
}

// output reports what an agent writes.
func (r *runner) output(a *attempt, l Log) {
	kind, level := kindNodeStderr, levelInfo
	meta := nodeOutputMeta{Node: a.req.Node, Attempt: a.req.Attempt}
	switch l.Stream {
	case rmp.StreamStdout:
		kind = kindNodeStdout
	case rmp.StreamLog:
		meta.Stream, meta.Level, meta.Fields = rmp.StreamLog, toValid(l.Level), l.Fields
		if l.Level == levelWarn || l.Level == levelError {
			level = l.Level
		}
	}
	for chunk := range chunks(l.Text) {
		meta.Chunk = chunk
		first, _, _ := strings.Cut(chunk, "\n")
		r.event(kind, level, meta, "%s: %s", a.req.Node, visible(cut(first)))
	}
}

// settled records and reports that a node is in a final state.
func (r *runner) settled(i int) {
	n, node := &r.m.nodes[i], r.p.Opening.Nodes[i]
	status := statusOf(n.state)
	rec := nodeFinishedRecord{
		TraceID: r.ids.trace, Node: node.ID, Agent: node.Ref(), Attempt: n.attempt,
		Status: status, Error: n.err, Reason: r.reason(i),
	}
	if a := r.attempts[i]; a != nil && a.resp != nil {
		n.warned = lastWarning(a.resp.Tape)
		rec.DurationMS = a.took.Milliseconds()
		rec.Outputs, rec.OutputHash = a.resp.Ports, outputHash(a.resp.Ports)
		rec.ReusedFrom = a.reused
		if !a.recorded {
			rec.attemptRecord = r.recordOf(a)
		}
	}
	r.record(kindNodeFinished, rec)
	r.event(kindNodeFinished, status.level(), nodeFinishedMeta{
		Node: node.ID, Attempt: n.attempt, Status: status, DurationMS: rec.DurationMS,
		OutputsHash: rec.OutputHash, Usage: rec.Usage, Error: n.err, Reason: rec.Reason,
		Cause: r.cause(i), ReusedFrom: rec.ReusedFrom,
	}, "%s", r.sentence(i))
}

// recordOf is what the records of the end of an attempt have in common.
func (r *runner) recordOf(a *attempt) attemptRecord {
	rec := attemptRecord{
		AttemptStatus: a.resp.Status, ExitCode: a.resp.ExitCode, Micros: a.resp.Micros,
		Digest: a.resp.Digest, Caps: a.resp.Caps, Usage: &a.resp.Usage, Budget: &a.req.Budget,
		Hostcalls: a.resp.Tape, TapeCut: a.resp.TapeCut, Ladder: r.ladder[r.told:],
	}
	if a.resp.Nested != nil {
		rec.NestedRun = a.resp.Nested.TraceID
	}
	r.told = len(r.ladder)
	return rec
}

// lastWarning is what an agent logged last as a warning or an error. It is taken
// from the tape, which is on record, and not from the log, which is not.
func lastWarning(tape []Hostcall) string {
	for _, call := range slices.Backward(tape) {
		var l struct{ Level, Message string }
		if call.Op != "log" || json.Unmarshal(call.Args, &l) != nil {
			continue
		}
		if l.Level == levelWarn || l.Level == levelError {
			return l.Message
		}
	}
	return ""
}

// sentence says how a node ended.
func (r *runner) sentence(i int) string {
	n, id := &r.m.nodes[i], r.m.g.ids[i]
	if a := r.attempts[i]; a != nil && a.reused != nil {
		return fmt.Sprintf("%s: as in %s", id, a.reused.Trace)
	}
	if n.state == Succeeded {
		return fmt.Sprintf("%s: done in %d ms", id, r.attempts[i].took.Milliseconds())
	}
	return r.m.why(i)
}

// reason says why a node did not run or was cut off, "" for other ends.
func (r *runner) reason(i int) string {
	switch r.m.nodes[i].state {
	case Skipped:
		return r.m.root(i)
	case Cancelled:
		return r.stopReason()
	}
	return ""
}

// cause is the node that failed, for one that was skipped for it, and else "".
func (r *runner) cause(i int) string {
	if r.m.nodes[i].state != Skipped {
		return ""
	}
	if _, from := r.m.origin(i); r.m.nodes[from].state == Failed {
		return r.m.g.ids[from]
	}
	return ""
}

// finish keeps the artifacts, closes the books and reports the end.
func (r *runner) finish(ctx context.Context) (*Report, error) {
	rep := r.report()
	r.keepArtifacts(ctx, rep)
	rep.Trace = r.trace(rep)
	if r.fork != nil {
		rep.Fork = r.fork.report(rep.Trace)
	}
	counts := map[Status]int{}
	for _, n := range rep.Nodes {
		counts[statusOf(n.State)]++
	}
	r.record(kindRunFinished, runFinishedRecord{
		TraceID: r.ids.trace, OpeningID: r.ids.opening, Status: rep.Status, Success: rep.Success,
		Reason: rep.Reason, DurationMS: rep.DurationMS, Nodes: counts, Usage: rep.Usage,
		Artifacts: rep.Artifacts, FinalHash: rep.Trace.FinalHash,
	})
	r.record(kindRunTrace, rep.Trace.record(r.told))
	end := func() {
		r.event(kindRunFinished, rep.Status.level(), runFinishedMeta{
			Status: rep.Status, Success: rep.Success, Reason: rep.Reason, DurationMS: rep.DurationMS,
			Nodes: counts, Usage: rep.Usage, Artifacts: rep.Artifacts,
		}, "%s", rep.summary(r.p.Opening.Name))
	}
	end()
	r.flush(ctx)
	if r.storeErr == nil {
		return rep, nil
	}
	// Whoever follows the run is told that it is over, and that is all.
	rep.Status, rep.Success, rep.Reason = StatusError, false, visible(r.storeErr.Error())
	r.batch.events = nil
	end()
	if r.e.Sink != nil {
		r.e.Sink(r.batch.events[0])
	}
	return rep, r.storeErr
}

// summary says in a sentence how the run ended.
func (rep *Report) summary(name string) string {
	if rep.Status == StatusOK {
		return fmt.Sprintf("%s: done in %d ms", name, rep.DurationMS)
	}
	return fmt.Sprintf("%s: %s", name, rep.Reason)
}

// report judges the run.
func (r *runner) report() *Report {
	rep := &Report{
		TraceID: r.ids.trace, OpeningID: r.ids.opening,
		DurationMS: r.e.now().Sub(r.begun).Milliseconds(), Usage: r.usage,
	}
	rep.Success, rep.Reason = r.m.verdict()
	switch {
	case r.stopped != "":
		rep.Status, rep.Success, rep.Reason = r.stopped, false, r.stopReason()
	case rep.Success:
		rep.Status = StatusOK
	default:
		rep.Status = StatusError
	}
	for i, node := range r.p.Opening.Nodes {
		n := &r.m.nodes[i]
		nr := NodeReport{Node: node.ID, Agent: node.Ref(), State: n.state, Attempt: n.attempt,
			Outputs: n.ports, Error: n.err, Reason: r.reason(i)}
		if a := r.attempts[i]; a != nil {
			nr.DurationMS = a.took.Milliseconds()
		}
		rep.Nodes = append(rep.Nodes, nr)
	}
	return rep
}

// keepArtifacts saves the outputs that the opening names and that exist. An
// output that cannot be kept fails the run: what was promised is not there.
func (r *runner) keepArtifacts(ctx context.Context, rep *Report) {
	if r.e.Artifacts == nil || r.storeErr != nil {
		return
	}
	for _, ref := range r.p.Opening.saved() {
		value, ok := r.m.value(ref)
		if !ok {
			continue
		}
		id, err := r.e.Artifacts.SaveArtifact(context.WithoutCancel(ctx), Artifact{
			TraceID: r.ids.trace, OpeningID: r.ids.opening, Port: ref, Value: value,
		})
		if err != nil {
			why := fmt.Sprintf("the output %s could not be kept: %s", ref, visible(err.Error()))
			if rep.Status != StatusOK {
				why = rep.Reason + "; " + why
			} else {
				rep.Status, rep.Success = StatusError, false
			}
			rep.Reason = why
			continue
		}
		rep.Artifacts = append(rep.Artifacts, SavedArtifact{Port: ref.String(), ID: id})
	}
}

// trace puts together what the run leaves behind.
func (r *runner) trace(rep *Report) *Trace {
	t := &Trace{
		TraceID: r.ids.trace, OpeningID: r.ids.opening, OpeningName: r.p.Opening.Name,
		OpeningIR: r.p.IR, OpeningIRHash: r.p.IRHash, Params: r.p.Params,
		Seed: r.opt.Seed, Agents: r.p.Digests,
		Ladder: r.ladder, LadderCut: r.cut,
		Status: rep.Status, Success: rep.Success, Reason: rep.Reason, ForkedFrom: r.forkedFrom(),
	}
	if t.Ladder == nil {
		t.Ladder = []Crossing{}
	}
	for i, node := range r.p.Opening.Nodes {
		n := &r.m.nodes[i]
		tn := TraceNode{NodeID: node.ID, Agent: node.Ref(), State: TraceState{State: n.state}}
		if n.state == Failed {
			tn.State.Reason = describeError(n.err)
		}
		if a := r.attempts[i]; a != nil && a.resp != nil {
			tn.FinalAttempt = a.trace()
		}
		t.Nodes = append(t.Nodes, tn)
	}
	t.FinalHash = finalHash(t.Nodes)
	return t
}

// trace gives an attempt that has ended in the form of traces.
func (a *attempt) trace() *Attempt {
	out := &Attempt{
		Attempt: a.req.Attempt, Status: a.resp.Status, With: a.req.With, Inputs: a.req.Inputs,
		Outputs: a.resp.Ports, OutputHash: outputHash(a.resp.Ports), Error: a.resp.Error,
		ExitCode: a.resp.ExitCode, Digest: a.resp.Digest, Caps: a.resp.Caps,
		TSMillis: a.begun.UnixMilli(), Micros: a.resp.Micros, Nested: a.resp.Nested,
		Usage: a.resp.Usage, Budget: a.req.Budget, Hostcalls: a.resp.Tape, TapeCut: a.resp.TapeCut,
		ReusedFrom: a.reused,
	}
	if out.Hostcalls == nil {
		out.Hostcalls = []Hostcall{}
	}
	if len(out.With) == 0 {
		out.With = json.RawMessage("{}")
	}
	return out
}
