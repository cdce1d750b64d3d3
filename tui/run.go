package tui

import (
	"encoding/json"
	"fmt"
	"time"
)

// Event is one run event (spec/02 "Run events"), as NDJSON has it.
type Event struct {
	TSMillis  int64           `json:"ts_ms"`
	TraceID   string          `json:"trace_id"`
	OpeningID string          `json:"opening_id"`
	Kind      string          `json:"kind"`
	Level     string          `json:"level"`
	Message   string          `json:"message"`
	Meta      json.RawMessage `json:"meta"`
}

// meta are the fields of events that a view shows, those of nodes apart.
type meta struct {
	OpeningName string `json:"opening_name"`
	Node        string `json:"node"`
	Attempt     int    `json:"attempt"`
	Chunk       string `json:"chunk"`
	Status      string `json:"status"`
	DurationMS  int64  `json:"duration_ms"`
	Usage       struct {
		TokensIn  int64 `json:"tokens_in"`
		TokensOut int64 `json:"tokens_out"`
	} `json:"usage"`
	Summary string `json:"summary"`
	Reason  string `json:"reason"`
	Cause   string `json:"cause"` // the node whose failure is the reason
}

// startedMeta is what run.started alone has: the nodes in the file's order.
type startedMeta struct {
	Nodes []string `json:"nodes"`
}

// Run is the state of one run.
type Run struct {
	TraceID  string        `json:"trace_id"`
	Opening  string        `json:"opening"`
	Status   string        `json:"status"`  // "" while it runs
	Message  string        `json:"message"` // why it ended as it did
	Started  time.Time     `json:"started"`
	Duration time.Duration `json:"duration_ns"`
	Nodes    []*Node       `json:"nodes"`             // in the order of the file
	Waiting  string        `json:"waiting,omitempty"` // the action that waits for a person
	Paused   bool          `json:"paused,omitempty"`  // no other node starts

	byID map[string]*Node
}

// Node is the state of one node.
type Node struct {
	ID       string        `json:"id"`
	Status   string        `json:"status"` // waiting, running, ok, error, skipped, cancelled
	Attempt  int           `json:"attempt"`
	Started  time.Time     `json:"started"`
	Duration time.Duration `json:"duration_ns"`
	Tokens   int64         `json:"tokens"`
	Detail   string        `json:"detail"` // the last thing it said, or why it failed
}

// Apply takes one event in. Kinds that it does not know change nothing.
func (r *Run) Apply(e *Event) error {
	var m meta
	if len(e.Meta) > 0 {
		if err := json.Unmarshal(e.Meta, &m); err != nil {
			return fmt.Errorf("event %s: %w", e.Kind, err)
		}
	}
	at := time.UnixMilli(e.TSMillis)
	switch e.Kind {
	case "run.started":
		r.TraceID, r.Opening, r.Started = e.TraceID, m.OpeningName, at
		var s startedMeta
		if err := json.Unmarshal(e.Meta, &s); err != nil {
			return fmt.Errorf("event %s: %w", e.Kind, err)
		}
		for _, id := range s.Nodes {
			r.node(id)
		}
	case "run.finished":
		r.Status, r.Message = m.Status, e.Message
		r.Duration = time.Duration(m.DurationMS) * time.Millisecond
	case "run.paused":
		r.Paused = true
	case "run.resumed":
		r.Paused = false
	case "action.requested":
		r.Waiting = m.Summary
	case "action.decided":
		r.Waiting = ""
	default:
		if m.Node != "" {
			r.node(m.Node).apply(e.Kind, e.Message, &m, at)
		}
	}
	return nil
}

func (r *Run) node(id string) *Node {
	if n := r.byID[id]; n != nil {
		return n
	}
	if r.byID == nil {
		r.byID = map[string]*Node{}
	}
	n := &Node{ID: id, Status: "waiting"}
	r.byID[id] = n
	r.Nodes = append(r.Nodes, n)
	return n
}

func (n *Node) apply(kind, message string, m *meta, at time.Time) {
	switch kind {
	case "node.started":
		n.Status, n.Attempt, n.Started, n.Detail = "running", m.Attempt, at, ""
	case "node.stderr":
		n.Detail = m.Chunk
	case "node.retry":
		n.Status, n.Detail = "waiting", message
	case "node.finished":
		n.Status, n.Attempt, n.Tokens = m.Status, max(n.Attempt, m.Attempt), m.Usage.TokensIn+m.Usage.TokensOut
		n.Duration = time.Duration(m.DurationMS) * time.Millisecond
		if n.Status != "ok" {
			n.Detail = m.why(message)
		}
	}
}

// why is the reason of an end that is not what was hoped for, without what the
// node's row says already and what stands in the row of the node that caused it.
func (m *meta) why(message string) string {
	switch {
	case m.Cause != "":
		return m.Cause + " failed"
	case m.Reason != "":
		return m.Reason
	}
	return message
}

// ended is how many nodes have ended.
func (r *Run) ended() (n int) {
	for _, node := range r.Nodes {
		if node.Status != "running" && node.Status != "waiting" {
			n++
		}
	}
	return n
}

// Ended is the node that an event which was applied says has ended, or nil.
func (r *Run) Ended(e *Event) *Node {
	var m meta
	if e.Kind != "node.finished" || json.Unmarshal(e.Meta, &m) != nil {
		return nil
	}
	return r.byID[m.Node]
}
