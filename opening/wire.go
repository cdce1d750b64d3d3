package opening

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"github.com/tinylib/msgp/msgp"

	"github.com/runloop-os/runloop/rmp"
)

// traceName spells a trace id as payloads do.
func traceName(id uuid.UUID) string { return "trace:" + id.String() }

// wire gives the request as the payload that travels.
func (q *Request) wire(replyTo string) (*rmp.AgentRequest, error) {
	out := &rmp.AgentRequest{
		Ref: q.Ref, Node: q.Node, Attempt: uint32(q.Attempt), TraceID: traceName(q.TraceID),
		OpeningID: q.OpeningID, ReplyTo: replyTo, Digest: q.Digest, Seed: q.Seed[:],
		Budget: q.Budget, RunBudget: q.RunBudget, Mode: q.Mode,
	}
	var err error
	if out.With, err = packOr(q.With, "{}"); err != nil {
		return nil, fmt.Errorf("with: %w", err)
	}
	if out.Inputs, err = packInputs(q.Inputs); err != nil {
		return nil, err
	}
	for i, h := range q.Tape {
		call, err := h.wire()
		if err != nil {
			return nil, fmt.Errorf("hostcall %d of the tape: %w", i+1, err)
		}
		out.Tape = append(out.Tape, call)
	}
	if d := q.Decision; d != nil {
		out.Decision = &rmp.ActionDecision{
			Op: rmp.OpActionDecision, ActionID: d.ID, TraceID: out.TraceID, Digest: d.Digest,
			Approved: d.Approved, Rationale: d.Rationale, By: d.By,
		}
	}
	for _, o := range q.Outer {
		out.Outer = append(out.Outer, rmp.OuterNode{
			TraceID: traceName(o.TraceID), Node: o.Node, Budget: o.Budget, RunBudget: o.RunBudget,
		})
	}
	return out, nil
}

// packOr gives a JSON value in MsgPack, or another in place of none.
func packOr(raw json.RawMessage, none string) (msgp.Raw, error) {
	if len(raw) == 0 {
		raw = json.RawMessage(none)
	}
	return rmp.AppendMsgpack(nil, raw)
}

// packInputs gives the map from ports to lists of values in MsgPack. Each value
// is packed by itself: together they could be nested deeper than the codec
// takes.
func packInputs(in map[string][]json.RawMessage) (msgp.Raw, error) {
	out := msgp.AppendMapHeader(nil, uint32(len(in)))
	for _, port := range sortedKeys(in) {
		out = msgp.AppendString(out, port)
		out = msgp.AppendArrayHeader(out, uint32(len(in[port])))
		for _, v := range in[port] {
			var err error
			if out, err = rmp.AppendMsgpack(out, v); err != nil {
				return nil, fmt.Errorf("input %s: %w", quote(port), err)
			}
		}
	}
	return out, nil
}

// unwire reads a response. What it cannot read is an error of the host.
func unwire(w *rmp.AgentResponse) (*Response, error) {
	r := &Response{
		Status: w.Status, Error: w.Error, ExitCode: w.ExitCode, Digest: w.Digest, Caps: toValid(w.Caps), Micros: w.Micros,
		MemBytes: w.MemBytes, Usage: w.Usage, TapeCut: w.TapeCut,
	}
	if r.Error != nil { // hosts promise this, but they are not all ours
		r.Error.Code, r.Error.Message = toValid(r.Error.Code), toValid(r.Error.Message)
	}
	if w.Status == rmp.StatusOK {
		raw, err := rmp.AppendJSON(nil, w.Ports)
		if err != nil {
			return nil, fmt.Errorf("its outputs are not values: %w", err)
		}
		if jsontext.Value(raw).Kind() != '{' || json.Unmarshal(raw, &r.Ports) != nil {
			return nil, fmt.Errorf("its outputs are not a map of ports")
		}
	}
	for i := range w.Tape {
		r.Tape = append(r.Tape, unwireCall(&w.Tape[i]))
	}
	if d := w.Diverged; d != nil {
		r.Diverged = &Divergence{Index: d.Index, Want: unwireOptional(d.Want), Got: unwireOptional(d.Got)}
	}
	if w.Action != nil {
		r.Action = unwireAction(w.Action)
	}
	return r, nil
}

