package runloop

import (
	"context"
	"encoding/json"

	"github.com/runloop-os/runloop/pog"
	"github.com/runloop-os/runloop/rmp"
	"github.com/runloop-os/runloop/wasm"
)

// effectJournal keeps in the ledger what agents do in the world: effect.begun
// before, effect.done after. Both are on disk before anything goes on, so that
// whatever ends a process in between, the next one knows which actions were
// carried out and which may have been.
type effectJournal struct{ store *pog.Store }

// effectRecord is the payload of both kinds.
type effectRecord struct {
	TraceID    string        `json:"trace_id"`
	Node       string        `json:"node"`
	Agent      string        `json:"agent"`
	Attempt    uint32        `json:"attempt"`
	Key        string        `json:"key"`
	Op         string        `json:"op"`
	Target     string        `json:"target,omitempty"`
	ArgsHash   string        `json:"args_hash,omitempty"`
	Idempotent bool          `json:"idempotent,omitempty"`
	Seq        int           `json:"seq"` // of the events of this key, from 0
	Answer     *effectAnswer `json:"answer,omitempty"`
}

// effectAnswer is how an action ended, in JSON.
type effectAnswer struct {
	OK  json.RawMessage    `json:"ok,omitempty"`
	Err *rmp.HostcallError `json:"err,omitempty"`
}

// effectTargetMax bounds what is kept of a target, in bytes.
const effectTargetMax = 1000

// Begin implements wasm.Effects.
func (j effectJournal) Begin(ctx context.Context, c wasm.Caller, e wasm.Effect) (wasm.Begun, error) {
	last, n, err := j.last(ctx, e.Key)
	switch {
	case err != nil:
		return wasm.Begun{}, err
	case n == 0, last.Answer != nil && last.Answer.Err != nil && last.Answer.Err.Retryable:
		return wasm.Begun{}, j.append(ctx, c, e, effectStep{seq: n})
	case last.Answer == nil:
		return wasm.Begun{InDoubt: true}, nil
	}
	known := &rmp.Hostcall{Op: e.Op, Err: last.Answer.Err}
	if known.Err == nil && len(last.Answer.OK) > 0 {
		known.OK, err = rmp.AppendMsgpack(nil, last.Answer.OK)
	}
	return wasm.Begun{Known: known}, err
}

// Done implements wasm.Effects.
func (j effectJournal) Done(ctx context.Context, c wasm.Caller, e wasm.Effect, answer rmp.Hostcall) error {
	_, n, err := j.last(ctx, e.Key)
	if err != nil {
		return err
	}
	a := &effectAnswer{Err: answer.Err}
	if answer.Err == nil && len(answer.OK) > 0 {
		if a.OK, err = rmp.AppendJSON(nil, answer.OK); err != nil {
			return err
		}
	}
	return j.append(ctx, c, e, effectStep{n, a})
}

// last finds the newest event about an action, and how many there are. It asks
// for the action, not for the run: a run may have thousands.
func (j effectJournal) last(ctx context.Context, key string) (last effectRecord, n int, err error) {
	events, err := j.store.Events(ctx, pog.AllReader(), pog.Filter{
		Entity: "effect:" + key, Kinds: []string{"effect.begun", "effect.done"}, Newest: true, Limit: 1,
	})
	if err != nil || len(events) == 0 {
		return last, 0, err
	}
	err = json.Unmarshal(events[0].Payload, &last)
	return last, last.Seq + 1, err
}

// effectStep is what became of an action: it was begun, or has an answer.
type effectStep struct {
	seq    int // of the events of its key
	answer *effectAnswer
}

func (s effectStep) kind() string {
	if s.answer == nil {
		return "effect.begun"
	}
	return "effect.done"
}

func (j effectJournal) append(ctx context.Context, c wasm.Caller, e wasm.Effect, s effectStep) error {
	d, err := pog.NewDelta(s.kind(), effectRecord{
		TraceID: c.TraceID, Node: c.Node, Agent: c.Agent, Attempt: c.Attempt, Key: e.Key, Op: e.Op,
		Target: cutText(e.Target, effectTargetMax), ArgsHash: e.ArgsHash, Idempotent: e.Idempotent,
		Seq: s.seq, Answer: s.answer,
	})
	if err != nil {
		return err
	}
	d.Provenance = pog.Provenance{TraceID: c.TraceID, OpeningID: c.OpeningID, NodeID: c.Node}
	_, err = j.store.Propose(ctx, pog.System(), d)
	return err
}

// cutText gives the beginning of a text, in whole characters.
func cutText(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && s[most]&0xc0 == 0x80 {
		most--
	}
	return s[:most]
}
