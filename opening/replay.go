package opening

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/rmp"
)

// ReplayOptions choose what of a trace is run again.
type ReplayOptions struct {
	// Until limits the replay to a node and those that it depends on.
	Until string
	// Node limits the replay to one node.
	Node string
	// MaxParallel is how many nodes run at once; 0 is one.
	MaxParallel int
}

// Verdict is what a replay says of a node.
type Verdict string

// The verdicts.
const (
	Identical     Verdict = "identical"
	Different     Verdict = "different"
	NotReplayable Verdict = "not replayable"
)

// Kinds of differences.
const (
	DiffDigest    = "digest"    // another version of the agent ran
	DiffHostcalls = "hostcalls" // the agent asked for something else
	DiffStatus    = "status"    // it ended otherwise
	DiffOutputs   = "outputs"   // it gave something else
)

// ReplayReport says how a replay compares with what was recorded. Nodes are in
// the order of the file; those that never ran are left out.
type ReplayReport struct {
	TraceID       string       `json:"trace_id"`
	OpeningName   string       `json:"opening_name"`
	Nodes         []NodeReplay `json:"nodes"`
	Identical     int          `json:"identical"`
	Different     int          `json:"different"`
	NotReplayable int          `json:"not_replayable"`
}

// Same reports whether nothing that was run again differed.
func (r *ReplayReport) Same() bool { return r.Different == 0 }

// NodeReplay compares one node.
type NodeReplay struct {
	Node        string       `json:"node"`
	Agent       string       `json:"agent"`
	Verdict     Verdict      `json:"verdict"`
	Why         string       `json:"why,omitempty"` // it is not replayable
	Differences []Difference `json:"differences,omitempty"`
}

// Difference is one thing that was not as recorded.
type Difference struct {
	Kind    string   `json:"kind"`
	Summary string   `json:"summary"`
	Lines   []string `json:"lines,omitempty"` // of outputs, in the form of a diff
}

// replayTimeout is for attempts that were told of no deadline or of a shorter
// one: a replay may be slower than the run was, but must end.
const replayTimeout = 30 * time.Second

