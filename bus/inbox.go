package bus

import (
	"context"
	"sync"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// Msg is a frame that was delivered. All subscriptions share it: nothing in it
// may be changed.
type Msg struct {
	rmp.Frame
	// Topic is where it was published.
	Topic string
	// From is the name of the publisher's client. It is what that client
	// says of itself and carries no authority.
	From string

	deadline time.Duration // bus time at which it may no longer be handed over
}

// SubOptions are the choices of a subscriber. The zero value takes every frame
// with the bus's default bounds.
type SubOptions struct {
	// Queue, when set, is the group of subscriptions to the same filter of
	// which only one gets each frame.
	Queue string
	// MaxMessages and MaxBytes bound the queue; 0 is the bus's default.
	MaxMessages int
	MaxBytes    int
}

// Subscription is a bounded queue of the frames whose topics match a filter.
// Its methods are safe for concurrent use.
type Subscription struct {
	target
	inbox gate
	bus   *Bus
	onEnd func() // takes it off its client
	once  sync.Once

	// The queue, under the lock of inbox: inbox.held messages from head on.
	ring      []*Msg // len is a power of two
	head      int
	receivers int           // waiting in Recv
	ready     chan struct{} // wakes one of them
}

// newSubscription returns a queue that is in no tree yet.
func newSubscription(b *Bus, owner, filter string, opts SubOptions) *Subscription {
	s := &Subscription{bus: b, ready: make(chan struct{}, 1)}
	s.target = target{
		filter: filter,
		queue:  opts.Queue,
		owner:  owner,
		gate:   &s.inbox,
		seen:   b.newSeen(),
		end:    s.end,
	}
	s.inbox.put, s.inbox.shares = s.push, true
	s.inbox.maxHeld = orDefault(opts.MaxMessages, b.cfg.QueueMessages)
	s.inbox.maxBytes = orDefault(opts.MaxBytes, b.cfg.QueueBytes)
	s.inbox.patience = b.cfg.LagLimit
	return s
}

// Filter is what was subscribed to.
func (s *Subscription) Filter() string { return s.filter }

// Recv returns the next frame. It waits for one until ctx is done. Frames that
// expired in the queue are dropped. Once the subscription has ended it returns
// why: an [ErrClosed] or [ErrSlowConsumer].
func (s *Subscription) Recv(ctx context.Context) (*Msg, error) {
	for {
		m, err := s.take(ctx)
		if err != nil {
			return nil, err
		}
		if s.bus.clock.now() < m.deadline {
			return m, nil
		}
		s.bus.drop(reasonTTL, m.Topic, &m.Header)
	}
}

// take takes the next message out of the queue.
func (s *Subscription) take(ctx context.Context) (*Msg, error) {
	s.inbox.mu.Lock()
	defer s.inbox.mu.Unlock()
	for s.inbox.held == 0 && s.inbox.err == nil {
		if err := s.sleep(ctx); err != nil {
			s.wake() // what may have woken this receiver is for another
			return nil, err
		}
	}
	if s.inbox.err != nil {
		s.wake()
		return nil, s.inbox.err
	}
	m := s.ring[s.head]
	s.ring[s.head] = nil
	s.head = (s.head + 1) & (len(s.ring) - 1)
	s.inbox.leave(1, len(m.Bytes))
	s.wake()
	return m, nil
}

// sleep waits, without the lock, for a wake-up or the end of ctx.
func (s *Subscription) sleep(ctx context.Context) error {
	s.receivers++
	s.inbox.mu.Unlock()
	var err error
	if done := ctx.Done(); done == nil {
		<-s.ready
	} else {
		select {
		case <-s.ready:
		case <-done:
			err = ctx.Err()
		}
	}
	s.inbox.mu.Lock()
	s.receivers--
	return err
}

// wake wakes a receiver when there is something for it; the lock is held.
func (s *Subscription) wake() {
	if s.receivers == 0 || s.inbox.held == 0 && s.inbox.err == nil {
		return
	}
	select {
	case s.ready <- struct{}{}:
	default: // one is being woken, and passes it on
	}
}

// push appends a letter, which the gate has counted, to the ring.
func (s *Subscription) push(l *letter) {
	if s.inbox.held > len(s.ring) {
		ring := make([]*Msg, max(8, 2*len(s.ring)))
		n := copy(ring, s.ring[s.head:])
		copy(ring[n:], s.ring[:s.head])
		s.ring, s.head = ring, 0
	}
	s.ring[(s.head+s.inbox.held-1)&(len(s.ring)-1)] = l.message()
	s.wake()
}

// Close ends the subscription and lets go of what is queued. Receivers return
// [ErrClosed]. It always returns nil, and may be called again.
func (s *Subscription) Close() error {
	s.end(ErrClosed)
	return nil
}

// end closes the subscription for a reason.
func (s *Subscription) end(why error) {
	s.once.Do(func() {
		s.bus.remove(&s.target)
		if s.onEnd != nil {
			s.onEnd()
		}
		s.inbox.mu.Lock()
		defer s.inbox.mu.Unlock()
		s.inbox.shut(why)
		s.ring, s.inbox.held, s.inbox.bytes = nil, 0, 0
		s.wake()
	})
}

// orDefault returns n, or the default when it is not positive.
func orDefault[T int | time.Duration](n, def T) T {
	if n > 0 {
		return n
	}
	return def
}
