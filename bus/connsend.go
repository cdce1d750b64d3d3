package bus

import (
	"context"
	"fmt"
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
	return c.send(ctx, m, nil)
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
	id := c.number()
	s := newSubscription(c.local, c.opts.Name, filter, SubOptions{MaxMessages: opts.MaxMessages, MaxBytes: opts.MaxBytes})
	s.onEnd = func() {
		c.post(&control{Op: opUnsubscribe, ID: id}) // what still comes finds nobody
	}
	if err := c.local.add(&s.target); err != nil {
		return nil, fmt.Errorf("subscribe: %w", c.because(err))
	}
	// It is there before the server's first frame can be.
	_, err := c.ask(ctx, controlMessage(&control{Op: opSubscribe, ID: id, Topic: filter, Queue: opts.Queue}))
	if err != nil {
		s.onEnd = nil
		s.end(err)
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	return s, nil
}

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
	ack := c.number()
	m.Meta.Ack = ack
	err := c.send(ctx, m, ch)
	m.Meta.Ack = 0
	if err != nil {
		return reply{}, err
	}
	select {
	case r := <-ch:
		return r, r.err
	case <-ctx.Done():
		c.forget(ack)
		return reply{}, ctx.Err()
	}
}

// forget stops waiting for a reply.
func (c *Conn) forget(ack uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, ack)
}

// send encodes m and has it written. The reply to m.Meta.Ack, if one is asked
// for, goes to ch.
func (c *Conn) send(ctx context.Context, m *rmp.Message, ch chan<- reply) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w, err := c.enqueue(m, ch)
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
		err = c.because(ErrClosed)
	default:
		err = ctx.Err()
	}
	c.forget(m.Meta.Ack)
	return err
}

// burst is the time between two frames below which they are written together.
// A frame that comes alone is written at once, which is quicker.
const burst = 20 * time.Microsecond

// enqueue puts m into the outbox and has that written. When there is no room
// the caller waits.
func (c *Conn) enqueue(m *rmp.Message, ch chan<- reply) (*waiter, error) {
	c.mu.Lock()
	l, err := c.encode(m)
	if err != nil {
		c.mu.Unlock()
		return nil, err
	}
	if ch != nil {
		c.waiting[m.Meta.Ack] = ch
	}
	alone := l.now-c.lastSent > burst
	c.lastSent = l.now
	// The outbox is locked before the connection is free, so that frames are
	// in the order of their numbers; it is written after, since a write that
	// fails ends the connection.
	c.out.mu.Lock()
	v, w := c.out.offerLocked(l, nil, true)
	switch v {
	case gone:
		delete(c.waiting, m.Meta.Ack)
		err = ErrClosed
	case waiting:
		c.letter, c.buf = newLetter(), nil
	}
	c.mu.Unlock()
	c.out.flushLocked(alone)
	return w, err
}

// encode makes the frame of m, with the next number.
func (c *Conn) encode(m *rmp.Message) (*letter, error) {
	if c.err != nil {
		return nil, c.err
	}
	l := c.letter
	l.now, l.deadline = c.local.clock.now(), forever
	c.nextID++
	m.MsgID = c.nextID
	if m.CreatedAtMS == 0 {
		m.CreatedAtMS = c.local.clock.wallMS(l.now)
	}
	if err := c.codec.EncodeFrame(c.buf, m, l.Frame); err != nil {
		return nil, err
	}
	c.buf = l.Bytes
	return l, nil
}
