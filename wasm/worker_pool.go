package wasm

import (
	"context"
	"fmt"
	"strings"
	"sync"
)

// workersMax is how many workers wait for work at most.
const workersMax = 8

// workerPool keeps workers that have loaded their module and wait for an
// attempt. Each runs one and is thrown away, so that nothing can be left over
// from one attempt to the next.
type workerPool struct {
	keep int // workers that wait, for each module and grants

	mu      sync.Mutex
	idle    map[string][]*worker
	count   int
	closed  bool
	filling sync.WaitGroup
	ctx     context.Context // ends when the pool closes
	stop    context.CancelFunc
}

func newWorkerPool(keep int) *workerPool {
	ctx, stop := context.WithCancel(context.Background())
	return &workerPool{keep: keep, idle: map[string][]*worker{}, ctx: ctx, stop: stop}
}

// workerKey tells for what a worker is fit: it is confined to its module and
// grants from its start.
func workerKey(c *code, grants []fsGrant) string {
	var b strings.Builder
	b.WriteString(c.dir)
	for _, g := range grants {
		fmt.Fprintf(&b, "\x00%s\x00%v", g.Path, g.Write)
	}
	return b.String()
}

// take returns a worker that waits, or starts one.
func (p *workerPool) take(ctx context.Context, c *code, grants []fsGrant) (*worker, error) {
	key := workerKey(c, grants)
	for {
		w := p.pop(key)
		if w == nil {
			break
		}
		select {
		case <-w.done: // it has died waiting
			w.close()
			continue
		default:
		}
		p.refill(key, c, grants, p.keep)
		return w, nil
	}
	w, err := startWorker(ctx, c, grants)
	if err == nil {
		p.refill(key, c, grants, p.keep)
	}
	return w, err
}

func (p *workerPool) pop(key string) *worker {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[key]
	if len(list) == 0 {
		return nil
	}
	w := list[len(list)-1]
	p.idle[key] = list[:len(list)-1]
	p.count--
	return w
}

// refill starts workers in the background until so many wait. An attempt that
// meets the same failure reports it.
func (p *workerPool) refill(key string, c *code, grants []fsGrant, upTo int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle[key]) >= upTo {
		return
	}
	p.filling.Go(func() {
		w, err := startWorker(p.ctx, c, grants)
		if err == nil && !p.put(key, w, upTo) {
			w.close()
		}
	})
}

// put keeps a worker, in place of one for another module where there are too
// many; false when it is not wanted.
func (p *workerPool) put(key string, w *worker, upTo int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle[key]) >= upTo {
		return false
	}
	for other, list := range p.idle {
		if p.count < workersMax {
			break
		}
		if other != key && len(list) > 0 {
			last := list[len(list)-1]
			p.idle[other] = list[:len(list)-1]
			p.count--
			p.filling.Go(last.close)
		}
	}
	if p.count >= workersMax {
		return false
	}
	p.idle[key] = append(p.idle[key], w)
	p.count++
	return true
}

// waiting is how many workers wait for work.
func (p *workerPool) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// close ends the workers that wait. None runs: see Runtime.Close.
func (p *workerPool) close() {
	p.mu.Lock()
	p.closed = true
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	p.stop()
	p.filling.Wait()
	for _, list := range idle {
		for _, w := range list {
			w.close()
		}
	}
}
