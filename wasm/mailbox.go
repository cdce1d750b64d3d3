package wasm

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
)

// Kinds of what comes to a mailbox.
const (
	mailRequest = "request" // an attempt of a node; it wants one reply
	mailPost    = "mail"    // a frame from the bus
)

// mail is one thing in a mailbox, as its resident gets it.
type mail struct {
	ID         string          `json:"id"` // what a reply names
	Kind       string          `json:"kind"`
	From       string          `json:"from"` // what the sender says of itself
	Topic      string          `json:"topic"`
	Schema     uint16          `json:"schema"`
	TraceID    string          `json:"trace_id"`
	SentMillis int64           `json:"sent_ms"`
	ReplyTo    string          `json:"reply_to,omitempty"`
	Payload    json.RawMessage `json:"payload"`

	work    *work  // of a request
	expires uint64 // of a post, in milliseconds since the epoch
}

// packed is the size of the payload as MsgPack, in bytes.
func (m *mail) packed() uint32 {
	b, err := rmp.AppendMsgpack(nil, m.Payload)
	if err != nil {
		return math.MaxUint32 // it came as MsgPack, or is of our own making
	}
	return uint32(len(b))
}

// Bounds of a mailbox whose owner names none, and of one message.
const (
	defaultMailMessages = 256
	defaultMailBytes    = 4 << 20
	mailMax             = 1 << 20
)

// mailbox is where a resident gets its work. Requests come from the host,
// which fails what finds no room. Frames wait in a subscription to
// agent/<ref>/mail, which is bounded and slows its publishers down; a pump
// holds out the first of them.
type mailbox struct {
	ref      string
	client   *bus.Client
	requests chan *mail
	posts    chan *mail
	sub      *bus.Subscription
	count    *agentCounters
	posted   atomic.Uint64 // gives ids
	held     atomic.Int32  // posts that the pump has in hand

	mu     sync.Mutex
	next   *mail // looked at, but not taken yet
	closed error // why nothing is taken any more
}

// topicMail is where mail for an agent is published.
func topicMail(ref string) string { return "agent/" + ref + "/mail" }

// replyPrefix is what the topics for replies to mail begin with: a resident
// must not speak on any other, whatever the mail says.
func replyPrefix(ref string) string { return "rlp/agents/" + ref + "/replies/" }

// newMailbox subscribes; pump brings the mail in.
func newMailbox(client *bus.Client, ref string, messages, bytes int, count *agentCounters) (*mailbox, error) {
	if messages <= 0 {
		messages = defaultMailMessages
	}
	if bytes <= 0 {
		bytes = defaultMailBytes
	}
	sub, err := client.Subscribe(topicMail(ref), bus.SubOptions{
		MaxMessages: messages, MaxBytes: bytes, KeepLagging: true,
	})
	if err != nil {
		return nil, errorf(CodeHost, "mailbox of %s: %v", ref, err)
	}
	return &mailbox{
		ref: ref, client: client, sub: sub, count: count,
		requests: make(chan *mail, messages), posts: make(chan *mail),
	}, nil
}

// pump holds out the mail from the bus, one at a time, until ctx ends.
func (b *mailbox) pump(ctx context.Context) {
	defer b.sub.Close()
	for {
		msg, err := b.sub.Recv(ctx)
		if err != nil {
			return
		}
		m, err := b.post(msg)
		if err != nil {
			b.refuse(ctx, msg, "forbidden")
			continue
		}
		b.held.Store(1)
		select {
		case b.posts <- m:
			b.held.Store(0)
		case <-ctx.Done():
			return
		}
	}
}

// post is a frame as mail.
func (b *mailbox) post(msg *bus.Msg) (*mail, error) {
	if len(msg.Bytes) > mailMax {
		return nil, fmt.Errorf("mail of %d bytes", len(msg.Bytes))
	}
	payload, err := rmp.AppendJSON(nil, msg.Payload)
	if err != nil {
		return nil, err
	}
	m := &mail{
		ID: fmt.Sprintf("mail-%d", b.posted.Add(1)), Kind: mailPost, From: msg.From, Topic: msg.Topic,
		Schema: msg.SchemaID, TraceID: msg.TraceID.UUID(), SentMillis: int64(msg.CreatedAtMS),
		Payload: payload, expires: msg.ExpiresAtMS(),
	}
	var reply struct {
		To string `json:"reply_to"`
	}
	if json.Unmarshal(payload, &reply) == nil {
		m.ReplyTo = reply.To
	}
	return m, nil
}

// refuse drops a frame and says so on the bus's topic for that.
func (b *mailbox) refuse(ctx context.Context, msg *bus.Msg, reason string) {
	b.count.dropped.Add(1)
	_ = b.client.Send(context.WithoutCancel(ctx), &rmp.Message{ // a notice that finds no room is as good as none
		SchemaID: rmp.CTBusDropNotice, TraceID: msg.TraceID, TTLMS: uint64(time.Minute.Milliseconds()),
		Meta: rmp.Meta{Topic: bus.TopicDrops, From: "agent:" + b.ref},
		Payload: &rmp.DropNotice{
			Reason: reason, Topic: msg.Topic, TraceID: msg.TraceID.String(), MsgID: msg.MsgID,
			ExpiresAtMS: msg.ExpiresAtMS(),
		},
	})
}

