package runloop

import (
	"context"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
)

// cancelOnInterrupt returns a context that the first Ctrl-C (or SIGTERM)
// cancels. The second ends the process at once. interrupted tells whether
// there was one.
func cancelOnInterrupt(ctx context.Context, io *IO) (out context.Context, interrupted func() bool, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var seen atomic.Bool
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-done:
			return
		case <-signals:
		}
		seen.Store(true)
		io.warnf("cancelling; once more to quit at once")
		cancel()
		signal.Stop(signals) // the next one has its usual effect
	}()
	return ctx, seen.Load, func() {
		signal.Stop(signals)
		close(done)
		<-ended
		cancel()
	}
}

// notifyInterrupts gives each Ctrl-C and SIGTERM; stop gives them their usual
// effect back.
func notifyInterrupts() (signals chan os.Signal, stop func()) {
	signals = make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	return signals, func() { signal.Stop(signals) }
}
