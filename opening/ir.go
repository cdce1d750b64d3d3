package opening

import (
	"encoding/json"
	"strings"
)

// Opening is the intermediate form that every syntax compiles to: what the
// file says, with defaults written out and templates still in place. Nodes and
// edges keep the order of the file, because reports and fan-in follow it; maps
// have none.
type Opening struct {
	Version int      `json:"version"`
	Name    string   `json:"name"`
	Goals   []string `json:"goals,omitempty"`
	// Params is the map of defaults, in canonical JSON.
	Params    json.RawMessage `json:"params,omitempty"`
	Policy    Policy          `json:"policy,omitzero"`
	Nodes     []Node          `json:"nodes"`
	Edges     []Edge          `json:"edges"`
	Success   *Success        `json:"success,omitempty"`
	Artifacts *Artifacts      `json:"artifacts,omitempty"`
}

// Policy limits a whole run. Zero values mean no limit.
type Policy struct {
	BudgetTokens int64   `json:"budget_tokens,omitempty"`
	BudgetUSD    float64 `json:"budget_usd,omitempty"`
	// TimeoutMS is the wall clock of the run and the default of its nodes.
	TimeoutMS int64 `json:"timeout_ms,omitempty"`
	// ConfirmExternal asks a person before a send, a delete or a spend.
	ConfirmExternal bool `json:"confirm_external,omitempty"`
}

// Node is one use of an agent or of another opening.
type Node struct {
	ID string `json:"id"`
	// Use is agent:<name>[@<variant>] or opening:<name>.
	Use string `json:"use"`
	// With is a map in canonical JSON; strings in it may hold templates.
	With         json.RawMessage `json:"with,omitempty"`
	Retry        *Retry          `json:"retry,omitempty"`
	TimeoutMS    int64           `json:"timeout_ms,omitempty"` // 0: the opening's
	BudgetTokens int64           `json:"budget_tokens,omitempty"`
	Tags         []string        `json:"tags,omitempty"`
}

// Ref is what the node uses as it stands in topics and in traces: writer or
// writer@variant for an agent, opening:letter for an opening.
func (n Node) Ref() string { return strings.TrimPrefix(n.Use, "agent:") }

// Nested gives the name of the opening that the node uses, "" when it uses an
// agent.
func (n Node) Nested() string {
	name, ok := strings.CutPrefix(n.Use, "opening:")
	if !ok {
		return ""
	}
	return name
}

// Retry says how often and when a node is tried again after a retryable
// failure or a timeout. The wait before attempt n+1 is InitialMS ×
// Multiplier^(n-1), at most MaxMS, plus or minus Jitter of it.
type Retry struct {
	MaxAttempts int     `json:"max_attempts"` // the first included
	InitialMS   int64   `json:"initial_ms"`
	MaxMS       int64   `json:"max_ms"`
	Multiplier  float64 `json:"multiplier"`
	Jitter      float64 `json:"jitter"` // 0 to 1
}

// Defaults of Retry (spec/04 gives the last two).
const (
	defaultInitialMS  = 200
	defaultMaxMS      = 30_000
	defaultMultiplier = 2.0
	defaultJitter     = 0.2
)

// Success says when a run is one. Exactly one of the lists is not empty.
type Success struct {
	AnyOf []Expr `json:"any_of,omitempty"`
	AllOf []Expr `json:"all_of,omitempty"`
}

// Artifacts names the outputs to keep.
type Artifacts struct {
	Save []PortRef `json:"save"`
}

// IR gives the opening in canonical JSON (RFC 8785): the bytes that are hashed,
// stored with a run and printed by `rlp opening ir`. It has the shape of the
// YAML form, with expressions in one spelling, so one reader serves both:
//
//	{"edges":[{"from":"review.ok == true","to":"send.in"}],
//	 "name":"letter",
//	 "nodes":[{"id":"review","use":"agent:critic","with":{"tone":"{{params.tone}}"}}, …],
//	 "params":{"tone":"plain"},
//	 "success":{"all_of":["send.ok == true"]},
//	 "version":0}
//
// Templates and defaults are in it as they were written, and the parameters of
// a run are not: the same opening has the same IR whatever it is run with.
func (o *Opening) IR() json.RawMessage {
	c := *o
	if c.Edges == nil {
		c.Edges = []Edge{}
	}
	return mustJSON(&c)
}

// Hash is the BLAKE3-256 of the IR, as 64 hex digits.
func (o *Opening) Hash() string { return hashHex(o.IR()) }

// ParseIR reads what IR gave, and is as strict as the reader of YAML: an IR
// may come out of somebody else's trace. The error is [Problems].
func ParseIR(raw []byte) (*Opening, error) {
	src := newSource("ir")
	t := parseJSON(src, raw)
	if t == nil {
		return nil, src.err()
	}
	o := decodeOpening(src, t)
	checkGraph(src, o)
	if err := src.err(); err != nil {
		return nil, err
	}
	return o, nil
}
