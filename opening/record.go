package opening

import (
	"context"
	"encoding/json"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/rmp"
)

// Record is one entry of a run in the ledger: a kind of spec/05 and its
// payload in canonical JSON. Records hold all that is needed to go on with a
// run, and what can be worked out from earlier ones is not repeated: inputs
// follow from outputs, with maps from the parameters.
//
//	run.started                      once, first
//	run.paused, .resumed             as they come; .resumed also after a restart
//	  node.started                   every attempt
//	  action.requested, .decided     while the attempt runs
//	  node.parked                    the attempt left its sandbox to wait for a decision
//	  node.retry                     the attempt failed, and there will be another
//	  node.finished                  once for every node, also one that never ran
//	run.stopping                     once, if the run is to end early
//	run.finished, run.trace          once, together, last
//
// An attempt that is followed by another node.started, or by nothing, without
// a node.retry or node.finished of its own, was lost with its process. If it
// was parked before, it goes on from there.
type Record struct {
	Kind    string
	Payload json.RawMessage
	// TSMillis is when the record was made durable; the store that reads it
	// back knows it.
	TSMillis int64
}

// Store keeps the records of runs.
type Store interface {
	// Append keeps all of the records, in their order, or none. When it
	// returns they are durable. An error stops the run.
	Append(ctx context.Context, records []Record) error
}

// History is the reading side of a [Store].
type History interface {
	// Records gives all records of a run in the order in which they were
	// appended, or none for a run that it does not know.
	Records(ctx context.Context, trace uuid.UUID) ([]Record, error)
}

// ArtifactSaver keeps the outputs that an opening names under artifacts.save.
type ArtifactSaver interface {
	// SaveArtifact keeps one output and gives the id it has from now on.
	SaveArtifact(ctx context.Context, a Artifact) (id string, err error)
}

// Artifact is an output to keep.
type Artifact struct {
	TraceID   string
	OpeningID string
	Port      PortRef
	Value     json.RawMessage // canonical JSON
}

// SavedArtifact says where an output went.
type SavedArtifact struct {
	Port string `json:"port"`
	ID   string `json:"id"`
}

