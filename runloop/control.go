package runloop

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
	"github.com/runloop-os/runloop/wasm"
)

// topicCtrl is where control requests go (spec/02 "Control plane").
const topicCtrl = "rlp/ctrl"

// Bounds of the control plane.
const (
	ctrlTTL     = 30 * time.Second
	ctrlAtATime = 32
)

// control answers control requests on the bus.
type control struct {
	session  *session
	runs     *runTable
	client   *bus.Client
	requests *bus.Subscription
	started  time.Time
	socket   string
	clients  func() int

	slots    chan struct{}
	answered *answers
}

func newControl(s *session, runs *runTable) (*control, error) {
	c := &control{
		session: s, runs: runs, client: s.bus.Client("control", bus.KindAgent), started: time.Now(),
		clients: func() int { return 0 }, slots: make(chan struct{}, ctrlAtATime),
		answered: newAnswers(),
	}
	var err error
	c.requests, err = c.client.Subscribe(topicCtrl, bus.SubOptions{})
	return c, err
}

// serve answers requests until ctx ends.
func (c *control) serve(ctx context.Context) {
	defer c.client.Close()
	var busy sync.WaitGroup
	defer busy.Wait()
	for {
		msg, err := c.requests.Recv(ctx)
		if err != nil {
			return
		}
		if msg.SchemaID != rmp.CTCtrlReq {
			continue
		}
		c.slots <- struct{}{}
		busy.Go(func() {
			defer func() { <-c.slots }()
			c.request(ctx, msg)
		})
	}
}

// request answers one request. A second one with the same trace id gets the
// answer of the first.
func (c *control) request(ctx context.Context, msg *bus.Msg) {
	var req ctrlRequest
	payload, err := rmp.AppendJSON(nil, msg.Payload)
	if err == nil {
		err = json.Unmarshal(payload, &req)
	}
	if !mayReplyTo(req.ReplyTo) {
		c.session.io.warnf("a control request of %s wants its answer on %q; it gets none", msg.From, req.ReplyTo)
		return
	}
	if err == nil {
		err = c.mayAsk(msg.Peer, &req)
	}
	given, first := c.answered.of(msg.TraceID)
	if first {
		c.answered.give(given, c.carryOut(ctx, msg.TraceID, &req, err))
	}
	select {
	case <-given.ready:
	case <-ctx.Done():
		return
	}
	c.reply(ctx, msg.TraceID, req.ReplyTo, given.raw)
}

// mayAsk is an error for a request that decides something which its sender may
// not decide: a run whose actions need nobody's word, or that a run goes on with
// agents that changed.
func (c *control) mayAsk(p *bus.Peer, req *ctrlRequest) error {
	decides := req.Op == "run.submit" && req.Flags.Confirm == "yes" || req.Accept
	if !decides || p == nil || slices.Contains(decisionUIDs(c.session.live.Load()), p.UID) {
		return nil
	}
	return &ctrlError{"forbidden", "this user may not decide actions: flags.confirm yes and accept are for those who may"}
}

// mayReplyTo reports whether a client may have an answer put on a topic: not
// where others take what comes for the daemon's or an agent's own word.
func mayReplyTo(topic string) bool {
	if bus.CheckTopic(topic) != nil || topic == topicCtrl || topic == wasm.TopicActions {
		return false
	}
	for _, filter := range []string{"agent/#", "rlp/sys/#", "rlp/runs/+/events"} {
		if bus.Matches(filter, topic) {
			return false
		}
	}
	return true
}

// carryOut is the packed answer to a request. A panic is a defect of ours, but must not end the runs of others with it.
func (c *control) carryOut(ctx context.Context, id rmp.TraceID, req *ctrlRequest, bad error) (raw []byte) {
	defer func() {
		if p := recover(); p != nil {
			c.session.io.warnf("control request %s: panic: %v\n%s", req.Op, p, debug.Stack())
			raw, _ = packJSON(ctrlAnswer{Op: "error", RequestID: uuid.UUID(id).String(), Code: "internal",
				Reason: "the daemon failed to answer; its log says more"})
		}
	}()
	answer := c.answer(ctx, id, req, bad)
	answer.RequestID = uuid.UUID(id).String()
	raw, err := packJSON(answer)
	if err != nil {
		raw, _ = packJSON(ctrlAnswer{Op: "error", RequestID: answer.RequestID, Code: "internal", Reason: err.Error()})
	}
	return raw
}

