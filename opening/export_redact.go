package opening

import (
	"encoding/hex"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"lukechampine.com/blake3"

	"github.com/runloop-os/runloop/rmp"
)

// RedactKey is the salt of the commitments of one export. Who has it and a
// value can show that the value is what a commitment stands for; nobody else can
// try values out on a commitment.
type RedactKey [32]byte

// redactMark stands in front of a commitment.
const redactMark = "redacted:"

// Redact gives the bundle with what people wrote or are called (addresses,
// names, texts) replaced by commitments: every string in parameters, with maps,
// inputs, outputs, hostcalls and events that is not a name of the program's own.
// The same value has the same commitment wherever it stands. Shapes, numbers,
// states, names of nodes and agents, digests and the chain stay, and hashes are
// those of the originals; blobs and raw values are left out.
func (b *RunBundle) Redact(key RedactKey) *RunBundle {
	r := redactor(key)
	out := &RunBundle{Trace: r.trace(b.Trace), Agents: b.Agents, Redacted: true}
	if b.Ledger != nil {
		l := *b.Ledger
		l.Events = nil
		for _, e := range b.Ledger.Events {
			l.Events = append(l.Events, r.event(e))
		}
		out.Ledger = &l
	}
	return out
}

// redactor replaces values under one key.
type redactor RedactKey

// commit gives the commitment to a text: BLAKE3, keyed.
func (r *redactor) commit(s string) string {
	h := blake3.New(32, r[:])
	h.Write([]byte(s))
	return redactMark + hex.EncodeToString(h.Sum(nil))
}

