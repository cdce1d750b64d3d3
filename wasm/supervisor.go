package wasm

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ResidentConfig bounds the agents that stay. Zero fields mean the defaults.
type ResidentConfig struct {
	// ReadyTimeout is how long a resident may take until it comes to its
	// mailbox. Default 5 s.
	ReadyTimeout time.Duration
	// StopGrace is how long it may take to end when it is asked to. Default
	// 2 s.
	StopGrace time.Duration
	// MailMessages and MailBytes bound what waits for one resident. Default
	// 256 and 4 MiB.
	MailMessages int
	MailBytes    int
	// Max is how many there may be at a time. Default 256.
	Max int
	// BackoffLeast and BackoffMost are the first and the longest wait before
	// one that ended is started again. Default 200 ms and 30 s.
	BackoffLeast time.Duration
	BackoffMost  time.Duration
}

func (c ResidentConfig) withDefaults() ResidentConfig {
	pick := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	pick(&c.ReadyTimeout, 5*time.Second)
	pick(&c.StopGrace, 2*time.Second)
	pick(&c.BackoffLeast, backoffLeast)
	pick(&c.BackoffMost, backoffMost)
	if c.Max <= 0 {
		c.Max = 256
	}
	return c
}

// residents are all residents of a host.
type residents struct {
	host *Host
	cfg  ResidentConfig
	ctx  context.Context // ends with the host
	stop context.CancelFunc

	mu     sync.Mutex
	of     map[string]*resident // by reference
	closed bool
	alive  sync.WaitGroup
}

func newResidents(h *Host, cfg ResidentConfig) *residents {
	r := &residents{host: h, cfg: cfg.withDefaults(), of: map[string]*resident{}}
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r
}

// ensure returns the resident for a bundle; it starts one where there is none,
// or one of another bundle.
func (rs *residents) ensure(ctx context.Context, ref string, b *Bundle) (*resident, error) {
	for {
		r, old, err := rs.find(ref, b)
		if err != nil || r != nil {
			return r, err
		}
		old.end()
		select {
		case <-old.done:
		case <-ctx.Done():
			return nil, killedBy(ctx)
		}
	}
}

// find returns the resident for a bundle, which it starts if there is none, or
// one that has to end first.
func (rs *residents) find(ref string, b *Bundle) (r, old *resident, err error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.closed {
		return nil, nil, errorf(CodeStopped, "the host ends")
	}
	if r := rs.of[ref]; r != nil && !r.over() {
		if d := r.digest(); r.stopAsked() || r.why() != nil || d != "" && d != b.Digest {
			return nil, r, nil
		}
		return r, nil, nil
	}
	if n := rs.count(); n >= rs.cfg.Max {
		return nil, nil, &Error{Code: CodeTooManyResidents, Retryable: true,
			Message: "there are as many residents as there may be (agents.max_residents)"}
	}
	r, err = rs.start(ref)
	return r, nil, err
}

func (rs *residents) count() (n int) {
	for _, r := range rs.of {
		if !r.over() {
			n++
		}
	}
	return n
}

func (rs *residents) start(ref string) (*resident, error) {
	count := rs.host.counters.get(ref)
	box, err := newMailbox(rs.host.cfg.Client, ref, rs.cfg.MailMessages, rs.cfg.MailBytes, count)
	if err != nil {
		return nil, err
	}
	r := &resident{
		host: rs.host, cfg: rs.cfg, ref: ref, box: box, count: count,
		stop: make(chan struct{}), cut: make(chan struct{}), first: make(chan struct{}), done: make(chan struct{}),
		state: StateStarting, since: time.Now(),
	}
	rs.of[ref] = r
	rs.alive.Go(func() { r.supervise(rs.ctx) })
	return r, nil
}

// get returns a resident that has not ended for good, or nil.
func (rs *residents) get(ref string) *resident {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if r := rs.of[ref]; r != nil && !r.over() {
		return r
	}
	return nil
}

func (rs *residents) all() map[string]*resident {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	out := make(map[string]*resident, len(rs.of))
	for ref, r := range rs.of {
		out[ref] = r
	}
	return out
}