func (c *control) reply(ctx context.Context, id rmp.TraceID, topic string, raw []byte) {
	m := &rmp.Message{
		SchemaID: rmp.CTCtrlResp, TraceID: id, TTLMS: uint64(ctrlTTL.Milliseconds()),
		Meta: rmp.Meta{Topic: topic, From: "runloopd"}, Raw: raw,
	}
	err := c.client.Send(ctx, m)
	if errors.Is(err, rmp.ErrBodyTooLarge) {
		m.Raw, _ = packJSON(ctrlAnswer{Op: "error", RequestID: uuid.UUID(id).String(), Code: "too_large",
			Reason: "the answer does not fit one message; ask for less"})
		err = c.client.Send(ctx, m)
	}
	if err != nil && ctx.Err() == nil {
		c.session.io.warnf("answering a control request: %v", err)
	}
}

// answer carries a request out.
func (c *control) answer(ctx context.Context, id rmp.TraceID, req *ctrlRequest, bad error) ctrlAnswer {
	var refused *ctrlError
	if errors.As(bad, &refused) {
		return refusal("error", bad)
	}
	if bad != nil {
		return ctrlAnswer{Op: "error", Code: "invalid", Reason: "the request cannot be read: " + bad.Error()}
	}
	switch req.Op {
	case "run.submit":
		return c.submit(ctx, id, req)
	case "run.preview":
		return c.preview(ctx, req)
	case "run.fork":
		return c.fork(ctx, id, req)
	case "run.cancel", "run.pause", "run.resume", "run.step":
		return c.steer(ctx, req)
	case "run.get":
		return c.get(ctx, req)
	case "run.list":
		return c.list(ctx, req)
	case "agents.describe":
		return c.describe(req)
	case "agents.ps":
		return c.ps(req)
	case "agents.start":
		return c.startAgents(ctx, req)
	case "agents.stop":
		return c.stopAgents(ctx, req)
	case "agents.release":
		return c.releaseAgents(ctx, req)
	case "status":
		return c.status(ctx)
	}
	return ctrlAnswer{Op: "error", Code: "unknown_op", Reason: "there is no op " + req.Op +
		didYouMean(req.Op, []string{"run.submit", "run.preview", "run.fork", "run.cancel", "run.pause", "run.resume",
			"run.step", "run.get", "run.list", "agents.describe",
			"agents.ps", "agents.start", "agents.stop", "agents.release", "status"})}
}

func (c *control) describe(req *ctrlRequest) ctrlAnswer {
	refs := req.Agents
	if len(refs) == 0 {
		var err error
		if refs, err = c.session.catalog.Refs(); err != nil {
			return refusal("error", err)
		}
	}
	a := ctrlAnswer{Op: "ok", Agents: []describedAgent{}}
	for _, ref := range refs {
		a.Agents = append(a.Agents, c.describeOne(ref))
	}
	return a
}

// describeOne describes the agent that an opening calls agent:NAME.
func (c *control) describeOne(ref string) describedAgent {
	name := strings.TrimPrefix(ref, "agent:")
	ref = "agent:" + name
	b, err := c.session.catalog.Bundle(name)
	if err != nil {
		return describedAgent{Ref: ref, Error: err.Error()}
	}
	d := describedAgent{
		Ref: ref, Version: b.Manifest.Version, Description: b.Manifest.Description, Digest: b.Digest,
		In: b.Manifest.In, Out: b.Manifest.Out, With: b.Manifest.With,
	}
	caps, _, err := c.session.policy().Effective(b)
	if err != nil {
		d.Error = err.Error()
		return d
	}
	d.Caps = caps
	return d
}

func (c *control) status(ctx context.Context) ctrlAnswer {
	active, total := c.runs.counts()
	head, err := c.session.store.Head(ctx)
	if err != nil {
		return refusal("error", err)
	}
	return ctrlAnswer{Op: "ok", Status: &daemonStatus{
		Version: version, PID: os.Getpid(), StartedMS: c.started.UnixMilli(),
		UptimeMS: time.Since(c.started).Milliseconds(), Socket: c.socket, Clients: c.clients(),
		RunsActive: active, RunsTotal: total, Providers: c.session.broker.Providers(), Events: head.EventID,
		Ledger: c.session.io.ledgerID(c.session.cfg),
	}}
}
