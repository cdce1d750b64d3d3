package opening

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/rmp"
)

// Executor runs attempts. Several run at once.
type Executor interface {
	// Execute runs one attempt and gives how it ended, which for a failure to
	// run it at all is a response with StatusFailed. When ctx ends the attempt
	// is stopped, and Execute returns soon after. What it tells obs it tells
	// before it returns.
	Execute(ctx context.Context, req *Request, obs Observer) *Response
}

// Observer hears of an attempt while it runs. Its methods may block for a
// moment, which slows the attempt down.
type Observer interface {
	Log(Log)
	Crossing(Crossing)
}

// Request asks for one attempt of one node. It is rmp.AgentRequest with its
// values in canonical JSON.
type Request struct {
	Ref       string
	Node      string
	Attempt   int // from 1
	TraceID   uuid.UUID
	OpeningID string
	Digest    string // of the manifest the run was planned with; empty: any
	Seed      Seed
	With      json.RawMessage
	Inputs    map[string][]json.RawMessage
	Budget    rmp.Budget
	RunBudget rmp.Budget
	Mode      string // rmp.ModeLive, rmp.ModeReplay or rmp.ModeResume
	Tape      []Hostcall
	Decision  *ActionDecision // of ModeResume: what the attempt was parked for
	// Outer are the nodes that the run is an opening of, the outermost first.
	Outer []OuterNode
}

// Response says how an attempt ended. It is rmp.AgentResponse with its values
// in canonical JSON.
type Response struct {
	Status   string // rmp.StatusOK and so on
	Ports    map[string]json.RawMessage
	Error    *rmp.AgentError // nil only for StatusOK
	ExitCode uint32
	Digest   string // of the manifest that ran; empty when nothing did
	Caps     string // digest of the capabilities it had
	Micros   int64
	MemBytes uint64
	Usage    rmp.Usage
	Tape     []Hostcall
	TapeCut  bool // the tape is not whole, so the attempt cannot be replayed
	Diverged *Divergence
	Action   *ActionRequest // of StatusParked: what the attempt waits for
	Nested   *Trace         // of the run that the attempt was, when its node uses an opening
}

// Hostcall is one recorded call out of the sandbox, in the form of a trace.
// Exactly one of OK and Err is set.
//
// A value that canonical JSON cannot give back as it was (bytes, 1.0 as a
// float, integers beyond 2^53, extensions) is also kept as the MsgPack it was,
// which is what a replay uses; the JSON beside it is there to be read.
type Hostcall struct {
	Op      string             `json:"op"`
	Args    json.RawMessage    `json:"args,omitempty"`
	OK      json.RawMessage    `json:"ok,omitempty"`
	Err     *rmp.HostcallError `json:"err,omitempty"`
	ArgsRaw []byte             `json:"args_msgpack,omitempty"` // base64 in JSON
	OKRaw   []byte             `json:"ok_msgpack,omitempty"`
}

// Divergence is the first call of a replay that is not the recorded one. Want
// is nil when the tape was at its end, Got when the agent stopped early.
type Divergence struct {
	Index int       `json:"index"`
	Want  *Hostcall `json:"want,omitempty"`
	Got   *Hostcall `json:"got,omitempty"`
}

// Log is a piece of what an agent writes while it runs. Text is raw: whoever
// shows it sanitizes it.
type Log struct {
	Stream string // rmp.StreamStdout, StreamStderr or StreamLog
	Level  string // of StreamLog
	Text   string
	Fields json.RawMessage // of StreamLog, or nil
}

// Crossing is one message that went from one place to another: a rung of the
// ladder in a trace. Lengths are in bytes.
type Crossing struct {
	TSMillis int64  `json:"ts_ms"`
	Topic    string `json:"topic"`
	SchemaID uint16 `json:"schema_id"`
	FrameLen int    `json:"frame_len"` // of the whole frame behind its length prefix
	BodyLen  int    `json:"body_len"`
	From     string `json:"from"`
	To       string `json:"to"`
	MsgID    uint64 `json:"msg_id"`
	Kind     string `json:"kind"` // the type string of the schema
}

// Codes of errors that come from here and not from an agent or its host.
const (
	codeNoHost    = "no_host"    // nobody takes requests for the agent
	codeTimedOut  = "timeout"    // the attempt or the run took too long
	codeCancelled = "cancelled"  //
	codeBus       = "bus"        // a message could not be sent or read
	codeOutput    = "bad_output" // a value that JSON cannot carry unchanged
	codeHost      = "bad_host"   // a host answered something that makes no sense
	codeArtifact  = "artifact"   // an output could not be kept
)

// failure is a response for an attempt that no host ended.
func failure(code string, retryable bool, format string, args ...any) *Response {
	return &Response{Status: rmp.StatusFailed, Error: &rmp.AgentError{
		Code: code, Message: fmt.Sprintf(format, args...), Retryable: retryable,
	}}
}

// maxErrorShown is how much of an error a sentence repeats.
const maxErrorShown = 300

// describeError puts an agent's error into a sentence.
func describeError(err *rmp.AgentError) string {
	if err == nil {
		return "no reason was given"
	}
	msg := visible(err.Message)
	if len(msg) > maxErrorShown {
		msg = visible(msg[:maxErrorShown]) + "…"
	}
	return visible(err.Code) + ": " + msg
}
