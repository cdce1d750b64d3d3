package opening

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/runloop-os/runloop/rmp"
)

// ErrTrace says that bytes are not a trace, or one that contradicts itself.
var ErrTrace = errors.New("not a valid trace")

// Limits on trace files. A trace may come from anybody.
const (
	maxTraceSize   = 64 << 20
	maxTraceDepth  = 100
	maxTraceValues = 2_000_000 // lists, maps and their entries
)

// JSON gives the trace in canonical JSON, as it is recorded and written to
// files.
func (t *Trace) JSON() json.RawMessage { return mustJSON(t) }

// TraceUUID reads the id of the trace.
func (t *Trace) TraceUUID() (uuid.UUID, error) {
	id, err := parseTraceName(t.TraceID)
	if err != nil {
		return uuid.UUID{}, fmt.Errorf("%w: %w", ErrTrace, err)
	}
	return id, nil
}

// parseTraceName reads what traceName gave.
func parseTraceName(name string) (uuid.UUID, error) {
	text, ok := strings.CutPrefix(name, "trace:")
	id, err := uuid.Parse(text)
	if !ok || err != nil || len(text) != 36 {
		return uuid.UUID{}, fmt.Errorf("%s is not trace:<uuid>", quote(name))
	}
	return id, nil
}

// ParseTrace reads a trace and checks that it is whole: its hashes fit its
// contents, and its nodes are those of its opening. Every error wraps
// [ErrTrace].
func ParseTrace(data []byte) (*Trace, error) {
	if err := checkShape(data); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTrace, err)
	}
	var t Trace
	if err := jsonv2.Unmarshal(data, &t, jsonv2.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrTrace, describeDecode(err))
	}
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTrace, err)
	}
	return &t, nil
}

// describeDecode says where and why decoding stopped.
func describeDecode(err error) string {
	var e *jsonv2.SemanticError
	if errors.As(err, &e) && e.Err != nil {
		return visible(fmt.Sprintf("%s: %v", cut(string(e.JSONPointer)), e.Err))
	}
	return visible(cut(err.Error()))
}

// checkShape bounds what decoding may cost, by a look at the bytes that knows
// no more of JSON than where strings end.
func checkShape(data []byte) error {
	if len(data) > maxTraceSize {
		return fmt.Errorf("it has %d bytes; a trace may have %d", len(data), maxTraceSize)
	}
	depth, values := 0, 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
			values++
		case '}', ']':
			depth--
		case ',':
			values++
		}
		if depth > maxTraceDepth {
			return fmt.Errorf("it is nested more than %d deep", maxTraceDepth)
		}
		if values > maxTraceValues {
			return fmt.Errorf("it holds more than %d values", maxTraceValues)
		}
	}
	return nil
}

// check holds the parts of a trace against each other and brings the values in it
// into canonical form.
func (t *Trace) check() error { return t.checkAt(0) }

// checkAt is check for a trace that is depth deep in others.
func (t *Trace) checkAt(depth int) error {
	if _, err := t.TraceUUID(); err != nil {
		return err
	}
	o, err := ParseIR(t.OpeningIR)
	if err != nil {
		return fmt.Errorf("its opening: %w", err)
	}
	if t.OpeningIR = o.IR(); !t.Redacted && hashHex(t.OpeningIR) != t.OpeningIRHash {
		return errors.New("opening_ir_hash is not the hash of opening_ir")
	}
	if t.OpeningID != OpeningID(t.OpeningIRHash) || t.OpeningName != o.Name {
		return errors.New("opening_id or opening_name do not belong to opening_ir")
	}
	if t.Params, err = canonicalMap(t.Params, "params"); err != nil {
		return err
	}
	if len(t.Ladder) > maxLadder {
		return fmt.Errorf("the ladder has %d rungs; it may have %d", len(t.Ladder), maxLadder)
	}
	switch t.Status {
	case StatusOK, StatusError, StatusCancelled, StatusTimeout:
	default:
		return fmt.Errorf("%s is not the status of a run", quote(string(t.Status)))
	}
	if len(t.Nodes) != len(o.Nodes) {
		return fmt.Errorf("it has %d nodes, its opening %d", len(t.Nodes), len(o.Nodes))
	}
	for i := range t.Nodes {
		if err := t.Nodes[i].check(o.Nodes[i], t.Redacted, depth); err != nil {
			return fmt.Errorf("node %s: %w", quote(t.Nodes[i].NodeID), err)
		}
	}
	if finalHash(t.Nodes) != t.FinalHash {
		return errors.New("final_hash is not the hash of its nodes")
	}
	return nil
}

