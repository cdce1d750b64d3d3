package guest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// How the host tells a module that it is to stay.
const (
	envLife      = "RUNLOOP_LIFE"
	lifeResident = "resident"
)

// MailPort is the input on which a [Handler] of a resident finds mail: what
// came in on the topic agent/<name>/mail.
const MailPort = "mail"

// ErrStopping is what [Inbox.Next] returns when the agent is to end.
var ErrStopping = errors.New("the agent is to end")

// Mail is one message of a resident's mailbox: an attempt of a node, or a
// frame from the bus.
type Mail struct {
	ID         string          `json:"id"`
	Kind       string          `json:"kind"` // request, mail
	From       string          `json:"from"` // what the sender says of itself
	Topic      string          `json:"topic"`
	Schema     int             `json:"schema"`
	TraceID    string          `json:"trace_id"`
	SentMillis int64           `json:"sent_ms"`
	ReplyTo    string          `json:"reply_to"`
	Payload    json.RawMessage `json:"payload"`
	Size       int             `json:"size"` // of the payload; only in what [Inbox.Peek] returns
}

// IsRequest reports whether a node waits for a reply.
func (m *Mail) IsRequest() bool { return m.Kind == "request" }

// Inbox is where a resident gets its work.
type Inbox struct{ door Door }

// NewInbox is an inbox behind a door; agents get theirs from [Handlers.Stay]
// or [Live].
func NewInbox(door Door) *Inbox { return &Inbox{door} }

// Ready tells the host that the agent has started. Going to the mailbox says
// so as well.
func (b *Inbox) Ready() error { return b.ask("agent.ready", none{}, nil) }

// Next waits for the next message; what the agent did not answer until then
// has failed. A wait above zero ends with nil when nothing has come by then.
// [ErrStopping] says that the agent is to end: it returns as soon as it can.
func (b *Inbox) Next(wait time.Duration) (*Mail, error) {
	var args any = none{}
	if wait > 0 {
		args = struct {
			TimeoutMS int64 `json:"timeout_ms"`
		}{max(wait.Milliseconds(), 1)}
	}
	var m *Mail
	err := b.ask("mailbox.recv", args, &m)
	var refused *Error
	if errors.As(err, &refused) && refused.Code == "stopping" {
		return nil, ErrStopping
	}
	return m, err
}

// Peek returns the next message without its payload, or nil if none waits. It
// stays where it is.
func (b *Inbox) Peek() (*Mail, error) {
	var m *Mail
	return m, b.ask("mailbox.peek", none{}, &m)
}

// Reply answers the message that was taken last. For a request v is the
// document of outputs: an object whose keys are output ports, or the value of
// the port "out".
func (b *Inbox) Reply(m *Mail, v any) error {
	return b.ask("mailbox.reply", map[string]any{"id": m.ID, "ok": v}, nil)
}

// Fail answers the message that was taken last with what went wrong. See
// [Retry].
func (b *Inbox) Fail(m *Mail, err error) error {
	type failure struct {
		Message   string `json:"message"`
		Retryable bool   `json:"retryable"`
	}
	return b.ask("mailbox.reply", map[string]any{
		"id": m.ID, "error": failure{err.Error(), worthRetry(err)},
	}, nil)
}

func (b *Inbox) ask(op string, args, answer any) error { return ask(b.door, op, args, answer) }

// Call is a message as a handler gets it. Mail is the input of the port
// [MailPort].
func (b *Inbox) Call(m *Mail) (*Call, error) {
	if m.IsRequest() {
		return NewCall(bytes.NewReader(m.Payload), b.door)
	}
	return &Call{
		TraceID: m.TraceID, With: json.RawMessage("{}"), door: b.door, out: map[string]any{},
		Inputs: map[string][]json.RawMessage{MailPort: {m.Payload}},
	}, nil
}

// Stay runs the agent called name as a resident: each message goes to its
// handler, and what that gives out is the reply. Variables of the program keep
// what they hold from one message to the next. It returns the exit status.
func (h Handlers) Stay(name string, stderr io.Writer, door Door) int {
	handle := h[name]
	if handle == nil {
		fmt.Fprintf(stderr, "%s: this module has no agent of that name\n", name)
		return exitFailed
	}
	b := NewInbox(door)
	for {
		m, err := b.Next(0)
		if err == nil && m != nil {
			err = b.handle(handle, m)
		}
		switch {
		case errors.Is(err, ErrStopping):
			return exitOK
		case err != nil:
			fmt.Fprintf(stderr, "%s: %v\n", name, err)
			return exitFailed
		}
	}
}

// handle has one message dealt with. An error is one of the mailbox.
func (b *Inbox) handle(handle Handler, m *Mail) error {
	c, err := b.Call(m)
	if err == nil {
		err = handle(c)
	}
	switch {
	case m.IsRequest() && err != nil:
		return gone(b.Fail(m, err))
	case m.IsRequest():
		return gone(b.Reply(m, c.out))
	case err != nil:
		c.Log("error", err.Error(), nil)
	}
	if m.ReplyTo == "" {
		return nil
	}
	if err != nil {
		return gone(b.Fail(m, err))
	}
	return gone(b.Reply(m, c.out))
}

// gone forgives that a reply was refused: the outputs may not fit the ports,
// or nobody waits any more. The host has answered in that case.
func gone(err error) error {
	var refused *Error
	if errors.As(err, &refused) {
		return nil
	}
	return err
}

// live runs a resident and returns its exit status.
func live(run func(*Inbox) error, name string, stderr io.Writer, door Door) int {
	err := run(NewInbox(door))
	if err == nil || errors.Is(err, ErrStopping) {
		return exitOK
	}
	fmt.Fprintf(stderr, "%s: %v\n", name, err)
	return exitFailed
}
