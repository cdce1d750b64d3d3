package bus

import (
	"context"
	"sync"
	"sync/atomic"
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
	// Peer is who published it through a socket, nil for a member in this
	// process. It is not to be changed.
	Peer *Peer

	deadline time.Duration // bus time at which it may no longer be handed over
	mem      []byte        // of Bytes, when it may be used again after Next
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
	// KeepLagging keeps a subscription that loses frames for longer than
	// [Config.LagLimit]. Each publisher then waits for room, up to
	// [Config.PublishWait], each time: it slows down those who fill it.
	KeepLagging bool
}

// Subscription is a bounded queue of the frames whose topics match a filter.
// Its methods are safe for concurrent use.
type Subscription struct {
	target
	inbox gate
	bus   *Bus
	conn  *Conn  // that frames come through, nil in process
	onEnd func() // takes it off its client
	once  sync.Once

	// What a receiver took out of the ring in one go and was not asked for
	// yet: most calls of Recv need no more than this lock, for which no
	// publisher waits. It comes before that of inbox. All of it counts as
	// held; left is what inbox was not told yet.
	outMu sync.Mutex
	out   []*Msg // oldest first
	spare []*Msg // its memory
	few   bool   // out was so short that each message that leaves matters
	gone  uint64 // left since the last time that left was told
	last  *Msg   // that Next returned
	used  []*Msg // that Next returned before
	left  atomic.Uint64

	// The queue, under the lock of inbox.
	ring   []*Msg       // len is a power of two
	head   int          // of the oldest
	ringed atomic.Int32 // how many there are; changes under the lock
	free   []*Msg       // may be used again

	receivers atomic.Int32  // waiting in Recv; grows under the lock of inbox
	ready     chan struct{} // wakes one of them
}

// A receiver takes a quarter of the ring out at once, but no more than maxTake
// messages, and at least one.
const maxTake = 16

// leftFrame is one frame in left; the bits below are for bytes.
const leftFrame = 1 << 40

// newSubscription returns a queue that is in no tree yet.
func newSubscription(b *Bus, owner, filter string, opts SubOptions) *Subscription {
	s := &Subscription{bus: b, ready: make(chan struct{}, 1)}
	s.target = target{
		filter: filter,
		queue:  opts.Queue,
		owner:  owner,
		gate:   &s.inbox,
		seen:   b.newSeen(),
		sub:    s,
		end:    s.end,
	}
	s.inbox.put, s.inbox.settle, s.inbox.wake, s.inbox.shares = s.push, s.settle, s.wake, true
	s.inbox.maxHeld = orDefault(opts.MaxMessages, b.cfg.QueueMessages)
	s.inbox.maxBytes = orDefault(opts.MaxBytes, b.cfg.QueueBytes)
	s.inbox.patience = b.cfg.LagLimit
	if opts.KeepLagging {
		s.inbox.patience = -1
	}
	return s
}

// Filter is what was subscribed to.
func (s *Subscription) Filter() string { return s.filter }

// Queued is how many frames wait.
func (s *Subscription) Queued() int { return s.stats().Messages }

// Recv returns the next frame. It waits for one until ctx is done. Frames that
// expired in the queue are dropped. Once the subscription has ended it returns
// why: an [ErrClosed] or [ErrSlowConsumer].
//
// When there are many, some of them are taken out of the queue at once, and
// their time to live is checked then.
func (s *Subscription) Recv(ctx context.Context) (*Msg, error) { return s.recv(ctx, false) }

// Next is [Subscription.Recv] for one goroutine that works through a stream:
// the message is valid until the next call of Next. When it came through a
// socket its memory is then used again, so that a stream leaves no garbage.
func (s *Subscription) Next(ctx context.Context) (*Msg, error) { return s.recv(ctx, true) }

// recv is both.
func (s *Subscription) recv(ctx context.Context, reuse bool) (*Msg, error) {
	for {
		m, late, err := s.pop(reuse)
		for _, l := range late {
			s.bus.drop(reasonTTL, l.Topic, &l.Header)
		}
		if m != nil || err != nil {
			return m, err
		}
		if len(late) > 0 {
			continue
		}
		if s.conn != nil {
			m, err = s.conn.readFor(ctx, s)
		} else {
			err = s.sleep(ctx)
		}
		if err != nil {
			return nil, err
		}
		if m != nil {
			s.keep(m, reuse)
			return m, nil
		}
	}
}

// keep remembers a message of which the memory may be used again.
func (s *Subscription) keep(m *Msg, reuse bool) {
	if reuse {
		s.outMu.Lock()
		defer s.outMu.Unlock()
		s.last = m
	}
}

