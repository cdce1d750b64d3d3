package guest

import (
	"encoding/json"
	"fmt"
	"time"
)

// Error is the host's refusal of a hostcall. Codes are listed in
// docs/agents.md; the most common are "denied" and "provider_unavailable".
type Error struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	Retryable bool   `json:"retryable"`
}

// Error implements error.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Ask makes a hostcall: args are marshalled as JSON, the answer is read into
// answer unless that is nil.
func (c *Call) Ask(op string, args, answer any) error { return ask(c.door, op, args, answer) }

func ask(door Door, op string, args, answer any) error {
	in, err := json.Marshal(args)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	out, err := door(op, in)
	if err != nil || answer == nil {
		return err
	}
	if err := json.Unmarshal(out, answer); err != nil {
		return fmt.Errorf("%s: the host's answer: %w", op, err)
	}
	return nil
}

type none struct{}

// Now is the host's time. It needs the capability time.
func (c *Call) Now() (time.Time, error) {
	var micros int64
	err := c.Ask("time.now", none{}, &micros)
	return time.UnixMicro(micros).UTC(), err
}

// Rows is the answer to a query.
type Rows struct {
	Columns []string            `json:"columns"`
	Rows    [][]json.RawMessage `json:"rows"`
	Cut     bool                `json:"cut"` // there were more rows than the limit
}

// Query runs one read-only SQL statement on the knowledge base's views.
func (c *Call) Query(sql string, params ...any) (*Rows, error) {
	rows := &Rows{}
	args := struct {
		SQL    string `json:"sql"`
		Params []any  `json:"params"`
	}{sql, params}
	return rows, c.Ask("kb.query", args, rows)
}

// Search asks the knowledge base by words.
type Search struct {
	Text    string         `json:"text"`
	K       int            `json:"k,omitempty"` // most hits; 10 if not given
	Domains []string       `json:"domains,omitempty"`
	Filters map[string]any `json:"filters,omitempty"`
}

// Hit is one thing that a search found.
type Hit struct {
	Entity  string  `json:"entity"`
	Domain  string  `json:"domain"`
	Title   string  `json:"title"`
	Excerpt string  `json:"excerpt"`
	Score   float64 `json:"score"`
	EventID int64   `json:"event_id"`
}

// Search returns hits, the best first.
func (c *Call) Search(s Search) ([]Hit, error) {
	var res struct {
		Hits []Hit `json:"hits"`
	}
	err := c.Ask("kb.search", s, &res)
	return res.Hits, err
}

// Delta is an event that an agent wants in the ledger.
type Delta struct {
	Kind      string  `json:"kind"`
	Payload   any     `json:"payload"`
	Evidence  []int64 `json:"evidence,omitempty"` // events that it rests on
	Rationale string  `json:"rationale,omitempty"`
}

// Propose adds an event to the ledger and returns its id.
func (c *Call) Propose(d Delta) (int64, error) {
	var res struct {
		EventID int64 `json:"event_id"`
	}
	err := c.Ask("kb.propose", d, &res)
	return res.EventID, err
}

// Completion asks a model. Prompt is short for one message of the user.
type Completion struct {
	Model    string         `json:"model,omitempty"`
	Prompt   string         `json:"prompt,omitempty"`
	Messages []Message      `json:"messages,omitempty"`
	Params   map[string]any `json:"params,omitempty"`
}

// Message is one message of a conversation with a model.
type Message struct {
	Role    string `json:"role"` // system, user, assistant
	Content string `json:"content"`
}

// Answer is what a model said.
type Answer struct {
	Text     string `json:"text"`
	Model    string `json:"model"`
	Provider string `json:"provider"`
	Cached   bool   `json:"cached"`
}

// Complete asks a model through the host's broker.
func (c *Call) Complete(req Completion) (*Answer, error) {
	res := &Answer{}
	return res, c.Ask("model.complete", req, res)
}

// Action is what an agent is about to do in the world. Details are shown to
// the person as they are and are what was agreed to.
type Action struct {
	Kind    string `json:"kind"` // send, delete, spend, …
	Summary string `json:"summary"`
	Details any    `json:"details"`
}

// Decision is the answer to an action.
type Decision struct {
	Approved  bool   `json:"approved"`
	Rationale string `json:"rationale"`
	By        string `json:"by"`
}

// Confirm asks a person whether to go on with an action.
func (c *Call) Confirm(a Action) (*Decision, error) {
	res := &Decision{}
	return res, c.Ask("action.confirm", a, res)
}

// Artifact is a file that an agent made.
type Artifact struct {
	Kind      string  `json:"kind"`
	Name      string  `json:"name"`
	Bytes     string  `json:"bytes"`
	Summary   string  `json:"summary,omitempty"`
	Citations []int64 `json:"citations,omitempty"` // events that it rests on
}

// Saved tells where an artifact went. Digests are hex.
type Saved struct {
	ArtifactID string `json:"artifact_id"`
	Path       string `json:"path"`
	SHA256     string `json:"sha256"`
	EventID    int64  `json:"event_id"`
}

// Save keeps an artifact.
func (c *Call) Save(a Artifact) (*Saved, error) {
	res := &Saved{}
	return res, c.Ask("artifact.save", a, res)
}

// Log sends a line to the run's log. It never fails the agent.
func (c *Call) Log(level, message string, fields map[string]any) {
	args := map[string]any{"level": level, "message": message}
	if fields != nil {
		args["fields"] = fields
	}
	_ = c.Ask("log", args, nil) // a line that is lost is no reason to fail
}
