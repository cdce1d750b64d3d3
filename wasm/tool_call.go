package wasm

import (
	"bytes"
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"strings"
)

const opToolCall = "tool.call"

// toolRun is one call of a tool, ready to be carried out.
type toolRun struct {
	tool *Tool
	args []byte // of the hostcall, for audits and the journal
	prog *program
	http *httpCall
	// show is what will be carried out, exactly, with secrets by their ids.
	show map[string]any
}

func doToolCall(ctx context.Context, d *door, args []byte) (any, error) {
	var q struct {
		ID   string          `json:"id"`
		Args json.RawMessage `json:"args"`
	}
	if err := unmarshalArgs(opToolCall, args, &q); err != nil {
		return nil, err
	}
	tool := d.tools[q.ID]
	if tool == nil {
		return nil, errorf(CodeNotFound, "%s: the agent has no tool %q", opToolCall, clipText(q.ID, 64))
	}
	given, err := tool.arguments(q.Args)
	if err != nil {
		return nil, errorf(CodeInvalid, "%s: %s: args: %v", opToolCall, tool.ID, err)
	}
	run := &toolRun{tool: tool, args: args}
	if err := d.prepareTool(ctx, run, given); err != nil {
		return nil, err
	}
	defer run.close()
	if err := d.confirmTool(ctx, run); err != nil {
		return nil, err
	}
	e := Effect{Op: opToolCall, Target: tool.ID, Idempotent: tool.Idempotent || run.http != nil && run.http.repeatable()}
	return d.effect(ctx, e, args, run.do)
}

// prepareTool fills the templates in and checks what the transport needs: the
// agent's own capabilities, no more.
func (d *door) prepareTool(ctx context.Context, run *toolRun, args map[string]any) error {
	if run.tool.Exec != nil {
		return d.prepareExecTool(ctx, run, args)
	}
	return d.prepareHTTPTool(ctx, run, args)
}

func (d *door) prepareExecTool(ctx context.Context, run *toolRun, args map[string]any) error {
	t := run.tool
	argv, err := fillArgv(t.Exec.Argv, args)
	if err != nil {
		return errorf(CodeInvalid, "%s: %s: %v", opToolCall, t.ID, err)
	}
	if err := checkArgv(opToolCall, argv); err != nil {
		return err
	}
	stdin, _ := fill(t.Exec.Stdin, args, plainText)
	run.prog = &program{op: opToolCall, argv: argv, stdin: []byte(stdin), timeout: t.timeout}
	for _, name := range sortedKeys(t.Exec.Env) {
		value, err := d.secret(ctx, opToolCall, t.Exec.Env[name], run.args)
		if err != nil {
			return err
		}
		run.prog.env = append(run.prog.env, name+"="+strings.TrimRight(value, "\r\n"))
	}
	if err := d.openProgram(ctx, run.prog, run.args); err != nil {
		return err
	}
	d.allow(ctx, capExec, opToolCall, argv[0], run.args)
	run.show = map[string]any{"argv": argv, "stdin": stdin, "env": t.Exec.Env}
	return nil
}

func (d *door) prepareHTTPTool(ctx context.Context, run *toolRun, args map[string]any) error {
	t := run.tool
	at, err := fillURL(t.HTTP.URL, args)
	if err != nil {
		return errorf(CodeInvalid, "%s: %s: %v", opToolCall, t.ID, err)
	}
	body, err := fillBody(t.HTTP.Body, args)
	if err != nil {
		return errorf(CodeInvalid, "%s: %s: body: %v", opToolCall, t.ID, err)
	}
	req := &HTTPRequest{Method: t.HTTP.Method, URL: at, Body: string(body), Headers: map[string]Texts{}}
	shown := map[string]string{}
	for name, template := range t.HTTP.Headers {
		text, missing := fill(template, args, plainText)
		if missing {
			continue
		}
		shown[name] = text
		if req.Headers[name], err = d.toolHeader(text, template); err != nil {
			return err
		}
	}
	if len(body) > 0 && req.Headers["Content-Type"] == nil {
		req.Headers["Content-Type"] = Texts{"application/json"}
	}
	if run.http, err = d.newHTTPCall(ctx, opToolCall, req, run.args); err != nil {
		return err
	}
	run.http.timeout, run.http.idempotent = t.timeout, t.Idempotent
	run.show = map[string]any{
		"method": req.Method, "url": run.http.url, "headers": shown, "body": json.RawMessage(orNull(body)),
	}
	return nil
}

