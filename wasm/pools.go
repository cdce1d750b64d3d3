package wasm

import (
	"sync"
	"sync/atomic"
	"time"
)

// pools are all pools of a runtime. Together they hold a bounded number of
// instances: when there are as many, the pool that was not used for longest
// is emptied.
type pools struct {
	most    int           // instances that wait
	idle    time.Duration // after which a pool is emptied
	waiting atomic.Int64

	mu  sync.Mutex
	all []*pool
}

// Bounds of pools together. An instance in Go has 3 to 4 MiB.
const (
	pooledMost = 32
	pooledIdle = 2 * time.Minute
)

func newPools() *pools { return &pools{most: pooledMost, idle: pooledIdle} }

func (ps *pools) add(p *pool) *pool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p.all = ps
	ps.all = append(ps.all, p)
	return p
}

// makeRoom sees to it that one more instance may wait.
func (ps *pools) makeRoom() {
	for ps.waiting.Load() >= int64(ps.most) {
		p := ps.oldest()
		if p == nil {
			return
		}
		p.drain()
	}
}

// oldest is the pool with instances that was not used for longest, or nil.
func (ps *pools) oldest() (found *pool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	var since time.Time
	for _, p := range ps.all {
		if len(p.ready) == 0 {
			continue
		}
		p.mu.Lock()
		if found == nil || p.used.Before(since) {
			found, since = p, p.used
		}
		p.mu.Unlock()
	}
	return found
}

// drain empties all pools and reports whether there was something in them.
func (ps *pools) drain() bool {
	ps.mu.Lock()
	all := ps.all
	ps.mu.Unlock()
	had := ps.waiting.Load() > 0
	for _, p := range all {
		p.drain()
	}
	return had
}
