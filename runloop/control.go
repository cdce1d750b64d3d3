package runloop

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/pog"
	"github.com/runloop-os/runloop/rmp"
	"github.com/runloop-os/runloop/wasm"
)

// topicCtrl is where control requests go (spec/02 "Control plane").
const topicCtrl = "rlp/ctrl"

// Bounds of the control plane.
const (
	ctrlTTL        = 30 * time.Second
	answersKept    = 4096
	answersKeptFor = 10 * time.Minute
	ctrlAtATime    = 32
	listMax        = 500
)

// ctrlRequest is the payload of a control request. Fields that an op has no use
// for are left alone.
type ctrlRequest struct {
	Op           string            `json:"op"`
	ReplyTo      string            `json:"reply_to"`
	OpeningYAML  string            `json:"opening_yaml"`
	Source       string            `json:"source"` // what to call the file in problems
	Params       json.RawMessage   `json:"params"`
	AgentDigests map[string]string `json:"agent_digests"` // by reference; the plan must have them
	Flags        ctrlFlags         `json:"flags"`
	TraceID      string            `json:"trace_id"`
	Events       bool              `json:"events"`
	Agents       []string          `json:"agents"`
	State        string            `json:"state"` // filter of run.list
	Limit        int               `json:"limit"`
}

// ctrlFlags change how a run is carried out. Confirm is ask (the default: a
// user interface decides), yes or no.
type ctrlFlags struct {
	Confirm string `json:"confirm"`
}

// ctrlAnswer is the payload of an answer.
type ctrlAnswer struct {
	Op          string           `json:"op"`
	RequestID   string           `json:"request_id"`
	TraceID     string           `json:"trace_id,omitempty"`
	OpeningID   string           `json:"opening_id,omitempty"`
	OpeningName string           `json:"opening_name,omitempty"`
	Code        string           `json:"code,omitempty"`
	Reason      string           `json:"reason,omitempty"`
	Problems    opening.Problems `json:"problems,omitempty"`
	Run         *runState        `json:"run,omitempty"`
	Runs        []listedRun      `json:"runs,omitempty"`
	Agents      []describedAgent `json:"agents,omitempty"`
	Status      *daemonStatus    `json:"status,omitempty"`
}

// listedRun is one line of run.list.
type listedRun struct {
	TraceID     string `json:"trace_id"`
	OpeningName string `json:"opening_name"`
	State       string `json:"state"`
	StartedMS   int64  `json:"started_ms"`
	FinishedMS  int64  `json:"finished_ms,omitempty"`
	Error       string `json:"error,omitempty"`
}

// describedAgent is what agents.describe tells of one agent.
type describedAgent struct {
	Ref         string               `json:"ref"`
	Version     string               `json:"version,omitempty"`
	Description string               `json:"description,omitempty"`
	Digest      string               `json:"digest,omitempty"`
	In          map[string]wasm.Port `json:"in,omitempty"`
	Out         map[string]wasm.Port `json:"out,omitempty"`
	With        json.RawMessage      `json:"with,omitempty"`
	Caps        *wasm.Caps           `json:"caps,omitempty"` // effective
	Error       string               `json:"error,omitempty"`
}

// daemonStatus is the answer to status.
type daemonStatus struct {
	Version    string   `json:"version"`
	PID        int      `json:"pid"`
	StartedMS  int64    `json:"started_ms"`
	UptimeMS   int64    `json:"uptime_ms"`
	Socket     string   `json:"socket"`
	Clients    int      `json:"clients"`
	RunsActive int      `json:"runs_active"`
	RunsTotal  uint64   `json:"runs_total"`
	Providers  []string `json:"providers"`
	Events     int64    `json:"events"` // of the ledger
}

// control answers control requests on the bus.
type control struct {
	session  *session
	runs     *runTable
	client   *bus.Client
	requests *bus.Subscription
	started  time.Time
	socket   string
	clients  func() int

	slots chan struct{}
	mu    sync.Mutex
	given map[rmp.TraceID]*givenAnswer
}

