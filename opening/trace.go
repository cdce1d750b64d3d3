package opening

import (
	"encoding/json"
	"fmt"

	"github.com/runloop-os/runloop/rmp"
)

// Trace is what a run leaves behind (spec/04 "Trace and replay"). It holds
// enough to show the run and to run each of its attempts again.
type Trace struct {
	TraceID       string          `json:"trace_id"` // trace:<uuid>
	OpeningID     string          `json:"opening_id"`
	OpeningName   string          `json:"opening_name"`
	OpeningIR     json.RawMessage `json:"opening_ir"`
	OpeningIRHash string          `json:"opening_ir_hash"`
	Params        json.RawMessage `json:"params"`
	Seed          Seed            `json:"seed"`
	// Agents maps references to the digests of the manifests that were planned
	// with.
	Agents map[string]string `json:"agents"`
	// Nodes are in the order of the file.
	Nodes  []TraceNode `json:"nodes"`
	Ladder []Crossing  `json:"ladder"`
	// LadderCut says that there were more crossings than are kept.
	LadderCut bool   `json:"ladder_cut,omitempty"`
	FinalHash string `json:"final_hash"`
	Status    Status `json:"status"`
	Success   bool   `json:"success"`
	Reason    string `json:"reason,omitempty"` // why it is not a success
	// ForkedFrom is the trace that the run was forked from.
	ForkedFrom string `json:"forked_from,omitempty"`
	// Redacted says that values were replaced by commitments to them, so that
	// the hashes of values are those of the originals.
	Redacted bool `json:"redacted,omitempty"`
}

// RanAgents gives the digests of the agents that ran, by reference, those in the
// runs that nodes were included.
func (t *Trace) RanAgents() map[string]string {
	ran := map[string]string{}
	for _, n := range t.flatNodes("") {
		if a := n.FinalAttempt; a != nil && a.Digest != "" && !isNested(n.Agent) {
			ran[n.Agent] = a.Digest
		}
	}
	return ran
}

// TraceNode is what became of one node.
type TraceNode struct {
	NodeID string     `json:"node_id"`
	Agent  string     `json:"agent"` // reference
	State  TraceState `json:"state"`
	// FinalAttempt is nil for a node that never ran.
	FinalAttempt *Attempt `json:"final_attempt"`
}

// Attempt is the last attempt of a node, with all that went in and came out:
// what the agent was told (with, inputs, budget; the seed and the ids are the
// trace's), what it asked for and was answered, and what it gave. That is all
// it can have seen, so it is all that a replay needs.
type Attempt struct {
	Attempt int                          `json:"attempt"`
	Status  string                       `json:"status"` // rmp.StatusOK and so on
	With    json.RawMessage              `json:"with"`
	Inputs  map[string][]json.RawMessage `json:"inputs"`
	Outputs map[string]json.RawMessage   `json:"outputs"`
	// OutputHash is the BLAKE3 of the outputs; empty when there are none.
	OutputHash string          `json:"output_hash,omitempty"`
	Error      *rmp.AgentError `json:"error"`
	ExitCode   uint32          `json:"exit_code"`
	Digest     string          `json:"digest,omitempty"` // of the manifest that ran
	Caps       string          `json:"caps,omitempty"`   // digest of the capabilities it had
	TSMillis   int64           `json:"ts_ms,omitempty"`  // when it began
	Micros     int64           `json:"us"`
	Usage      rmp.Usage       `json:"usage"`
	Budget     rmp.Budget      `json:"budget"` // what the agent was told it may spend
	Hostcalls  []Hostcall      `json:"hostcalls"`
	TapeCut    bool            `json:"tape_cut,omitempty"`
	Nested     *Trace          `json:"nested,omitempty"` // of the run that the attempt was
	// ReusedFrom says that a fork took the attempt over from an earlier run.
	ReusedFrom *Reused `json:"reused_from,omitempty"`
}

// Reused names the step of an earlier run that a fork took over: where it ran,
// which for a fork of a fork is not the run that was forked. The seed is the
// same in all of them.
type Reused struct {
	Trace     string `json:"trace"` // trace:<uuid>
	Node      string `json:"node"`
	OpeningID string `json:"opening_id"`
	Attempt   int    `json:"attempt"` // the number it had there
}

// TraceState is a state as traces spell it: its name or, for a failed node,
// {"Failed":{"reason":…}}.
type TraceState struct {
	State  State
	Reason string // of a failed node
}

// MarshalJSON gives the spelling of traces.
func (s TraceState) MarshalJSON() ([]byte, error) {
	if s.State != Failed {
		return json.Marshal(string(s.State))
	}
	var f failedState
	f.Failed.Reason = s.Reason
	return json.Marshal(f)
}

// failedState is the spelling of a failure.
type failedState struct {
	Failed struct {
		Reason string `json:"reason"`
	} `json:"Failed"`
}

// UnmarshalJSON reads the spelling of traces.
func (s *TraceState) UnmarshalJSON(raw []byte) error {
	var name State
	if json.Unmarshal(raw, &name) == nil {
		switch name {
		case Pending, Running, Succeeded, Skipped, Cancelled:
			*s = TraceState{State: name}
			return nil
		}
		return fmt.Errorf("%s is not the state of a node", quote(string(name)))
	}
	var f map[string]map[string]string
	if err := json.Unmarshal(raw, &f); err != nil {
		return fmt.Errorf("the state of a node is neither a name nor a failure")
	}
	reason, ok := f["Failed"]["reason"]
	if !ok || len(f) != 1 || len(f["Failed"]) != 1 {
		return fmt.Errorf("the state of a node is neither a name nor a failure")
	}
	*s = TraceState{State: Failed, Reason: reason}
	return nil
}

// traceRecord is the record of a trace: what does not follow from the records
// before it. What went into the nodes and came out of them is in their own.
type traceRecord struct {
	TraceID       string     `json:"trace_id"`
	OpeningIRHash string     `json:"opening_ir_hash"`
	Ladder        []Crossing `json:"ladder"` // those that no record before has
	LadderCut     bool       `json:"ladder_cut,omitempty"`
	FinalHash     string     `json:"final_hash"`
	Status        Status     `json:"status"`
	Success       bool       `json:"success"`
	Reason        string     `json:"reason,omitempty"`
}

// record gives the record of the trace, of whose ladder the first told rungs are
// on record already.
func (t *Trace) record(told int) traceRecord {
	return traceRecord{
		TraceID: t.TraceID, OpeningIRHash: t.OpeningIRHash, Ladder: t.Ladder[told:],
		LadderCut: t.LadderCut, FinalHash: t.FinalHash,
		Status: t.Status, Success: t.Success, Reason: t.Reason,
	}
}

// finalHash names the result of a run: the BLAKE3 of the canonical JSON of a
// list with one [node id, state, output hash] for each node in the order of
// the file, where the state is its bare name and the hash is "" for a node
// without outputs. Times, attempts, messages and spendings are not part of it,
// so two runs with the same results have the same hash.
func finalHash(nodes []TraceNode) string {
	rows := make([][3]string, len(nodes))
	for i, n := range nodes {
		rows[i] = [3]string{n.NodeID, string(n.State.State), ""}
		if n.FinalAttempt != nil {
			rows[i][2] = n.FinalAttempt.OutputHash
		}
	}
	return hashHex(mustJSON(rows))
}

// outputHash is the BLAKE3 of the canonical JSON of a map of ports, "" for a
// node that gave none.
func outputHash(ports map[string]json.RawMessage) string {
	if ports == nil {
		return ""
	}
	return hashHex(mustJSON(ports))
}
