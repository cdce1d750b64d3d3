package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// letter is a frame on its way through the bus. It belongs to one publisher,
// which uses it again; a queue that keeps a frame copies what it needs.
type letter struct {
	*rmp.Frame      // perhaps that of the next message
	borrowed   bool // whether its bytes are
	pub        *publisher
	route      *route
	key        frameKey
	now        time.Duration // bus time of the publish
	deadline   time.Duration // bus time at which it expires
	msg        *Msg
}

// address fills in everything but the frame.
func (l *letter) address(p *publisher, r *route, now, deadline time.Duration) {
	l.pub, l.route = p, r
	l.now, l.deadline, l.msg = now, deadline, nil
	l.key = frameKey{trace: l.TraceID, msgID: l.MsgID, topic: r.hash}
}

// message returns the frame for subscribers in process. They share one copy.
// The publisher calls it, before anybody else can see the letter.
func (l *letter) message() *Msg {
	if l.msg == nil {
		slab := &l.pub.slab
		l.msg = slab.message()
		if l.Frame != &l.msg.Frame {
			l.msg.Frame = *l.Frame
		}
		if l.borrowed {
			l.msg.MoveTo(slab.take(len(l.Bytes)))
		} else {
			slab.keep(l.Bytes)
		}
		l.msg.Topic, l.msg.From, l.msg.deadline = l.route.topic, l.pub.name, l.deadline
		l.msg.Peer = l.pub.peer
	}
	return l.msg
}

// slab is where a publisher takes the memory for messages from, several at a
// time: two small allocations for each would cost as much as everything else.
// The price is that a message which is kept keeps its neighbours' memory.
type slab struct {
	msgs  []Msg
	bytes []byte // the rest of the present chunk
}

// Sizes of a slab. A frame that needs more room than slabFrame has a chunk of
// its own.
const (
	slabMsgs  = 16
	slabBytes = 4 << 10
	slabFrame = 16 << 10
	// slabRoom is how much more room than it needs a frame is encoded in:
	// the encoder reckons with the longest form of each number.
	slabRoom = 256
)

// frame returns that of the next message, to be filled in.
func (s *slab) frame() *rmp.Frame {
	if len(s.msgs) == 0 {
		s.msgs = make([]Msg, slabMsgs)
	}
	return &s.msgs[0].Frame
}

// message returns the next message.
func (s *slab) message() *Msg {
	s.frame()
	m := &s.msgs[0]
	s.msgs = s.msgs[1:]
	return m
}

// take returns n bytes.
func (s *slab) take(n int) []byte {
	b := s.room(n)[:n:n]
	s.keep(b)
	return b
}

// room returns an empty buffer with at least n bytes of capacity. What is
// written there is safe from the next user only once it is kept.
func (s *slab) room(n int) []byte {
	if n > slabFrame {
		return make([]byte, 0, n)
	}
	if len(s.bytes) < n {
		s.bytes = make([]byte, max(n, slabBytes))
	}
	return s.bytes[:0]
}

// keep makes sure that the memory of a frame is not used again, if it is in
// the chunk at all: one that was too long for it has its own.
func (s *slab) keep(frame []byte) {
	if len(frame) <= len(s.bytes) && &frame[0] == &s.bytes[0] {
		s.bytes = s.bytes[len(frame):]
	}
}

// publisher is what a client in process and a connection share: the routes it
// remembers and its count. It is used by one goroutine at a time.
type publisher struct {
	bus     *Bus
	name    string
	peer    *Peer // at the other end of its socket, if it has one
	inline  bool  // whether flush may write to connections itself
	gen     uint64
	routes  map[string]*route
	last    *route    // the one before
	touched []*outbox // got something since the last flush
	slab    slab
	stats   publishStats
}

// publishStats counts frames, and the copies of them that were queued.
type publishStats struct{ published, delivered uint64 }

// maxRoutes bounds how many routes a publisher remembers.
const maxRoutes = 1024

// routeOf is route for a topic that is a view. It makes a string of it only
// when the topic is new.
func (p *publisher) routeOf(topic []byte) (*route, error) {
	if p.gen == p.bus.gen.Load() {
		if p.last != nil && p.last.topic == string(topic) {
			return p.last, nil
		}
		if r, ok := p.routes[string(topic)]; ok {
			p.last = r
			return r, nil
		}
	}
	return p.route(string(topic))
}

// route returns the route of a topic.
func (p *publisher) route(topic string) (*route, error) {
	if gen := p.bus.gen.Load(); gen != p.gen {
		clear(p.routes)
		p.gen, p.last = gen, nil
	}
	if p.last != nil && p.last.topic == topic {
		return p.last, nil
	}
	if r, ok := p.routes[topic]; ok {
		p.last = r
		return r, nil
	}
	r, err := p.bus.lookup(topic)
	if err != nil {
		return nil, err
	}
	if p.routes == nil {
		p.routes = make(map[string]*route)
	}
	for old := range p.routes { // any one of them
		if len(p.routes) < maxRoutes {
			break
		}
		delete(p.routes, old)
	}
	p.routes[topic] = r
	p.last = r
	return r, nil
}

