package wasm

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// pool holds initialised instances of a reactor for one argv and memory limit.
// An instance serves one attempt and is then thrown away. A pool that nobody
// used for a while is emptied.
type pool struct {
	ready chan *instance
	all   *pools
	// coming are the instances that are being made: they count as ready, or
	// attempts that come at a time would each have one made.
	coming atomic.Int32

	mu   sync.Mutex
	used time.Time
	idle *time.Timer
}

// poolDepth bounds one pool.
const poolDepth = 16

// touch notes that the pool is of use.
func (p *pool) touch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used = time.Now()
	if p.idle == nil {
		p.idle = time.AfterFunc(p.all.idle, p.drain)
	} else {
		p.idle.Reset(p.all.idle)
	}
}

// drain throws away what waits. It returns when that is gone.
func (p *pool) drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.idle != nil {
		p.idle.Stop()
	}
	for {
		select {
		case in := <-p.ready:
			p.all.waiting.Add(-1)
			in.close()
		default:
			return
		}
	}
}

func (m *Module) pool(g *guest) *pool {
	key := strconv.FormatUint(g.memory, 10) + "\x00" + strings.Join(g.args, "\x00")
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pools[key]
	if p == nil {
		p = m.owner.pools.add(&pool{ready: make(chan *instance, poolDepth)})
		m.pools[key] = p
	}
	return p
}

// takePooled returns an instance that was made ahead, or nil. Guests with
// files or an environment are never pooled: these belong to the instance.
func (m *Module) takePooled(g *guest) *instance {
	if g.fs != nil || g.env != nil {
		return nil
	}
	p := m.pool(g)
	p.touch()
	select {
	case in := <-p.ready:
		p.all.waiting.Add(-1)
		m.keepReady(p, g)
		return in
	default:
		m.keepReady(p, g)
		return nil
	}
}

// keepReady fills the pool again in the background.
func (m *Module) keepReady(p *pool, g *guest) {
	coming := int(p.coming.Add(1))
	if coming+len(p.ready) > m.owner.cfg.KeepReady || !m.owner.startFilling() {
		p.coming.Add(-1)
		return
	}
	go func() {
		defer m.owner.filling.Done()
		defer p.coming.Add(-1)
		m.fill(context.Background(), p, g)
	}()
}

// fill adds one instance. If that fails, the attempt that needs one will meet
// the error and report it.
func (m *Module) fill(ctx context.Context, p *pool, g *guest) {
	ctx, cancel := context.WithTimeout(ctx, initTimeout)
	defer cancel()
	in, err := m.initialized(ctx, &guest{args: g.args, memory: g.memory})
	if err != nil {
		return
	}
	p.all.makeRoom()
	select {
	case p.ready <- in:
		p.all.waiting.Add(1)
		p.touch()
	default:
		in.close()
	}
}

// startFilling counts a background goroutine, unless the runtime is closing.
func (r *Runtime) startFilling() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.filling.Add(1)
	return true
}
