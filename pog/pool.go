package pog

import (
	"context"
	"sync"
)

// pool keeps idle connections of one kind. Its semaphore bounds how many are
// in use at once; whoever waits for one honours its context.
type pool struct {
	open  func() (*conn, error)
	slots chan struct{}

	mu     sync.Mutex
	idle   []*conn
	epoch  int // connections of an earlier epoch are not taken back
	closed bool
}

func newPool(size int, open func() (*conn, error)) *pool {
	return &pool{open: open, slots: make(chan struct{}, size)}
}

// use calls f with a connection that nobody else has.
func (p *pool) use(ctx context.Context, f func(*conn) error) error {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.slots }()
	c, epoch, err := p.take()
	if err != nil {
		return err
	}
	err = f(c)
	p.give(c, epoch, err)
	return err
}

func (p *pool) take() (*conn, int, error) {
	p.mu.Lock()
	epoch := p.epoch
	if p.closed {
		p.mu.Unlock()
		return nil, 0, ErrClosed
	}
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return c, epoch, nil
	}
	p.mu.Unlock()
	c, err := p.open()
	return c, epoch, err
}

// give takes a connection back, unless the file under it was replaced or
// failed.
func (p *pool) give(c *conn, epoch int, err error) {
	code := CodeOf(err)
	broken := code == ErrCorrupt || code == ErrIO
	p.mu.Lock()
	keep := !p.closed && p.epoch == epoch && !broken
	if keep {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if !keep {
		c.close()
	}
}

// reset closes the idle connections and lets those in use be the last.
func (p *pool) reset() { p.drop(false) }

func (p *pool) close() { p.drop(true) }

func (p *pool) drop(forGood bool) {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, p.closed || forGood
	p.epoch++
	p.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}

// openReader opens a file of the store for reading only.
func openReader(d *database) (*conn, error) {
	a := d.access
	a.readOnly = true
	c, err := openConn(d.path, a)
	return c, storageError("open "+d.what, d.path, err)
}
