package wasm

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"

	"github.com/runloop-os/runloop/rmp"
)

// doFunc carries one hostcall out. args is JSON; the result is marshalled as
// JSON and handed to the guest as MsgPack.
type doFunc func(ctx context.Context, d *door, args []byte) (any, error)

// operation is the table of hostcalls (spec/03 "Hostcalls"); nil for none.
func operation(name string) doFunc {
	switch name {
	case "time.now":
		return doTimeNow
	case "kb.query":
		return doKBQuery
	case "kb.search":
		return doKBSearch
	case "kb.why":
		return doKBWhy
	case "kb.propose":
		return doKBPropose
	case "model.complete":
		return doModelComplete
	case "model.embed":
		return doModelEmbed
	case opToolCall:
		return doToolCall
	case "http.request":
		return doHTTPRequest
	case "secret.get":
		return doSecretGet
	case "exec.run":
		return doExecRun
	case "action.confirm":
		return doActionConfirm
	case "artifact.save":
		return doArtifactSave
	case "log":
		return doLog
	case opReady, opMailPeek, opMailRecv, opMailReply:
		return doNoMail
	}
	return nil
}

// Families of capabilities, as audits and denials name them.
const (
	capTime       = "time"
	capKBRead     = "kb.read"
	capKBWrite    = "kb.write"
	capModel      = "model"
	capNet        = "net"
	capSecrets    = "secrets"
	capSecretsRaw = "secrets_raw"
	capExec       = "exec"
)

// embedInputsMax is how many texts one model.embed takes.
const embedInputsMax = 256

// domainArtifacts is what artifact.save writes to.
const domainArtifacts = "artifacts"

func unavailable(op string) error {
	return errorf(CodeUnavailable, "%s: this host has no backend for it", op)
}

// doTimeNow answers microseconds since the epoch.
func doTimeNow(ctx context.Context, d *door, args []byte) (any, error) {
	if !d.caller.Caps.Time {
		return nil, d.deny(ctx, capTime, "time.now", "time", args)
	}
	d.allow(ctx, capTime, "time.now", "time", args)
	return d.services.Now().UnixMicro(), nil
}

// mayReadKB checks that the caller may read something at all; which rows it
// sees is up to the backend.
func (d *door) mayReadKB(ctx context.Context, op string, args []byte, domains []string) error {
	read := d.caller.Caps.KBRead
	if read.IsZero() {
		return d.deny(ctx, capKBRead, op, "kb_read", args)
	}
	for _, name := range domains {
		if !read.Has(name) {
			return d.deny(ctx, capKBRead, op, name, args)
		}
	}
	if d.services.KB == nil {
		return unavailable(op)
	}
	d.allow(ctx, capKBRead, op, "kb_read", args)
	return nil
}

func doKBQuery(ctx context.Context, d *door, args []byte) (any, error) {
	var q KBQuery
	if err := unmarshalArgs("kb.query", args, &q); err != nil {
		return nil, err
	}
	if err := d.mayReadKB(ctx, "kb.query", args, nil); err != nil {
		return nil, err
	}
	return d.services.KB.Query(ctx, d.caller, q)
}

func doKBSearch(ctx context.Context, d *door, args []byte) (any, error) {
	var q KBSearch
	if err := unmarshalArgs("kb.search", args, &q); err != nil {
		return nil, err
	}
	if err := d.mayReadKB(ctx, "kb.search", args, q.Domains); err != nil {
		return nil, err
	}
	hits, err := d.services.KB.Search(ctx, d.caller, q)
	if err != nil {
		return nil, err
	}
	if hits == nil {
		hits = []KBHit{} // an empty list, not null
	}
	return map[string]any{"hits": hits}, nil
}

func doKBWhy(ctx context.Context, d *door, args []byte) (any, error) {
	var q struct {
		Entity string `json:"entity"`
	}
	if err := unmarshalArgs("kb.why", args, &q); err != nil {
		return nil, err
	}
	if err := d.mayReadKB(ctx, "kb.why", args, nil); err != nil {
		return nil, err
	}
	return d.services.KB.Why(ctx, d.caller, q.Entity)
}

// mayWriteKB checks that the caller may add to a domain.
func (d *door) mayWriteKB(ctx context.Context, op, domain string, args []byte) error {
	if !d.caller.Caps.KBWrite.Has(domain) {
		return d.deny(ctx, capKBWrite, op, domain, args)
	}
	d.allow(ctx, capKBWrite, op, domain, args)
	return nil
}

