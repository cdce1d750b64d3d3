package runloop

import (
	"encoding/json"
	"errors"

	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/rmp"
	"github.com/runloop-os/runloop/wasm"
)

// ctrlRequest is the payload of a control request. Fields that an op has no use
// for are left alone.
type ctrlRequest struct {
	Op          string `json:"op"`
	ReplyTo     string `json:"reply_to"`
	OpeningYAML string `json:"opening_yaml"`
	// Openings are those that it uses, by name.
	Openings     map[string]ctrlOpening `json:"openings,omitempty"`
	Source       string                 `json:"source"` // what to call the file in problems
	Params       json.RawMessage        `json:"params"`
	AgentDigests map[string]string      `json:"agent_digests"` // by reference; the plan must have them
	Flags        ctrlFlags              `json:"flags"`
	Limits       opening.Limits         `json:"limits,omitzero"` // beyond the opening's
	TraceID      string                 `json:"trace_id"`
	Events       bool                   `json:"events"`
	Agents       []string               `json:"agents"`
	State        string                 `json:"state"` // filter of run.list
	Limit        int                    `json:"limit"`
	By           string                 `json:"by"`     // who pauses or resumes
	Accept       bool                   `json:"accept"` // run.resume: agents that changed
	// run.fork: the node to run anew, and what is laid over the with maps of nodes.
	From string                     `json:"from,omitempty"`
	Set  map[string]json.RawMessage `json:"set,omitempty"`
}

// ctrlOpening is an opening that another uses.
type ctrlOpening struct {
	Source string `json:"source"` // what to call the file in problems
	Text   string `json:"text"`
}

// openings are the openings that came along.
func (r *ctrlRequest) openings() map[string]openingSource {
	out := map[string]openingSource{}
	for name, o := range r.Openings {
		out[name] = openingSource{orText(o.Source, name), []byte(o.Text)}
	}
	return out
}

// wireOpenings gives openings as they travel.
func wireOpenings(along map[string]openingSource) map[string]ctrlOpening {
	out := map[string]ctrlOpening{}
	for name, src := range along {
		out[name] = ctrlOpening{src.name, string(src.text)}
	}
	return out
}

// ctrlFlags change how a run is carried out. Confirm is ask (the default: a
// user interface decides), yes or no.
type ctrlFlags struct {
	Confirm string `json:"confirm"`
}

// ctrlAnswer is the payload of an answer.
type ctrlAnswer struct {
	Op          string            `json:"op"`
	RequestID   string            `json:"request_id"`
	TraceID     string            `json:"trace_id,omitempty"`
	OpeningID   string            `json:"opening_id,omitempty"`
	OpeningName string            `json:"opening_name,omitempty"`
	Code        string            `json:"code,omitempty"`
	Reason      string            `json:"reason,omitempty"`
	Problems    opening.Problems  `json:"problems,omitempty"`
	Node        string            `json:"node,omitempty"` // that run.step started
	Preview     *preview          `json:"preview,omitempty"`
	Run         *runState         `json:"run,omitempty"`
	Runs        []listedRun       `json:"runs,omitempty"`
	Agents      []describedAgent  `json:"agents,omitempty"`
	States      []wasm.AgentState `json:"states,omitempty"`
	Status      *daemonStatus     `json:"status,omitempty"`
}

// ctrlError is a refusal of the control plane. Its code is stable.
type ctrlError struct{ code, message string }

func (e *ctrlError) Error() string { return e.message }

// refusal is the answer that stands for an error.
func refusal(op string, err error) ctrlAnswer {
	var refused *ctrlError
	if errors.As(err, &refused) {
		return ctrlAnswer{Op: op, Code: refused.code, Reason: refused.message}
	}
	return ctrlAnswer{Op: op, Code: "internal", Reason: err.Error()}
}

// describedAgent is what agents.describe tells of one agent.
type describedAgent struct {
	Ref         string               `json:"ref"`
	Version     string               `json:"version,omitempty"`
	Description string               `json:"description,omitempty"`
	Digest      string               `json:"digest,omitempty"`
	In          map[string]wasm.Port `json:"in,omitempty"`
	Out         map[string]wasm.Port `json:"out,omitempty"`
	With        json.RawMessage      `json:"with,omitempty"`
	Caps        *wasm.Caps           `json:"caps,omitempty"` // effective
	Error       string               `json:"error,omitempty"`
}

// daemonStatus is the answer to status.
type daemonStatus struct {
	Version    string   `json:"version"`
	PID        int      `json:"pid"`
	StartedMS  int64    `json:"started_ms"`
	UptimeMS   int64    `json:"uptime_ms"`
	Socket     string   `json:"socket"`
	Clients    int      `json:"clients"`
	RunsActive int      `json:"runs_active"`
	RunsTotal  uint64   `json:"runs_total"`
	Providers  []string `json:"providers"`
	Events     int64    `json:"events"` // of the ledger
	Ledger     ledgerID `json:"ledger"`
}

// packJSON is v as MsgPack.
func packJSON(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return rmp.AppendMsgpack(nil, b)
}
