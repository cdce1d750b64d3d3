package opening

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// defaultTimeout is for nodes of openings that set none (spec/04 "Running").
const defaultTimeout = 30 * time.Second

// maxLadder is how many crossings a trace keeps.
const maxLadder = 20_000

// Why the context of an attempt ended.
var (
	errAttemptTimeout = errors.New("the attempt took too long")
	errRunStopped     = errors.New("the run was stopped")
	errRunLeft        = errors.New("the run was left to another process")
)

// runner is one run. Everything in it belongs to the goroutine of Run; the
// goroutines of attempts, timers and the watch of actions only send to inbox.
//
// # Who ends when
//
// The goroutine of an attempt ends when its executor returns, which is soon
// after its context ends; Run waits for all of them. Timers send and are done;
// what they send after the end is thrown away because closed is. The watch ends
// with close.
//
// # What comes before what
//
// An attempt sends its output and its crossings before its end, so that they
// are reported before it. Decisions about actions come another way, and are
// taken in before an end is settled. Within a turn of the loop the machine is
// told first, then the store, then the sink, then executors: nobody hears of
// what is not on record, and nothing runs that the record does not know of.
type runner struct {
	e   *Engine
	p   *Plan
	opt RunOptions
	ids ids
	m   *machine
	// limits are the tighter of the opening's and those of opt.
	limits Limits

	inbox  chan any
	closed chan struct{} // ends what would wait to send to inbox

	begun    time.Time
	clock    runClock
	attempts []*attempt // by node, the latest
	live     int        // attempts whose goroutine has not reported
	parked   int        // attempts that wait for a decision outside of a sandbox
	actions  actionBook
	fork     *forking // nil: nothing is taken over
	source   string   // of a fork that is gone on with: the run that it comes from
	ladder   []Crossing
	told     int  // crossings that are on record
	cut      bool // of the ladder
	usage    rmp.Usage
	batch    batch
	seq      int // records so far, for those that must differ from each other

	stopped  Status // why the run was stopped, "" while it was not
	leaving  leave
	goOn     func(context.Context) // instead of starting, for a run that is resumed
	storeErr error
}

// ids are the names of a run that stand in everything it says.
type ids struct {
	trace, opening string
}

// batch is what one turn of the loop wants to have happen. It happens in this
// order: what is recorded, then what is said, then what is done.
type batch struct {
	records []Record
	events  []Event
	starts  []*attempt
	acks    []chan<- error // commands that are carried out by then
}

// Messages to the loop of a run.
type (
	logMsg struct {
		a   *attempt
		log Log
	}
	crossingMsg struct{ crossing Crossing }
	endedMsg    struct {
		a     *attempt
		resp  *Response
		cause error // of the end of its context
	}
	dueMsg    struct{ node int }
	expireMsg struct{ id string } // an action
)

// newRunner gives a run that has not begun.
func newRunner(e *Engine, p *Plan, opt RunOptions) *runner {
	return &runner{
		e: e, p: p, opt: opt, m: newMachine(p.Opening, e.maxParallel()),
		ids:      ids{trace: traceName(opt.TraceID), opening: OpeningID(p.IRHash)},
		inbox:    make(chan any, 64),
		closed:   make(chan struct{}),
		attempts: make([]*attempt, len(p.Opening.Nodes)),
		actions:  actionBook{open: map[string]*openAction{}},
		begun:    e.now(),
		fork:     newForking(opt.Fork, p.Opening),
		limits:   p.Opening.Policy.Limits().Tighter(opt.Limits),
	}
}

// run is the loop: start what may start, write it down, wait for something to
// happen.
func (r *runner) run(ctx context.Context) (*Report, error) {
	defer r.clock.stop()
	cancelled := ctx.Done()
	r.begin(ctx)
	if ctx.Err() != nil {
		r.cancelled(ctx)
	}
	for !r.finished() {
		r.startReady()
		r.flush(ctx)
		r.keepTime()
		if r.finished() {
			break
		}
		select {
		case msg := <-r.inbox:
			r.handle(msg)
			r.handleMore()
		case <-r.actions.news():
			r.handleMore() // the request of an attempt comes before what it asks
			r.syncActions()
		case cmd := <-r.opt.Control.incoming():
			r.handleMore()
			r.command(cmd)
		case <-cancelled:
			cancelled = nil
			r.cancelled(ctx)
		case <-r.clock.expired():
			r.stop(StatusTimeout)
		}
	}
	if r.leaving != stay && !r.m.done() && r.storeErr == nil {
		return nil, ErrLeft
	}
	return r.finish(ctx)
}