// check holds a node against the same node of the opening.
func (n *TraceNode) check(node Node, redacted bool, depth int) error {
	if n.NodeID != node.ID || n.Agent != node.Ref() {
		return fmt.Errorf("the opening has %s with agent %s here", quote(node.ID), quote(node.Ref()))
	}
	a := n.FinalAttempt
	switch {
	case n.State.State == "":
		return errors.New("it has no state")
	case a == nil && (n.State.State == Succeeded || n.State.State == Failed):
		return errors.New("it ran, but has no final_attempt")
	case a == nil:
		return nil
	}
	if err := a.check(redacted); err != nil {
		return err
	}
	if n.State.State == Succeeded && a.Status != rmp.StatusOK {
		return errors.New("it succeeded, but its final_attempt did not")
	}
	return a.checkNested(n.Agent, depth)
}

// check looks at what went into an attempt and what came out of it. The hash of
// redacted outputs is that of the originals.
func (a *Attempt) check(redacted bool) error {
	if a.Attempt < 1 || a.Attempt > maxLostAttempts {
		return fmt.Errorf("there is no attempt %d", a.Attempt)
	}
	known := []string{rmp.StatusOK, rmp.StatusFailed, rmp.StatusTimeout, rmp.StatusCancelled}
	if !slices.Contains(known, a.Status) {
		return fmt.Errorf("%s is not the status of an attempt", quote(a.Status))
	}
	if ok := a.Status == rmp.StatusOK; ok != (a.Error == nil) || ok != (a.Outputs != nil) {
		return errors.New("an attempt has either outputs or an error")
	}
	var err error
	if a.With, err = canonicalMap(a.With, "with"); err != nil {
		return err
	}
	for port, values := range a.Inputs {
		for i := range values {
			if values[i], err = canonical(values[i]); err != nil {
				return fmt.Errorf("input %s: %w", quote(port), err)
			}
		}
	}
	for port, value := range a.Outputs {
		if a.Outputs[port], err = canonical(value); err != nil {
			return fmt.Errorf("output %s: %w", quote(port), err)
		}
	}
	if !redacted && outputHash(a.Outputs) != a.OutputHash {
		return errors.New("output_hash is not the hash of the outputs")
	}
	if r := a.ReusedFrom; r != nil {
		if _, err := parseTraceName(r.Trace); err != nil {
			return fmt.Errorf("reused_from: %w", err)
		}
		if r.Attempt < 1 || r.Attempt > maxAttempts {
			return fmt.Errorf("reused_from: there is no attempt %d", r.Attempt)
		}
	}
	for i := range a.Hostcalls {
		if err := a.Hostcalls[i].check(); err != nil {
			return fmt.Errorf("hostcall %d: %w", i+1, err)
		}
	}
	return nil
}

// check looks at one call of a tape.
func (h *Hostcall) check() error {
	if h.Op == "" {
		return errors.New("it has no op")
	}
	if (len(h.OK) > 0) == (h.Err != nil) {
		return errors.New("it must have either ok or err")
	}
	for _, v := range []*json.RawMessage{&h.Args, &h.OK} {
		if len(*v) == 0 {
			continue
		}
		clean, err := canonical(*v)
		if err != nil {
			return err
		}
		*v = clean
	}
	return nil
}

// canonicalMap brings a JSON object into canonical form.
func canonicalMap(raw json.RawMessage, what string) (json.RawMessage, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
		return nil, fmt.Errorf("%s is not a map", what)
	}
	v, err := canonical(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return v, nil
}