// The payloads of records.
type (
	runStartedRecord struct {
		TraceID       string            `json:"trace_id"`
		OpeningID     string            `json:"opening_id"`
		OpeningName   string            `json:"opening_name"`
		OpeningIR     json.RawMessage   `json:"opening_ir"`
		OpeningIRHash string            `json:"opening_ir_hash"`
		Params        json.RawMessage   `json:"params"`
		Seed          Seed              `json:"seed"`
		Agents        map[string]string `json:"agents"` // digests by reference
		Flags         json.RawMessage   `json:"flags,omitempty"`
		Limits        Limits            `json:"limits,omitzero"` // beyond the opening's
		ForkedFrom    string            `json:"forked_from,omitempty"`
		ForkNode      string            `json:"fork_node,omitempty"` // Fork.From
		// Openings are the IRs of the openings that nodes use, by name.
		Openings map[string]json.RawMessage `json:"openings,omitempty"`
		// Outer is the node that the run is an attempt of.
		Outer *outerRecord `json:"outer,omitempty"`
	}

	outerRecord struct {
		TraceID string `json:"trace_id"`
		Node    string `json:"node"`
	}

	nodeStartedRecord struct {
		TraceID  string `json:"trace_id"`
		Node     string `json:"node"`
		Agent    string `json:"agent"`
		Attempt  int    `json:"attempt"`
		TSMillis int64  `json:"ts_ms"`
	}

	// attemptRecord is what the records of an attempt's end have in common.
	attemptRecord struct {
		AttemptStatus string      `json:"attempt_status,omitempty"` // rmp.StatusOK and so on
		ExitCode      uint32      `json:"exit_code,omitempty"`
		Micros        int64       `json:"us,omitempty"`
		Digest        string      `json:"digest,omitempty"`
		Caps          string      `json:"caps,omitempty"`
		Usage         *rmp.Usage  `json:"usage,omitempty"`
		Budget        *rmp.Budget `json:"budget,omitempty"`
		Hostcalls     []Hostcall  `json:"hostcalls,omitempty"`
		TapeCut       bool        `json:"tape_cut,omitempty"`
		NestedRun     string      `json:"nested_run,omitempty"` // trace id of the run that the attempt was
		Ladder        []Crossing  `json:"ladder,omitempty"`     // since the record before that has one
	}

	nodeRetryRecord struct {
		TraceID string          `json:"trace_id"`
		Node    string          `json:"node"`
		Agent   string          `json:"agent"`
		Attempt int             `json:"attempt"` // that failed
		Error   *rmp.AgentError `json:"error"`
		DueMS   int64           `json:"due_ms"` // when the next may begin
		attemptRecord
	}

	nodeParkedRecord struct {
		TraceID  string `json:"trace_id"`
		Node     string `json:"node"`
		Agent    string `json:"agent"`
		Attempt  int    `json:"attempt"`
		ActionID string `json:"action_id"`
		LeftMS   int64  `json:"left_ms"` // of the attempt's timeout
		Seq      int    `json:"seq"`
		attemptRecord
	}

	nodeFinishedRecord struct {
		TraceID    string                     `json:"trace_id"`
		Node       string                     `json:"node"`
		Agent      string                     `json:"agent"`
		Attempt    int                        `json:"attempt"` // 0: it never ran
		Status     Status                     `json:"status"`
		DurationMS int64                      `json:"duration_ms"`
		Outputs    map[string]json.RawMessage `json:"outputs,omitempty"`
		OutputHash string                     `json:"output_hash,omitempty"`
		Error      *rmp.AgentError            `json:"error,omitempty"`
		Reason     string                     `json:"reason,omitempty"`
		ReusedFrom *Reused                    `json:"reused_from,omitempty"`
		attemptRecord
	}

	// runMarkRecord is a run.paused, run.resumed or run.stopping. Seq tells
	// apart what is said twice.
	runMarkRecord struct {
		TraceID string `json:"trace_id"`
		Seq     int    `json:"seq"`
		// Cause is restart or request, or why the run waits.
		Cause  string `json:"cause,omitempty"`
		By     string `json:"by,omitempty"`
		Status Status `json:"status,omitempty"` // of run.stopping
		// Agents, in run.resumed, are the digests of agents that the run goes on
		// with in place of those that it was planned with.
		Agents map[string]string `json:"agents,omitempty"`
	}

	actionRequestedRecord struct {
		TraceID     string          `json:"trace_id"`
		ActionID    string          `json:"action_id"`
		Node        string          `json:"node"`
		Agent       string          `json:"agent"`
		Attempt     int             `json:"attempt"`
		Kind        string          `json:"kind"`
		Summary     string          `json:"summary"`
		Details     json.RawMessage `json:"details"`
		Digest      string          `json:"digest"`
		ExpiresAtMS int64           `json:"expires_at_ms"`
		Seq         int             `json:"seq"`
	}

	actionDecidedRecord struct {
		TraceID   string `json:"trace_id"`
		ActionID  string `json:"action_id"`
		Node      string `json:"node"`
		Digest    string `json:"digest"`
		Approved  bool   `json:"approved"`
		Rationale string `json:"rationale,omitempty"`
		By        string `json:"by"`
		Seq       int    `json:"seq"`
	}

	runFinishedRecord struct {
		TraceID    string          `json:"trace_id"`
		OpeningID  string          `json:"opening_id"`
		Status     Status          `json:"status"`
		Success    bool            `json:"success"`
		Reason     string          `json:"reason,omitempty"`
		DurationMS int64           `json:"duration_ms"`
		Nodes      map[Status]int  `json:"nodes"`
		Usage      rmp.Usage       `json:"usage"`
		Artifacts  []SavedArtifact `json:"artifacts,omitempty"`
		FinalHash  string          `json:"final_hash"`
	}
)
