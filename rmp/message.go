package rmp

import "github.com/tinylib/msgp/msgp"

//go:generate go tool msgp -file message.go -o message_gen.go -io=false -tests=false

// The decoders in message_gen.go refuse larger counts before they allocate
// (spec/01 "Hostile bodies"); they also refuse a key that comes twice.
//msgp:limit arrays:100000 maps:4096 marshal:true
//msgp:noduplicates

// Meta is the part of an envelope's meta map that the bus and its peers act
// on. Keys it does not know are left alone (spec/01).
type Meta struct {
	// Topic is where the frame is published (spec/02).
	Topic string `msg:"topic,omitempty"`
	// From and To name the two ends of a crossing for the trace's ladder,
	// for example "engine" and "agent:writer". They carry no authority.
	From string `msg:"from,omitempty"`
	To   string `msg:"to,omitempty"`
	// Ack, when not zero, asks the server of a socket to answer once the
	// frame is queued to every subscriber.
	Ack uint64 `msg:"ack,omitempty"`
}

// ErrorReport is the payload of CTErrorReport: a stable code for programs
// and a message a person can act on.
type ErrorReport struct {
	Code    string `msg:"code" json:"code"`
	Message string `msg:"message" json:"message"`
}

// RunEvent is the payload of CTRunEvent and, as JSON, one NDJSON line of
// `rlp run` (spec/02 "Run events"). Meta is a MsgPack map.
type RunEvent struct {
	TSMillis  int64    `msg:"ts_ms"`
	TraceID   string   `msg:"trace_id"`
	RunID     string   `msg:"run_id"`
	OpeningID string   `msg:"opening_id"`
	Kind      string   `msg:"kind"`
	Level     string   `msg:"level"`
	Message   string   `msg:"message"`
	Meta      msgp.Raw `msg:"meta"`
}

// Budget is what one attempt may still spend. Zero means no limit of its own.
type Budget struct {
	Tokens         int64   `msg:"tokens" json:"tokens"`
	USD            float64 `msg:"usd" json:"usd"`
	DeadlineMillis int64   `msg:"deadline_ms" json:"deadline_ms"` // from now, not a date
}

// Usage is what one attempt spent, as the broker reported it.
type Usage struct {
	TokensIn  int64   `msg:"tokens_in" json:"tokens_in"`
	TokensOut int64   `msg:"tokens_out" json:"tokens_out"`
	USD       float64 `msg:"usd" json:"usd"`
}

// AgentRequest is the payload of CTExecutorAgentRequest: one attempt of one
// node, published on agent/<ref>. With, Inputs and the tape hold MsgPack.
type AgentRequest struct {
	Ref       string `msg:"ref"` // "writer" or "writer@variant"
	Node      string `msg:"node"`
	Attempt   uint32 `msg:"attempt"` // from 1
	TraceID   string `msg:"trace_id"`
	OpeningID string `msg:"opening_id"`
	ReplyTo   string `msg:"reply_to"`
	// Digest, when set, is the hex BLAKE3 of the bundle manifest the run was
	// planned with; a host that has another one refuses.
	Digest string   `msg:"digest,omitempty"`
	Seed   []byte   `msg:"seed"`   // 32 bytes, of the run; a host derives one per attempt
	With   msgp.Raw `msg:"with"`   // map
	Inputs msgp.Raw `msg:"inputs"` // map from port to array of values
	// Budget limits this node, RunBudget the whole run; the broker counts what
	// was spent under each (spec/04 "Budgets").
	Budget    Budget `msg:"budget"`
	RunBudget Budget `msg:"run_budget"`
	// Mode is ModeLive, ModeReplay or ModeResume. In a replay every answer comes
	// from Tape and nothing leaves the sandbox (spec/04 "Trace and replay"). A
	// resumed attempt was parked: its answers come from Tape as far as that goes,
	// then Decision is the answer to the action it asked about, and what follows
	// is live.
	Mode     string          `msg:"mode"`
	Tape     []Hostcall      `msg:"tape,omitempty"`
	Decision *ActionDecision `msg:"decision,omitempty"`
	// Outer are the nodes that the run is an opening of, the outermost first:
	// what the attempt spends is charged to them as well.
	Outer []OuterNode `msg:"outer,omitempty"`
}

// OuterNode is a node that uses an opening, seen from a run of that opening.
// The budgets are those of the node and of its run.
type OuterNode struct {
	TraceID   string `msg:"trace_id"`
	Node      string `msg:"node"`
	Budget    Budget `msg:"budget"`
	RunBudget Budget `msg:"run_budget"`
}

// Modes of an AgentRequest.
const (
	ModeLive   = "live"
	ModeReplay = "replay"
	ModeResume = "resume"
)

// Hostcall is one recorded crossing of the sandbox wall: what the guest asked
// and what it was told. Exactly one of OK and Err is set.
type Hostcall struct {
	Op   string         `msg:"op"`
	Args msgp.Raw       `msg:"args"`
	OK   msgp.Raw       `msg:"ok,omitempty"`
	Err  *HostcallError `msg:"err,omitempty"`
}

// HostcallError is the error half of a hostcall's answer (spec/03).
type HostcallError struct {
	Code      string `msg:"code" json:"code"`
	Message   string `msg:"message" json:"message"`
	Retryable bool   `msg:"retryable" json:"retryable"`
}

