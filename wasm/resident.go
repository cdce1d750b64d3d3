package wasm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// Codes of an [Error] about residents and about agents that crash.
const (
	CodeNotReady         = "not_ready"          // it did not come to its mailbox in time
	CodeMailboxFull      = "mailbox_full"       // too many requests wait for it
	CodeNoReply          = "no_reply"           // it took a request and did not answer it
	CodeReply            = "agent_error"        // it answered that it cannot do it
	CodeNoSpace          = "no_space"           // a message is longer than the room for it
	CodeStopping         = "stopping"           // told to a resident that is to end
	CodeStopped          = "agent_stopped"      // it was stopped while the request waited
	CodeEnded            = "agent_ended"        // it ended by itself, which no resident should
	CodeTooManyResidents = "too_many_residents" // the host has as many as it may
	CodeQuarantined      = "quarantined"        // it crashed again and again
)

// States of a resident, in [AgentState].
const (
	StateStarting    = "starting"    // it has not come to its mailbox yet
	StateReady       = "ready"       // it waits for messages, or works on one
	StateBackoff     = "backoff"     // it ended; it is started again after a while
	StateStopping    = "stopping"    // it was asked to end
	StateStopped     = "stopped"     // it was asked to end and did
	StateFailed      = "failed"      // it cannot be started
	StateQuarantined = "quarantined" // it crashed again and again
	StateIdle        = "idle"        // of other agents: no attempt runs
	StateRunning     = "running"     // of other agents: attempts run
)

// resident is one agent that stays: its mailbox, and a goroutine that starts
// it, and starts it again when it ends.
type resident struct {
	host  *Host
	cfg   ResidentConfig
	ref   string
	box   *mailbox
	count *agentCounters
	stop  chan struct{} // closed when it is to end
	asked sync.Once     // to end
	cut   chan struct{} // closed when it may not go on; revoked is why
	first chan struct{} // closed when it is ready, or will not be
	// firstErr is why it was not ready the first time; set before first is
	// closed. By the time somebody looks, the next try may have begun.
	firstErr error
	begun    sync.Once
	done     chan struct{} // closed when it has ended for good

	mu      sync.Mutex
	state   string
	since   time.Time
	err     error // why it is not running, or did not start
	bundle  *Bundle
	caps    *Caps
	stay    *stay
	revoked *Error

	memory atomic.Pointer[guestMemory] // of the instance, if it is in this process
	pid    atomic.Int64                // where it is; 0 for nowhere
}

// supervise keeps the agent alive until it is asked to end, cannot be started
// or is in quarantine.
func (r *resident) supervise(ctx context.Context) {
	defer close(r.done)
	pumping, stopPump := context.WithCancel(ctx)
	var pump sync.WaitGroup
	pump.Go(func() { r.box.pump(pumping) })
	defer pump.Wait()
	defer stopPump()
	ctx, kill := context.WithCancelCause(context.WithoutCancel(ctx))
	defer kill(context.Canceled)
	defer r.killAfterGrace(kill)()
	wait := backoff{least: r.cfg.BackoffLeast, most: r.cfg.BackoffMost}
	for {
		began := time.Now()
		ready, err := r.live(ctx)
		if final, why := r.judge(ready, err); final {
			r.settle(why)
			return
		}
		if time.Since(began) > steadyAfter {
			wait.reset()
		}
		r.count.restarts.Add(1)
		if !r.pause(wait.wait()) {
			_, why := r.judge(false, nil)
			r.settle(why)
			return
		}
	}
}

// killAfterGrace ends a guest that does not heed the wish to end. The function
// that it returns gives that up.
func (r *resident) killAfterGrace(kill context.CancelCauseFunc) (giveUp func()) {
	over := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		var late <-chan time.Time
		for stop := r.stop; ; {
			select {
			case <-stop:
				late, stop = time.After(r.cfg.StopGrace), nil
			case <-late:
				kill(context.Canceled)
				return
			case <-r.cut: // it gets no grace
				kill(r.why())
				return
			case <-over:
				return
			}
		}
	})
	return func() {
		close(over)
		waiting.Wait()
	}
}

// pause waits to start the agent again; false when it is to end instead.
func (r *resident) pause(d time.Duration) bool {
	select {
	case <-r.stop:
		return false
	case <-r.cut:
		return false
	case <-time.After(d):
		return true
	}
}

