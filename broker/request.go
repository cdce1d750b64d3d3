package broker

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"
)

// Roles of a Message.
const (
	RoleSystem    = "system"
	RoleUser      = "user"
	RoleAssistant = "assistant"
	RoleTool      = "tool"
)

// Message is one turn of a conversation.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
	// ToolCalls is set on an assistant's turn that asked for tools.
	ToolCalls []ToolCall `json:"tool_calls,omitempty"`
	// ToolCallID says which call a tool's turn answers.
	ToolCallID string `json:"tool_call_id,omitempty"`
}

// ToolCall is a model's wish to have a tool run. Arguments is a JSON value.
type ToolCall struct {
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"`
}

// Tool is what a model may ask for. Parameters is a JSON Schema, or nothing.
type Tool struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"`
}

// Params are the settings that providers share. A zero or nil field is left
// to the provider.
type Params struct {
	MaxTokens   int64    `json:"max_tokens,omitempty"` // of the answer
	Temperature *float64 `json:"temperature,omitempty"`
	TopP        *float64 `json:"top_p,omitempty"`
	Stop        []string `json:"stop,omitempty"`
	Seed        *int64   `json:"seed,omitempty"`
	// ToolChoice is "auto", "none", "required" or the name of a tool.
	ToolChoice string `json:"tool_choice,omitempty"`
}

// Caller says for whom a call is made. It comes from the host, never from a
// guest.
type Caller struct {
	Trace string // the run; with "" no run or node budget is kept
	Node  string
	Agent string
	// CacheScope separates answers that must not be shared: callers with
	// the same scope see the same private data. With "" nothing is cached.
	CacheScope string
	// Limits may only tighten what the configuration says.
	Limits Limits
	// Outer are the nodes of other runs that the run is part of. Calls are
	// charged to them and to their runs as well.
	Outer []Outer
}

// Outer is a node of a run that another run is part of, with its limits.
type Outer struct {
	Trace  string
	Node   string
	Limits Limits // of the node and of its run
}

// Request asks for a completion.
type Request struct {
	// Model is "provider:model", "model", or "" for the default.
	Model    string          `json:"model,omitempty"`
	Messages []Message       `json:"messages"`
	Params   Params          `json:"params,omitzero"`
	Tools    []Tool          `json:"tools,omitempty"`
	Schema   json.RawMessage `json:"schema,omitempty"` // JSON Schema the answer must fit
	// CacheTTL overrides the configured lifetime; 0 turns the cache off for
	// this call, nil leaves it as configured.
	CacheTTL *time.Duration `json:"-"`
	Caller   Caller         `json:"-"`
}

// EmbedRequest asks for one vector per input.
type EmbedRequest struct {
	Model  string   `json:"model,omitempty"`
	Input  []string `json:"input"`
	Caller Caller   `json:"-"`
}

// Usage is what a call was charged.
type Usage struct {
	TokensIn  int64   `json:"tokens_in"`
	TokensOut int64   `json:"tokens_out"`
	USD       float64 `json:"usd"`
}

// Reasons for which an answer ended, in Response.Finish.
const (
	FinishStop      = "stop"
	FinishLength    = "length" // cut at MaxTokens
	FinishToolCalls = "tool_calls"
	FinishFilter    = "content_filter"
	FinishRefusal   = "refusal" // Text holds what the model said instead
	FinishOther     = "other"
)

// Response is a completion, in the same form whatever the provider.
type Response struct {
	Text      string     `json:"text"`
	ToolCalls []ToolCall `json:"tool_calls,omitempty"`
	// JSON is Text as a JSON value; set exactly when a schema was given and
	// the model neither refused nor asked for a tool.
	JSON     json.RawMessage `json:"json,omitempty"`
	Finish   string          `json:"finish"`
	Usage    Usage           `json:"usage"` // over all attempts of this call; zero when cached
	Provider string          `json:"provider"`
	Model    string          `json:"model"`
	Cached   bool            `json:"cached"`
}

// Vectors is the answer to an EmbedRequest, in the order of its inputs. All
// vectors have the same length and finite components.
type Vectors struct {
	Vectors  [][]float32 `json:"vectors"`
	Usage    Usage       `json:"usage"`
	Provider string      `json:"provider"`
	Model    string      `json:"model"`
}

// clone keeps the cache's copy out of the hands of callers.
func (r *Response) clone() *Response {
	out := *r
	out.JSON = bytes.Clone(r.JSON)
	out.ToolCalls = slices.Clone(r.ToolCalls)
	for i := range out.ToolCalls {
		out.ToolCalls[i].Arguments = bytes.Clone(out.ToolCalls[i].Arguments)
	}
	return &out
}