// Outcomes of an attempt, in AgentResponse.Status.
const (
	StatusOK        = "ok"
	StatusFailed    = "failed"
	StatusTimeout   = "timeout"
	StatusCancelled = "cancelled"
	// StatusParked is no outcome: the attempt waits for a decision about
	// Action, holds nothing meanwhile, and is to be resumed with its Tape.
	StatusParked = "parked"
)

// AgentResponse is the payload of CTExecutorAgentResponse: how one attempt
// ended. Ports is a MsgPack map from output port to value.
type AgentResponse struct {
	Node     string      `msg:"node"`
	Attempt  uint32      `msg:"attempt"`
	TraceID  string      `msg:"trace_id"`
	Status   string      `msg:"status"`
	Ports    msgp.Raw    `msg:"ports,omitempty"`
	Error    *AgentError `msg:"error,omitempty"`
	ExitCode uint32      `msg:"exit_code"`      // whole, never cut to 8 bits
	Digest   string      `msg:"digest"`         // hex BLAKE3 of the manifest that ran
	Caps     string      `msg:"caps,omitempty"` // digest of what it was allowed
	Micros   int64       `msg:"us"`             // wall time in the sandbox
	MemBytes uint64      `msg:"mem_bytes"`      // size of linear memory at the end
	Usage    Usage       `msg:"usage"`
	Tape     []Hostcall  `msg:"tape,omitempty"`
	// TapeCut says that the answers were too large to record, so that this
	// attempt cannot be replayed.
	TapeCut bool `msg:"tape_cut,omitempty"`
	// Action is what a parked attempt waits for.
	Action *ActionRequest `msg:"action,omitempty"`
	// Diverged, in a replay, says where the guest asked for something that
	// the tape does not hold next.
	Diverged *Divergence `msg:"diverged,omitempty"`
}

// AgentError says why an attempt failed. Code is stable; Message is for
// people and already free of control characters.
type AgentError struct {
	Code      string `msg:"code" json:"code"`
	Message   string `msg:"message" json:"message"`
	Retryable bool   `msg:"retryable" json:"retryable"`
}

// Divergence is the first place where a replayed guest left its tape. Want is
// absent when the tape was at its end, Got when the guest stopped early.
type Divergence struct {
	Index int       `msg:"index"`
	Want  *Hostcall `msg:"want,omitempty"`
	Got   *Hostcall `msg:"got,omitempty"`
}

// Streams of an AgentLog.
const (
	StreamStdout = "stdout"
	StreamStderr = "stderr"
	StreamLog    = "log" // the log hostcall
)

// AgentLog is the payload of CTAgentLogLine. A host publishes it on the
// request's reply topic while the guest runs. Chunk is whole UTF-8 runes, at
// most 4096 bytes, raw: whoever shows it must sanitize it.
type AgentLog struct {
	TraceID string   `msg:"trace_id"`
	Node    string   `msg:"node"`
	Agent   string   `msg:"agent"`
	Attempt uint32   `msg:"attempt"`
	Stream  string   `msg:"stream"`
	Level   string   `msg:"level,omitempty"`
	Chunk   string   `msg:"chunk"`
	Fields  msgp.Raw `msg:"fields,omitempty"` // map
}

// Ops of the payloads on rlp/actions and of control frames in process.
const (
	OpActionRequest  = "action.request"
	OpActionDecision = "action.decision"
	OpCancel         = "cancel"
)

// ActionRequest is the payload of CTActionRequest: an agent asks a person
// before it does something in the world (spec/04 "Running").
type ActionRequest struct {
	Op        string   `msg:"op"`
	ActionID  string   `msg:"action_id"`
	TraceID   string   `msg:"trace_id"`
	OpeningID string   `msg:"opening_id"`
	Node      string   `msg:"node"`
	Agent     string   `msg:"agent"`
	Attempt   uint32   `msg:"attempt"`
	Kind      string   `msg:"kind"` // send, delete, spend, …
	Summary   string   `msg:"summary"`
	Details   msgp.Raw `msg:"details"` // map: exactly what will be carried out
	// Digest is the hex BLAKE3 of the canonical JSON of {kind, summary,
	// details}: what was shown is what is decided.
	Digest      string `msg:"digest"`
	ExpiresAtMS int64  `msg:"expires_at_ms"`
	// Outer are the traces of the runs that the run belongs to, the outermost
	// first: whoever decides for them decides for it.
	Outer []string `msg:"outer,omitempty"`
}

// ActionDecision is the payload of CTActionDecision.
type ActionDecision struct {
	Op        string `msg:"op"`
	ActionID  string `msg:"action_id"`
	TraceID   string `msg:"trace_id"`
	Digest    string `msg:"digest"` // of the request that was shown
	Approved  bool   `msg:"approved"`
	Rationale string `msg:"rationale"`
	By        string `msg:"by"` // user, policy:<key>, timeout
}

// Cancel is the payload of CTControl on agent/<ref>/cancel: stop one attempt
// now. A cancel that overtakes its request still holds.
type Cancel struct {
	Op      string `msg:"op"`
	TraceID string `msg:"trace_id"`
	Node    string `msg:"node"`
	Attempt uint32 `msg:"attempt"`
}

// DropNotice is the payload of CTBusDropNotice on rlp/sys/drops.
type DropNotice struct {
	Reason      string `msg:"reason"` // ttl, duplicate, backpressure, forbidden
	Topic       string `msg:"topic"`
	TraceID     string `msg:"trace_id"` // 32 hex digits
	MsgID       uint64 `msg:"msg_id"`
	ExpiresAtMS uint64 `msg:"expires_at_ms,omitempty"`
}
