package bus

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// verdict is what became of one copy of a frame.
type verdict uint8

const (
	queued    verdict = iota // in the queue
	duplicate                // this subscription had it
	full                     // no room: the copy is dropped
	stuck                    // no room for so long that the queue's owner must go
	waiting                  // no room yet: the publisher is in line
	gone                     // closed
)

// gate is the bounded entrance of a queue: the inbox of one subscription, or
// the outbox of a connection. Its owner embeds it and keeps the queue itself
// under the same lock. When there is no room, publishers stand in line; who
// makes room lets them in, in order.
type gate struct {
	mu       sync.Mutex
	put      func(*letter) // appends to the owner's queue; mu is held
	settle   func()        // has the owner call leave for what left unseen; mu is held; may be nil
	wake     func()        // tells the owner that something was put; without mu; may be nil
	shares   bool          // the queue keeps l.message(), not a copy of l.Bytes
	held     int           // frames inside
	bytes    int           // their size
	maxHeld  int
	maxBytes int
	line     []*waiter
	lined    atomic.Bool   // there is a line: who takes out must say so at once
	behind   time.Duration // bus time of the drop since which it lags, 0 when it keeps up
	patience time.Duration // how long it may lag, negative when it never does
	dropped  uint64
	err      error // why it is closed
}

// waiter is a publisher that waits for room. The letter stays valid until
// the verdict is there, since its publisher does not go on before.
type waiter struct {
	gate  *gate
	l     *letter
	seen  *seenSet // forgets the copy when it is dropped, under the gate's lock
	to    *target
	group *group // forgets the copy when it is dropped, if there is one
	done  chan verdict
}

// offer puts a letter into the queue, or says why not. A patient publisher
// gets a waiter when there is no room, unless the queue lags already.
func (g *gate) offer(l *letter, seen *seenSet, patient bool) (verdict, *waiter) {
	g.mu.Lock()
	v, w := g.offerLocked(l, seen, patient)
	g.mu.Unlock()
	g.awake(v == queued)
	return v, w
}

// awake tells the owner that something was put.
func (g *gate) awake(put bool) {
	if put && g.wake != nil {
		g.wake()
	}
}

// offerLocked is offer with the lock held.
func (g *gate) offerLocked(l *letter, seen *seenSet, patient bool) (verdict, *waiter) {
	if g.err != nil {
		return gone, nil
	}
	if seen != nil && seen.add(&l.key, l.now) {
		return duplicate, nil
	}
	if g.behind != 0 {
		g.unseen() // it may have caught up
	}
	if g.room(l) {
		g.enter(l)
		return queued, nil
	}
	if patient && g.behind == 0 {
		if g.shares {
			l.message() // before others can get at the letter
		}
		w := &waiter{gate: g, l: l, seen: seen, done: make(chan verdict, 1)}
		g.line = append(g.line, w)
		g.lined.Store(true)
		g.unseen() // what left before that was stored
		return waiting, w
	}
	return g.refuse(l, seen, l.now), nil
}

// tryOffer puts a letter into the queue if there is room, and leaves no trace
// if there is none.
func (g *gate) tryOffer(l *letter) bool {
	g.mu.Lock()
	put := g.err == nil && g.room(l)
	if put {
		g.enter(l)
	}
	g.mu.Unlock()
	g.awake(put)
	return put
}

// room reports whether l may enter now: nobody stands in line, and it fits.
func (g *gate) room(l *letter) bool {
	if len(g.line) > 0 {
		return false
	}
	if g.fits(l) {
		return true
	}
	g.unseen()
	return g.fits(l)
}

// unseen takes notice of what left the queue without the lock.
func (g *gate) unseen() {
	if g.settle != nil {
		g.settle()
	}
}

// refuse counts a dropped copy. The owner that has lagged for too long is
// stuck.
func (g *gate) refuse(l *letter, seen *seenSet, now time.Duration) verdict {
	if seen != nil {
		seen.remove(&l.key)
	}
	g.dropped++
	if g.patience < 0 {
		return full
	}
	if g.behind == 0 {
		g.behind = max(now, 1)
	}
	if now-g.behind >= g.patience {
		return stuck
	}
	return full
}

// fits reports whether there is room. An empty queue takes a frame of any
// size, or a large one could never pass.
func (g *gate) fits(l *letter) bool {
	return g.held == 0 || g.held < g.maxHeld && g.bytes+len(l.Bytes) <= g.maxBytes
}

// enter puts a letter into the queue.
func (g *gate) enter(l *letter) {
	g.held++
	g.bytes += len(l.Bytes)
	g.put(l)
}

// leave tells the gate, whose lock is held, that frames have left the queue.
// Publishers are let in once an eighth of it is free, so that a busy queue
// does not wake one for each frame.
func (g *gate) leave(frames, size int) {
	g.held -= frames
	g.bytes -= size
	if g.behind != 0 && g.held <= g.maxHeld/2 && g.bytes <= g.maxBytes/2 {
		g.behind = 0
	}
	if len(g.line) == 0 || g.held > g.maxHeld-g.maxHeld/8 || g.bytes > g.maxBytes-g.maxBytes/8 {
		return
	}
	for len(g.line) > 0 && g.fits(g.line[0].l) {
		w := g.line[0]
		g.line = slices.Delete(g.line, 0, 1)
		g.enter(w.l)
		w.done <- queued
	}
	g.lined.Store(len(g.line) > 0)
}

// end ends the wait of w at now: its copy goes in if there is room and nobody
// stands before it, and is dropped otherwise.
func (w *waiter) end(now time.Duration) verdict {
	w.gate.mu.Lock()
	v := w.endLocked(now)
	w.gate.mu.Unlock()
	w.gate.awake(v == queued)
	return v
}

// endLocked is end with the lock held.
func (w *waiter) endLocked(now time.Duration) verdict {
	g := w.gate
	g.unseen()
	i := slices.Index(g.line, w)
	if i < 0 {
		return <-w.done
	}
	g.line = slices.Delete(g.line, i, i+1)
	g.lined.Store(len(g.line) > 0)
	if i == 0 && g.fits(w.l) {
		g.enter(w.l)
		return queued
	}
	return g.refuse(w.l, w.seen, now)
}

// shut closes the gate with a reason; mu is held. Later offers are refused.
func (g *gate) shut(err error) {
	g.err = err
	for _, w := range g.line {
		w.done <- gone
	}
	g.line = nil
}