// put adds a request. It fails at once when there is no room: the engine knows
// best what to do then.
func (b *mailbox) put(m *mail) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed != nil {
		return b.closed
	}
	select {
	case b.requests <- m:
		return nil
	default:
		return &Error{Code: CodeMailboxFull, Retryable: true,
			Message: fmt.Sprintf("%d requests wait for agent %s already", len(b.requests), b.ref)}
	}
}

// take returns what comes next, or nil when nothing has come after wait, which
// is endless when it is negative. Who has given up or expired is left out.
func (b *mailbox) take(ctx context.Context, stop <-chan struct{}, wait time.Duration) (*mail, error) {
	var timeout <-chan time.Time
	if wait >= 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		timeout = t.C
	}
	for {
		m := b.looked()
		if m == nil {
			select {
			case <-stop:
				return nil, errStopping
			case m = <-b.requests:
			case m = <-b.posts:
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-timeout:
				return b.atOnce(), nil
			}
		}
		if !b.stale(m) {
			return m, nil
		}
	}
}

// atOnce returns what is there already: a wait that is over, or was for no
// time, must not miss it.
func (b *mailbox) atOnce() *mail {
	for {
		m := b.looked()
		if m == nil {
			select {
			case m = <-b.requests:
			case m = <-b.posts:
			default:
				return nil
			}
		}
		if !b.stale(m) {
			return m
		}
	}
}

// looked takes the mail that was looked at, if there is one.
func (b *mailbox) looked() *mail {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.next
	b.next = nil
	return m
}

// look returns what comes next and leaves it where it is, or nil.
func (b *mailbox) look() *mail {
	m := b.atOnce()
	if m != nil {
		b.unlook(m)
	}
	return m
}

// unlook puts back what was taken last.
func (b *mailbox) unlook(m *mail) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next = m
}

// stale reports whether nobody waits for m any more.
func (b *mailbox) stale(m *mail) bool {
	if m.work != nil {
		return m.work.ctx.Err() != nil
	}
	late := uint64(time.Now().UnixMilli()) >= m.expires
	if late {
		b.count.dropped.Add(1)
	}
	return late
}

// depth is how many messages wait.
func (b *mailbox) depth() int {
	n := len(b.requests) + b.sub.Queued() + int(b.held.Load())
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next != nil {
		n++
	}
	return n
}

// fail answers all requests that wait with err.
func (b *mailbox) fail(err error) {
	for {
		m := b.looked()
		if m == nil {
			select {
			case m = <-b.requests:
			default:
				return
			}
		}
		if m.work != nil {
			m.work.fail(err)
		}
	}
}

// close refuses what comes from now on, and what is there, with err.
func (b *mailbox) close(err error) {
	b.mu.Lock()
	b.closed = err
	b.mu.Unlock()
	b.fail(err)
}

// work is an attempt of a node that a resident is to do. The attempt brings
// the tape, the caller and the budget that count while it is done.
type work struct {
	ctx     context.Context // ends when nobody waits for the answer any more
	attempt *attempt
	watch   *stopwatch // of the one who waits
	answer  chan workAnswer
}

// workAnswer is how work ended: ports as a MsgPack map, or err.
type workAnswer struct {
	ports []byte
	err   error
}

// fail answers with an error; the first answer counts.
func (w *work) fail(err error) { w.give(workAnswer{err: err}) }

func (w *work) give(a workAnswer) {
	select {
	case w.answer <- a:
	default:
	}
}

// mail is the work as it lies in the mailbox.
func (w *work) mail() (*mail, error) {
	doc, err := w.attempt.stdinDocument()
	if err != nil {
		return nil, err
	}
	if len(doc) > responseMax/2 {
		return nil, errorf(CodeResponseSize, "the inputs have %d bytes; a resident takes %d", len(doc), responseMax/2)
	}
	req := w.attempt.req
	return &mail{
		ID:   fmt.Sprintf("%s/%s/%d", req.TraceID, req.Node, req.Attempt),
		Kind: mailRequest, From: "engine", Topic: "agent/" + req.Ref, Schema: rmp.CTExecutorAgentRequest,
		TraceID: req.TraceID, SentMillis: time.Now().UnixMilli(), Payload: doc, work: w,
	}, nil
}

// startupTape is what a resident asked before it took its first message: the
// beginning of the tape of all that it does later.
type startupTape struct {
	calls    []rmp.Hostcall
	size     int
	cut      bool
	readings []int64
}

func (s *startupTape) tape() tape {
	return tape{calls: slices.Clone(s.calls), size: s.size, cut: s.cut}
}
