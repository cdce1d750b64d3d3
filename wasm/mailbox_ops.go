package wasm

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// Hostcalls of residents. They are on no tape: what they bring is the input of
// an attempt, and what they take its output.
const (
	opReady       = "agent.ready"
	opMailPeek    = "mailbox.peek"
	opMailRecv    = "mailbox.recv"
	opMailReply   = "mailbox.reply"
	mailWaitMax   = 24 * time.Hour
	mailReplyTTL  = time.Minute
	replyTopicMax = 256
)

// errStopping as a resident sees it.
var stoppingError = errorf(CodeStopping, "the agent is to end; give up what you hold and return")

// answerMail answers the hostcalls that only residents have; own is false for
// all others, and ok for a guest that is to end.
func (d *door) answerMail(ctx context.Context, op string, args []byte) (call rmp.Hostcall, ok, own bool) {
	if d.stay == nil {
		return call, false, false
	}
	var do doFunc
	switch op {
	case opReady:
		do = doReady
	case opMailPeek:
		do = doMailPeek
	case opMailRecv:
		do = doMailRecv
	case opMailReply:
		do = doMailReply
	default:
		return call, false, false
	}
	call = rmp.Hostcall{Op: op, Args: args}
	asJSON, err := rmp.AppendJSON(nil, args)
	var result any
	if err != nil {
		err = errorf(CodeInvalid, "%s: %v", op, err)
	} else {
		result, err = do(ctx, d, d.redactor().redactJSON(asJSON))
	}
	if ctx.Err() != nil || errors.Is(err, errGuestEnds) {
		return call, false, true
	}
	if err == nil {
		call.OK, err = marshalMsgpack(result)
	}
	if err != nil {
		call.Err = d.hostcallError(err)
	}
	return call, true, true
}

// doNoMail answers an agent that is no resident.
func doNoMail(context.Context, *door, []byte) (any, error) {
	return nil, errorf(CodeUnavailable, "only a resident has a mailbox")
}

func doReady(_ context.Context, d *door, _ []byte) (any, error) {
	d.stay.markReady()
	return nil, nil
}

// doMailRecv answers the next message, or null when none comes in time.
func doMailRecv(ctx context.Context, d *door, args []byte) (any, error) {
	var a struct {
		TimeoutMS *int64  `json:"timeout_ms"` // none: as long as it takes
		MaxBytes  *uint32 `json:"max_bytes"`  // of the payload; a longer message stays
	}
	if err := unmarshalArgs(opMailRecv, args, &a); err != nil {
		return nil, err
	}
	wait := time.Duration(-1)
	if a.TimeoutMS != nil {
		if *a.TimeoutMS < 0 || *a.TimeoutMS > mailWaitMax.Milliseconds() {
			return nil, errorf(CodeInvalid, "%s: timeout_ms %d is not in 0…%d", opMailRecv, *a.TimeoutMS,
				mailWaitMax.Milliseconds())
		}
		wait = time.Duration(*a.TimeoutMS) * time.Millisecond
	}
	m, err := d.stay.receive(ctx, d, wait, func(m *mail) bool { return a.MaxBytes == nil || m.packed() <= *a.MaxBytes })
	switch {
	case errors.Is(err, errStopping):
		return nil, stoppingError
	case errors.Is(err, errMailSize):
		return nil, errorf(CodeNoSpace, "%s: the message has more than %d bytes", opMailRecv, *a.MaxBytes)
	}
	if m == nil {
		return nil, err
	}
	return m, nil
}

// doMailPeek answers the next message without its payload, or null.
func doMailPeek(_ context.Context, d *door, args []byte) (any, error) {
	if err := unmarshalArgs(opMailPeek, args, &struct{}{}); err != nil {
		return nil, err
	}
	d.stay.markReady()
	m := d.stay.box.look()
	if m == nil {
		return nil, nil
	}
	meta := *m
	meta.Payload = nil
	return struct {
		mail
		Size int `json:"size"` // of the payload as JSON, in bytes
	}{meta, len(m.Payload)}, nil
}

// reply is what a resident answers to a message: a document like the one that
// other agents write to stdout, or why there is none.
type reply struct {
	ID    string          `json:"id"`
	OK    json.RawMessage `json:"ok"`
	Error *replyError     `json:"error"`
}

type replyError struct {
	Message   string `json:"message"`
	Retryable bool   `json:"retryable"`
}

// doMailReply ends the work on a message.
func doMailReply(ctx context.Context, d *door, args []byte) (any, error) {
	var r reply
	if err := unmarshalArgs(opMailReply, args, &r); err != nil {
		return nil, err
	}
	s := d.stay
	if (r.OK == nil) == (r.Error == nil) {
		return nil, errorf(CodeInvalid, "%s: one of ok and error", opMailReply)
	}
	m := s.cur
	if m == nil || m.ID != r.ID {
		return nil, errorf(CodeInvalid, "%s: %s is not the message that was taken last, or has its reply",
			opMailReply, printable(r.ID))
	}
	if m.work == nil {
		return nil, s.replyToMail(ctx, m, d.redactor().redactJSON(args))
	}
	s.leave(ctx, d, r.answer(m.work.attempt.bundle.Manifest))
	if s.replay {
		d.watch.kill(errReplied)
		return nil, errGuestEnds
	}
	return nil, nil
}

// answer is the reply as the outcome of an attempt.
func (r *reply) answer(m *Manifest) workAnswer {
	if r.Error != nil {
		return workAnswer{err: &Error{
			Code: CodeReply, Message: printable(r.Error.Message), Retryable: r.Error.Retryable,
		}}
	}
	ports, err := packOutputs(r.OK, m)
	return workAnswer{ports, err}
}

// replyToMail publishes a reply where the mail asked for it, and nowhere but
// below the agent's own topic for that.
func (s *stay) replyToMail(ctx context.Context, m *mail, doc []byte) error {
	if m.ReplyTo == "" {
		return errorf(CodeInvalid, "%s: %s wants no reply", opMailReply, m.ID)
	}
	if !strings.HasPrefix(m.ReplyTo, replyPrefix(s.box.ref)) || len(m.ReplyTo) > replyTopicMax {
		return errorf(CodeInvalid, "%s: replies go to topics below %s", opMailReply, replyPrefix(s.box.ref))
	}
	payload, err := rmp.AppendMsgpack(nil, doc)
	if err != nil {
		return errorf(CodeInvalid, "%s: %v", opMailReply, err)
	}
	trace, err := rmp.ParseTraceID(m.TraceID)
	if err != nil {
		return errorf(CodeInvalid, "%s: %v", opMailReply, err)
	}
	err = s.box.client.Send(ctx, &rmp.Message{
		SchemaID: rmp.CTToolResult, TraceID: trace, TTLMS: uint64(mailReplyTTL.Milliseconds()),
		Meta: rmp.Meta{Topic: m.ReplyTo, From: "agent:" + s.box.ref, To: m.From}, Raw: payload,
	})
	if err != nil {
		return &Error{Code: CodeUnavailable, Message: printable(err.Error()), Retryable: true}
	}
	s.leave(ctx, nil, workAnswer{})
	return nil
}
