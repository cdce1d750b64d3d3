package wasm

import (
	"sync"
	"time"
)

// BreakerConfig says after how many crashes an agent is not run any more. A
// crash is a trap, an overflown stack, too much output or the agent's own
// deadline; a failure that the agent reports itself is none, and neither is the
// end of a run's time. Zero fields mean the defaults.
type BreakerConfig struct {
	// Crashes of a command or reactor within Window, none of its attempts
	// having gone well in between. Default 10 in 10 minutes; negative: never.
	Crashes int
	Window  time.Duration
	// ResidentCrashes of a resident within ResidentWindow. Default 5 in 5
	// minutes.
	ResidentCrashes int
	ResidentWindow  time.Duration
}

func (c BreakerConfig) withDefaults() BreakerConfig {
	if c.Crashes == 0 {
		c.Crashes = 10
	}
	if c.Window <= 0 {
		c.Window = 10 * time.Minute
	}
	if c.ResidentCrashes == 0 {
		c.ResidentCrashes = 5
	}
	if c.ResidentWindow <= 0 {
		c.ResidentWindow = 5 * time.Minute
	}
	return c
}

// breaker counts the crashes of agents and puts those that crash again and
// again into quarantine.
type breaker struct {
	cfg        BreakerConfig
	quarantine *Quarantine

	mu      sync.Mutex
	crashes map[string][]time.Time // by reference and digest; the last few
}

func newBreaker(cfg BreakerConfig, q *Quarantine) *breaker {
	if q == nil {
		q = &Quarantine{}
	}
	return &breaker{cfg: cfg.withDefaults(), quarantine: q, crashes: map[string][]time.Time{}}
}

// check is the error of an agent that is in quarantine.
func (b *breaker) check(ref, digest string) error {
	r, err := b.quarantine.Get(ref, digest)
	if err != nil {
		return err
	}
	if r != nil {
		return r.err()
	}
	return nil
}

// crashed counts a crash, and returns the record when it was one too many.
func (b *breaker) crashed(ref, digest, how string, resident bool) (*QuarantineRecord, error) {
	most, window := b.cfg.Crashes, b.cfg.Window
	if resident {
		most, window = b.cfg.ResidentCrashes, b.cfg.ResidentWindow
	}
	now := time.Now()
	n := b.add(ref+"\x00"+digest, now, window)
	if most < 0 || n < most {
		return nil, nil
	}
	b.well(ref, digest)
	r := QuarantineRecord{Agent: ref, Digest: digest, Since: now.UTC(), Count: n, Last: how}
	return &r, b.quarantine.Add(r)
}

func (b *breaker) add(key string, now time.Time, window time.Duration) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	recent := append(b.crashes[key], now)
	for len(recent) > 0 && now.Sub(recent[0]) > window {
		recent = recent[1:]
	}
	b.crashes[key] = recent
	return len(recent)
}

// well forgets the crashes of an agent: an attempt of it went well, or it
// starts anew.
func (b *breaker) well(ref, digest string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.crashes, ref+"\x00"+digest)
}

// isCrash reports whether an error is an agent's own violent end.
func isCrash(code string) bool {
	switch code {
	case CodeTrap, CodeStackOverflow, CodeDeadline, CodeOutputLimit, CodeWorkerDied, CodeCPULimit, CodeMemoryKill:
		return true
	}
	return false
}
