package bus

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// Publish is [Client.Publish] through the socket: it returns when the server
// has queued the frame. It waits for that until ctx is done, and then does not
// know what became of the frame.
func (c *Conn) Publish(ctx context.Context, m *rmp.Message) (delivered int, err error) {
	if err := c.checkMeta(m); err != nil {
		return 0, err
	}
	r, err := c.ask(ctx, m)
	if err != nil {
		return 0, err
	}
	return r.Delivered, nil
}

// Send publishes m without waiting for what becomes of it: the server reports
// what it refuses to [DialOptions.OnError]. Frames that are sent in quick
// succession are written together. When the server does not keep up it waits
// for room until ctx is done. It sets what Publish sets.
func (c *Conn) Send(ctx context.Context, m *rmp.Message) error {
	if err := c.checkMeta(m); err != nil {
		return err
	}
	return c.send(ctx, m)
}

// checkMeta reports why m cannot be published through a socket: a frame of type
// control without a topic would be taken for a request to the server.
func (c *Conn) checkMeta(m *rmp.Message) error {
	if m.RawMeta != nil {
		return errRawMeta
	}
	if known := c.topic.Load(); known != nil && *known == m.Meta.Topic {
		return nil
	}
	topic := m.Meta.Topic
	if err := CheckTopic(topic); err != nil {
		return err
	}
	c.topic.Store(&topic)
	return nil
}

// Ping waits for the server to answer, and says how long that took.
func (c *Conn) Ping(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	_, err := c.ask(ctx, controlMessage(&control{Op: opPing}))
	return time.Since(start), err
}

// controlMessage is a control frame to the server.
func controlMessage(p payload) *rmp.Message {
	return &rmp.Message{SchemaID: rmp.CTControl, TTLMS: uint64(controlTTL / time.Millisecond), Payload: p}
}

// Subscribe is [Client.Subscribe] through the socket. The server counts all
// frames for this connection against its own bounds as well; opts bound what
// is read and not yet received.
func (c *Conn) Subscribe(ctx context.Context, filter string, opts SubOptions) (*Subscription, error) {
	s := newSubscription(c.local, c.opts.Name, filter, SubOptions{MaxMessages: opts.MaxMessages, MaxBytes: opts.MaxBytes})
	g := &grant{conn: c, id: c.number()}
	s.conn, s.onEnd = c, g.end
	if err := g.ask(ctx, &s.target, opts.Queue); err != nil {
		s.end(err)
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	return s, nil
}

// Handle subscribes like [Conn.Subscribe], without a queue: handle is called
// with each frame by the goroutine that reads the connection. That is quicker
// than a queue by a change of goroutines, but nothing else is read meanwhile,
// not the answer to a Publish either: handle must not wait for one. The
// message is valid until it returns. stop ends the subscription; a call of
// handle may still be under way when stop returns.
func (c *Conn) Handle(ctx context.Context, filter, queue string, handle func(*Msg)) (stop func(), err error) {
	t := &target{filter: filter, owner: c.opts.Name, handle: handle, end: func(error) {}}
	g := &grant{conn: c, id: c.number()}
	c.sleepers.Add(1) // for good: handle is to be called while nobody waits
	stop = sync.OnceFunc(func() {
		c.local.remove(t)
		g.end()
		c.sleepers.Add(-1)
	})
	if err := g.ask(ctx, t, queue); err != nil {
		stop()
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	return stop, nil
}

// grant is a subscription at the server.
type grant struct {
	conn  *Conn
	id    uint64
	state atomic.Int32
}

// States of a grant. The end may come while it is being asked for.
const (
	grantAsked = iota
	grantGiven
	grantEnded
)

// ask adds a target here and at the server.
func (g *grant) ask(ctx context.Context, t *target, queue string) error {
	c := g.conn
	// It is here before the server's first frame can be.
	if err := c.local.add(t); err != nil {
		return c.because(err)
	}
	_, err := c.ask(ctx, controlMessage(&control{Op: opSubscribe, ID: g.id, Topic: t.filter, Queue: queue}))
	if err == nil && !g.state.CompareAndSwap(grantAsked, grantGiven) {
		g.withdraw()
	}
	return err
}

// end has the server forget the subscription, if it has it.
func (g *grant) end() {
	if g.state.Swap(grantEnded) == grantGiven {
		g.withdraw()
	}
}

// withdraw does not wait for an answer: what still comes finds nobody.
func (g *grant) withdraw() { g.conn.post(&control{Op: opUnsubscribe, ID: g.id}) }

// because returns why the connection ended, when that is what err is about.
func (c *Conn) because(err error) error {
	if why := c.Err(); why != nil {
		return why
	}
	return err
}

// number returns a number that no other acknowledgement or subscription has.
func (c *Conn) number() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nextNum++
	return c.nextNum
}

// keepAlive pings a server that heard nothing for some time.
func (c *Conn) keepAlive() {
	c.post(&control{Op: opPing})
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.ping.Reset(c.opts.KeepAlive)
	}
}

