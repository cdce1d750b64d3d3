package wasm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Bounds of a tools.json.
const (
	toolsVersion = 1
	toolsMax     = 256
)

// Tools are the tools of a bundle, by id (docs/hostcalls.md "tools.json").
type Tools map[string]*Tool

// Tool is one entry of a tools.json: how an agent's arguments become one run of
// a program or one HTTP request.
type Tool struct {
	ID           string          `json:"id"`
	Description  string          `json:"description"`
	InputSchema  json.RawMessage `json:"input_schema"`
	ResultSchema json.RawMessage `json:"result_schema"`
	Exec         *ToolExec       `json:"exec"`
	HTTP         *ToolHTTP       `json:"http"`
	// Confirm is the kind of action that a person has to agree to, "" for
	// none.
	Confirm toolConfirm `json:"confirm"`
	// Secrets are the ids that the transport may use.
	Secrets    []string `json:"secrets"`
	TimeoutMS  int64    `json:"timeout_ms"`
	Idempotent bool     `json:"idempotent"`

	input, result *valueSchema // nil: anything
	timeout       time.Duration
}

// ToolExec runs a program. Each item of Argv becomes one argument, or none
// where it stands for an argument of the call that was not given.
type ToolExec struct {
	Argv  []string `json:"argv"`
	Stdin string   `json:"stdin"`
	// Env names environment variables and the secrets that they hold.
	Env map[string]string `json:"env"`
	// Result is "text" for exit code and streams, or "json" for the JSON that
	// the program writes to stdout.
	Result string `json:"result"`
}

// ToolHTTP makes a request. Body is any JSON value, which goes out as JSON.
type ToolHTTP struct {
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Body    json.RawMessage   `json:"body"`
}

// toolConfirm is true, false or a kind of action.
type toolConfirm string

// UnmarshalJSON implements json.Unmarshaler.
func (c *toolConfirm) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case "false":
		*c = ""
		return nil
	case "true":
		*c = "tool"
		return nil
	}
	var kind string
	if err := json.Unmarshal(b, &kind); err != nil || kind == "" {
		return fmt.Errorf("confirm is true, false or a kind of action")
	}
	*c = toolConfirm(kind)
	return nil
}

// ParseTools reads a tools.json; name is for errors. An unknown key is an
// error, and so is a placeholder that no argument can fill.
func ParseTools(name string, src []byte) (Tools, error) {
	var f struct {
		Version int     `json:"version"`
		Tools   []*Tool `json:"tools"`
	}
	d := json.NewDecoder(bytes.NewReader(src))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, errorf(CodeBundle, "%s: %v", name, err)
	}
	switch {
	case d.More():
		return nil, errorf(CodeBundle, "%s: something follows the document", name)
	case f.Version != toolsVersion:
		return nil, errorf(CodeBundle, "%s: version %d is not %d", name, f.Version, toolsVersion)
	case len(f.Tools) > toolsMax:
		return nil, errorf(CodeBundle, "%s: more than %d tools", name, toolsMax)
	}
	out := Tools{}
	for i, t := range f.Tools {
		if t == nil || !toolID().MatchString(t.ID) {
			return nil, errorf(CodeBundle, "%s: tool %d: the id is not of the form [a-z][a-z0-9_.-]{0,63}", name, i)
		}
		if out[t.ID] != nil {
			return nil, errorf(CodeBundle, "%s: tool %s is there twice", name, t.ID)
		}
		if err := t.check(); err != nil {
			return nil, errorf(CodeBundle, "%s: tool %s: %v", name, t.ID, err)
		}
		out[t.ID] = t
	}
	return out, nil
}

var toolID = lazyRegexp(`^[a-z][a-z0-9_.-]{0,63}$`)

func (t *Tool) check() error {
	if (t.Exec == nil) == (t.HTTP == nil) {
		return fmt.Errorf("it has one of exec and http")
	}
	timeout, err := opTimeout("tool", t.TimeoutMS)
	if err != nil {
		return fmt.Errorf("timeout_ms is not between 0 and a day")
	}
	t.timeout = timeout
	if t.input, err = parseValueSchema(t.InputSchema); err != nil {
		return fmt.Errorf("input_schema: %w", err)
	}
	if t.result, err = parseValueSchema(t.ResultSchema); err != nil {
		return fmt.Errorf("result_schema: %w", err)
	}
	if t.Exec != nil {
		return t.checkExec()
	}
	return t.checkHTTP()
}

func (t *Tool) checkExec() error {
	e := t.Exec
	if len(e.Argv) == 0 || e.Argv[0] == "" || strings.Contains(e.Argv[0], "{{") {
		return fmt.Errorf("exec.argv begins with a program, which no argument names")
	}
	if !slices.Contains([]string{"", "text", "json"}, e.Result) {
		return fmt.Errorf("exec.result is text or json")
	}
	for name, id := range e.Env {
		if !envName().MatchString(name) || slices.Contains(fixedEnv, name) {
			return fmt.Errorf("exec.env: %q cannot be set", name)
		}
		if !slices.Contains(t.Secrets, id) {
			return fmt.Errorf("exec.env: %s is not among the secrets of the tool", id)
		}
	}
	for _, text := range append(slices.Clone(e.Argv), e.Stdin) {
		if err := t.checkTemplate(text, false); err != nil {
			return fmt.Errorf("exec: %w", err)
		}
	}
	return nil
}

// Names of environment variables, and those that are fixed for programs.
var (
	envName  = lazyRegexp(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)
	fixedEnv = []string{"PATH", "LANG", "HOME", "TMPDIR", envIdempotencyKey}
)

func (t *Tool) checkHTTP() error {
	h := t.HTTP
	if !slices.Contains(httpMethods, h.Method) {
		return fmt.Errorf("http.method is one of %s", strings.Join(httpMethods, ", "))
	}
	front, _, _ := strings.Cut(h.URL, "{{")
	if scheme, rest, ok := strings.Cut(front, "://"); !ok || scheme != "https" && scheme != "http" ||
		front != h.URL && !strings.Contains(rest, "/") {
		return fmt.Errorf("http.url names its scheme and host without placeholders")
	}
	if err := t.checkTemplate(h.URL, false); err != nil {
		return fmt.Errorf("http.url: %w", err)
	}
	for name, text := range h.Headers {
		if err := t.checkTemplate(text, true); err != nil {
			return fmt.Errorf("http.headers: %s: %w", name, err)
		}
	}
	if len(h.Body) > 0 {
		if err := t.checkTemplate(string(h.Body), false); err != nil {
			return fmt.Errorf("http.body: %w", err)
		}
	}
	return nil
}

// checkTemplate wants placeholders to be of arguments that the input schema
// has, or, where that is allowed, of secrets of the tool.
func (t *Tool) checkTemplate(text string, secrets bool) error {
	for part := range placeholders(text) {
		id, isSecret := strings.CutPrefix(part.name, "secret:")
		switch {
		case part.name == "":
		case isSecret && !secrets:
			return fmt.Errorf("a secret stands in a header or the environment, nowhere else")
		case isSecret && !slices.Contains(t.Secrets, id):
			return fmt.Errorf("%s is not among the secrets of the tool", id)
		case !isSecret && !t.input.takes(part.name):
			return fmt.Errorf("no argument fills {{%s}}", part.name)
		}
	}
	return nil
}
