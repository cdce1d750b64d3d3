package opening

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/runloop-os/runloop/rmp"
)

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
	DiffOpening   = "opening"   // the opening has it otherwise now
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
	// First is the first step that is not as recorded, nil when all are.
	First *Step `json:"first,omitempty"`
}

// Step is a place in a run: a node and what of it was not as recorded.
type Step struct {
	Node    string `json:"node"`
	Agent   string `json:"agent"`
	Kind    string `json:"kind"`           // of the difference
	Call    int    `json:"call,omitempty"` // the hostcall, from 1
	Summary string `json:"summary"`
}

// String puts the step into a sentence.
func (s *Step) String() string {
	return fmt.Sprintf("%s (agent:%s): %s: %s", visible(s.Node), visible(s.Agent), s.Kind, s.Summary)
}

// Same reports whether nothing that was run again differed.
func (r *ReplayReport) Same() bool { return r.Different == 0 }

// NodeReplay compares one node.
type NodeReplay struct {
	Node    string  `json:"node"`
	Agent   string  `json:"agent"`
	Verdict Verdict `json:"verdict"`
	Why     string  `json:"why,omitempty"` // it is not replayable
	// Changed says that other code ran, as was wanted.
	Changed *ChangedAgent `json:"changed,omitempty"`
	// Opening is what the opening tells the node now and did not, in the form of
	// a diff.
	Opening     []string     `json:"opening,omitempty"`
	Differences []Difference `json:"differences,omitempty"`

	inner []NodeReplay // of the run that the node was
}

// Difference is one thing that was not as recorded.
type Difference struct {
	Kind    string   `json:"kind"`
	Summary string   `json:"summary"`
	Lines   []string `json:"lines,omitempty"` // in the form of a diff
	// Call is the first hostcall that differs, with both of its sides.
	Call *Divergence `json:"call,omitempty"`
}

// count fills in what the report says of all nodes.
func (r *ReplayReport) count(o *Opening) {
	rank := o.rank()
	place := func(id string) int {
		id, _, _ = strings.Cut(id, "/") // a node of a run inside stands where that does
		if i, ok := rank[id]; ok {
			return i
		}
		return len(rank) // it is in the trace alone
	}
	first := -1
	for i, n := range r.Nodes {
		switch n.Verdict {
		case Identical:
			r.Identical++
		case NotReplayable:
			r.NotReplayable++
		default:
			r.Different++
			if first < 0 || place(n.Node) < place(r.Nodes[first].Node) {
				first = i
			}
		}
	}
	if first >= 0 {
		r.First = r.Nodes[first].first()
	}
}

// rank gives the place of each node in the order in which a run without
// parallelism starts them: sources first, and else as in the file.
func (o *Opening) rank() map[string]int {
	g := newGraph(o)
	open := make([]int, len(o.Nodes))
	for i := range o.Edges {
		open[g.to(i)]++
	}
	var ready minHeap
	for i, n := range open {
		if n == 0 {
			ready.push(i)
		}
	}
	rank := make(map[string]int, len(o.Nodes))
	for len(ready) > 0 {
		i := ready[0]
		ready.pop()
		rank[g.ids[i]] = len(rank)
		for _, e := range g.out[i] {
			to := g.to(e)
			if open[to]--; open[to] == 0 {
				ready.push(to)
			}
		}
	}
	return rank
}

// first is where the node left its record: differences are listed with the
// cause before what it causes, but that the code is another says nothing of
// what it does.
func (n *NodeReplay) first() *Step {
	d := n.Differences[0]
	if d.Kind == DiffDigest && len(n.Differences) > 1 {
		d = n.Differences[1]
	}
	s := &Step{Node: n.Node, Agent: n.Agent, Kind: d.Kind, Summary: d.Summary}
	if d.Call != nil {
		s.Call = d.Call.Index + 1
	}
	return s
}

// compare lists what is not as recorded, the cause before what it causes.
func (n *NodeReplay) compare(a *Attempt, resp *Response, mayChange bool) {
	add := func(kind string, lines []string, format string, args ...any) *Difference {
		n.Differences = append(n.Differences,
			Difference{Kind: kind, Summary: fmt.Sprintf(format, args...), Lines: lines})
		return &n.Differences[len(n.Differences)-1]
	}
	switch {
	case resp.Digest == a.Digest:
	case mayChange:
		n.Changed = &ChangedAgent{Ref: n.Agent, Recorded: a.Digest, Present: resp.Digest}
	default:
		add(DiffDigest, nil, "the agent was %s and is %s", shortHash(a.Digest), shortHash(resp.Digest))
	}
	if d := resp.Diverged; d != nil {
		add(DiffHostcalls, d.lines(), "call %d was %s and is %s",
			d.Index+1, d.Want.describe(), d.Got.describe()).Call = d
	}
	before := ending(a.Status, a.Error, a.ExitCode)
	if after := ending(resp.Status, resp.Error, resp.ExitCode); before != after {
		add(DiffStatus, nil, "it ended with %s and now ends with %s", before, after)
	}
	if resp.Status == rmp.StatusOK && a.Status == rmp.StatusOK {
		now := canonicalPorts(resp)
		if now.Status != rmp.StatusOK {
			add(DiffOutputs, nil, "%s", describeError(now.Error))
		} else if outputHash(now.Ports) != a.OutputHash {
			lines := jsonDiff(mustJSON(a.Outputs), mustJSON(now.Ports))
			add(DiffOutputs, lines, "the outputs differ in %s", differingPorts(a.Outputs, now.Ports))
		}
	}
	if n.Verdict = Identical; len(n.Differences) > 0 {
		n.Verdict = Different
	}
}

// differingPorts names the ports whose values are not the same.
func differingPorts(a, b map[string]json.RawMessage) string {
	all := map[string]bool{}
	for port := range a {
		all[port] = true
	}
	for port := range b {
		all[port] = true
	}
	var names []string
	for _, port := range sortedKeys(all) {
		if string(a[port]) != string(b[port]) {
			names = append(names, visible(port))
		}
	}
	return strings.Join(names, ", ")
}

// lines shows both sides of a divergence in the form of a diff.
func (d *Divergence) lines() []string {
	if d.Want != nil && d.Got != nil && d.Want.Op == d.Got.Op {
		return append([]string{"  " + visible(d.Want.Op)}, jsonDiff(d.Want.Args, d.Got.Args)...)
	}
	var out []string
	if d.Want != nil {
		out = append(out, "- "+d.Want.describe())
	}
	if d.Got != nil {
		out = append(out, "+ "+d.Got.describe())
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
