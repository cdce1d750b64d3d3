package wasm

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// Causes for which a resident is stopped besides those of any guest.
var (
	errStopping = errors.New("the agent is to end")
	errReplied  = errors.New("it has replied, which is all that a replay wants")
)

// stay is one life of a resident, from its start to its end. While the agent
// works on a request, what it asks for is asked by that attempt: it counts
// against the attempt's budget, under its trace, and is on its tape. A guest
// has one thread, and what is here without the lock is touched by it alone.
type stay struct {
	agent *attempt // the resident's own, of no node
	box   *mailbox
	count *agentCounters
	limit time.Duration // for one message
	// replay: the stay is for one message, and the tape is that of the attempt.
	replay bool
	stop   chan struct{} // closed when the agent is asked to end

	onReady func()
	isReady sync.Once
	came    atomic.Bool // it is ready

	started bool // it has come to its mailbox
	startup startupTape
	cur     *mail // that it works on
	home    window
	answer  *workAnswer // in a replay

	mu   sync.Mutex
	busy string // id of cur, for those who look on
}

// window is what changes while an attempt's work is done.
type window struct {
	caller Caller
	usage  rmp.Usage
	denied map[denial]int
	// effects counts actions of the attempt, which names them.
	effects map[string]uint64
	ctx     context.Context // of the hostcalls
	end     func()
}

func newStay(box *mailbox, count *agentCounters, limit time.Duration) *stay {
	return &stay{
		box: box, count: count, limit: limit,
		stop: make(chan struct{}), onReady: func() {},
	}
}

// join makes a the attempt that leads this life. logs gets what is not said
// on behalf of a message.
func (s *stay) join(a *attempt, logs func(rmp.AgentLog)) {
	s.agent, a.stay, a.door.stay = a, s, s
	a.emit = func(l rmp.AgentLog) { s.log(logs, l) }
}

func (s *stay) wasReady() bool { return s.came.Load() }

// markReady notes that the agent is: spawn waits for it. The time for getting
// there is over, that for a message begins.
func (s *stay) markReady() {
	s.isReady.Do(func() {
		s.agent.watch.rearm(s.limit)
		s.came.Store(true)
		s.onReady()
	})
}

// errMailSize says that a message is longer than the guest has room for.
var errMailSize = errors.New("the message does not fit")

// receive waits for the next message. It does not count against the agent's
// time. Nil is no message within wait. One that does not fit stays where it
// is, with errMailSize.
func (s *stay) receive(ctx context.Context, d *door, wait time.Duration, fits func(*mail) bool) (*mail, error) {
	s.leave(ctx, d, workAnswer{err: errorf(CodeNoReply, "the agent went back to its mailbox without a reply")})
	s.settle()
	s.agent.stdout.renew()
	s.agent.stderr.renew()
	s.agent.logged.renew()
	s.markReady()
	if s.replay && s.answer != nil {
		d.watch.kill(errReplied)
		return nil, errGuestEnds
	}
	d.watch.pause()
	m, err := s.box.take(ctx, s.stop, wait)
	d.watch.rearm(s.limit)
	d.watch.resume()
	if m == nil {
		return nil, err
	}
	if !fits(m) {
		s.box.unlook(m)
		return nil, errMailSize
	}
	s.enter(ctx, d, m)
	return m, nil
}

// settle ends the start of the agent: what it asked until now is the beginning
// of every tape, and what it asks between two requests is on none.
func (s *stay) settle() {
	if s.started {
		return
	}
	s.started = true
	a := s.agent
	if s.replay {
		return
	}
	s.startup = startupTape{
		calls: a.tape.calls, size: a.tape.size, cut: a.tape.cut || a.clock.cut, readings: a.clock.readings,
	}
	*a.tape = tape{cut: true}
	a.clock.forget()
}

// enter begins the work on a message.
func (s *stay) enter(ctx context.Context, d *door, m *mail) {
	s.cur = m
	s.setBusy(m.ID)
	s.count.messages.Add(1)
	if m.work == nil {
		return
	}
	w := m.work
	s.home = window{caller: d.caller, usage: d.usage, denied: d.denied, effects: d.effects}
	d.caller, d.usage, d.denied, d.effects = w.attempt.door.caller, rmp.Usage{}, nil, nil
	s.home.ctx, s.home.end = workContext(ctx, w.ctx)
	d.watch.follow(w.watch)
	if g, ok := ctx.Value(guestKey{}).(*guest); ok {
		g.random = newRandom(w.attempt.seed())
	}
	if !s.replay {
		*d.tape = s.startup.tape()
		s.agent.clock.remember(s.startup.readings)
	}
}

// workContext is ctx, until work does not count any more.
func workContext(ctx, work context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(work, func() { cancel(context.Cause(work)) })
	return ctx, func() {
		stop()
		cancel(context.Canceled)
	}
}

// leave ends the work on a message with an answer.
func (s *stay) leave(ctx context.Context, d *door, answer workAnswer) {
	m := s.cur
	if m == nil {
		return
	}
	s.cur = nil
	s.setBusy("")
	if m.work == nil {
		return
	}
	s.report(d, m.work)
	d.close(ctx)
	d.watch.follow(nil)
	s.home.end()
	d.caller, d.denied, d.effects = s.home.caller, s.home.denied, s.home.effects
	d.usage = addUsage(s.home.usage, d.usage)
	if s.replay {
		s.answer = &answer
		return
	}
	*d.tape = tape{cut: true}
	s.agent.clock.forget()
	m.work.give(answer)
}

// report gives the attempt what was recorded for it.
func (s *stay) report(d *door, w *work) {
	a := w.attempt
	a.door.usage = d.usage
	if s.replay {
		return
	}
	*a.tape = *d.tape
	a.clock = s.agent.clock.recorded()
	a.finishTape()
}

func addUsage(a, b rmp.Usage) rmp.Usage {
	return rmp.Usage{TokensIn: a.TokensIn + b.TokensIn, TokensOut: a.TokensOut + b.TokensOut, USD: a.USD + b.USD}
}

// perform carries a hostcall out for whoever the agent works for.
func (s *stay) perform(ctx context.Context, d *door, op string, args []byte) ([]byte, error) {
	if s == nil || s.cur == nil || s.cur.work == nil {
		return d.perform(ctx, op, args)
	}
	gone := errorf(CodeCancelled, "%s: nobody waits for this message any more; take the next", op)
	work := s.home.ctx
	if work.Err() != nil {
		return nil, gone
	}
	ok, err := d.perform(work, op, args)
	if work.Err() != nil && ctx.Err() == nil {
		return nil, gone
	}
	return ok, err
}

// log passes a line on to whom it concerns: the one who waits for the message,
// under its name, and all who listen to the agent.
func (s *stay) log(own func(rmp.AgentLog), l rmp.AgentLog) {
	if s.cur != nil && s.cur.work != nil {
		a := s.cur.work.attempt
		l.TraceID, l.Node, l.Attempt = a.req.TraceID, a.req.Node, a.req.Attempt
		if a.emit != nil {
			a.emit(l)
		}
	}
	if own != nil {
		own(l)
	}
}

// ended answers what the agent was working on when it ended.
func (s *stay) ended(err error) {
	if m := s.cur; m != nil && m.work != nil {
		s.home.end()
		m.work.fail(err)
	}
	s.cur = nil
	s.setBusy("")
}

func (s *stay) setBusy(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = id
}

// working is the id of the message that the agent works on, or "". A nil stay
// has not begun.
func (s *stay) working() string {
	if s == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.busy
}
