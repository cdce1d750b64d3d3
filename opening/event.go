package opening

import (
	"encoding/json"
	"fmt"
	"iter"
	"unicode/utf8"

	"github.com/runloop-os/runloop/rmp"
)

// Event is a run event (spec/02 "Run events"): what the NDJSON of `rlp run`
// and the frames on the run's topic both say. Meta is a map in canonical JSON.
type Event struct {
	TSMillis  int64           `json:"ts_ms"`
	TraceID   string          `json:"trace_id"` // trace:<uuid>
	RunID     string          `json:"run_id"`   // the same
	OpeningID string          `json:"opening_id"`
	Kind      string          `json:"kind"`
	Level     string          `json:"level"`
	Message   string          `json:"message"`
	Meta      json.RawMessage `json:"meta"`
}

// Kinds of events. Those that are also kinds of records say the same thing in
// the ledger.
const (
	kindRunStarted      = "run.started"
	kindRunFinished     = "run.finished"
	kindRunTrace        = "run.trace" // a record only
	kindRunPaused       = "run.paused"
	kindRunResumed      = "run.resumed"
	kindRunStopping     = "run.stopping" // a record only
	kindNodeStarted     = "node.started"
	kindNodeFinished    = "node.finished"
	kindNodeRetry       = "node.retry"
	kindNodeParked      = "node.parked" // a record only
	kindNodeStdout      = "node.stdout"
	kindNodeStderr      = "node.stderr"
	kindActionRequested = "action.requested"
	kindActionDecided   = "action.decided"
)

// Levels of events.
const (
	levelInfo  = "info"
	levelWarn  = "warn"
	levelError = "error"
)

// Status is how a node or a run ended, as events and records say it. A run is
// never skipped, and a node that took too long has StatusError and the code
// timeout. Traces have states instead:
//
//	Succeeded  ok          Skipped    skipped
//	Failed     error       Cancelled  cancelled
type Status string

// The values of Status.
const (
	StatusOK        Status = "ok"
	StatusError     Status = "error"
	StatusSkipped   Status = "skipped"
	StatusCancelled Status = "cancelled"
	StatusTimeout   Status = "timeout"
)

// statusOf gives the status of a node in a final state.
func statusOf(s State) Status {
	switch s {
	case Succeeded:
		return StatusOK
	case Skipped:
		return StatusSkipped
	case Cancelled:
		return StatusCancelled
	}
	return StatusError
}

// level is how loud the event about such an end is.
func (s Status) level() string {
	switch s {
	case StatusOK:
		return levelInfo
	case StatusSkipped, StatusCancelled:
		return levelWarn
	}
	return levelError
}

// runStartedMeta is the meta of run.started. The nodes let a view lay itself out
// before anything has run.
type runStartedMeta struct {
	OpeningName string          `json:"opening_name"`
	Params      json.RawMessage `json:"params"`
	Nodes       []string        `json:"nodes"`
}

// runMarkMeta is the meta of run.paused and run.resumed.
type runMarkMeta struct {
	Cause string `json:"cause,omitempty"`
	By    string `json:"by,omitempty"`
}

// nodeStartedMeta is the meta of node.started.
type nodeStartedMeta struct {
	Node    string `json:"node"`
	Agent   string `json:"agent"`
	Attempt int    `json:"attempt"`
}

// nodeOutputMeta is the meta of node.stdout and node.stderr. The chunk is raw.
type nodeOutputMeta struct {
	Node    string          `json:"node"`
	Attempt int             `json:"attempt"`
	Chunk   string          `json:"chunk"`
	Stream  string          `json:"stream,omitempty"` // log, for the log hostcall
	Level   string          `json:"level,omitempty"`
	Fields  json.RawMessage `json:"fields,omitempty"`
}

// nodeRetryMeta is the meta of node.retry.
type nodeRetryMeta struct {
	Node        string          `json:"node"`
	Attempt     int             `json:"attempt"` // that failed
	NextAttempt int             `json:"next_attempt"`
	DelayMS     int64           `json:"delay_ms"`
	Error       *rmp.AgentError `json:"error,omitempty"`
}

// nodeFinishedMeta is the meta of node.finished.
type nodeFinishedMeta struct {
	Node        string          `json:"node"`
	Attempt     int             `json:"attempt"`
	Status      Status          `json:"status"`
	DurationMS  int64           `json:"duration_ms"`
	OutputsHash string          `json:"outputs_hash,omitempty"`
	Usage       *rmp.Usage      `json:"usage,omitempty"`
	Error       *rmp.AgentError `json:"error,omitempty"`
	Reason      string          `json:"reason,omitempty"` // of a skipped node
	Cause       string          `json:"cause,omitempty"`  // the node whose failure is that reason
	ReusedFrom  *Reused         `json:"reused_from,omitempty"`
}

// actionRequestedMeta is the meta of action.requested: all that a person has to
// see before deciding.
type actionRequestedMeta struct {
	ActionID    string          `json:"action_id"`
	Node        string          `json:"node"`
	Agent       string          `json:"agent"`
	Kind        string          `json:"kind"`
	Summary     string          `json:"summary"`
	Details     json.RawMessage `json:"details"`
	Digest      string          `json:"digest"`
	ExpiresAtMS int64           `json:"expires_at_ms"`
}

// actionDecidedMeta is the meta of action.decided.
type actionDecidedMeta struct {
	ActionID  string `json:"action_id"`
	Node      string `json:"node"`
	Approved  bool   `json:"approved"`
	Rationale string `json:"rationale,omitempty"`
	By        string `json:"by"`
	Digest    string `json:"digest"`
}

// runFinishedMeta is the meta of run.finished.
type runFinishedMeta struct {
	Status     Status          `json:"status"`
	Success    bool            `json:"success"`
	Reason     string          `json:"reason,omitempty"`
	DurationMS int64           `json:"duration_ms"`
	Nodes      map[Status]int  `json:"nodes"` // how many ended how
	Usage      rmp.Usage       `json:"usage"`
	Artifacts  []SavedArtifact `json:"artifacts,omitempty"`
}

// maxChunk is the size of a piece of output in an event, in bytes.
const maxChunk = 4096

// chunks cuts text into pieces of whole characters, each at most maxChunk
// bytes. What is not UTF-8 becomes U+FFFD, since events are JSON.
func chunks(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		text := toValid(text)
		for len(text) > maxChunk {
			end := maxChunk
			for !utf8.RuneStart(text[end]) {
				end--
			}
			if !yield(text[:end]) {
				return
			}
			text = text[end:]
		}
		if text != "" {
			yield(text)
		}
	}
}

// toValid makes UTF-8 of a text, with U+FFFD for each byte that is not.
func toValid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string([]rune(s))
}

// plural counts things in a sentence.
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
