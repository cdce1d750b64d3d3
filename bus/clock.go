package bus

import (
	"sync/atomic"
	"time"
)

// clock tells bus time, which only goes forward, and the time of the day. What
// waits in a queue expires by bus time, so that a step of the system's clock
// does not expire everything at once or keep it for ever.
type clock struct {
	base   time.Time
	wall   func() time.Time
	synced atomic.Int64 // bus time of the last look at the wall clock, in ns
	offset atomic.Int64 // wall clock minus bus time then, in ns
}

// wallEvery is how old a look at the wall clock may be. Reading it costs as
// much as the rest of a delivery, reading the monotonic clock half of that.
const wallEvery = 100 * time.Millisecond

// newClock starts bus time at one second, so that no reading is zero.
func newClock() *clock {
	c := &clock{wall: time.Now, base: time.Now().Add(-time.Second)}
	c.sync(c.now())
	return c
}

// now returns bus time.
func (c *clock) now() time.Duration { return time.Since(c.base) }

// wallMS returns the time of the day at bus time now, in milliseconds since
// the epoch. It may be wallEvery old after a step of the wall clock.
func (c *clock) wallMS(now time.Duration) uint64 {
	if now-time.Duration(c.synced.Load()) > wallEvery {
		c.sync(now)
	}
	return uint64(int64(now)+c.offset.Load()) / uint64(time.Millisecond)
}

// sync looks at the wall clock.
func (c *clock) sync(now time.Duration) {
	c.offset.Store(c.wall().UnixNano() - int64(now))
	c.synced.Store(int64(now))
}