// tally is what became of the copies of one frame.
type tally struct {
	queued  int
	lost    bool // something is in one of the next three
	dropped [len(reasonNames)]int
	waiters []*waiter
	stuck   []*target
}

// pass offers a letter to everybody on its route without waiting.
func (p *publisher) pass(l *letter, t *tally, patient bool) {
	for _, to := range l.route.targets {
		v, w := to.gate.offer(l, &to.seen, patient)
		t.note(to, v, w)
		if v == queued && to.out != nil {
			p.touch(to.out)
		}
	}
	for _, g := range l.route.groups {
		to, v, w := g.offer(l, patient)
		t.note(to, v, w)
		if v == queued && to.out != nil {
			p.touch(to.out)
		}
	}
	p.stats.published++
	p.stats.delivered += uint64(t.queued)
}

// touch remembers that a connection has something to write.
func (p *publisher) touch(out *outbox) {
	for _, o := range p.touched {
		if o == out {
			return
		}
	}
	p.touched = append(p.touched, out)
}

// flush has the connections write that got something.
func (p *publisher) flush() {
	for i, out := range p.touched {
		out.flush(p.inline)
		p.touched[i] = nil
	}
	p.touched = p.touched[:0]
}

// note adds the verdict about one copy.
func (t *tally) note(to *target, v verdict, w *waiter) {
	switch v {
	case queued:
		t.queued++
		return
	case gone:
		return
	case duplicate:
		t.dropped[reasonDuplicate]++
	case full:
		t.dropped[reasonBackpressure]++
	case stuck:
		t.stuck = append(t.stuck, to)
		t.dropped[reasonBackpressure]++
	case waiting:
		w.to = to
		t.waiters = append(t.waiters, w)
	}
	t.lost = true
}

// offer gives a letter to the first member, in turn, that has room. When none
// has, the publisher waits for the next one that does not lag.
func (g *group) offer(l *letter, patient bool) (*target, verdict, *waiter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.seen.add(&l.key, l.now) {
		return nil, duplicate, nil
	}
	n := len(g.members)
	for i := range n {
		to := g.members[(g.next+i)%n]
		if to.gate.tryOffer(l) {
			g.next = (g.next + i + 1) % n
			return to, queued, nil
		}
	}
	worst := gone
	for i := range n {
		to := g.members[(g.next+i)%n]
		switch v, w := to.gate.offer(l, nil, patient); v {
		case queued, waiting:
			if w != nil {
				w.group = g
			}
			g.next = (g.next + i + 1) % n
			return to, v, w
		case stuck:
			g.seen.remove(&l.key)
			return to, v, nil
		case full:
			worst = full
		}
	}
	g.seen.remove(&l.key)
	return nil, worst, nil
}

// forget makes the group take a frame again that was dropped.
func (g *group) forget(k *frameKey) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen.remove(k)
}

// finish waits for the copies that found no room, until the bus's patience or
// ctx ends, reports what was dropped, and returns how many were queued. It is
// called without any lock.
func (b *Bus) finish(ctx context.Context, l *letter, t *tally) (int, error) {
	if !t.lost {
		return t.queued, nil
	}
	ended := b.await(ctx, t)
	for reason, n := range t.dropped {
		for range n {
			b.drop(dropReason(reason), l.route.topic, &l.Header)
		}
	}
	b.expel(t.stuck)
	switch {
	case ended != nil:
		return t.queued, ended
	case t.queued > 0:
		return t.queued, nil
	case t.dropped[reasonBackpressure] > 0:
		return 0, ErrBackpressure
	case t.dropped[reasonDuplicate] > 0:
		return 0, rmp.ErrDuplicate
	}
	return 0, nil
}

// await waits for the verdicts of those in line. The wait of all together is
// bounded: when it is over, each gets its verdict at once.
func (b *Bus) await(ctx context.Context, t *tally) error {
	waiters := t.waiters
	if len(waiters) == 0 {
		return nil
	}
	t.waiters = nil
	timer := time.NewTimer(b.cfg.PublishWait)
	defer timer.Stop()
	var ended error
	for late := false; len(waiters) > 0; waiters = waiters[1:] {
		w, v := waiters[0], waiting
		if !late {
			select {
			case v = <-w.done:
			case <-timer.C:
				late = true
			case <-ctx.Done():
				late, ended = true, ctx.Err()
			}
		}
		if v == waiting {
			v = w.end(b.clock.now())
		}
		if w.group != nil && v != queued {
			w.group.forget(&w.l.key)
		}
		if v == queued {
			b.late.Add(1)
		}
		t.note(w.to, v, nil)
	}
	return ended
}

// expel ends targets that stayed behind. It is called without any lock.
func (b *Bus) expel(stuck []*target) {
	for _, t := range stuck {
		b.cfg.Log.Warn("slow consumer disconnected", "client", t.owner, "filter", t.filter)
		t.end(fmt.Errorf("%w: %s did not keep up with %s", ErrSlowConsumer, t.owner, t.filter))
	}
}
