package wasm

import (
	"math/rand/v2"
	"time"
)

// backoff is how long to wait before an agent that ended is started again:
// twice as long each time, up to most, and anything from half of that to all
// of it, so that agents which fell together do not rise together.
type backoff struct {
	least, most time.Duration
	next        time.Duration
}

const (
	backoffLeast = 200 * time.Millisecond
	backoffMost  = 30 * time.Second
	// steadyAfter is how long a resident has to live to be taken for healthy.
	steadyAfter = time.Minute
)

// wait returns the time to wait now.
func (b *backoff) wait() time.Duration {
	if b.next == 0 {
		b.next = b.least
	}
	d := b.next
	b.next = min(2*b.next, b.most)
	return d/2 + rand.N(d/2+1)
}

// reset begins anew.
func (b *backoff) reset() { b.next = 0 }
