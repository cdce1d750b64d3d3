package runloop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/rmp"
)

// Waits for a daemon that went away in the middle of a run: it may be started
// again, and go on with it.
const (
	reconnectFor   = 5 * time.Second
	reconnectEvery = 250 * time.Millisecond
	resumedWithin  = 5 * time.Second
)

// errLeft ends the following of a run that goes on.
var errLeft = errors.New("left")

// follow shows the run until it ends. Ctrl-C cancels it or, if the person at
// the terminal says so, leaves it to itself.
func (r *remoteRun) follow(ctx context.Context, events *bus.Subscription) error {
	interrupts, stop := notifyInterrupts()
	defer stop()
	err := r.decided(ctx, func() error { return r.read(ctx, events, interrupts) })
	for errors.Is(err, bus.ErrClosed) {
		if events, err = r.reconnect(ctx, err); err == nil && r.end == nil {
			err = r.decided(ctx, func() error { return r.read(ctx, events, interrupts) })
		}
	}
	var report *opening.Report
	if err == nil {
		report = r.report(ctx)
	}
	if verr := r.view.close(report); err == nil {
		err = verr
	}
	switch {
	case errors.Is(err, errLeft):
		return &exitError{code: exitInterrupted, err: errShown}
	case err != nil:
		return err
	}
	if r.show != nil {
		if err := r.show(ctx, report); err != nil {
			return err
		}
	}
	return r.exit()
}

// decided has the person at the terminal, if there is one, decide the run's
// actions while f reads its events.
func (r *remoteRun) decided(ctx context.Context, f func() error) error {
	if !r.io.interactive() {
		return f()
	}
	ui, err := r.io.startDecider(ctx, r.conn, deciderOptions{
		of:    func(id rmp.TraceID) (*ruling, bool) { return nil, id == rmp.TraceID(r.id) },
		pause: r.view.pause, pending: r.pending,
	})
	if err != nil {
		return err
	}
	r.ui = ui
	defer ui.close()
	return f()
}

// read takes events in until the run has ended, or is left.
func (r *remoteRun) read(ctx context.Context, events *bus.Subscription, interrupts <-chan os.Signal) error {
	msgs, errs, end := receive(ctx, events)
	defer end()
	for r.end == nil {
		var err error
		select {
		case msg := <-msgs:
			err = r.event(msg)
		case err = <-errs:
			if errors.Is(err, bus.ErrSlowConsumer) {
				err = exitErrorf(exitFailed, "the events came faster than they could be written; the run goes on: "+
					"rlp runs show %s", r.trace())
			}
		case sig := <-interrupts:
			err = r.interrupt(ctx, sig, interrupts)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// receive reads a subscription into a channel until end is called.
func receive(ctx context.Context, sub *bus.Subscription) (msgs chan *bus.Msg, errs chan error, end func()) {
	ctx, cancel := context.WithCancel(ctx)
	msgs, errs = make(chan *bus.Msg), make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			msg, err := sub.Recv(ctx)
			if err != nil {
				errs <- err
				return
			}
			select {
			case msgs <- msg:
			case <-ctx.Done():
				return
			}
		}
	}()
	return msgs, errs, func() {
		cancel()
		<-done
	}
}

// interrupt is what a signal does: who only looks on leaves, and so does the
// second. Without a terminal, and by default, the run is cancelled.
func (r *remoteRun) interrupt(ctx context.Context, sig os.Signal, more <-chan os.Signal) error {
	leave, twice := r.watch, false
	switch {
	case r.cancelled:
		r.warnf("the run is being cancelled; see: rlp runs show %s", r.trace())
		return errLeft
	case leave:
	case !r.io.interactive():
		r.warnf("cancelling; once more to quit at once")
	case sig == syscall.SIGTERM:
		leave = true // nobody may be there to answer
	default:
		leave, twice = r.askLeave(ctx, more)
	}
	if leave {
		r.warnf("the run goes on; follow it with: rlp runs follow %s", r.trace())
		return errLeft
	}
	r.cancelled = true
	_, err := r.conn.ask(ctx, &ctrlRequest{Op: "run.cancel", TraceID: r.trace()})
	if err == nil && twice {
		return r.interrupt(ctx, sig, more)
	}
	return err
}

// warnf writes a diagnostic line where the view leaves it.
func (r *remoteRun) warnf(format string, args ...any) {
	r.view.pause(func() { r.io.warnf(format, args...) })
}

// askLeave asks whether to leave the run to itself; twice says that the answer
// was another Ctrl-C.
func (r *remoteRun) askLeave(ctx context.Context, more <-chan os.Signal) (leave, twice bool) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-more:
			twice = true
			cancel()
		case <-ctx.Done():
		}
	}()
	var answer string
	r.ui.instead(func() {
		r.view.pause(func() {
			answer = r.io.askLine(ctx, "Cancel the run, or leave it to the daemon? [C/l] ")
		})
	})
	cancel()
	<-done
	return answer == "l" || answer == "leave", twice
}

// reconnect waits for a daemon that is back and goes on with the run there. The
// end of a run that it does not have is taken from the ledger.
func (r *remoteRun) reconnect(ctx context.Context, why error) (*bus.Subscription, error) {
	r.conn.Close()
	r.warnf("the daemon is gone (%v); waiting %s for it", why, reconnectFor)
	gone := exitErrorf(exitNoDaemon, "the daemon is gone (%v); what became of the run: rlp runs show %s", why, r.trace())
	for deadline := time.Now().Add(reconnectFor); ; {
		conn, err := dialDaemon(ctx, r.cfg, r.conn.kind)
		if err == nil {
			r.conn = conn
			break
		}
		if time.Now().After(deadline) {
			return nil, gone
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(reconnectEvery):
		}
	}
	events, err := r.join(ctx)
	if err == nil && r.cancelled && r.end == nil {
		_, err = r.conn.ask(ctx, &ctrlRequest{Op: "run.cancel", TraceID: r.trace()})
	}
	return events, err
}

// join subscribes to the run's events and takes in those that were before.
func (r *remoteRun) join(ctx context.Context) (*bus.Subscription, error) {
	events, err := r.subscribe(ctx)
	if err != nil {
		return nil, err
	}
	state, err := r.state(ctx)
	if err != nil {
		return nil, err
	}
	if state.EventsCut {
		r.warnf("some events of this run were not kept")
	}
	r.catchUp(state.Events)
	return events, nil
}

// state is that of a run which the daemon carries out. One that has just been
// started takes up the runs of the one before, which takes a moment.
func (r *remoteRun) state(ctx context.Context) (*runState, error) {
	for end := time.Now().Add(resumedWithin); ; {
		a, err := r.conn.ask(ctx, &ctrlRequest{Op: "run.get", TraceID: r.trace(), Events: true})
		switch {
		case err != nil:
			return nil, err
		case a.Run.Here:
			return a.Run, nil
		case a.Run.FinishedMS > 0 || time.Now().After(end):
			return nil, exitErrorf(exitNotFound, "the daemon does not carry this run out (the ledger says: %s); "+
				"see: rlp runs show %s", orText(a.Run.Status, "unknown"), r.trace())
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(reconnectEvery):
		}
	}
}

// exit is the error that stands for how the run ended.
func (r *remoteRun) exit() error {
	var meta struct {
		Status  opening.Status
		Success bool
	}
	if err := json.Unmarshal(r.end.Meta, &meta); err != nil {
		return fmt.Errorf("the end of the run: %w", err)
	}
	return runExit(&opening.Report{Status: meta.Status, Success: meta.Success}, r.denied,
		r.cancelled && meta.Status == opening.StatusCancelled)
}
