package wasm

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Causes for which a guest is stopped; context.Cause gives them back.
var (
	errDeadline    = errors.New("deadline")
	errOutputLimit = errors.New("output limit")
	errDiverged    = errors.New("diverged")
	errParked      = errors.New("parked") // it waits for a decision, elsewhere
	errOutputGone  = errors.New("nobody reads the output")
)

// stopwatch ends a context after a time that does not run while it is paused:
// an agent that waits for a person's decision is not late.
type stopwatch struct {
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	timer   *time.Timer
	left    time.Duration
	started time.Time
	paused  int
	other   *stopwatch // is paused along with it; nil for none
}

// newStopwatch returns a context that is cancelled with errDeadline after d of
// unpaused time. stop releases it.
func newStopwatch(ctx context.Context, d time.Duration) (context.Context, *stopwatch) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &stopwatch{cancel: cancel, left: d, started: time.Now()}
	w.timer = time.AfterFunc(d, w.expire)
	return ctx, w
}

// expire ends the context, unless a pause came between the timer and it.
func (w *stopwatch) expire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.paused == 0 {
		w.cancel(errDeadline)
	}
}

func (w *stopwatch) pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.paused++
	if w.paused == 1 {
		w.timer.Stop()
		w.left -= time.Since(w.started)
	}
	if w.other != nil {
		w.other.pause()
	}
}

func (w *stopwatch) resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.paused--
	if w.paused == 0 {
		w.start()
	}
	if w.other != nil {
		w.other.resume()
	}
}

func (w *stopwatch) start() {
	w.started = time.Now()
	w.timer = time.AfterFunc(max(w.left, 0), w.expire)
}

// rearm gives a new time from now on, in place of what is left.
func (w *stopwatch) rearm(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left = d
	if w.paused == 0 {
		w.timer.Stop()
		w.start()
	}
}

// follow makes other pause whenever w does, from now on; nil ends that. w must
// not be paused.
func (w *stopwatch) follow(other *stopwatch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.other = other
}

// kill ends the context for another reason.
func (w *stopwatch) kill(cause error) { w.cancel(cause) }

func (w *stopwatch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
	w.cancel(context.Canceled)
}
