package broker

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits on a request. A guest chooses all of it, so each is checked before
// anything is estimated, hashed or sent.
const (
	maxModelName    = 256
	maxMessages     = 4096
	maxTools        = 128
	maxStops        = 16
	maxInputs       = 2048
	maxSchemaBytes  = 256 << 10
	maxRequestBytes = 8 << 20
	maxTokensAsked  = 1 << 30
)

// validate checks a request whole, in the order of its fields.
func (r *Request) validate() *Error {
	if err := checkModel(r.Model); err != nil {
		return err
	}
	if n := len(r.Messages); n == 0 || n > maxMessages {
		return invalidf("messages: %d, want 1 to %d", n, maxMessages)
	}
	size := 0
	for i := range r.Messages {
		if err := r.Messages[i].validate(i); err != nil {
			return err
		}
		size += r.Messages[i].size()
	}
	if err := checkTools(r.Tools); err != nil {
		return err
	}
	for _, t := range r.Tools {
		size += len(t.Description) + len(t.Parameters)
	}
	if size > maxRequestBytes {
		return invalidf("request: %d bytes, limit %d", size, maxRequestBytes)
	}
	if err := checkJSON("schema", r.Schema); err != nil {
		return err
	}
	return r.Params.validate(r.Tools)
}

func (m *Message) validate(i int) *Error {
	switch m.Role {
	case RoleSystem, RoleUser, RoleAssistant:
	case RoleTool:
		if m.ToolCallID == "" {
			return invalidf("messages[%d]: a tool's turn needs tool_call_id", i)
		}
	default:
		return invalidf("messages[%d]: role %q, want %s, %s, %s or %s", i, clip(m.Role, 32),
			RoleSystem, RoleUser, RoleAssistant, RoleTool)
	}
	if !utf8.ValidString(m.Content) {
		return invalidf("messages[%d]: content is not UTF-8", i)
	}
	for j, c := range m.ToolCalls {
		if !toolName(c.Name) || !json.Valid(c.Arguments) {
			return invalidf("messages[%d]: tool_calls[%d] needs a name and JSON arguments", i, j)
		}
	}
	return nil
}

func (m *Message) size() int {
	n := len(m.Role) + len(m.Content) + len(m.ToolCallID)
	for _, c := range m.ToolCalls {
		n += len(c.ID) + len(c.Name) + len(c.Arguments)
	}
	return n
}

// validate allows what the providers' documentation does.
func (p *Params) validate(tools []Tool) *Error {
	switch {
	case p.MaxTokens < 0 || p.MaxTokens > maxTokensAsked:
		return invalidf("params.max_tokens: %d, want 0 to %d", p.MaxTokens, maxTokensAsked)
	case !within(p.Temperature, 0, 2):
		return invalidf("params.temperature: %v, want 0 to 2", *p.Temperature)
	case !within(p.TopP, 0, 1):
		return invalidf("params.top_p: %v, want 0 to 1", *p.TopP)
	case len(p.Stop) > maxStops:
		return invalidf("params.stop: %d strings, limit %d", len(p.Stop), maxStops)
	}
	for i, s := range p.Stop {
		if s == "" || len(s) > maxModelName || !utf8.ValidString(s) {
			return invalidf("params.stop[%d]: want 1 to %d bytes of UTF-8", i, maxModelName)
		}
	}
	switch p.ToolChoice {
	case "", "auto", "none", "required":
		return nil
	}
	if !slices.ContainsFunc(tools, func(t Tool) bool { return t.Name == p.ToolChoice }) {
		return invalidf("params.tool_choice: %q is none of the tools", clip(p.ToolChoice, 64))
	}
	return nil
}

func (r *EmbedRequest) validate() *Error {
	if err := checkModel(r.Model); err != nil {
		return err
	}
	if n := len(r.Input); n == 0 || n > maxInputs {
		return invalidf("input: %d texts, want 1 to %d", n, maxInputs)
	}
	size := 0
	for i, s := range r.Input {
		if s == "" || !utf8.ValidString(s) {
			return invalidf("input[%d]: empty or not UTF-8", i)
		}
		size += len(s)
	}
	if size > maxRequestBytes {
		return invalidf("input: %d bytes, limit %d", size, maxRequestBytes)
	}
	return nil
}

// checkModel keeps control characters and spaces out of names, which end up in
// records and errors.
func checkModel(name string) *Error {
	if len(name) > maxModelName || !utf8.ValidString(name) ||
		strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return invalidf("model: %q is not a model name", clip(name, 64))
	}
	return nil
}

func checkTools(tools []Tool) *Error {
	if len(tools) > maxTools {
		return invalidf("tools: %d, limit %d", len(tools), maxTools)
	}
	seen := make(map[string]bool, len(tools))
	for i, t := range tools {
		if !toolName(t.Name) || seen[t.Name] {
			return invalidf("tools[%d]: name %q is malformed or comes twice", i, clip(t.Name, 64))
		}
		if !utf8.ValidString(t.Description) {
			return invalidf("tools[%d]: description is not UTF-8", i)
		}
		seen[t.Name] = true
		if err := checkJSON("tools."+t.Name, t.Parameters); err != nil {
			return err
		}
	}
	return nil
}

// checkJSON accepts nothing or one strict JSON object: duplicate names would
// let the cache key and the provider see two different schemas.
func checkJSON(what string, raw json.RawMessage) *Error {
	if len(raw) == 0 {
		return nil
	}
	if len(raw) > maxSchemaBytes {
		return invalidf("%s: %d bytes, limit %d", what, len(raw), maxSchemaBytes)
	}
	if v := jsontext.Value(raw); !v.IsValid() || v.Kind() != '{' {
		return invalidf("%s: want a JSON object without duplicate names", what)
	}
	return nil
}

// toolName follows the pattern that function names have in OpenAI's API.
func toolName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		return !(letter || '0' <= r && r <= '9' || r == '_' || r == '-')
	})
}

// within accepts an absent value, and no NaN.
func within(p *float64, lo, hi float64) bool {
	return p == nil || *p >= lo && *p <= hi && !math.IsNaN(*p)
}
