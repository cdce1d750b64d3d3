package wasm

import (
	"context"
	"encoding/json"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// Services are the backends behind the hostcall door. A nil one makes its
// calls fail with CodeUnavailable. Errors that are an *[Error] reach the guest
// with their code; what another error says does not.
type Services struct {
	KB        KB
	Models    Models
	Artifacts Artifacts
	Actions   Actions
	Secrets   Secrets
	// Network is how http.request reaches the world.
	Network Network
	// Effects is the journal of actions in the world. Nil keeps none: an
	// attempt that is made again does them again.
	Effects Effects
	// Redactor masks secrets in all that agents say; nil gives each attempt
	// one of its own.
	Redactor *Redactor
	// Audit records a decision about a capability. Nil records nothing.
	Audit func(context.Context, CapAudit)
	// AuditAllowed also records what was allowed, not only what was denied.
	AuditAllowed bool
	// Now is the time that agents with the time capability are told.
	Now func() time.Time

	checkReplays bool // HostConfig.ReplayCaps is set
}

// Caller is on whose behalf a backend is asked.
type Caller struct {
	Agent      string
	TraceID    string
	OpeningID  string
	Node       string
	Attempt    uint32
	InputsHash string // hex BLAKE3 of what the attempt was given
	Caps       *Caps
	Budget     rmp.Budget
	RunBudget  rmp.Budget
	// MayPark, in a request for confirmation, says that the attempt can leave
	// its sandbox while it waits: see [ParkedError].
	MayPark bool
	// Outer are the nodes that the run is an opening of, see rmp.AgentRequest.
	Outer []rmp.OuterNode
}

// KB is the knowledge base as agents see it. It answers within the domains of
// Caller.Caps; the door has checked that there are any.
type KB interface {
	Query(context.Context, Caller, KBQuery) (*KBRows, error)
	Search(context.Context, Caller, KBSearch) ([]KBHit, error)
	Why(ctx context.Context, c Caller, entity string) (json.RawMessage, error)
	Propose(context.Context, Caller, KBDelta) (eventID int64, err error)
	// DomainOf tells the domain of a kind of event.
	DomainOf(kind string) (domain string, known bool)
}

// KBQuery are the arguments of kb.query: one read-only SQL statement.
type KBQuery struct {
	SQL    string `json:"sql"`
	Params []any  `json:"params"`
}

// KBRows is the answer to kb.query.
type KBRows struct {
	Columns []string `json:"columns"`
	Rows    [][]any  `json:"rows"`
	Cut     bool     `json:"cut"` // there were more rows than the limit
}

// KBSearch are the arguments of kb.search. K is the most hits; 0 means 10.
type KBSearch struct {
	Text    string         `json:"text"`
	K       int            `json:"k"`
	Domains []string       `json:"domains"`
	Filters map[string]any `json:"filters"`
}

// KBHit is one answer to kb.search.
type KBHit struct {
	Entity  string  `json:"entity"`
	Domain  string  `json:"domain"`
	Title   string  `json:"title"`
	Excerpt string  `json:"excerpt"`
	Score   float64 `json:"score"`
	EventID int64   `json:"event_id"`
}

// KBDelta are the arguments of kb.propose: an event that the agent wants in
// the ledger. Evidence are ids of events it rests on.
type KBDelta struct {
	Kind      string          `json:"kind"`
	Payload   json.RawMessage `json:"payload"`
	Evidence  []int64         `json:"evidence"`
	Rationale string          `json:"rationale"`
	Model     string          `json:"model"`
}

// Models is the broker as agents see it.
type Models interface {
	Complete(context.Context, Caller, ModelRequest) (*ModelResponse, error)
	Embed(context.Context, Caller, EmbedRequest) (*EmbedResponse, error)
}

// EmbedRequest are the arguments of model.embed. Input is one text or several.
type EmbedRequest struct {
	Model string `json:"model"`
	Input Texts  `json:"input"`
}

// EmbedResponse is the answer to model.embed: one vector for each text. Vectors
// of two models cannot be compared.
type EmbedResponse struct {
	Vectors  [][]float32 `json:"vectors"`
	Model    string      `json:"model"`
	Provider string      `json:"provider"`
	Usage    rmp.Usage   `json:"usage"`
}

// ModelRequest are the arguments of model.complete. Prompt is short for one
// message of the user.
type ModelRequest struct {
	Model      string          `json:"model"`
	Prompt     string          `json:"prompt"`
	Messages   json.RawMessage `json:"messages"`
	Params     json.RawMessage `json:"params"`
	Tools      json.RawMessage `json:"tools"`
	Schema     json.RawMessage `json:"schema"`
	CacheTTLMS *int64          `json:"cache_ttl_ms"`
}

// ModelResponse is the answer to model.complete.
type ModelResponse struct {
	Text      string          `json:"text"`
	ToolCalls json.RawMessage `json:"tool_calls,omitempty"`
	Model     string          `json:"model"`
	Provider  string          `json:"provider"`
	Cached    bool            `json:"cached"`
	Usage     rmp.Usage       `json:"usage"`
}

// Artifacts keeps files that agents make.
type Artifacts interface {
	Save(context.Context, Caller, Artifact) (*SavedArtifact, error)
}

// Artifact are the arguments of artifact.save. Citations are ids of events the
// content rests on.
type Artifact struct {
	Kind      string  `json:"kind"`
	Name      string  `json:"name"`
	Bytes     string  `json:"bytes"` // text; base64 with Encoding "base64"
	Encoding  string  `json:"encoding"`
	Summary   string  `json:"summary"`
	Citations []int64 `json:"citations"`
}

// SavedArtifact is the answer to artifact.save. Digests are hex.
type SavedArtifact struct {
	ArtifactID string `json:"artifact_id"`
	Path       string `json:"path"`
	SHA256     string `json:"sha256"`
	Blake3     string `json:"blake3"`
	EventID    int64  `json:"event_id"`
}

// Actions asks a person, or the policy that stands for one. An answer that takes
// long may be a [ParkedError], if the caller may be parked.
type Actions interface {
	Confirm(context.Context, Caller, Action) (*Decision, error)
}

// Action are the arguments of action.confirm: what the agent is about to do,
// exactly.
type Action struct {
	Kind    string          `json:"kind"`
	Summary string          `json:"summary"`
	Details json.RawMessage `json:"details"`
}

// Decision is the answer to action.confirm.
type Decision struct {
	Approved  bool   `json:"approved"`
	Rationale string `json:"rationale"`
	By        string `json:"by"`
}

// CapAudit is one decision about a capability (spec/03). Cap is the whole
// family, such as kb.write, Target what was asked for.
type CapAudit struct {
	Agent    string `json:"agent"`
	Cap      string `json:"cap"`
	Op       string `json:"op"`
	Target   string `json:"target"`
	ArgsHash string `json:"args_hash"`
	Decision string `json:"decision"` // allow, deny
	Severity string `json:"severity"` // info, warn
	Reason   string `json:"reason"`
	TraceID  string `json:"trace_id"`
	Node     string `json:"node"`
	Attempt  uint32 `json:"attempt"`
	Seq      int    `json:"seq"` // of the hostcall in its attempt
}