// cancelled takes the end of the context: the run is cancelled, or the one that
// it is in is left.
func (r *runner) cancelled(ctx context.Context) {
	if errors.Is(context.Cause(ctx), errRunLeft) {
		r.leave()
		return
	}
	r.stop(StatusCancelled)
}

// begin records that the run starts or goes on.
func (r *runner) begin(ctx context.Context) {
	if r.goOn == nil {
		r.recordStart()
		return
	}
	r.goOn(ctx)
}

// finished reports whether nothing is left to wait for.
func (r *runner) finished() bool {
	over := r.m.done() || r.storeErr != nil || r.leaving == leaveNow || r.leaving == leaveIdle && r.standing()
	return over && r.live == 0 && len(r.batch.starts) == 0
}

// handleMore takes what else has arrived, so that one append records it all.
func (r *runner) handleMore() {
	for range cap(r.inbox) {
		select {
		case msg := <-r.inbox:
			r.handle(msg)
		default:
			return
		}
	}
}

// handle takes one message.
func (r *runner) handle(msg any) {
	switch msg := msg.(type) {
	case logMsg:
		r.output(msg.a, msg.log)
	case crossingMsg:
		if msg.crossing.SchemaID == rmp.CTExecutorAgentResponse {
			r.syncActions() // decisions come before the answer they led to
		}
		r.crossing(msg.crossing)
	case nestedMsg:
		r.nestedEvent(msg)
	case dueMsg:
		if !r.m.stopped {
			r.apply(due{msg.node})
		}
	case expireMsg:
		r.syncActions() // a decision may have come just in time
		r.expired(msg.id)
	case endedMsg:
		r.syncActions()
		r.ended(msg)
	}
}

// apply tells the machine what happened. The runner only tells it what can
// happen, so an error is a bug.
func (r *runner) apply(event any) []change {
	changes, err := r.m.apply(event)
	if err != nil {
		panic("opening: internal error: " + err.Error())
	}
	return changes
}

// startReady begins an attempt of every node that may run now.
func (r *runner) startReady() {
	for i, ok := r.m.next(); ok && r.storeErr == nil && r.leaving != leaveNow; i, ok = r.m.next() {
		r.start(i)
	}
}

// start begins an attempt of a node, unless it is taken over from another run.
func (r *runner) start(i int) {
	r.apply(started{i})
	a := r.newAttempt(i)
	r.attempts[i] = a
	r.recordAttempt(a)
	if !r.reuse(a) {
		r.batch.starts = append(r.batch.starts, a)
	}
}

// flush records the batch, then reports it, then starts what it starts. What
// could not be recorded is not reported, and ends the run.
func (r *runner) flush(ctx context.Context) {
	b := r.batch
	r.batch = batch{}
	defer func() { b.answer(r.storeErr) }()
	if r.storeErr != nil {
		return
	}
	if r.e.Store != nil && len(b.records) > 0 {
		// The record of a cancelled run is written all the same.
		err := r.e.Store.Append(context.WithoutCancel(ctx), b.records)
		if err != nil {
			r.storeErr = fmt.Errorf("the run stopped because it could not be recorded: %w", err)
			r.stop(StatusError)
			b.acks = append(b.acks, r.batch.acks...)
			r.batch = batch{}
			return
		}
	}
	if r.e.Sink != nil {
		for _, ev := range b.events {
			r.e.Sink(ev)
		}
	}
	for _, a := range b.starts {
		r.launch(ctx, a)
	}
}

// answer tells those who gave commands that these are on record, or why not.
func (b *batch) answer(err error) {
	for _, ack := range b.acks {
		ack <- err
	}
}

// stop ends the run: nothing starts any more, and what runs is stopped. The
// first reason counts.
func (r *runner) stop(why Status) {
	if r.stopped != "" {
		return
	}
	r.stopped = why
	if !r.m.done() {
		r.mark(kindRunStopping, runMarkRecord{Status: why})
	}
	for _, c := range r.apply(stop{}) {
		r.settled(c.node)
	}
	for _, a := range r.attempts {
		if a != nil && a.cancel != nil {
			a.cancel(errRunStopped)
		}
		if a != nil && a.timer != nil {
			a.timer.Stop() // a wait of days must not keep the run in memory
		}
	}
	r.endParked()
}

// send passes a message to the loop, unless the run is over.
func (r *runner) send(msg any) {
	select {
	case r.inbox <- msg:
	case <-r.closed:
	}
}

// close lets go of what still waits to send.
func (r *runner) close() {
	close(r.closed)
	r.opt.Control.close()
	r.actions.stop()
}

// crossing adds a rung to the ladder, up to its limit.
func (r *runner) crossing(c Crossing) {
	if len(r.ladder) >= maxLadder {
		r.cut = true
		return
	}
	r.ladder = append(r.ladder, c)
}