// unwireOptional is unwireCall for a call that may not be there.
func unwireOptional(h *rmp.Hostcall) *Hostcall {
	if h == nil {
		return nil
	}
	c := unwireCall(h)
	return &c
}

// unwireCall reads a recorded call.
func unwireCall(h *rmp.Hostcall) Hostcall {
	c := Hostcall{Op: toValid(h.Op), Err: h.Err}
	c.Args, c.ArgsRaw = view(h.Args)
	if h.Err == nil {
		c.OK, c.OKRaw = view(h.OK)
	} else {
		h.Err.Code, h.Err.Message = toValid(h.Err.Code), toValid(h.Err.Message)
	}
	return c
}

// wire gives a recorded call as it travels.
func (h *Hostcall) wire() (rmp.Hostcall, error) {
	out := rmp.Hostcall{Op: h.Op, Err: h.Err}
	var err error
	if out.Args, err = unview(h.Args, h.ArgsRaw); err != nil || h.Err != nil {
		return out, err
	}
	out.OK, err = unview(h.OK, h.OKRaw)
	return out, err
}

// unview is the way back from view.
func unview(raw json.RawMessage, pack []byte) (msgp.Raw, error) {
	if len(pack) > 0 {
		return pack, nil
	}
	return packOr(raw, "null")
}

// view gives a MsgPack value in canonical JSON and, where that is not the whole
// truth, also the value itself. What has no JSON form is null to look at. Most
// values of hostcalls are plain, so most traces hold everything once; the order
// of keys is the one thing that a plain value may lose.
func view(pack msgp.Raw) (raw json.RawMessage, whole []byte) {
	if len(pack) == 0 {
		return json.RawMessage("null"), nil
	}
	v, err := rmp.AppendJSON(nil, pack)
	if err != nil {
		return json.RawMessage("null"), pack
	}
	if raw, err = canonical(v); err == nil && isPlainJSON(pack) {
		return raw, nil
	}
	if err != nil {
		// A number would change. To look at, the nearest one is good enough.
		lossy := jsontext.Value(v)
		if lossy.Canonicalize() != nil {
			return json.RawMessage("null"), pack
		}
		raw = json.RawMessage(lossy)
	}
	return raw, pack
}

// isPlainJSON reports whether a value comes back the same from canonical JSON,
// but for the order of its keys: it holds no bytes, no extensions, no floats
// that would come back as integers or in another width, and no integers that
// would come back as floats. The value is known to be well formed.
func isPlainJSON(pack []byte) bool {
	for len(pack) > 0 {
		var err error
		switch msgp.NextType(pack) {
		case msgp.MapType:
			_, pack, err = msgp.ReadMapHeaderBytes(pack)
		case msgp.ArrayType:
			_, pack, err = msgp.ReadArrayHeaderBytes(pack)
		case msgp.Float64Type:
			var f float64
			if f, pack, err = msgp.ReadFloat64Bytes(pack); f == math.Trunc(f) {
				return false
			}
		case msgp.IntType:
			var n int64
			if n, pack, err = msgp.ReadInt64Bytes(pack); n < -1<<53 || n > 1<<53 {
				return false
			}
		case msgp.UintType:
			var n uint64
			if n, pack, err = msgp.ReadUint64Bytes(pack); n > 1<<53 {
				return false
			}
		case msgp.NilType, msgp.BoolType, msgp.StrType:
			pack, err = msgp.Skip(pack)
		default:
			return false
		}
		if err != nil {
			return false
		}
	}
	return true
}

// unwireAction reads a request for confirmation.
func unwireAction(w *rmp.ActionRequest) *ActionRequest {
	details, _ := view(w.Details)
	return &ActionRequest{
		ID: toValid(w.ActionID), Node: toValid(w.Node), Agent: toValid(w.Agent), Attempt: int(w.Attempt),
		Kind: toValid(w.Kind), Summary: toValid(w.Summary), Details: details, Digest: toValid(w.Digest),
		ExpiresAt: time.UnixMilli(w.ExpiresAtMS),
	}
}

// unwireDecision reads a decision.
func unwireDecision(w *rmp.ActionDecision) *ActionDecision {
	return &ActionDecision{
		ID: toValid(w.ActionID), Digest: toValid(w.Digest), Approved: w.Approved,
		Rationale: toValid(w.Rationale), By: toValid(w.By),
	}
}
