package broker

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
)

// The wire forms of OpenAI's chat completions API, as far as they are used.
// Pointers and absent fields matter little here: servers send null wherever
// they have nothing to say, and null reads as zero.

// wireMessage is a turn as it goes out. Content is sent even when empty:
// some servers refuse a turn without it.
type wireMessage struct {
	Role       string         `json:"role"`
	Content    string         `json:"content"`
	ToolCalls  []wireToolCall `json:"tool_calls,omitempty"`
	ToolCallID string         `json:"tool_call_id,omitempty"`
}

type wireToolCall struct {
	ID       string       `json:"id"`
	Type     string       `json:"type"`
	Function wireFunction `json:"function"`
}

// wireFunction is both a call, with arguments as JSON inside a string, and a
// declaration, with a schema.
type wireFunction struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Arguments   string          `json:"arguments,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"`
}

type wireTool struct {
	Type     string       `json:"type"`
	Function wireFunction `json:"function"`
}

// wireChunk is one event of a stream, or a whole answer. The two differ only
// in where a choice keeps its text.
type wireChunk struct {
	Choices []wireChoice    `json:"choices"`
	Usage   wireUsage       `json:"usage"`
	Error   json.RawMessage `json:"error"`
}

type wireChoice struct {
	Index        int       `json:"index"`
	Delta        wireDelta `json:"delta"`
	Message      wireDelta `json:"message"` // in an answer that is no stream
	FinishReason string    `json:"finish_reason"`
}

type wireDelta struct {
	Content   string          `json:"content"`
	Refusal   string          `json:"refusal"`
	ToolCalls []wireCallDelta `json:"tool_calls"`
}

// wireCallDelta is a piece of the tool call that Index names.
type wireCallDelta struct {
	Index    *int   `json:"index"` // absent in an answer that is no stream
	ID       string `json:"id"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

type wireUsage struct {
	PromptTokens     int64 `json:"prompt_tokens"`
	CompletionTokens int64 `json:"completion_tokens"`
}

// wireError is what stands under "error", there or in a status body.
type wireError struct {
	Message string          `json:"message"`
	Type    string          `json:"type"`
	Code    json.RawMessage `json:"code"` // a string, a number or null
}

// parseWireError reads what stands under "error", an object or a string.
func parseWireError(raw json.RawMessage) wireError {
	var w wireError
	if len(raw) > 0 && jsonv2.Unmarshal(raw, &w) != nil {
		w = wireError{}
		_ = jsonv2.Unmarshal(raw, &w.Message) // some send a bare string
	}
	return w
}

func (w wireError) code() string { return strings.Trim(string(w.Code), `"`) }

// encodeChat writes the body of a request for a stream.
func encodeChat(r *Request, maxTokensField string) ([]byte, error) {
	body := map[string]any{
		"model":          r.Model,
		"messages":       wireMessages(r.Messages),
		"stream":         true,
		"stream_options": map[string]bool{"include_usage": true},
	}
	p := r.Params
	set(body, maxTokensField, p.MaxTokens, p.MaxTokens > 0)
	set(body, "temperature", p.Temperature, p.Temperature != nil)
	set(body, "top_p", p.TopP, p.TopP != nil)
	set(body, "stop", p.Stop, len(p.Stop) > 0)
	set(body, "seed", p.Seed, p.Seed != nil)
	set(body, "tools", wireTools(r.Tools), len(r.Tools) > 0)
	set(body, "tool_choice", wireChoiceOf(p.ToolChoice), p.ToolChoice != "")
	set(body, "response_format", map[string]any{
		"type":        "json_schema",
		"json_schema": map[string]any{"name": "answer", "strict": true, "schema": r.Schema},
	}, len(r.Schema) > 0)
	out, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	return out, nil
}

// set adds what was asked for and nothing else: servers differ in what they
// make of null.
func set(body map[string]any, key string, v any, when bool) {
	if when {
		body[key] = v
	}
}

func wireMessages(in []Message) []wireMessage {
	out := make([]wireMessage, len(in))
	for i, m := range in {
		out[i] = wireMessage{Role: m.Role, Content: m.Content, ToolCallID: m.ToolCallID}
		for _, c := range m.ToolCalls {
			out[i].ToolCalls = append(out[i].ToolCalls, wireToolCall{ID: c.ID, Type: "function",
				Function: wireFunction{Name: c.Name, Arguments: string(c.Arguments)}})
		}
	}
	return out
}

func wireTools(in []Tool) []wireTool {
	out := make([]wireTool, len(in))
	for i, t := range in {
		out[i] = wireTool{Type: "function", Function: wireFunction{
			Name: t.Name, Description: t.Description, Parameters: t.Parameters}}
	}
	return out
}

// wireChoiceOf spells a tool choice: a word of the API or one tool's name.
func wireChoiceOf(choice string) any {
	switch choice {
	case "auto", "none", "required":
		return choice
	}
	return map[string]any{"type": "function", "function": map[string]string{"name": choice}}
}

// encodeEmbed writes the body of a request for vectors.
func encodeEmbed(r *EmbedRequest) ([]byte, error) {
	out, err := json.Marshal(map[string]any{
		"model": r.Model, "input": r.Input, "encoding_format": "float",
	})
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	return out, nil
}

// maxDimensions bounds the length of a vector.
const maxDimensions = 1 << 16

// readVectors reads the answer to an embeddings request for n texts.
func readVectors(r io.Reader, n int) (Vectors, error) {
	body, err := io.ReadAll(r)
	if err != nil {
		return Vectors{}, streamBroke(err)
	}
	var w struct {
		Data []struct {
			Index     int       `json:"index"`
			Embedding []float32 `json:"embedding"`
		} `json:"data"`
		Usage wireUsage       `json:"usage"`
		Error json.RawMessage `json:"error"`
	}
	if err := jsonv2.Unmarshal(body, &w); err != nil {
		return Vectors{}, fault(false, "malformed answer: %s", printable(err.Error(), maxErrText))
	}
	if len(w.Error) > 0 && string(w.Error) != "null" {
		return Vectors{}, inStreamError(w.Error)
	}
	out := Vectors{Vectors: make([][]float32, n)}
	if w.Usage.sane() {
		out.Usage.TokensIn = w.Usage.PromptTokens
	}
	for _, d := range w.Data {
		if d.Index < 0 || d.Index >= n || out.Vectors[d.Index] != nil {
			return out, fault(false, "vector %d is out of range or comes twice", d.Index)
		}
		out.Vectors[d.Index] = d.Embedding
	}
	return out, checkVectors(out.Vectors)
}

// checkVectors finds missing, ragged and infinite vectors, any of which would
// spoil a search index in silence.
func checkVectors(vs [][]float32) error {
	for i, v := range vs {
		if len(v) == 0 || len(v) > maxDimensions || len(v) != len(vs[0]) {
			return fault(false, "vector %d has %d components", i, len(v))
		}
		for _, x := range v {
			if math.IsInf(float64(x), 0) || math.IsNaN(float64(x)) {
				return fault(false, "vector %d is not finite", i)
			}
		}
	}
	return nil
}