// live runs the agent once, to its end, which is always an error but for an
// agent that was asked to end.
func (r *resident) live(ctx context.Context) (ready bool, err error) {
	if r.stopAsked() {
		return false, nil
	}
	a, place, err := r.host.prepare(ctx, r.request())
	if err != nil {
		return false, &permanentError{err}
	}
	if !a.stays() {
		return false, &permanentError{errorf(CodeBundle, "agent %s is no resident any more", r.ref)}
	}
	s := newStay(r.box, r.count, a.wallTime())
	a.req.Budget.DeadlineMillis = r.cfg.ReadyTimeout.Milliseconds()
	s.stop, s.onReady = r.stop, r.ready
	s.join(a, func(l rmp.AgentLog) { r.host.agentLog(ctx, r.ref, l) })
	a.onMemory = func(m *guestMemory) { r.memory.Store(m) }
	r.begin(a, s)
	a.onPlace = func(pid int) { r.pid.Store(int64(pid)) }
	end, err := a.run(ctx, place)
	r.memory.Store(nil)
	r.pid.Store(0)
	r.count.busy.Add(int64(a.cpu))
	if err == nil {
		err = end.err
	}
	ready = s.wasReady()
	if !ready && errors.Is(err, &Error{Code: CodeDeadline}) {
		err = errorf(CodeNotReady, "agent %s did not come to its mailbox within %s", r.ref, r.cfg.ReadyTimeout)
	}
	if err == nil {
		err = errorf(CodeEnded, "the agent ended by itself")
	}
	s.ended(err)
	return ready, err
}

// permanentError is one that trying again does not mend.
type permanentError struct{ error }

func (e *permanentError) Unwrap() error { return e.error }

// judge decides whether an end is final.
func (r *resident) judge(ready bool, err error) (final bool, why error) {
	var permanent *permanentError
	switch {
	case r.why() != nil:
		return true, r.why()
	case r.stopAsked():
		return true, nil
	case errors.As(err, &permanent):
		return true, permanent.error
	}
	how := asError(err)
	r.count.crashed(how.Error())
	r.host.warn(errorf(how.Code, "resident %s: %s", r.ref, how.Message))
	record, qerr := r.host.breaker.crashed(r.ref, r.digest(), how.Error(), true)
	if qerr != nil {
		r.host.warn(qerr)
	}
	if record != nil {
		r.host.warn(record.err())
		return true, record.err()
	}
	r.set(StateBackoff, err)
	if !ready {
		r.box.fail(err)
	}
	r.came(err)
	return false, nil
}

// settle notes the end of the agent. Who waits for it learns why.
func (r *resident) settle(why error) {
	state := StateStopped
	switch {
	case errors.Is(why, &Error{Code: CodeQuarantined}):
		state = StateQuarantined
	case why != nil:
		state = StateFailed
	}
	refuse := why
	if refuse == nil {
		refuse = &Error{Code: CodeStopped, Message: "agent " + r.ref + " was stopped", Retryable: true}
	}
	r.set(state, why)
	r.box.close(refuse)
	r.came(why)
}

// request is what the agent is prepared for: nobody's node, with no input.
func (r *resident) request() *rmp.AgentRequest {
	var id rmp.TraceID
	_, _ = rand.Read(id[:]) // never fails
	return &rmp.AgentRequest{
		Ref: r.ref, Attempt: 1, TraceID: id.UUID(), Seed: make([]byte, 32), Mode: rmp.ModeLive,
	}
}

// ready is told when the agent has come to its mailbox.
func (r *resident) ready() {
	r.set(StateReady, nil)
	r.came(nil)
}

// came tells who waits for the start how it went; only the first time counts.
func (r *resident) came(err error) {
	r.begun.Do(func() {
		r.firstErr = err
		close(r.first)
	})
}

func (r *resident) begin(a *attempt, s *stay) {
	r.set(StateStarting, nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bundle, r.caps, r.stay = a.bundle, a.caps, s
	r.host.beginsUnderPolicy()
}

// footing is what it was allowed when it began, or nil.
func (r *resident) footing() *footing {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bundle == nil || r.over() {
		return nil
	}
	return &footing{r.bundle, r.caps}
}

// revoke ends it at once and for good. It reports whether that is news.
func (r *resident) revoke(why *Error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.revoked != nil {
		return false
	}
	r.revoked = why
	close(r.cut)
	return true
}

// why is why it may not go on, or nil.
func (r *resident) why() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.revoked == nil {
		return nil
	}
	return r.revoked
}

func (r *resident) set(state string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state, r.err, r.since = state, err, time.Now()
}

func (r *resident) digest() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bundle == nil {
		return ""
	}
	return r.bundle.Digest
}

// end asks the agent to end.
func (r *resident) end() {
	r.asked.Do(func() {
		r.mu.Lock()
		if r.state == StateStarting || r.state == StateReady {
			r.state, r.since = StateStopping, time.Now()
		}
		r.mu.Unlock()
		close(r.stop)
	})
}

func (r *resident) stopAsked() bool { return isClosed(r.stop) }