// Replay runs the attempts of a trace again through exec, each with the inputs
// and the answers that were recorded, and compares. It records and reports
// nothing. An agent that is to be tried in place of the recorded one is the
// executor's business. An error means that there is nothing to run, or that
// ctx ended.
//
// Requests name no digest: a changed agent is to be compared, not refused. Of
// an error the code and the exit status must be the same, but not the message,
// and of the outputs all. What never reached an agent, was stopped from outside
// or has an incomplete tape cannot be compared, and is said to be so rather
// than counted as identical.
func Replay(
	ctx context.Context, t *Trace, exec Executor, opt ReplayOptions,
) (*ReplayReport, error) {
	id, err := t.TraceUUID()
	if err != nil {
		return nil, err
	}
	chosen, err := t.choose(opt)
	if err != nil {
		return nil, fmt.Errorf("replay %s: %w", t.TraceID, err)
	}
	rep := &ReplayReport{
		TraceID: t.TraceID, OpeningName: t.OpeningName, Nodes: make([]NodeReplay, len(chosen)),
	}
	p := &replayer{trace: t, id: id, exec: exec}
	places := make(chan struct{}, max(opt.MaxParallel, 1))
	var wg sync.WaitGroup
	for i, n := range chosen {
		places <- struct{}{}
		wg.Go(func() {
			rep.Nodes[i] = p.node(ctx, n)
			<-places
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("replay %s: %w", t.TraceID, context.Cause(ctx))
	}
	for _, n := range rep.Nodes {
		switch n.Verdict {
		case Identical:
			rep.Identical++
		case Different:
			rep.Different++
		default:
			rep.NotReplayable++
		}
	}
	return rep, nil
}

// choose lists the nodes to run again.
func (t *Trace) choose(opt ReplayOptions) ([]*TraceNode, error) {
	wanted := func(string) bool { return true }
	switch {
	case opt.Node != "":
		wanted = func(id string) bool { return id == opt.Node }
	case opt.Until != "":
		o, err := ParseIR(t.OpeningIR)
		if err != nil {
			return nil, err
		}
		needed := o.ancestors(opt.Until)
		wanted = func(id string) bool { return needed[id] }
	}
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
		return nil, fmt.Errorf("none of its nodes ran, so there is nothing to replay")
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

// replayer runs attempts of one trace again.
type replayer struct {
	trace *Trace
	id    uuid.UUID
	exec  Executor
}

// node runs one node again and compares.
func (p *replayer) node(ctx context.Context, n *TraceNode) NodeReplay {
	out := NodeReplay{Node: n.NodeID, Agent: n.Agent}
	a := n.FinalAttempt
	if out.Why = a.notReplayable(); out.Why != "" {
		out.Verdict = NotReplayable
		return out
	}
	limit := max(time.Duration(a.Budget.DeadlineMillis)*time.Millisecond, replayTimeout)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	resp := p.exec.Execute(ctx, &Request{
		Ref: n.Agent, Node: n.NodeID, Attempt: a.Attempt,
		TraceID: p.id, OpeningID: p.trace.OpeningID, Seed: p.trace.Seed,
		With: a.With, Inputs: a.Inputs, Budget: a.Budget,
		Mode: rmp.ModeReplay, Tape: a.Hostcalls,
	}, deaf{})
	if resp == nil {
		resp = failure(codeHost, false, "the executor gave no answer")
	}
	if resp.Digest == "" && resp.Status != rmp.StatusOK {
		out.Verdict, out.Why = NotReplayable, "the agent could not be run: "+describeError(resp.Error)
		return out
	}
	out.Differences = compare(a, resp)
	if out.Verdict = Identical; len(out.Differences) > 0 {
		out.Verdict = Different
	}
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

// compare lists what is not as recorded, the cause before what it causes.
func compare(a *Attempt, resp *Response) []Difference {
	var out []Difference
	add := func(kind string, lines []string, format string, args ...any) {
		out = append(out, Difference{Kind: kind, Summary: fmt.Sprintf(format, args...), Lines: lines})
	}
	if resp.Digest != a.Digest {
		add(DiffDigest, nil, "the agent was %s and is %s", shortHash(a.Digest), shortHash(resp.Digest))
	}
	if d := resp.Diverged; d != nil {
		add(DiffHostcalls, nil, "call %d was %s and is %s",
			d.Index+1, d.Want.describe(), d.Got.describe())
	}
	before := ending(a.Status, a.Error, a.ExitCode)
	if after := ending(resp.Status, resp.Error, resp.ExitCode); before != after {
		add(DiffStatus, nil, "it ended with %s and now ends with %s", before, after)
	}
	if resp.Status != rmp.StatusOK || a.Status != rmp.StatusOK {
		return out
	}
	now := canonicalPorts(resp)
	if now.Status != rmp.StatusOK {
		add(DiffOutputs, nil, "%s", describeError(now.Error))
	} else if outputHash(now.Ports) != a.OutputHash {
		lines := jsonDiff(mustJSON(a.Outputs), mustJSON(now.Ports))
		add(DiffOutputs, lines, "the outputs differ")
	}
	return out
}

// ending puts the end of an attempt into words. Messages may hold times and
// the like, so only codes are compared.
func ending(status string, err *rmp.AgentError, exit uint32) string {
	if status == rmp.StatusOK || err == nil {
		return visible(status)
	}
	return fmt.Sprintf("%s (%s, exit status %d)", visible(status), visible(err.Code), exit)
}

// shortHash is enough of a digest to tell it from another.
func shortHash(s string) string {
	if len(s) > 12 {
		s = s[:12]
	}
	return visible(s)
}

// maxCallShown is how much of a hostcall a line repeats.
const maxCallShown = 160

// describe gives a hostcall on one line.
func (h *Hostcall) describe() string {
	if h == nil {
		return "no call"
	}
	return visible(h.Op) + " " + shorten(h.Args, maxCallShown)
}

// shorten gives JSON as text for a line.
func shorten(raw json.RawMessage, most int) string {
	text := string(raw)
	if len(text) > most {
		return visible(toWhole(text[:most])) + "…"
	}
	return visible(text)
}