func doKBPropose(ctx context.Context, d *door, args []byte) (any, error) {
	var delta KBDelta
	if err := unmarshalArgs("kb.propose", args, &delta); err != nil {
		return nil, err
	}
	if d.services.KB == nil {
		return nil, unavailable("kb.propose")
	}
	domain, known := d.services.KB.DomainOf(delta.Kind)
	if !known {
		return nil, errorf(CodeInvalid, "kb.propose: unknown kind %q", delta.Kind)
	}
	if err := d.mayWriteKB(ctx, "kb.propose", domain, args); err != nil {
		return nil, err
	}
	id, err := d.services.KB.Propose(ctx, d.caller, delta)
	return map[string]int64{"event_id": id}, err
}

func doModelComplete(ctx context.Context, d *door, args []byte) (any, error) {
	var req ModelRequest
	if err := unmarshalArgs("model.complete", args, &req); err != nil {
		return nil, err
	}
	if !d.caller.Caps.Model {
		return nil, d.deny(ctx, capModel, "model.complete", "model", args)
	}
	if d.services.Models == nil {
		return nil, unavailable("model.complete")
	}
	d.allow(ctx, capModel, "model.complete", "model", args)
	res, err := d.services.Models.Complete(ctx, d.caller, req)
	if err != nil {
		return nil, err
	}
	d.charge(res.Usage)
	return res, nil
}

func doModelEmbed(ctx context.Context, d *door, args []byte) (any, error) {
	var req EmbedRequest
	if err := unmarshalArgs("model.embed", args, &req); err != nil {
		return nil, err
	}
	if n := len(req.Input); n == 0 || n > embedInputsMax {
		return nil, errorf(CodeInvalid, "model.embed: input is 1 to %d texts", embedInputsMax)
	}
	if !d.caller.Caps.Model {
		return nil, d.deny(ctx, capModel, "model.embed", "model", args)
	}
	if d.services.Models == nil {
		return nil, unavailable("model.embed")
	}
	d.allow(ctx, capModel, "model.embed", "model", args)
	res, err := d.services.Models.Embed(ctx, d.caller, req)
	if err != nil {
		return nil, err
	}
	d.charge(res.Usage)
	return res, nil
}

// charge adds to what the attempt used.
func (d *door) charge(u rmp.Usage) {
	d.usage.TokensIn += u.TokensIn
	d.usage.TokensOut += u.TokensOut
	d.usage.USD += u.USD
}

func doActionConfirm(ctx context.Context, d *door, args []byte) (any, error) {
	var a Action
	if err := unmarshalArgs("action.confirm", args, &a); err != nil {
		return nil, err
	}
	if a.Kind == "" || a.Summary == "" {
		return nil, errorf(CodeInvalid, "action.confirm: kind and summary are required")
	}
	return d.confirm(ctx, "action.confirm", a)
}

// confirm waits for a person without using up the agent's time.
func (d *door) confirm(ctx context.Context, op string, a Action) (*Decision, error) {
	if d.decision != nil {
		return d.decided(a)
	}
	if d.services.Actions == nil {
		return nil, unavailable(op)
	}
	d.watch.pause()
	defer d.watch.resume()
	who := d.caller
	who.MayPark = d.mayPark()
	return d.services.Actions.Confirm(ctx, who, a)
}

func doArtifactSave(ctx context.Context, d *door, args []byte) (any, error) {
	var a Artifact
	if err := unmarshalArgs("artifact.save", args, &a); err != nil {
		return nil, err
	}
	if a.Encoding == "base64" {
		b, err := base64.StdEncoding.DecodeString(a.Bytes)
		if err != nil {
			return nil, errorf(CodeInvalid, "artifact.save: bytes: %v", err)
		}
		a.Bytes = string(b)
	} else if a.Encoding != "" {
		return nil, errorf(CodeInvalid, "artifact.save: encoding %q (base64, or none)", a.Encoding)
	}
	r := d.redactor()
	a.Bytes, a.Name, a.Summary = r.Redact(a.Bytes), r.Redact(a.Name), r.Redact(a.Summary)
	if err := d.mayWriteKB(ctx, "artifact.save", domainArtifacts, args); err != nil {
		return nil, err
	}
	if d.services.Artifacts == nil {
		return nil, unavailable("artifact.save")
	}
	return d.services.Artifacts.Save(ctx, d.caller, a)
}

func doLog(_ context.Context, d *door, args []byte) (any, error) {
	var l struct {
		Level   string          `json:"level"`
		Message string          `json:"message"`
		Fields  json.RawMessage `json:"fields"`
	}
	if err := unmarshalArgs("log", args, &l); err != nil {
		return nil, err
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, l.Level) {
		return nil, errorf(CodeInvalid, "log: level %q (debug, info, warn, error)", l.Level)
	}
	d.emit(l.Level, l.Message, l.Fields)
	return nil, nil
}
