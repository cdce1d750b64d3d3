package wasm

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
)

// HostConfig is what a [Host] is made of.
type HostConfig struct {
	Client   *bus.Client // the host's own membership of the bus
	Catalog  *Catalog
	Runtime  *Runtime
	Policy   *Policy
	Services Services
	// Residents bounds the agents that stay, Breaker says when one that
	// crashes is not run any more, and Quarantine is where that is noted; nil
	// notes it for this process.
	Residents  ResidentConfig
	Breaker    BreakerConfig
	Quarantine *Quarantine
	// Guarded are the host's own directories and files (state, configuration,
	// caches, sockets, secrets): no grant may be, hold or lie in one.
	Guarded []string
	// ReplayCaps, when set, are what replays are held to: an attempt that used
	// more diverges. Nil lets a replay do whatever was recorded.
	ReplayCaps func(*Bundle) *Caps
	// MaxAttempts bounds how many guests run at a time; 0 means 16. Requests
	// beyond that wait.
	MaxAttempts int
	// Isolation is where agents run; "" means IsolationAuto.
	Isolation Isolation
	// Memory is what all guests together may need at worst, in bytes: those
	// that do not fit wait. 0 means three quarters of the machine's.
	Memory int64
	// PolicyEvery is how often the policy is held against what runs; 0 means
	// each second.
	PolicyEvery time.Duration
	// Warn is told of what no run can be told. Nil ignores it.
	Warn func(error)
}

// Host answers requests for agents on the bus: topic agent/<ref>, shared with
// other hosts through a queue group, and agent/<ref>/cancel.
type Host struct {
	cfg      HostConfig
	requests *bus.Subscription
	cancels  *bus.Subscription
	slots    chan struct{}
	budget   *memoryBudget

	residents *residents
	breaker   *breaker
	counters  counters

	mu        sync.Mutex
	running   map[attemptID]*liveAttempt
	early     map[attemptID]time.Time // cancels that came before their request
	attempts  map[string]uint64       // by status
	calls     uint64
	policyErr string // why the policy could not be read last

	toJudge chan struct{} // has room for one: something begins that the policy may stop
}

// HostStats are the counts of a host since it was made, and what is now.
type HostStats struct {
	Running     int               // attempts
	Attempts    map[string]uint64 // by rmp.StatusOK and so on
	Hostcalls   uint64
	Memories    int   // linear memories that exist
	MemoryBytes int64 // that guests made usable
}

// Stats returns the counts.
func (h *Host) Stats() HostStats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := HostStats{Running: len(h.running), Attempts: maps.Clone(h.attempts), Hostcalls: h.calls}
	s.Memories, s.MemoryBytes = h.cfg.Runtime.memories.Live()
	return s
}

// attemptID tells attempts apart.
type attemptID struct {
	trace, node string
	attempt     uint32
}

const (
	hostQueue      = "agent-hosts"
	defaultSlots   = 16
	earlyCancelMax = 1024
	responseTTL    = time.Minute
)

// NewHost subscribes; requests are answered once Serve runs.
func NewHost(cfg HostConfig) (*Host, error) {
	if cfg.MaxAttempts <= 0 {
		cfg.MaxAttempts = defaultSlots
	}
	if cfg.PolicyEvery <= 0 {
		cfg.PolicyEvery = policyEvery
	}
	if cfg.Services.Now == nil {
		cfg.Services.Now = time.Now
	}
	if cfg.Services.Redactor == nil {
		cfg.Services.Redactor = &Redactor{}
	}
	cfg.Services.checkReplays = cfg.ReplayCaps != nil
	h := &Host{
		cfg: cfg, slots: make(chan struct{}, cfg.MaxAttempts), budget: newMemoryBudget(cfg.Memory),
		running: map[attemptID]*liveAttempt{}, early: map[attemptID]time.Time{},
		toJudge:  make(chan struct{}, 1),
		attempts: map[string]uint64{}, breaker: newBreaker(cfg.Breaker, cfg.Quarantine),
	}
	h.residents = newResidents(h, cfg.Residents)
	var err error
	if h.requests, err = cfg.Client.Subscribe("agent/+", bus.SubOptions{Queue: hostQueue}); err != nil {
		return nil, errorf(CodeHost, "%v", err)
	}
	if h.cancels, err = cfg.Client.Subscribe("agent/+/cancel", bus.SubOptions{}); err != nil {
		h.requests.Close()
		return nil, errorf(CodeHost, "%v", err)
	}
	return h, nil
}

