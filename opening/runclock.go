package opening

import "time"

// runClock measures the time that a run may take (policy.timeout_ms, Limits). It
// stands still while nothing can happen by itself: while the run is paused or
// waits for people, and while no process has it.
type runClock struct {
	spent time.Duration // up to the last time that it stood
	since time.Time     // it has been running; zero while it stands
	timer *time.Timer   // goes off when the time is over; nil while it stands
}

// spentAt is how much time has been used up.
func (c *runClock) spentAt(now time.Time) time.Duration {
	if c.since.IsZero() {
		return c.spent
	}
	return c.spent + now.Sub(c.since)
}

// expired has a value when the time is over.
func (c *runClock) expired() <-chan time.Time {
	if c.timer == nil {
		return nil
	}
	return c.timer.C
}

// stop lets the clock stand.
func (c *runClock) stop() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}

// keepTime lets the clock of the run stand or go, as what is going on demands.
func (r *runner) keepTime() {
	now, stands := r.e.now(), r.standing()
	switch c := &r.clock; {
	case stands == c.since.IsZero():
	case stands:
		c.spent, c.since = c.spentAt(now), time.Time{}
		c.stop()
	default:
		c.since = now
		if r.limits.TimeoutMS > 0 && r.stopped == "" {
			c.timer = time.NewTimer(r.runLeft(now))
		}
	}
}

// standing reports whether nothing goes on until somebody outside does
// something.
func (r *runner) standing() bool {
	if r.live > 0 || len(r.batch.starts) > 0 || r.m.done() {
		return false
	}
	return r.m.paused || r.parked > 0 && r.m.running == r.parked && r.m.inBackoff == 0
}