// pop returns the next message that is there, or none, and messages that
// expired in the queue.
func (s *Subscription) pop(reuse bool) (m *Msg, late []*Msg, err error) {
	s.outMu.Lock()
	defer s.outMu.Unlock()
	if s.last != nil {
		s.used = append(s.used, s.last)
		s.last = nil
	}
	if len(s.out) == 0 {
		if late, err = s.take(); err != nil || len(s.out) == 0 {
			return nil, late, err
		}
	}
	m = s.out[0]
	s.out[0] = nil
	s.out = s.out[1:]
	if reuse && m.mem != nil {
		s.last = m
	}
	s.gone += leftFrame + uint64(len(m.Bytes))
	lined := s.inbox.lined.Load()
	if lined || s.few || len(s.out) == 0 {
		s.left.Add(s.gone)
		s.gone = 0
	}
	if lined {
		s.inbox.mu.Lock()
		defer s.inbox.mu.Unlock()
		s.settle()
	}
	return m, late, nil
}

// settle tells inbox, whose lock is held, what has left.
func (s *Subscription) settle() {
	if left := s.left.Swap(0); left != 0 {
		s.inbox.leave(int(left/leftFrame), int(left%leftFrame))
		if s.ringed.Load() > 0 {
			s.wake() // who was let in is for a receiver that waits
		}
	}
}

// take moves messages from the ring to s.out, and returns those that have
// expired.
func (s *Subscription) take() (late []*Msg, err error) {
	s.inbox.mu.Lock()
	defer s.inbox.mu.Unlock()
	s.settle()
	if s.inbox.err != nil {
		s.wake() // the others too
		return nil, s.inbox.err
	}
	s.free = append(s.free, s.used...)
	s.used = s.used[:0]
	if s.ringed.Load() == 0 {
		return nil, nil
	}
	s.out = s.spare[:0]
	now, n := s.bus.clock.now(), min(int(s.ringed.Load())/4+1, maxTake)
	s.few = n < maxTake
	for range n {
		m := s.ring[s.head]
		s.ring[s.head] = nil
		s.head = (s.head + 1) & (len(s.ring) - 1)
		s.ringed.Add(-1)
		if now < m.deadline {
			s.out = append(s.out, m)
		} else {
			late = append(late, m)
			s.inbox.leave(1, len(m.Bytes))
		}
	}
	s.spare = s.out
	if s.ringed.Load() > 0 {
		s.wake() // another receiver
	}
	return late, nil
}

// sleep waits until there may be something, or for the end of ctx.
func (s *Subscription) sleep(ctx context.Context) error {
	s.inbox.mu.Lock()
	defer s.inbox.mu.Unlock()
	if s.ringed.Load() > 0 || s.inbox.err != nil {
		return nil
	}
	s.receivers.Add(1)
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
	s.receivers.Add(-1)
	if err != nil && (s.ringed.Load() > 0 || s.inbox.err != nil) {
		s.wake() // what may have woken this receiver is for another
	}
	return err
}

// wake wakes a receiver if one waits. It is better called without the lock,
// for which that receiver would have to wait.
func (s *Subscription) wake() { s.woke() }

// woke is wake, and reports whether there was one.
func (s *Subscription) woke() bool {
	if s.receivers.Load() == 0 {
		return false
	}
	select {
	case s.ready <- struct{}{}:
		return true
	default: // one is being woken, and passes it on
		return false
	}
}

// stirred reports whether there is something in the queue, or its end.
func (s *Subscription) stirred() bool {
	if s.ringed.Load() > 0 {
		return true
	}
	s.inbox.mu.Lock()
	defer s.inbox.mu.Unlock()
	return s.inbox.err != nil
}

// push appends a letter to the ring.
func (s *Subscription) push(l *letter) {
	n := int(s.ringed.Load())
	if n == len(s.ring) {
		ring := make([]*Msg, max(8, 2*len(s.ring)))
		copy(ring[copy(ring, s.ring[s.head:]):], s.ring[:s.head])
		s.ring, s.head = ring, 0
	}
	s.ring[(s.head+n)&(len(s.ring)-1)] = l.message()
	s.ringed.Add(1)
}

// pushAll appends messages as far as there is room, and returns how many. It is
// for a subscription with one publisher, which gets messages that may be used
// again added to free.
func (s *Subscription) pushAll(msgs []*Msg, free *[]*Msg) (n int) {
	var l letter
	s.inbox.mu.Lock()
	defer s.inbox.mu.Unlock()
	for _, m := range msgs {
		l.Frame, l.msg = &m.Frame, m
		if s.inbox.err != nil || !s.inbox.room(&l) {
			break
		}
		s.inbox.enter(&l)
		n++
	}
	*free = append(*free, s.free...)
	s.free = s.free[:0]
	return n
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
		s.outMu.Lock()
		defer s.outMu.Unlock()
		s.out, s.spare, s.used, s.last = nil, nil, nil, nil
		s.inbox.mu.Lock()
		defer s.inbox.mu.Unlock()
		s.inbox.shut(why)
		s.ring, s.free = nil, nil
		s.ringed.Store(0)
		s.wake()
	})
	if s.conn != nil {
		s.conn.interrupt(s)
	}
}

// orDefault returns n, or the default when it is not positive.
func orDefault[T int | time.Duration](n, def T) T {
	if n > 0 {
		return n
	}
	return def
}
