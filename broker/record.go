package broker

import "time"

// Ops of a Record.
const (
	OpComplete = "complete"
	OpEmbed    = "embed"
)

// Record is the metering of one attempt at a provider, of an answer from the
// cache, or of a refusal before any provider was asked. It holds no part of
// the prompt, the answer, or an error's text.
type Record struct {
	Time      time.Time     `json:"time"` // when the attempt began
	Trace     string        `json:"trace,omitempty"`
	Node      string        `json:"node,omitempty"`
	Agent     string        `json:"agent,omitempty"`
	Op        string        `json:"op"`
	Provider  string        `json:"provider,omitempty"`
	Model     string        `json:"model"`
	Attempt   int           `json:"attempt"` // at this provider, from 1; 0 if it was not asked
	TokensIn  int64         `json:"tokens_in"`
	TokensOut int64         `json:"tokens_out"`
	USD       float64       `json:"usd"`
	Latency   time.Duration `json:"latency_ns"`
	Cached    bool          `json:"cached"`
	ErrorKind Code          `json:"error_kind,omitempty"`
	Status    int           `json:"status,omitempty"` // HTTP status of a failure
	// Outer are the nodes of other runs that were charged as well.
	Outer []OuterRecord `json:"outer,omitempty"`
}

// OuterRecord names a node of a run that another run is part of.
type OuterRecord struct {
	Trace string `json:"trace"`
	Node  string `json:"node"`
}
