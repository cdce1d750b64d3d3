package opening

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/tinylib/msgp/msgp"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
)

// Times of the messages about an attempt.
const (
	cancelEvery   = 100 * time.Millisecond // between two cancels of one attempt
	cancelTTL     = 5 * time.Second
	defaultGrace  = 2 * time.Second
	minRequestTTL = time.Second
	eventTTL      = time.Minute
)

// The queue of replies to one attempt. An agent may talk faster than its run
// listens, and the answer must still find room.
const (
	replyMessages = 8192
	replyBytes    = 64 << 20
)

// engineName is what the ladder calls this end of a crossing.
const engineName = "engine"

// BusExecutor runs attempts by way of the bus (spec/02 "Topics"). It also
// watches the actions of a run, and publishes its events.
//
//	engine                                                          host
//	  │ agent/<ref>                             AgentRequest (4000)   │
//	  │ ────────────────────────────────────────────────────────────▶ │
//	  │ rlp/runs/<trace>/agents/<ref>/<uuid>        AgentLog (3004)   │
//	  │ ◀──────────────────────────────────────────────────────────── │
//	  │ agent/<ref>/cancel              Cancel (9), until it answers  │
//	  │ ────────────────────────────────────────────────────────────▶ │
//	  │ rlp/runs/<trace>/agents/<ref>/<uuid>   AgentResponse (4001)   │
//	  │ ◀──────────────────────────────────────────────────────────── │
//
// The reply topic is made for one attempt and named in its request. What comes
// there and does not belong to the attempt is noted in the ladder and ignored.
type BusExecutor struct {
	client *bus.Client
	// Grace is how long a host may take to stop an attempt before it is given
	// up; 0 is two seconds.
	Grace time.Duration

	msgID atomic.Uint64
}

var (
	_ Executor = (*BusExecutor)(nil)
	_ Actions  = (*BusExecutor)(nil)
)

// NewBusExecutor gives an executor that speaks through client, which stays the
// caller's to close.
func NewBusExecutor(client *bus.Client) *BusExecutor {
	x := &BusExecutor{client: client}
	// Message ids start anywhere, so that those of a restarted engine do not
	// look like duplicates.
	x.msgID.Store(rand.Uint64N(1 << 52))
	return x
}

// Execute implements [Executor]. An agent that nobody hosts is the error
// no_host; a host that does not stop in time is left alone.
func (x *BusExecutor) Execute(ctx context.Context, req *Request, obs Observer) *Response {
	a := &exchange{x: x, req: req, obs: obs,
		reply: fmt.Sprintf("rlp/runs/%s/agents/%s/%s", req.TraceID, req.Ref, uuid.New())}
	room := bus.SubOptions{MaxMessages: replyMessages, MaxBytes: replyBytes}
	sub, err := x.client.Subscribe(a.reply, room)
	if err != nil {
		return failure(codeBus, true, "listen for the answer of agent %s: %v", req.Ref, err)
	}
	defer sub.Close()
	a.sub = sub
	payload, err := req.wire(a.reply)
	if err != nil {
		return failure(codeBus, false, "the request to agent %s cannot be sent: %v", req.Ref, err)
	}
	ttl := max(time.Duration(req.Budget.DeadlineMillis)*time.Millisecond, minRequestTTL)
	n, err := a.publish(ctx, message{"agent/" + req.Ref, rmp.CTExecutorAgentRequest, payload, ttl})
	switch {
	case n == 0 && ctx.Err() != nil:
		return failure(codeCancelled, false, "stopped before the request was sent")
	case err != nil && n == 0:
		return failure(codeBus, true, "the request to agent %s was not delivered: %v", req.Ref, err)
	case n == 0:
		return failure(codeNoHost, true, "nobody runs the agent %s; is it installed?", req.Ref)
	}
	if resp := a.listen(ctx); resp != nil {
		return resp
	}
	return a.stop()
}

// exchange is the messages of one attempt.
type exchange struct {
	x     *BusExecutor
	req   *Request
	obs   Observer
	reply string
	sub   *bus.Subscription
}

// message is what to publish.
type message struct {
	topic   string
	schema  uint16
	payload msgp.Marshaler
	ttl     time.Duration
}

// publish sends a message to the agent and notes the crossing. The frame is
// made here, because the ladder tells its size.
func (a *exchange) publish(ctx context.Context, m message) (delivered int, err error) {
	to := "agent:" + a.req.Ref
	now := time.Now()
	frame, err := rmp.AppendFrame(nil, &rmp.Message{
		SchemaID: m.schema, TraceID: rmp.TraceID(a.req.TraceID), MsgID: a.x.msgID.Add(1),
		CreatedAtMS: uint64(now.UnixMilli()), TTLMS: uint64(m.ttl.Milliseconds()),
		Meta: rmp.Meta{Topic: m.topic, From: engineName, To: to}, Payload: m.payload,
	})
	if err != nil {
		return 0, err
	}
	var h rmp.Header
	if err := h.Decode(frame[rmp.PrefixLen:], rmp.Codec{}.Limit()); err != nil {
		return 0, err
	}
	c := crossingOf(&h, m.topic)
	c.From, c.To = engineName, to
	a.obs.Crossing(c)
	return a.x.client.PublishFrame(ctx, frame)
}