// plainNames are values that say nothing of people: digests, and ids that the
// program made.
var plainNames = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(|[0-9a-f]{64}|(trace|run|opening):[0-9a-f-]{36}|artifact:a[0-9a-f]{16}|redacted:[0-9a-f]{64})$`)
})

// text replaces a text, but for plain names.
func (r *redactor) text(s string) string {
	if plainNames().MatchString(s) {
		return s
	}
	return r.commit(s)
}

// value replaces the strings in a JSON value, and keys that look like addresses.
func (r *redactor) value(v any) any { return r.walk(v, nil) }

// walk is value but for the strings under the keys of keep, which stay.
func (r *redactor) walk(v any, keep map[string]bool) any {
	switch v := v.(type) {
	case string:
		return r.text(v)
	case []any:
		for i := range v {
			v[i] = r.walk(v[i], keep)
		}
	case map[string]any:
		for _, k := range slices.Collect(maps.Keys(v)) {
			val := v[k]
			if s, ok := val.(string); ok && keep[k] && len(s) <= maxKeyBytes {
				continue
			}
			if strings.ContainsAny(k, "@ ") {
				delete(v, k)
				k = r.commit(k)
			}
			v[k] = r.walk(val, keep)
		}
	}
	return v
}

// raw is value for JSON text. What cannot be read is left out.
func (r *redactor) raw(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return nil
	}
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return json.RawMessage("null")
	}
	return mustJSON(r.value(v))
}

// ir replaces what an opening says to its agents; its shape stays.
func (r *redactor) ir(raw json.RawMessage) json.RawMessage {
	var o map[string]any
	if json.Unmarshal(raw, &o) != nil {
		return raw
	}
	for _, key := range []string{"goals", "params"} {
		if v, ok := o[key]; ok {
			o[key] = r.value(v)
		}
	}
	nodes, _ := o["nodes"].([]any)
	for _, n := range nodes {
		if n, ok := n.(map[string]any); ok && n["with"] != nil {
			n["with"] = r.value(n["with"])
		}
	}
	return mustJSON(o)
}

// trace replaces the values of a trace.
func (r *redactor) trace(t *Trace) *Trace {
	out := *t
	out.Redacted = true
	out.OpeningIR, out.Params, out.Reason = r.ir(t.OpeningIR), r.raw(t.Params), r.text(t.Reason)
	out.Nodes = slices.Clone(t.Nodes)
	for i := range out.Nodes {
		n := &out.Nodes[i]
		n.State.Reason = r.text(n.State.Reason)
		if n.FinalAttempt != nil {
			n.FinalAttempt = r.attempt(n.FinalAttempt)
		}
	}
	return &out
}

// attempt replaces the values of an attempt.
func (r *redactor) attempt(a *Attempt) *Attempt {
	out := *a
	if a.Nested != nil {
		out.Nested = r.trace(a.Nested)
	}
	out.With, out.Error = r.raw(a.With), r.agentError(a.Error)
	out.Inputs = make(map[string][]json.RawMessage, len(a.Inputs))
	for port, values := range a.Inputs {
		for _, v := range values {
			out.Inputs[port] = append(out.Inputs[port], r.raw(v))
		}
	}
	if a.Outputs != nil {
		out.Outputs = make(map[string]json.RawMessage, len(a.Outputs))
		for port, v := range a.Outputs {
			out.Outputs[port] = r.raw(v)
		}
	}
	out.Hostcalls = make([]Hostcall, len(a.Hostcalls))
	for i, h := range a.Hostcalls {
		out.Hostcalls[i] = Hostcall{Op: h.Op, Args: r.raw(h.Args), OK: r.raw(h.OK), Err: h.Err}
		if h.Err != nil {
			out.Hostcalls[i].Err = &rmp.HostcallError{
				Code: h.Err.Code, Message: r.text(h.Err.Message), Retryable: h.Err.Retryable,
			}
		}
	}
	return &out
}

// agentError replaces the message of an error.
func (r *redactor) agentError(e *rmp.AgentError) *rmp.AgentError {
	if e == nil {
		return nil
	}
	return &rmp.AgentError{Code: e.Code, Message: r.text(e.Message), Retryable: e.Retryable}
}

// eventNames are the keys of events whose strings are names of the program's
// own and not what people wrote.
var eventNames = map[string]bool{
	"trace_id": true, "opening_id": true, "opening_name": true, "opening_ir_hash": true, "seed": true,
	"agent_id": true, "agent": true, "node_id": true, "node": true, "state": true, "status": true,
	"op": true, "code": true, "digest": true, "caps": true, "output_hash": true, "final_hash": true,
	"inputs_hash": true, "args_hash": true, "nonce": true, "decision": true, "severity": true, "cap": true,
	"provider": true, "model": true, "trace": true, "fork_node": true,
}

// event replaces the values of an event.
func (r *redactor) event(e LedgerEvent) LedgerEvent {
	e.Redacted = true
	e.Provenance, e.Payload = r.eventDoc(e.Provenance), r.eventDoc(e.Payload)
	return e
}

// eventDoc replaces the values in a document of the ledger. The openings in it
// keep their shape.
func (r *redactor) eventDoc(raw json.RawMessage) json.RawMessage {
	var doc map[string]any
	if json.Unmarshal(raw, &doc) != nil {
		return json.RawMessage("{}")
	}
	ir, hasIR := doc["opening_ir"]
	openings, _ := doc["openings"].(map[string]any)
	delete(doc, "opening_ir")
	delete(doc, "openings")
	for _, key := range []string{"args_msgpack", "ok_msgpack"} {
		dropKey(doc, key)
	}
	r.walk(doc, eventNames)
	if hasIR {
		doc["opening_ir"] = r.ir(mustJSON(ir))
	}
	for name, ir := range openings {
		openings[name] = r.ir(mustJSON(ir))
	}
	if openings != nil {
		doc["openings"] = openings
	}
	return mustJSON(doc)
}

// dropKey takes a key out of all maps of a document.
func dropKey(v any, key string) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			dropKey(item, key)
		}
	case map[string]any:
		delete(v, key)
		for _, item := range v {
			dropKey(item, key)
		}
	}
}
