package wasm

import (
	"slices"
	"time"
)

// virtualStep is how far the virtual clock moves at each reading. A guest that
// waits for time to pass by reading the clock gets somewhere, and two runs of
// the same guest read the same times.
const virtualStep = time.Microsecond

// clockReadingsMax bounds the readings that are put on a tape.
const clockReadingsMax = 100_000

// clock is the time of one attempt. Without the time capability it is virtual:
// it starts at 0 and knows nothing of the host. With it, readings are real and
// recorded, or in a replay taken from the record. A guest has one thread, so a
// clock has no lock.
type clock struct {
	now      func() time.Time // nil: virtual
	start    time.Time
	nanos    int64   // virtual time so far
	readings []int64 // nanoseconds, recorded or still to be replayed
	given    int     // readings that an attempt had before it was parked and has not had again
	replay   bool
	cut      bool // more readings than a tape takes
	off      bool // readings are not recorded
	ranOut   bool // a replay asked for a reading that was not recorded
	soft     bool // a replay may ask for more or fewer readings than were recorded
	last     int64
}

func newVirtualClock() *clock { return &clock{} }

// newRealClock starts a step after 0: Go's runtime takes 0 for a broken clock.
func newRealClock(now func() time.Time) *clock {
	return &clock{now: now, start: now().Add(-virtualStep)}
}

// sinceEpoch tells readings of the two clocks apart: no attempt runs for three
// years, and no host is set to before 1973.
const sinceEpoch = int64(100_000_000 * time.Second)

// newResumedClock goes on with a real clock whose first readings are known.
// Monotonic time goes on from the last one.
func newResumedClock(now func() time.Time, readings []int64) *clock {
	c := newRealClock(now)
	c.readings, c.given = readings, len(readings)
	last := int64(0)
	for _, ns := range readings {
		if ns < sinceEpoch {
			last = max(last, ns)
		}
	}
	c.start = c.start.Add(-time.Duration(last))
	return c
}

func newReplayClock(readings []int64) *clock {
	return &clock{readings: readings, replay: true}
}

// walltime is WASI's realtime clock: seconds and nanoseconds since the epoch.
func (c *clock) walltime() (sec int64, nsec int32) {
	ns := c.read(func(t time.Time) int64 { return t.UnixNano() })
	return ns / 1e9, int32(ns % 1e9)
}

// nanotime is WASI's monotonic clock.
func (c *clock) nanotime() int64 {
	return c.read(func(t time.Time) int64 { return int64(t.Sub(c.start)) })
}

func (c *clock) read(of func(time.Time) int64) int64 {
	switch {
	case c.replay:
		return c.nextReading()
	case c.given > 0:
		c.given--
		return c.readings[len(c.readings)-1-c.given]
	case c.now == nil:
		c.nanos += int64(virtualStep)
		return c.nanos
	}
	ns := of(c.now())
	switch {
	case c.off:
	case len(c.readings) < clockReadingsMax:
		c.readings = append(c.readings, ns)
	default:
		c.cut = true
	}
	return ns
}

// forget stops recording, remember starts it after the readings given, and
// recorded is a clock of the same readings.
func (c *clock) forget() { c.readings, c.cut, c.off = nil, false, true }

func (c *clock) remember(readings []int64) {
	c.readings, c.cut, c.off = slices.Clone(readings), false, false
}

func (c *clock) recorded() *clock { return &clock{readings: c.readings, cut: c.cut} }

func (c *clock) nextReading() int64 {
	switch {
	case len(c.readings) > 0:
		c.last = c.readings[0]
		c.readings = c.readings[1:]
	case c.soft:
		c.last += int64(virtualStep)
	default:
		c.ranOut = true
		return 0
	}
	return c.last
}

// slept moves the virtual clock by the time a guest has slept.
func (c *clock) slept(d time.Duration) {
	if c.now == nil && !c.replay {
		c.nanos += int64(d)
	}
}

// clockJob is a clock that somebody else is to keep.
type clockJob struct {
	Real     bool    `json:"real,omitempty"`
	Replay   bool    `json:"replay,omitempty"`
	Off      bool    `json:"off,omitempty"`
	Soft     bool    `json:"soft,omitempty"`
	Readings []int64 `json:"readings,omitempty"` // to be given first, or alone in a replay
}

func (c *clock) job() clockJob {
	return clockJob{Real: c.now != nil, Replay: c.replay, Off: c.off, Soft: c.soft, Readings: c.readings}
}

func newJobClock(j clockJob) *clock {
	c := newVirtualClock()
	switch {
	case j.Replay:
		c = newReplayClock(j.Readings)
	case j.Real:
		c = newResumedClock(time.Now, j.Readings)
	}
	c.off, c.soft = j.Off, j.Soft
	return c
}

// leftTape reports whether a replay read less or more than was recorded.
func (c *clock) leftTape() bool { return c.replay && !c.soft && (c.ranOut || len(c.readings) > 0) }

// takeOver takes what was read elsewhere for this clock.
func (c *clock) takeOver(readings []int64, cut, left bool) {
	switch {
	case c.replay:
		c.readings, c.ranOut = nil, left
	case c.now != nil:
		n := min(len(readings), clockReadingsMax)
		c.readings, c.cut = readings[:n], cut || n < len(readings)
	}
}

// continueFrom lets monotonic time go on where an earlier clock of the same
// instance stands.
func (c *clock) continueFrom(before *clock) {
	c.nanos += before.nanos
	c.start = c.start.Add(-time.Duration(before.nanos))
}