// crossingOf gives the rung of the ladder for a frame, without its ends.
func crossingOf(h *rmp.Header, topic string) Crossing {
	typ, _ := (*rmp.Registry)(nil).TypeOf(h.SchemaID)
	return Crossing{
		TSMillis: int64(h.CreatedAtMS), Topic: toValid(topic), SchemaID: h.SchemaID,
		FrameLen: rmp.HeaderLen + int(h.BodyLen), BodyLen: int(h.BodyLen), MsgID: h.MsgID, Kind: typ,
	}
}

// listen passes on what the host sends until it has answered; nil means that
// ctx ended first.
func (a *exchange) listen(ctx context.Context) *Response {
	for {
		m, err := a.sub.Recv(ctx)
		switch {
		case err == nil:
			if resp := a.take(m); resp != nil {
				return resp
			}
		case ctx.Err() != nil:
			return nil
		default:
			return failure(codeBus, true, "the answer of agent %s was lost: %v", a.req.Ref, err)
		}
	}
}

// stop tells the host to stop, again and again: a cancel may be lost, and one
// that overtakes its request holds only for a while.
func (a *exchange) stop() *Response {
	grace := a.x.Grace
	if grace <= 0 {
		grace = defaultGrace
	}
	ctx, done := context.WithTimeout(context.Background(), grace)
	defer done()
	cancel := message{"agent/" + a.req.Ref + "/cancel", rmp.CTControl, &rmp.Cancel{
		Op: rmp.OpCancel, TraceID: traceName(a.req.TraceID),
		Node: a.req.Node, Attempt: uint32(a.req.Attempt),
	}, cancelTTL}
	for ctx.Err() == nil {
		_, err := a.publish(ctx, cancel)
		if errors.Is(err, bus.ErrClosed) {
			break
		}
		round, end := context.WithTimeout(ctx, cancelEvery)
		resp := a.listen(round)
		end()
		if resp != nil {
			return resp
		}
	}
	return failure(codeHost, false, "the host of agent %s did not stop within %d ms",
		a.req.Ref, grace.Milliseconds())
}

// take handles one message on the reply topic and gives the response if it is
// one. What does not belong to the attempt is left aside.
func (a *exchange) take(m *bus.Msg) *Response {
	c := crossingOf(&m.Header, m.Topic)
	c.From, c.To = "agent:"+a.req.Ref, engineName
	if meta, err := m.DecodeMeta(); err == nil && meta.From != "" {
		c.From = toValid(meta.From)
	}
	a.obs.Crossing(c)
	switch m.SchemaID {
	case rmp.CTAgentLogLine:
		a.log(m)
	case rmp.CTExecutorAgentResponse:
		return a.answer(m)
	}
	return nil
}

// log passes a piece of the agent's output on. A line that cannot be read is
// lost; the attempt goes on.
func (a *exchange) log(m *bus.Msg) {
	var w rmp.AgentLog
	if m.Decode(&w) != nil || w.Node != a.req.Node || int(w.Attempt) != a.req.Attempt {
		return
	}
	l := Log{Stream: w.Stream, Level: w.Level, Text: w.Chunk}
	if len(w.Fields) > 0 {
		l.Fields, _ = view(w.Fields)
	}
	a.obs.Log(l)
}

// answer reads a response, and gives nil for one that is meant for another
// attempt.
func (a *exchange) answer(m *bus.Msg) *Response {
	var w rmp.AgentResponse
	if err := m.Decode(&w); err != nil {
		return failure(codeHost, false, "the answer of agent %s cannot be read: %v", a.req.Ref, err)
	}
	if w.Node != a.req.Node || int(w.Attempt) != a.req.Attempt ||
		w.TraceID != traceName(a.req.TraceID) {
		return nil
	}
	resp, err := unwire(&w)
	if err != nil {
		return failure(codeHost, false, "the answer of agent %s cannot be used: %v", a.req.Ref, err)
	}
	return resp
}

// Announce implements [Actions].
func (x *BusExecutor) Announce(ctx context.Context, trace uuid.UUID, req *rmp.ActionRequest) error {
	left := max(time.Until(time.UnixMilli(req.ExpiresAtMS)), minRequestTTL)
	return x.client.Send(ctx, &rmp.Message{
		SchemaID: rmp.CTActionRequest, TraceID: rmp.TraceID(trace), TTLMS: uint64(left.Milliseconds()),
		Meta:    rmp.Meta{Topic: topicActions, From: "agent:" + req.Agent, To: "user"},
		Payload: req,
	})
}

// Publish puts a run event on the topic of its run. It can be an Engine's Sink;
// an event that nobody can take is lost, as on any topic.
func (x *BusExecutor) Publish(ev Event) {
	id, err := rmp.ParseTraceID(ev.TraceID)
	if err != nil {
		return
	}
	meta, err := packOr(ev.Meta, "{}")
	if err != nil {
		return
	}
	_ = x.client.Send(context.Background(), &rmp.Message{
		SchemaID: rmp.CTRunEvent, TraceID: id, TTLMS: uint64(eventTTL.Milliseconds()),
		Meta: rmp.Meta{Topic: "rlp/runs/" + uuid.UUID(id).String() + "/events", From: engineName},
		Payload: &rmp.RunEvent{
			TSMillis: ev.TSMillis, TraceID: ev.TraceID, RunID: ev.RunID, OpeningID: ev.OpeningID,
			Kind: ev.Kind, Level: ev.Level, Message: ev.Message, Meta: meta,
		},
	})
}