// givenAnswer is what a request was answered with, once it is ready.
type givenAnswer struct {
	ready chan struct{}
	at    time.Time
	raw   []byte // MsgPack
}

func newControl(s *session, runs *runTable) (*control, error) {
	c := &control{
		session: s, runs: runs, client: s.bus.Client("control", bus.KindAgent), started: time.Now(),
		clients: func() int { return 0 }, slots: make(chan struct{}, ctrlAtATime),
		given: map[rmp.TraceID]*givenAnswer{},
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
	if req.ReplyTo == "" || bus.CheckTopic(req.ReplyTo) != nil {
		return // there is nowhere to say what is wrong
	}
	given, first := c.remember(msg.TraceID)
	if first {
		answer := c.answer(ctx, msg.TraceID, &req, err)
		answer.RequestID = uuid.UUID(msg.TraceID).String()
		given.raw, err = packJSON(answer)
		if err != nil {
			given.raw, _ = packJSON(ctrlAnswer{Op: "error", Code: "internal", Reason: err.Error()})
		}
		close(given.ready)
	}
	select {
	case <-given.ready:
	case <-ctx.Done():
		return
	}
	c.reply(ctx, msg.TraceID, req.ReplyTo, given.raw)
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

// remember returns the place of the answer to a request, and whether this is
// the first time that it is asked.
func (c *control) remember(id rmp.TraceID) (*givenAnswer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g := c.given[id]; g != nil {
		return g, false
	}
	for old, g := range c.given {
		if len(c.given) >= answersKept || time.Since(g.at) > answersKeptFor {
			delete(c.given, old)
		}
	}
	g := &givenAnswer{ready: make(chan struct{}), at: time.Now()}
	c.given[id] = g
	return g, true
}

// answer carries a request out.
func (c *control) answer(ctx context.Context, id rmp.TraceID, req *ctrlRequest, bad error) ctrlAnswer {
	if bad != nil {
		return ctrlAnswer{Op: "error", Code: "invalid", Reason: "the request cannot be read: " + bad.Error()}
	}
	switch req.Op {
	case "run.submit":
		return c.submit(id, req)
	case "run.cancel":
		return c.cancel(req)
	case "run.get":
		return c.get(req)
	case "run.list":
		return c.list(ctx, req)
	case "agents.describe":
		return c.describe(req)
	case "status":
		return c.status(ctx)
	}
	return ctrlAnswer{Op: "error", Code: "unknown_op", Reason: "there is no op " + req.Op +
		didYouMean(req.Op, []string{"run.submit", "run.cancel", "run.get", "run.list", "agents.describe", "status"})}
}

func refusal(op string, err error) ctrlAnswer {
	var refused *ctrlError
	if errors.As(err, &refused) {
		return ctrlAnswer{Op: op, Code: refused.code, Reason: refused.message}
	}
	return ctrlAnswer{Op: op, Code: "internal", Reason: err.Error()}
}

// submit starts a run whose trace id is the request's.
func (c *control) submit(id rmp.TraceID, req *ctrlRequest) ctrlAnswer {
	policy, err := c.policy(req.Flags.Confirm)
	if err != nil {
		return refusal("run.rejected", err)
	}
	if string(req.Params) == "null" {
		req.Params = nil
	}
	plan, err := opening.Load(orText(req.Source, "opening.yaml"), []byte(req.OpeningYAML),
		planCatalog{c.session.catalog}, req.Params)
	if err != nil {
		return rejected(err)
	}
	for ref, want := range req.AgentDigests {
		if got := plan.Digests[ref]; got != want {
			return ctrlAnswer{Op: "run.rejected", Code: "digest_mismatch",
				Reason: "agent " + ref + " is bundle " + orText(got, "unknown") + " here, not " + want}
		}
	}
	if err := c.runs.start(uuid.UUID(id), plan, policy); err != nil {
		return refusal("run.rejected", err)
	}
	return ctrlAnswer{
		Op: "run.accepted", TraceID: "trace:" + uuid.UUID(id).String(),
		OpeningID: opening.OpeningID(plan.IRHash), OpeningName: plan.Opening.Name,
	}
}

func rejected(err error) ctrlAnswer {
	a := ctrlAnswer{Op: "run.rejected", Code: "invalid_opening", Reason: err.Error()}
	errors.As(err, &a.Problems)
	return a
}

// policy is how the actions of a run are decided; nil leaves it to a user
// interface.
func (c *control) policy(confirm string) (*ruling, error) {
	switch confirm {
	case "", "ask":
		if !c.session.live.Load().Security.ConfirmExternalActions {
			return yesByConfig, nil
		}
		return nil, nil
	case "yes":
		return yesByFlag, nil
	case "no":
		return noTerminal, nil
	}
	return nil, &ctrlError{"invalid", "flags.confirm " + confirm + ": ask, yes or no"}
}

// find returns the run that a request names.
func (c *control) find(req *ctrlRequest) (*run, error) {
	id, err := rmp.ParseTraceID(req.TraceID)
	if err != nil {
		return nil, &ctrlError{"invalid", "trace_id " + printable(req.TraceID) + " is not trace:<uuid>"}
	}
	if r := c.runs.get(id); r != nil {
		return r, nil
	}
	return nil, &ctrlError{"not_found", "no run " + printable(req.TraceID) + " goes on here or ended lately"}
}

func (c *control) cancel(req *ctrlRequest) ctrlAnswer {
	r, err := c.find(req)
	if err != nil {
		return refusal("error", err)
	}
	r.cancel()
	return ctrlAnswer{Op: "ok", TraceID: "trace:" + r.id.String()}
}

func (c *control) get(req *ctrlRequest) ctrlAnswer {
	r, err := c.find(req)
	if err != nil {
		return refusal("error", err)
	}
	state := r.state(req.Events)
	if state.Actions, err = c.pending(state.TraceID); err != nil {
		return refusal("error", err)
	}
	return ctrlAnswer{Op: "ok", TraceID: state.TraceID, Run: &state}
}

// pending are a run's action requests without a decision.
func (c *control) pending(trace string) ([]json.RawMessage, error) {
	var out []json.RawMessage
	for _, req := range c.session.confirm.Pending(trace) {
		raw, err := req.MarshalMsg(nil)
		if err != nil {
			return nil, err
		}
		js, err := rmp.AppendJSON(nil, raw)
		if err != nil {
			return nil, err
		}
		out = append(out, js)
	}
	return out, nil
}

func (c *control) list(ctx context.Context, req *ctrlRequest) ctrlAnswer {
	runs, err := listRuns(ctx, c.session.store, req.State, req.Limit)
	if err != nil {
		return refusal("error", err)
	}
	return ctrlAnswer{Op: "ok", Runs: runs}
}

// listRuns reads runs out of the knowledge base, the latest first.
func listRuns(ctx context.Context, store *pog.Store, state string, limit int) ([]listedRun, error) {
	if limit <= 0 || limit > listMax {
		limit = 50
	}
	res, err := store.Query(ctx, pog.AllReader(), `SELECT trace_id, coalesce(opening_name, ''), coalesce(state, ''),
		coalesce(started_ms, 0), coalesce(finished_ms, 0), coalesce(error, '') FROM runs
		WHERE ? = '' OR state = ? ORDER BY started_ms DESC, id DESC LIMIT ?`, []any{state, state, limit}, pog.Limits{})
	if err != nil {
		return nil, err
	}
	runs := []listedRun{}
	for _, row := range res.Rows {
		runs = append(runs, listedRun{
			TraceID: "trace:" + textOf(row[0]), OpeningName: textOf(row[1]), State: textOf(row[2]),
			StartedMS: intOf(row[3]), FinishedMS: intOf(row[4]), Error: textOf(row[5]),
		})
	}
	return runs, nil
}

func textOf(v any) string {
	s, _ := v.(string)
	return s
}

func intOf(v any) int64 {
	n, _ := v.(int64)
	return n
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

func (c *control) describeOne(ref string) describedAgent {
	b, err := c.session.catalog.Bundle(ref)
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
	}}
}

// packJSON is v as MsgPack.
func packJSON(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return rmp.AppendMsgpack(nil, b)
}
