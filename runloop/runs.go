package runloop

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/rmp"
)

// Bounds of what a daemon keeps of runs.
const (
	runsActiveMax = 64               // at a time
	runsEndedMax  = 200              // that can still be asked for without the ledger
	eventsKeptMax = 8 << 20          // bytes of the events of one run
	endedKept     = 10 * time.Minute // how long an ended run is remembered
	leftWithin    = 10 * time.Second // how long guests may take to be gone
)

// runTable is the runs of a daemon: those that go on, and those that ended
// lately.
type runTable struct {
	session *session

	mu      sync.Mutex
	runs    map[rmp.TraceID]*run
	active  int
	started uint64 // in all
	closed  bool
	going   sync.WaitGroup

	resuming sync.Mutex // held while a run is taken over
}

// run is one run of a daemon.
type run struct {
	id      uuid.UUID
	plan    *opening.Plan
	policy  *ruling // nil: a user interface decides
	limits  opening.Limits
	fork    *opening.Fork // nil: it begins from nothing, or is gone on with
	started time.Time
	ctl     *opening.Control
	done    chan struct{}

	mu     sync.Mutex
	events []opening.Event
	kept   int  // bytes of them
	cut    bool // there were more
	paused bool
	ending bool // its end is published
	ended  time.Time
	report *opening.Report
	err    error
}

func newRunTable(s *session) *runTable {
	return &runTable{session: s, runs: map[rmp.TraceID]*run{}}
}

// start begins a run, once for each id, and returns when that is on record. It goes on by itself, whatever becomes
// of its client.
func (t *runTable) start(ctx context.Context, r *run) error {
	if t.get(rmp.TraceID(r.id)) != nil {
		return nil // it was submitted before
	}
	if active, _ := t.counts(); active >= runsActiveMax {
		return &ctrlError{"busy", "there are too many runs at a time; try again when one has ended"}
	}
	owner, err := t.session.owners().take(r.id)
	if errors.Is(err, errOwned) {
		return nil
	}
	if err != nil {
		return err
	}
	r.started = time.Now()
	opt := opening.RunOptions{TraceID: r.id, Flags: r.policy.flags(), Fork: r.fork, Limits: r.limits}
	r.fork = nil // the engine holds its source for as long as it runs
	_, err = t.begin(r, owner, func(ctx context.Context, e *opening.Engine, ctl *opening.Control) (*opening.Report, error) {
		opt.Control = ctl
		return e.Run(ctx, r.plan, opt)
	})
	if err != nil {
		owner.release(true)
		return err
	}
	return r.onRecord(ctx)
}

// onRecord waits until the beginning of a run is on disk: what is accepted is not
// lost. The loop of a run takes no command before.
func (r *run) onRecord(ctx context.Context) error {
	_, _, err := r.ctl.State(ctx)
	if !errors.Is(err, opening.ErrOver) {
		return err
	}
	<-r.done // it has ended, or could not begin
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// doRun starts a run or goes on with it, and returns when it has ended.
type doRun func(context.Context, *opening.Engine, *opening.Control) (*opening.Report, error)

// begin has a run of this process carried out.
func (t *runTable) begin(r *run, owner *runOwner, do doRun) (*run, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, &ctrlError{"shutting_down", "the daemon is shutting down; it takes no more runs"}
	}
	r.ctl, r.done = opening.NewControl(), make(chan struct{})
	t.forgetOld()
	t.runs[rmp.TraceID(r.id)] = r
	t.active++
	t.started++
	t.going.Go(func() { t.carryOut(r, owner, do) })
	return r, nil
}

// forgetOld drops ended runs that are old or too many. The caller has the lock.
func (t *runTable) forgetOld() {
	var ended []*run
	for _, r := range t.runs {
		if at := r.endedAt(); !at.IsZero() {
			ended = append(ended, r)
		}
	}
	slices.SortFunc(ended, func(a, b *run) int { return a.endedAt().Compare(b.endedAt()) })
	for i, r := range ended {
		if len(ended)-i > runsEndedMax || time.Since(r.endedAt()) > endedKept {
			delete(t.runs, rmp.TraceID(r.id))
		}
	}
}

func (t *runTable) carryOut(r *run, owner *runOwner, do doRun) {
	s := t.session
	s.host.Warm(context.Background(), r.plan.Refs())
	engine, release := s.engine(r.keep)
	report, err := do(context.Background(), engine, r.ctl)
	release()
	left := errors.Is(err, opening.ErrLeft)
	if !left {
		s.broker.EndRun("trace:" + r.id.String())
	}
	if err != nil && !left {
		s.warn(err)
	}
	r.mu.Lock()
	r.report, r.err, r.ended = report, err, time.Now()
	r.mu.Unlock()
	owner.release(err == nil)
	close(r.done)
	t.mu.Lock()
	t.active--
	t.mu.Unlock()
}

func (r *run) endedAt() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended
}

// keep remembers an event for those who ask later.
func (r *run) keep(ev opening.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch ev.Kind {
	case "run.paused":
		r.paused = true
	case "run.resumed":
		r.paused = false
	case "run.finished":
		r.ending = true
	}
	size := len(ev.Message) + len(ev.Meta) + 200
	if r.kept+size > eventsKeptMax && ev.Kind != "run.finished" {
		r.cut = true
		return
	}
	r.kept += size
	r.events = append(r.events, ev)
}

// settled waits until a run whose end is published has its report. Who hears of
// the end may ask for the report before the engine has given it.
func (r *run) settled(ctx context.Context) {
	r.mu.Lock()
	ending := r.ending
	r.mu.Unlock()
	if !ending {
		return
	}
	select {
	case <-r.done:
	case <-ctx.Done():
	}
}

// get returns a run that goes on or ended lately.
func (t *runTable) get(id rmp.TraceID) *run {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.runs[id]
}

// rulingOf is how the actions of a run are decided; false leaves it to a user
// interface.
func (t *runTable) rulingOf(id rmp.TraceID) (*ruling, bool) {
	r := t.get(id)
	if r == nil || r.policy == nil {
		return nil, false
	}
	return r.policy, true
}

// counts are the runs that go on, and all that were started.
func (t *runTable) counts() (active int, started uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.active, t.started
}

// drain takes no more runs and waits for those that go on. Runs that only wait
// for people are left as they are at once, all others when ctx ends: their
// record is whole, and the next daemon goes on with them.
func (t *runTable) drain(ctx context.Context) {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		t.going.Wait()
		close(ended)
	}()
	t.leave(ctx, false)
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	late, cancel := context.WithTimeout(context.Background(), leftWithin)
	defer cancel()
	t.leave(late, true)
	select {
	case <-ended:
	case <-late.Done():
		t.session.io.warnf("some agents did not end within %s", leftWithin)
	}
}
