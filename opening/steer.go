package opening

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/runloop-os/runloop/rmp"
)

// Errors of steering a run.
var (
	// ErrLeft is what a run ends with that was left for another process to go
	// on with; its record says where it stands.
	ErrLeft = errors.New("the run was left as it is; it goes on later")
	// ErrOver is for a command to a run that has ended, or was left.
	ErrOver = errors.New("the run does not go on here")
	// ErrSteer is for a command that does not fit how the run stands.
	ErrSteer = errors.New("that cannot be done now")
)

// Control steers one run from outside while it goes on. Its methods return when
// what they ask for is on record, so that it holds across a restart.
type Control struct {
	commands chan command
	over     chan struct{}
	end      func() // lets go of everybody who waits for the run; once is enough
}

// command is one request to the loop of a run.
type command struct {
	do  func(r *runner) error
	ack chan error
}

// leave is whether the run is to be left unfinished.
type leave int

const (
	stay      leave = iota
	leaveIdle       // when it only waits for people
	leaveNow        // running attempts are given up
)

// NewControl makes the control of one run; it goes into [RunOptions].
func NewControl() *Control {
	c := &Control{commands: make(chan command), over: make(chan struct{})}
	c.end = sync.OnceFunc(func() { close(c.over) })
	return c
}

// incoming is where commands come from; nil for a run that nobody steers.
func (c *Control) incoming() <-chan command {
	if c == nil {
		return nil
	}
	return c.commands
}

// close ends the control of a run that is over; nil has none.
func (c *Control) close() {
	if c != nil {
		c.end()
	}
}

// send has the loop carry out a command.
func (c *Control) send(ctx context.Context, do func(r *runner) error) error {
	cmd := command{do, make(chan error, 1)}
	select {
	case c.commands <- cmd:
	case <-c.over:
		return ErrOver
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-cmd.ack:
		return err
	case <-c.over:
		return ErrOver
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Pause lets running nodes finish and starts no others. by says who asked.
func (c *Control) Pause(ctx context.Context, by string) error {
	inner, err := c.sendAll(ctx, func(r *runner) error {
		if r.m.paused {
			return nil
		}
		r.pauseRun(runMarkRecord{Cause: causeRequest, By: by})
		return nil
	})
	return inner.each(err, func(c *Control) error { return c.Pause(ctx, by) })
}

// Resume ends a pause. agents are digests as in [ResumeOptions].
func (c *Control) Resume(ctx context.Context, by string, agents map[string]string) error {
	inner, err := c.sendAll(ctx, func(r *runner) error {
		if !r.m.paused {
			return nil
		}
		for ref, digest := range agents {
			r.p.Digests[ref] = digest
		}
		r.unpauseRun(runMarkRecord{Cause: causeRequest, By: by, Agents: agents})
		return nil
	})
	return inner.each(err, func(c *Control) error { return c.Resume(ctx, by, agents) })
}

// Step starts the one node of a paused run that is next in the order of the
// file, and gives its id. It is [ErrSteer] when the run is not paused or no node
// is ready.
func (c *Control) Step(ctx context.Context) (node string, err error) {
	err = c.send(ctx, func(r *runner) error {
		if !r.m.paused {
			return fmt.Errorf("%w: the run is not paused", ErrSteer)
		}
		i, ok := r.m.stepNext()
		if !ok {
			return fmt.Errorf("%w: no node is ready; of those that were started %d still run or wait for somebody", ErrSteer, r.m.running)
		}
		node = r.m.g.ids[i]
		r.start(i)
		return nil
	})
	return node, err
}

// Cancel ends the run: running agents are stopped. It returns when that is on
// record, not when they have ended.
func (c *Control) Cancel(ctx context.Context) error {
	return c.send(ctx, func(r *runner) error {
		r.stop(StatusCancelled)
		return nil
	})
}

// Leave has the run end with [ErrLeft] once it only waits for people or, with
// now, at once: running attempts are stopped, and whoever goes on with the run
// begins new ones.
func (c *Control) Leave(ctx context.Context, now bool) error {
	return c.send(ctx, func(r *runner) error {
		if !now {
			r.leaving = max(r.leaving, leaveIdle)
			return nil
		}
		r.leave()
		return nil
	})
}

// leave gives up what runs, and the run with it.
func (r *runner) leave() {
	r.leaving = leaveNow
	for _, a := range r.attempts {
		if a != nil && a.cancel != nil {
			a.cancel(errRunLeft)
		}
	}
}

// Waiting gives the requests for confirmation that parked attempts of the run,
// and of those in it, have made and nobody has decided.
func (c *Control) Waiting(ctx context.Context) (open []*rmp.ActionRequest, err error) {
	inner, err := c.sendAll(ctx, func(r *runner) error {
		for _, a := range r.attempts {
			if a == nil || !a.parked {
				continue
			}
			req, err := r.wireAction(r.actions.open[a.action].req)
			if err != nil {
				return err
			}
			open = append(open, req)
		}
		return nil
	})
	return open, inner.each(err, func(c *Control) error {
		more, err := c.Waiting(ctx)
		open = append(open, more...)
		return err
	})
}

// State reports whether the run is paused, and the digests by reference of the
// agents whose nodes have not finished.
func (c *Control) State(ctx context.Context) (paused bool, agents map[string]string, err error) {
	err = c.send(ctx, func(r *runner) error {
		paused, agents = r.m.paused, map[string]string{}
		for i, n := range r.p.Opening.Nodes {
			if !r.m.nodes[i].state.final() {
				r.p.addAgents(agents, n)
			}
		}
		return nil
	})
	return paused, agents, err
}

// command carries a command out; it is answered when what it did is on record.
func (r *runner) command(cmd command) {
	if err := cmd.do(r); err != nil {
		cmd.ack <- err
		return
	}
	r.batch.acks = append(r.batch.acks, cmd.ack)
}

// mark records one of the marks of a run.
func (r *runner) mark(kind string, rec runMarkRecord) {
	rec.TraceID, rec.Seq = r.ids.trace, r.seq
	r.record(kind, rec)
}

// pauseRun begins a pause.
func (r *runner) pauseRun(why runMarkRecord) {
	r.apply(pause{true})
	r.mark(kindRunPaused, why)
	r.event(kindRunPaused, levelWarn, runMarkMeta{Cause: why.Cause, By: why.By},
		"%s: paused; what runs is finished", r.p.Opening.Name)
}

// unpauseRun ends a pause.
func (r *runner) unpauseRun(why runMarkRecord) {
	r.apply(pause{false})
	r.mark(kindRunResumed, why)
	r.event(kindRunResumed, levelInfo, runMarkMeta{Cause: why.Cause, By: why.By},
		"%s: goes on", r.p.Opening.Name)
}