// post sends a control frame whose answer nobody needs. It does not wait.
func (c *Conn) post(p payload) {
	m := controlMessage(p)
	m.CreatedAtMS = c.local.clock.wallMS(c.local.clock.now())
	frame, err := c.codec.AppendFrame(nil, m)
	if err == nil && c.out.control(frame) {
		c.out.flush(false)
	}
}

// ask sends m and waits for the server's reply.
func (c *Conn) ask(ctx context.Context, m *rmp.Message) (reply, error) {
	ch := make(chan reply, 1)
	ack, err := c.await(ch)
	if err != nil {
		return reply{}, err
	}
	m.Meta.Ack = ack
	err = c.send(ctx, m)
	m.Meta.Ack = 0
	if err != nil {
		c.forget(ack)
		return reply{}, err
	}
	for {
		select {
		case r := <-ch:
			return r, r.err
		default:
		}
		if err := c.readUntil(ctx, ch); err != nil {
			c.forget(ack)
			return reply{}, err
		}
	}
}

// await makes ch get the reply to the number that it returns.
func (c *Conn) await(ch chan<- reply) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	c.nextNum++
	c.waiting[c.nextNum] = ch
	return c.nextNum, nil
}

// forget stops waiting for a reply.
func (c *Conn) forget(ack uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, ack)
}

// send encodes m and has it written.
func (c *Conn) send(ctx context.Context, m *rmp.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w, err := c.enqueue(m)
	if w == nil {
		return err
	}
	v := waiting
	select {
	case v = <-w.done:
	case <-ctx.Done():
		v = w.end(c.local.clock.now())
	}
	switch v {
	case queued:
		return nil
	case gone:
		return c.because(ErrClosed)
	}
	return ctx.Err()
}

// burst is the time between two frames below which they are written together.
// A frame that comes alone is written at once, which is quicker.
const burst = 5 * time.Microsecond

// enqueue puts m into the outbox and has that written. When there is no room
// the caller waits.
func (c *Conn) enqueue(m *rmp.Message) (*waiter, error) {
	c.out.mu.Lock()
	now := c.local.clock.now()
	if m.CreatedAtMS == 0 {
		m.CreatedAtMS = c.local.clock.wallMS(now)
	}
	c.nextID++
	m.MsgID = c.nextID
	alone := now-c.lastSent > burst
	c.lastSent = now
	done, err := c.out.encode(c.codec, m)
	var w *waiter
	if !done && err == nil {
		w, err = c.line(m, now)
	}
	c.out.flushLocked(alone)
	return w, err
}

// line puts m into the line before the outbox, whose lock is held.
func (c *Conn) line(m *rmp.Message, now time.Duration) (*waiter, error) {
	l := &letter{Frame: new(rmp.Frame), now: now, deadline: forever}
	if err := c.codec.EncodeFrame(nil, m, l.Frame); err != nil {
		return nil, err
	}
	v, w := c.out.offerLocked(l, nil, true)
	if v == gone {
		return nil, c.out.err
	}
	return w, nil
}