// over reports whether it has ended for good.
func (r *resident) over() bool { return isClosed(r.done) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// started waits until the agent is ready for the first time, or will not be.
func (r *resident) started(ctx context.Context) error {
	waited := !isClosed(r.first)
	select {
	case <-r.first:
	case <-ctx.Done():
		return errorf(CodeCancelled, "agent %s: %v", r.ref, context.Cause(ctx))
	}
	if waited && r.firstErr != nil {
		return r.firstErr
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == StateStopped {
		return errorf(CodeStopped, "agent %s was stopped", r.ref)
	}
	return r.err
}

// describe adds what the agent is like now to its counts.
func (r *resident) describe(s *AgentState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.State, s.SinceMillis = r.state, r.since.UnixMilli()
	if r.err != nil {
		s.Error = r.err.Error()
	}
	if r.bundle != nil {
		s.Digest = r.bundle.Digest
	}
	if r.state == StateReady || r.state == StateStarting || r.state == StateStopping {
		s.UpMillis = time.Since(r.since).Milliseconds()
		s.Working = r.stay.working()
	}
	s.Mailbox = r.box.depth()
	r.describeProcess(s)
}

// describeProcess adds where the agent runs and what it takes there: of this
// process the memory that its guest made usable, of a worker all that is
// resident.
func (r *resident) describeProcess(s *AgentState) {
	s.PID = int(r.pid.Load())
	switch s.PID {
	case 0:
		return
	case os.Getpid():
		s.Placement = string(IsolationInline)
		if m := r.memory.Load(); m != nil {
			s.MemoryBytes = m.size()
		}
	default:
		s.Placement = string(IsolationWorker)
		used := processUse(s.PID)
		s.MemoryBytes = used.resident
		s.BusyMicros += used.cpu.Microseconds()
	}
	r.count.sawMemory(s.MemoryBytes)
	s.PeakBytes = max(s.PeakBytes, s.MemoryBytes)
}

// askResident has a resident do an attempt.
func (h *Host) askResident(ctx context.Context, a *attempt, res *rmp.AgentResponse) *rmp.AgentResponse {
	ctx, watch := newStopwatch(ctx, a.wallTime())
	defer watch.stop()
	a.watch, a.door.watch = watch, watch
	w := &work{ctx: ctx, attempt: a, watch: watch, answer: make(chan workAnswer, 1)}
	m, err := w.mail()
	if err != nil {
		return failed(res, err)
	}
	r, err := h.residents.ensure(ctx, a.req.Ref, a.bundle)
	if err == nil {
		err = r.box.put(m)
	}
	if err != nil {
		return failed(res, err)
	}
	select {
	case answer := <-w.answer:
		memory := r.memory.Load()
		end := ending{}
		if memory != nil {
			end.memory = memory.size()
		}
		a.report(res, &end)
		return answered(res, answer)
	case <-ctx.Done():
		// The resident may be at work on it: what it does from now on is not
		// part of the attempt, and its tape is not to be read here.
		res.TapeCut = true
		return failed(res, killedBy(ctx))
	}
}

func answered(res *rmp.AgentResponse, answer workAnswer) *rmp.AgentResponse {
	if answer.err != nil {
		return failed(res, answer.err)
	}
	res.Status, res.Ports = rmp.StatusOK, answer.ports
	return res
}

// replayResident runs an attempt of a resident again: a new one gets that one
// message. What the agent had kept from earlier messages is not there, and
// where that matters the replay says that it left the tape.
func (h *Host) replayResident(ctx context.Context, a *attempt, place placement, res *rmp.AgentResponse) *rmp.AgentResponse {
	w := &work{ctx: ctx, attempt: a, answer: make(chan workAnswer, 1)}
	m, err := w.mail()
	if err != nil {
		return failed(res, err)
	}
	box := &mailbox{ref: a.req.Ref, requests: make(chan *mail, 1), posts: make(chan *mail)}
	box.requests <- m
	s := newStay(box, h.counters.get(a.req.Ref), a.wallTime())
	s.replay = true
	a.clock.soft = true // how often Go's runtime looks at it depends on what went before
	logs := a.emit
	a.emit = nil // the message's own are passed on
	s.join(a, nil)
	w.attempt = &attempt{req: a.req, bundle: a.bundle, tape: a.tape, door: &door{caller: a.door.caller}, emit: logs}
	end, err := a.run(ctx, place)
	if err != nil {
		return failed(res, err)
	}
	a.report(res, &end)
	if s.answer == nil {
		if end.err == nil {
			end.err = errorf(CodeNoReply, "the agent ended without a reply")
		}
		return failed(res, end.err)
	}
	res.Usage = w.attempt.door.usage
	return answered(res, *s.answer)
}

// agentLog publishes a line of a resident where those listen who want to know
// about it whatever it works on.
func (h *Host) agentLog(ctx context.Context, ref string, l rmp.AgentLog) {
	_, err := h.cfg.Client.Publish(context.WithoutCancel(ctx), &rmp.Message{
		SchemaID: rmp.CTAgentLogLine, TTLMS: uint64(responseTTL.Milliseconds()),
		Meta: rmp.Meta{Topic: "rlp/agents/" + ref + "/log", From: "agent:" + ref}, Payload: &l,
	})
	if err != nil {
		h.warn(fmt.Errorf("log of %s: %w", ref, err))
	}
}
