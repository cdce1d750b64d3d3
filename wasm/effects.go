package wasm

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"

	"lukechampine.com/blake3"

	"github.com/runloop-os/runloop/rmp"
)

// Effects is the journal of what agents do in the world, so that it is done
// once for each trace, node and action, however often the node is attempted.
type Effects interface {
	// Begin notes durably that an action is about to be carried out. It returns
	// the answer when it was carried out before (Known), or InDoubt when it was
	// begun before and nobody knows whether it ended.
	Begin(ctx context.Context, c Caller, e Effect) (Begun, error)
	// Done notes durably how it ended. An answer with an error that is retryable
	// says that nothing was carried out: the next Begin of the key starts anew.
	Done(ctx context.Context, c Caller, e Effect, answer rmp.Hostcall) error
}

// Effect is one action in the world. Key is the hex BLAKE3 of trace, node, op,
// arguments, and of the how-manieth call with these it is in its attempt.
type Effect struct {
	Key, Op, Target, ArgsHash string
	Idempotent                bool // may be carried out again under the same key
}

// Begun is what the journal knows of an effect.
type Begun struct {
	Known   *rmp.Hostcall // how it ended, if it did
	InDoubt bool          // it was begun, and no more is known
}

// uncertain is an error after which nobody knows whether the action was
// carried out: it stays begun in the journal.
type uncertain struct{ error }

func (u *uncertain) Unwrap() error { return u.error }

// untouched is an error before which nothing was carried out: the journal lets
// the action begin again.
type untouched struct{ error }

func (u *untouched) Unwrap() error { return u.error }

// effect carries an action out, once. do gets the key, for those who can tell
// a repetition by it.
func (d *door) effect(ctx context.Context, e Effect, args []byte, do func(ctx context.Context, key string) (any, error)) (any, error) {
	e.Key, e.ArgsHash = d.effectKey(e.Op, args)
	journal := d.services.Effects
	if journal == nil {
		return do(ctx, e.Key)
	}
	begun, err := journal.Begin(ctx, d.caller, e)
	switch {
	case err != nil:
		return nil, err
	case begun.Known != nil:
		return knownAnswer(begun.Known)
	case begun.InDoubt && !e.Idempotent:
		return nil, errorf(CodeInDoubt, "%s: it was begun before, and it is not known whether it ended; "+
			"it is not begun again", e.Op)
	}
	result, err := do(ctx, e.Key)
	var unclear *uncertain
	if ctx.Err() != nil || errors.As(err, &unclear) {
		return nil, errors.Join(err, ctx.Err()) // it stays in doubt
	}
	answer, recErr := d.journalAnswer(e.Op, args, result, err)
	if recErr == nil {
		recErr = journal.Done(context.WithoutCancel(ctx), d.caller, e, answer)
	}
	if recErr != nil {
		return nil, recErr
	}
	return result, err
}

// effectKey names the action. A handle stands for its secret, because handles
// differ from one attempt to the next.
func (d *door) effectKey(op string, args []byte) (key, argsHash string) {
	same := d.nameHandles(args)
	if canonical, err := canonicalText(same); err == nil {
		same = canonical
	}
	argsHash = hexSum(same)
	if d.effects == nil {
		d.effects = map[string]uint64{}
	}
	d.effects[op+"\x00"+argsHash]++
	h := blake3.New(32, nil)
	for _, part := range []string{d.caller.TraceID, d.caller.Node, op, argsHash} {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
		h.Write([]byte(part))
	}
	h.Write(binary.BigEndian.AppendUint64(nil, d.effects[op+"\x00"+argsHash]))
	return hex.EncodeToString(h.Sum(nil)), argsHash
}

// journalAnswer is how an action ended, with every secret masked.
func (d *door) journalAnswer(op string, args []byte, result any, err error) (rmp.Hostcall, error) {
	call := rmp.Hostcall{Op: op}
	packed, packErr := rmp.AppendMsgpack(nil, args)
	if packErr != nil {
		return call, packErr
	}
	call.Args = packed
	if err != nil {
		var nothing *untouched
		call.Err = d.hostcallError(err)
		call.Err.Retryable = errors.As(err, &nothing)
	} else if call.OK, err = marshalMsgpack(result); err != nil {
		return call, err
	}
	return d.masked(call), nil
}

// knownAnswer gives an answer of the journal as if the action had just ended.
func knownAnswer(call *rmp.Hostcall) (any, error) {
	if e := call.Err; e != nil {
		return nil, &Error{Code: e.Code, Message: e.Message, Retryable: e.Retryable}
	}
	if len(call.OK) == 0 {
		return nil, nil
	}
	asJSON, err := rmp.AppendJSON(nil, call.OK)
	return json.RawMessage(asJSON), err
}