// toolHeader puts handles in the place of {{secret:ID}} of the template. What
// an argument says is never taken for one.
func (d *door) toolHeader(text, template string) (Texts, error) {
	named := strings.Count(template, handleOpen)
	if strings.Count(text, handleOpen) != named {
		return nil, errorf(CodeInvalid, "%s: an argument holds a placeholder of a secret", opToolCall)
	}
	var out strings.Builder
	for part := range placeholders(text) {
		id, isSecret := strings.CutPrefix(part.name, "secret:")
		if !isSecret {
			out.WriteString(part.whole())
			continue
		}
		handle := newHandle()
		d.holdHandle(handle, id)
		out.WriteString(handle)
	}
	return Texts{out.String()}, nil
}

func orNull(b []byte) []byte {
	if len(b) == 0 {
		return []byte("null")
	}
	return b
}

// confirmTool has a person agree to exactly what will be carried out.
func (d *door) confirmTool(ctx context.Context, run *toolRun) error {
	t := run.tool
	if t.Confirm == "" {
		return nil
	}
	run.show["tool"] = t.ID
	details, err := json.Marshal(run.show)
	if err != nil {
		return err
	}
	summary := t.Description
	if summary == "" {
		summary = "use the tool " + t.ID
	}
	decision, err := d.confirm(ctx, opToolCall, Action{
		Kind: string(t.Confirm), Summary: summary, Details: d.redactor().redactJSON(details),
	})
	if err != nil {
		return err
	}
	if !decision.Approved {
		return errorf(CodeDeclined, "%s: %s was declined by %s: %s", opToolCall, t.ID, decision.By, decision.Rationale)
	}
	return nil
}

// do carries the call out and makes its result of what came back.
func (run *toolRun) do(ctx context.Context, key string) (any, error) {
	if run.http != nil {
		if run.tool.Idempotent && run.http.header.Get(headerIdempotency) == "" {
			run.http.header.Set(headerIdempotency, key)
		}
		res, err := run.http.do(ctx)
		if err != nil {
			return nil, err
		}
		return run.httpResult(res.(*HTTPResponse))
	}
	run.prog.env = append(run.prog.env, envIdempotencyKey+"="+key)
	res, err := run.prog.run(ctx)
	if err != nil {
		return nil, err
	}
	return run.execResult(res.(*ExecResult))
}

func (run *toolRun) close() {
	if run.prog != nil && run.prog.file != nil {
		run.prog.file.Close()
	}
}

func (run *toolRun) execResult(res *ExecResult) (any, error) {
	if run.tool.Exec.Result != "json" {
		return run.checked(res)
	}
	if res.ExitCode != 0 {
		return nil, errorf(CodeToolFailed, "%s: %s ended with %d: %s", opToolCall, run.tool.ID, res.ExitCode, clipText(res.Stderr, 200))
	}
	var v any
	if err := json.Unmarshal([]byte(res.Stdout), &v); err != nil || res.Cut {
		return nil, errorf(CodeResultInvalid, "%s: %s wrote no JSON document", opToolCall, run.tool.ID)
	}
	return run.checked(v)
}

// httpResult is the body of the answer, as JSON where it says that it is.
func (run *toolRun) httpResult(res *HTTPResponse) (any, error) {
	if res.Status < 200 || res.Status > 299 {
		return nil, errorf(CodeToolFailed, "%s: %s was answered with %d %s", opToolCall, run.tool.ID,
			res.Status, http.StatusText(res.Status))
	}
	kind := ""
	if v := res.Headers["content-type"]; len(v) > 0 {
		kind, _, _ = mime.ParseMediaType(v[0])
	}
	if kind != "application/json" && !strings.HasSuffix(kind, "+json") {
		return run.checked(res.Body)
	}
	var v any
	if err := json.Unmarshal([]byte(res.Body), &v); err != nil {
		return nil, errorf(CodeResultInvalid, "%s: %s answered with no JSON document", opToolCall, run.tool.ID)
	}
	return run.checked(v)
}

// checked holds a result against the tool's schema.
func (run *toolRun) checked(v any) (any, error) {
	if run.tool.result == nil {
		return v, nil
	}
	doc, err := json.Marshal(v)
	if err == nil {
		err = run.tool.result.validate(doc)
	}
	if err != nil {
		return nil, errorf(CodeResultInvalid, "%s: the result of %s: %v", opToolCall, run.tool.ID, err)
	}
	return v, nil
}

// arguments reads the arguments of a call and holds them against the tool's
// schema. Numbers keep every digit.
func (t *Tool) arguments(raw json.RawMessage) (map[string]any, error) {
	raw = orEmptyObject(raw)
	if err := t.input.validate(raw); err != nil {
		return nil, err
	}
	var exact map[string]any
	err := unmarshalExact(raw, &exact)
	return exact, err
}

// unmarshalExact is json.Unmarshal that leaves numbers as they are written.
func unmarshalExact(doc []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	return d.Decode(v)
}