// close ends all residents and waits until they have.
func (rs *residents) close() {
	rs.mu.Lock()
	rs.closed = true
	rs.mu.Unlock()
	for _, r := range rs.all() {
		r.end()
	}
	rs.alive.Wait()
	rs.stop()
}

// AgentState is what an agent of a host is like now, and what it did since the
// host was made.
type AgentState struct {
	Agent     string `json:"agent"` // reference
	Life      string `json:"life"`
	State     string `json:"state"` // one of the State constants
	Placement string `json:"placement,omitempty"`
	PID       int    `json:"pid,omitempty"`
	Digest    string `json:"digest,omitempty"`
	// SinceMillis is when a resident came to its state, UpMillis for how long
	// it has been running.
	SinceMillis int64  `json:"since_ms,omitempty"`
	UpMillis    int64  `json:"up_ms,omitempty"`
	Running     int    `json:"running"`           // attempts
	Mailbox     int    `json:"mailbox"`           // messages that wait
	Working     string `json:"working,omitempty"` // id of the message it works on
	Error       string `json:"error,omitempty"`   // why it does not run, or how it crashed last
	AgentStats
}

// Agents returns the state of every agent that did something here, or is a
// resident, sorted by reference.
func (h *Host) Agents() []AgentState {
	stay := h.residents.all()
	out := []AgentState{}
	for _, ref := range h.counters.refs() {
		out = append(out, h.agentState(ref, stay[ref]))
	}
	return out
}

func (h *Host) agentState(ref string, r *resident) AgentState {
	c := h.counters.get(ref)
	life, digest := c.bundle()
	s := AgentState{
		Agent: ref, Life: life.String(), State: StateIdle, Digest: digest,
		Running: int(c.running.Load()), AgentStats: c.read(),
	}
	if s.Running > 0 {
		s.State = StateRunning
	}
	if r != nil {
		s.Life = LifeResident.String()
		r.describe(&s)
	}
	if s.Error == "" && s.Crashes > 0 {
		s.Error = c.lastCrash()
	}
	if q, err := h.breaker.quarantine.Get(ref, digest); err == nil && q != nil {
		s.State, s.Error = StateQuarantined, q.Last
	}
	return s
}

// StartAgent starts a resident, or finds it running, and waits until it is
// ready, for no longer than [ResidentConfig.ReadyTimeout] and a little.
func (h *Host) StartAgent(ctx context.Context, ref string) error {
	b, err := h.cfg.Catalog.Bundle(ref)
	if err != nil {
		return err
	}
	if b.Manifest.Life != LifeResident {
		return errorf(CodeInvalid, "agent %s is no resident: it runs when a node needs it", ref)
	}
	if err := h.breaker.check(ref, b.Digest); err != nil {
		return err
	}
	r, err := h.residents.ensure(ctx, ref, b)
	if err != nil {
		return err
	}
	return r.started(ctx)
}

// StopAgent asks a resident to end and waits until it has, which takes no
// longer than [ResidentConfig.StopGrace] and a little. It reports whether one
// was running. A node that needs the agent starts it again.
func (h *Host) StopAgent(ctx context.Context, ref string) (bool, error) {
	r := h.residents.get(ref)
	if r == nil {
		return false, h.known(ref)
	}
	r.end()
	select {
	case <-r.done:
		return true, nil
	case <-ctx.Done():
		return true, errorf(CodeCancelled, "agent %s: %v", ref, context.Cause(ctx))
	}
}

// known is an error for a name that no agent has.
func (h *Host) known(ref string) error {
	_, err := h.cfg.Catalog.Bundle(ref)
	var e *Error
	if errors.As(err, &e) && e.Code == CodeUnknownAgent {
		return err
	}
	return nil
}

// ReleaseAgent takes an agent out of quarantine and forgets its crashes. It
// reports whether it was in.
func (h *Host) ReleaseAgent(ref string) (bool, error) {
	was, err := h.breaker.quarantine.Release(ref)
	if err == nil && !was {
		if err := h.known(ref); err != nil {
			return false, err
		}
	}
	if _, digest := h.counters.get(ref).bundle(); err == nil {
		h.breaker.well(ref, digest)
	}
	return was, err
}