// Serve answers requests until ctx ends; it returns when every guest has
// ended.
func (h *Host) Serve(ctx context.Context) error {
	defer h.requests.Close()
	defer h.cancels.Close()
	var guests sync.WaitGroup
	defer guests.Wait()
	defer h.residents.close()
	guests.Go(func() { h.serveCancels(ctx) })
	guests.Go(func() { h.watchPolicy(ctx) })
	for {
		msg, err := h.requests.Recv(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return errorf(CodeHost, "receiving requests: %v", err)
		}
		var req rmp.AgentRequest
		if err := msg.Decode(&req); err != nil {
			h.warn(errorf(CodeRequest, "%s: %v", msg.Topic, err))
			continue
		}
		trace := msg.TraceID
		select {
		case h.slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		guests.Go(func() {
			ctx, free := h.takenSlot(ctx)
			defer free()
			h.serve(ctx, trace, &req)
		})
	}
}

func (h *Host) warn(err error) {
	if h.cfg.Warn != nil {
		h.cfg.Warn(err)
	}
}

func (h *Host) serveCancels(ctx context.Context) {
	for {
		msg, err := h.cancels.Recv(ctx)
		if err != nil {
			return
		}
		var c rmp.Cancel
		if err := msg.Decode(&c); err != nil || c.Op != rmp.OpCancel {
			continue
		}
		h.cancel(attemptID{c.TraceID, c.Node, c.Attempt})
	}
}

// cancel stops an attempt, or remembers to when it comes.
func (h *Host) cancel(id attemptID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.running[id]; l != nil {
		l.stop(context.Canceled)
		return
	}
	for old, at := range h.early {
		if len(h.early) >= earlyCancelMax || time.Since(at) > time.Minute {
			delete(h.early, old)
		}
	}
	h.early[id] = time.Now()
}

// begin makes the context of an attempt; end forgets it.
func (h *Host) begin(ctx context.Context, id attemptID) (context.Context, func()) {
	ctx, stop := context.WithCancelCause(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, cancelled := h.early[id]; cancelled {
		delete(h.early, id)
		stop(context.Canceled)
	}
	h.running[id] = &liveAttempt{stop: stop}
	return ctx, func() {
		h.mu.Lock()
		delete(h.running, id)
		h.mu.Unlock()
		stop(nil)
	}
}

// serve runs one attempt and publishes how it ended.
func (h *Host) serve(ctx context.Context, trace rmp.TraceID, req *rmp.AgentRequest) {
	runCtx, end := h.begin(ctx, attemptID{req.TraceID, req.Node, req.Attempt})
	defer end()
	started := time.Now()
	send := func(schema uint16, payload rmpPayload) error {
		_, err := h.cfg.Client.Publish(context.WithoutCancel(ctx), &rmp.Message{
			SchemaID: schema, TraceID: trace, TTLMS: uint64(responseTTL.Milliseconds()),
			Meta:    rmp.Meta{Topic: req.ReplyTo, From: "agent:" + req.Ref, To: "engine"},
			Payload: payload,
		})
		return err
	}
	res := h.survive(req, func() *rmp.AgentResponse {
		return h.perform(runCtx, req, func(l rmp.AgentLog) {
			if err := send(rmp.CTAgentLogLine, &l); err != nil {
				h.warn(errorf(CodeHost, "log of %s: %v", req.Node, err))
			}
		})
	})
	res.Micros = time.Since(started).Microseconds()
	err := send(rmp.CTExecutorAgentResponse, res)
	if errors.Is(err, rmp.ErrBodyTooLarge) {
		err = send(rmp.CTExecutorAgentResponse, tooLarge(res))
	}
	if err != nil {
		h.warn(errorf(CodeHost, "response of %s: %v", req.Node, err))
	}
}

// tooLarge is what goes out in place of a response that fits no frame: first
// without the tape, which is the larger part.
func tooLarge(res *rmp.AgentResponse) *rmp.AgentResponse {
	cut := *res
	cut.Tape, cut.TapeCut, cut.Ports = nil, true, nil
	cut.Status = rmp.StatusFailed
	cut.Error = errorf(CodeResponseSize, "the outputs do not fit one message").wire()
	return &cut
}

// perform runs one attempt.
func (h *Host) perform(ctx context.Context, req *rmp.AgentRequest, logs func(rmp.AgentLog)) *rmp.AgentResponse {
	res := &rmp.AgentResponse{Node: req.Node, Attempt: req.Attempt, TraceID: req.TraceID}
	a, place, err := h.prepare(ctx, req)
	defer func() { h.count(a, res) }()
	if a != nil {
		res.Digest, res.Caps = a.bundle.Digest, a.caps.Digest()
	}
	if err != nil {
		return failed(res, err)
	}
	a.emit = logs
	h.stands(attemptID{req.TraceID, req.Node, req.Attempt}, a)
	defer a.mask(res)
	if a.stays() {
		return h.performResident(ctx, a, place, res)
	}
	admitted, err := h.budget.admit(ctx, a.limits)
	if err != nil {
		return failed(res, err)
	}
	defer admitted()
	end, err := a.run(ctx, place)
	if err != nil {
		return failed(res, err)
	}
	a.report(res, &end)
	if errors.Is(end.err, errParked) {
		res.Status, res.Action = rmp.StatusParked, a.door.parked
		return res
	}
	if end.err != nil {
		return failed(res, end.err)
	}
	if res.Ports, err = a.ports(); err != nil {
		return failed(res, err)
	}
	res.Status = rmp.StatusOK
	return res
}

// count adds an attempt that has ended to the counts.
func (h *Host) count(a *attempt, res *rmp.AgentResponse) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attempts[res.Status]++
	if a != nil {
		h.calls += uint64(a.door.calls)
		h.judge(a, res)
	}
}

// prepare finds and loads what the request names and checks that it may run.
func (h *Host) prepare(ctx context.Context, req *rmp.AgentRequest) (*attempt, placement, error) {
	bundle, err := h.cfg.Catalog.Bundle(req.Ref)
	if err != nil {
		return nil, nil, err
	}
	caps, err := h.caps(bundle, req)
	if err != nil {
		return nil, nil, err
	}
	a, err := newAttempt(req, bundle, caps, &h.cfg.Services)
	if err != nil {
		return nil, nil, err
	}
	a.door.count = h.counters.get(req.Ref)
	if err := h.mayRun(req, bundle); err != nil {
		return a, nil, err
	}
	a.guarded, a.fileLimits = h.cfg.Guarded, h.cfg.Runtime.cfg.Files
	a.limits = bundle.Manifest.Limits.or(DefaultLimits).atMost(h.cfg.Runtime.cfg.Max)
	if req.Digest != "" && req.Digest != bundle.Digest {
		return a, nil, errorf(CodeDigest, "agent %s is bundle %s now, but the run was planned with %s",
			req.Ref, bundle.Digest, req.Digest)
	}
	place, err := h.place(ctx, bundle)
	if err != nil {
		return a, nil, err
	}
	return a, place, a.settleLife(place.life())
}

// caps are what the agent may do. In a replay nothing leaves the sandbox, so
// that nobody has to have granted anything.
func (h *Host) caps(b *Bundle, req *rmp.AgentRequest) (*Caps, error) {
	if req.Mode == rmp.ModeReplay {
		if h.cfg.ReplayCaps != nil {
			return h.cfg.ReplayCaps(b), nil
		}
		return b.Caps, nil
	}
	caps, warnings, err := h.cfg.Policy.Effective(b)
	for _, w := range warnings {
		h.warn(errors.New(w))
	}
	return caps, err
}

func failed(res *rmp.AgentResponse, err error) *rmp.AgentResponse {
	e := asError(err)
	res.Error = e.wire()
	switch e.Code {
	case CodeDeadline:
		res.Status = rmp.StatusTimeout
	case CodeCancelled:
		res.Status = rmp.StatusCancelled
	default:
		res.Status = rmp.StatusFailed
	}
	return res
}

// report puts what the attempt did into the response.
func (a *attempt) report(res *rmp.AgentResponse, end *ending) {
	res.ExitCode, res.MemBytes = end.exit, end.memory
	res.Usage = a.door.usage
	if a.tape.replay {
		res.Diverged = a.tape.diverged
		return
	}
	res.Tape, res.TapeCut = a.tape.calls, a.tape.cut
}

// ports reads the guest's output.
func (a *attempt) ports() ([]byte, error) {
	return packOutputs(a.stdout.kept.Bytes(), a.bundle.Manifest)
}

// packOutputs is a document of outputs as a MsgPack map of ports.
func packOutputs(doc []byte, m *Manifest) ([]byte, error) {
	ports, err := parseOutputs(doc, m)
	if err != nil {
		return nil, err
	}
	asJSON, err := json.Marshal(ports)
	if err != nil {
		return nil, err
	}
	return rmp.AppendMsgpack(nil, asJSON)
}

// Warm prepares agents in the background, in their order: it loads their
// modules and makes an instance of each that is a reactor, so that attempts
// find them ready. What fails here fails again where it is needed, and is
// reported there.
func (h *Host) Warm(ctx context.Context, refs []string) {
	r := h.cfg.Runtime
	if !r.startFilling() {
		return
	}
	go func() {
		defer r.filling.Done()
		for _, ref := range refs {
			if ctx.Err() != nil {
				return
			}
			h.warm(ctx, strings.TrimPrefix(ref, "agent:"))
		}
	}()
}

func (h *Host) warm(ctx context.Context, ref string) {
	b, err := h.cfg.Catalog.Bundle(ref)
	if err != nil {
		return
	}
	if !h.inline(b) {
		h.warmWorker(ctx, b)
		return
	}
	m, err := h.inlineModule(ctx, b)
	if err != nil || m.life != LifeReactor || len(b.Caps.FS) > 0 {
		return
	}
	a := attempt{bundle: b}
	limits := b.Manifest.Limits.or(DefaultLimits).atMost(h.cfg.Runtime.cfg.Max)
	g := &guest{args: a.argv(), memory: uint64(limits.MemoryMB) << 20}
	m.fill(ctx, m.pool(g), g)
}
