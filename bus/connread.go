package bus

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// Who reads a connection? Whoever waits for something from it: a receiver that
// finds its queue empty, or a publisher that waits for an acknowledgement,
// reads itself if nobody else does, and hands out what is for others on the
// way. That saves a change of goroutines for each answer. There is one more
// goroutine, which reads while nobody waits, or more than one do:
//
//   - whoever holds Conn.token reads;
//   - who waits and does not get the token counts as a sleeper until it is
//     woken; who frees the token while there are sleepers nudges the goroutine;
//   - when nothing was read for a tick, and nobody holds the token, the
//     goroutine reads. It stops when everybody it woke was all that waited;
//   - when a receiver holds the token for long, because nothing comes, the
//     goroutine looks no more, until that receiver frees the token.

// Times of the goroutine.
const (
	watchTick = time.Millisecond
	parkAfter = 20 // ticks
)

// background is the goroutine that reads when nobody who waits does.
func (c *Conn) background() {
	defer c.running.Done()
	c.token.Lock()
	for c.readOn() {
		if !c.watch() {
			return
		}
	}
}

// readOn reads, holding the token, until everybody who waited was woken, or to
// the end of the connection, which it reports as false. It frees the token.
func (c *Conn) readOn() bool {
	for {
		woken, err := c.in.batch()
		switch {
		case isInterrupt(err):
			_ = c.conn.SetReadDeadline(time.Time{}) // meant for somebody else
		case err != nil:
			c.end(err)
			c.token.Unlock()
			return false
		case woken > 0 && woken >= int(c.sleepers.Load()):
			c.token.Unlock()
			if int(c.sleepers.Load()) <= woken || !c.token.TryLock() {
				return true
			}
		}
	}
}

// watch waits until the goroutine is to read, and returns with the token, or
// false at the end of the connection.
func (c *Conn) watch() bool {
	timer := time.NewTimer(watchTick)
	defer timer.Stop()
	held, seen := 0, c.batches.Load()
	for {
		select {
		case <-c.done:
			return false
		case <-c.nudge:
			c.parked.Store(false)
			if c.sleepers.Load() > 0 && c.token.TryLock() {
				return true
			}
			held = 0
			timer.Reset(watchTick)
			continue
		case <-timer.C:
		}
		if !c.token.TryLock() {
			if held++; held < parkAfter {
				timer.Reset(watchTick)
				continue
			}
			c.parked.Store(true)
			if !c.token.TryLock() {
				continue // to the nudge of who frees it
			}
			c.parked.Store(false)
		}
		now := c.batches.Load()
		if now == seen {
			return true
		}
		held, seen = 0, now
		c.token.Unlock()
		if c.sleepers.Load() > 0 && c.token.TryLock() {
			return true // somebody tried while it was taken
		}
		timer.Reset(watchTick)
	}
}

// release frees the token of a receiver or publisher that waits no more.
func (c *Conn) release() {
	c.wants.Store(nil)
	c.token.Unlock()
	if c.sleepers.Load() > 0 || c.parked.Load() {
		select {
		case c.nudge <- struct{}{}:
		default:
		}
	}
}

// readFor waits for a frame for s, whose queue was found empty. It returns it
// when it comes past, or nothing when s is to look at its queue again.
func (c *Conn) readFor(ctx context.Context, s *Subscription) (*Msg, error) {
	c.sleepers.Add(1)
	if !c.token.TryLock() {
		defer c.sleepers.Add(-1)
		return nil, s.sleep(ctx)
	}
	c.sleepers.Add(-1)
	defer c.release()
	c.wants.Store(s)
	if s.stirred() {
		return nil, nil
	}
	c.in.want, c.in.fresh = s, false
	err := c.readWhile(ctx, func() bool { return c.in.got == nil && !s.stirred() })
	m := c.in.got
	c.in.want, c.in.got = nil, nil
	if m != nil {
		return m, nil
	}
	return nil, err
}

// readUntil waits for a reply on ch. It returns when there may be one.
func (c *Conn) readUntil(ctx context.Context, ch chan reply) error {
	c.sleepers.Add(1)
	if !c.token.TryLock() {
		defer c.sleepers.Add(-1)
		select {
		case r := <-ch:
			ch <- r // there is room: it was the only one
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	c.sleepers.Add(-1)
	defer c.release()
	return c.readWhile(ctx, func() bool { return len(ch) == 0 })
}

// readWhile reads frames, holding the token, as long as more holds. The end of
// ctx interrupts it; that of the connection ends what is waited for.
func (c *Conn) readWhile(ctx context.Context, more func() bool) error {
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, func() { _ = c.conn.SetReadDeadline(past) })
		defer stop()
	}
	defer c.in.flush()
	for more() {
		err := c.in.step()
		if isInterrupt(err) {
			// It may be meant for who read before. Ours is looked for after
			// the deadline is taken back, so that it cannot be missed.
			_ = c.conn.SetReadDeadline(time.Time{})
			if err := ctx.Err(); err != nil {
				return err
			}
		} else if err != nil {
			c.end(err)
			return nil
		}
	}
	return nil
}

// interrupt has a receiver of s that reads look at its queue, where it finds
// the end of s.
func (c *Conn) interrupt(s *Subscription) {
	if c.wants.Load() == s {
		_ = c.conn.SetReadDeadline(past)
	}
}

// past is a deadline that ends a read at once.
var past = time.Unix(1, 0)

// isInterrupt reports whether a read ended because of its deadline.
func isInterrupt(err error) bool { return err != nil && errors.Is(err, os.ErrDeadlineExceeded) }

// intake is the reading half of a connection, for who holds the token. Frames
// that come together for one subscription are put into its queue together.
type intake struct {
	conn   *Conn
	reader *rmp.Reader
	pub    publisher // to the subscriptions here
	now    time.Duration
	fresh  bool          // now is that of the present batch
	want   *Subscription // whose next frame is not to be queued
	got    *Msg          // but put here
	msg    *Msg          // that the next frame is read into
	free   []*Msg        // that may be used again
	to     *Subscription
	queue  []*Msg // for to
	woken  int    // receivers and publishers, in this batch
	last   error  // what the server said last, if it was an error report
}

// maxBatch is how many frames are put into a queue together.
const maxBatch = 64

// batch reads what is there, at least one frame, and returns how many were
// woken by it.
func (in *intake) batch() (woken int, err error) {
	in.woken, in.fresh = 0, false
	for more := true; more && err == nil; more = in.reader.Buffered() {
		err = in.step()
	}
	in.flush()
	return in.woken, err
}

// step reads and handles one frame. Its error is why the connection ended,
// unless it is an interrupt.
func (in *intake) step() error {
	if !in.reader.Buffered() {
		in.flush()
		in.fresh = false
	}
	if in.msg == nil {
		in.msg = in.message()
	}
	f := &in.msg.Frame
	err := in.reader.Next(f)
	if !in.fresh {
		in.fresh, in.now = true, in.conn.local.clock.now()
		in.conn.batches.Add(1)
	}
	switch {
	case err == nil:
		in.take(f)
	case rmp.InStep(err): // perhaps a type that is newer than this client
		in.conn.unasked(&WireError{Code: rmp.ErrorName(err), Message: err.Error()})
	case isInterrupt(err):
		return err
	default:
		return hungUp(err, in.last)
	}
	return nil
}

// take handles a frame of the server's.
func (in *intake) take(f *rmp.Frame) {
	in.last = nil
	c := in.conn
	topic, ack, err := f.Route()
	if err != nil {
		c.unasked(wireError(err))
		return
	}
	switch {
	case topic != nil:
		in.deliver(f, topic)
	case f.SchemaID == rmp.CTErrorReport:
		in.last = reportOf(f)
		in.resolve(ack, reply{err: in.last})
	case f.SchemaID == rmp.CTControl:
		var r reply
		if r.err = f.Decode(&r.control); r.Op == opAck {
			ack = r.N
		}
		in.resolve(ack, r)
	}
}

// resolve gives a reply to who waits for it.
func (in *intake) resolve(ack uint64, r reply) {
	if in.conn.resolve(ack, r) {
		in.woken++
	} else if r.err != nil {
		in.conn.unasked(wireError(r.err))
	}
}

// deliver passes a frame to the subscriptions whose filter takes its topic.
func (in *intake) deliver(f *rmp.Frame, topic []byte) {
	bus := in.conn.local
	r, err := in.pub.routeOf(topic)
	if err != nil || len(r.targets) == 0 {
		return // unsubscribed by now
	}
	deadline, err := bus.expire(&f.Header, in.now)
	if err != nil {
		bus.drop(reasonTTL, r.topic, &f.Header)
		return
	}
	m := in.msg
	m.Topic, m.From, m.deadline = r.topic, in.pub.name, deadline
	if len(r.targets) > 1 {
		in.share(m, r.targets)
		return
	}
	t := r.targets[0]
	if t.handle != nil {
		in.flush() // what was sent before is there before
		t.handle(m)
		return
	}
	in.msg = nil
	m.mem = in.memory(m.mem, len(f.Bytes))
	f.MoveTo(m.mem)
	if t.sub == in.want && in.got == nil {
		in.got = m
		return
	}
	if t.sub != in.to || len(in.queue) == maxBatch {
		in.flush()
		in.to = t.sub
	}
	in.queue = append(in.queue, m)
}

// share gives a message to several subscriptions, so that it cannot be used
// again.
func (in *intake) share(m *Msg, targets []*target) {
	in.flush()
	in.msg = nil
	m.mem = nil
	m.MoveTo(make([]byte, len(m.Bytes)))
	for _, t := range targets {
		switch {
		case t.handle != nil:
			t.handle(m)
		case t.sub == in.want && in.got == nil:
			in.got = m
		default:
			in.push(t.sub, []*Msg{m})
		}
	}
}

// message returns one that may be used.
func (in *intake) message() *Msg {
	n := len(in.free)
	if n == 0 {
		return in.pub.slab.message()
	}
	m := in.free[n-1]
	in.free = in.free[:n-1]
	return m
}

// memory returns n bytes: mem, if they fit there and it is not far too large.
func (in *intake) memory(mem []byte, n int) []byte {
	if n <= cap(mem) && cap(mem) <= max(4*n, slabBytes) {
		return mem[:n]
	}
	return in.pub.slab.take(n)
}

// flush puts the batch into its queue.
func (in *intake) flush() {
	if len(in.queue) > 0 {
		in.push(in.to, in.queue)
		clear(in.queue)
		in.queue = in.queue[:0]
	}
}

// push puts messages into a queue. For those that find no room it waits, or
// drops them, as every publisher does; nobody asks how that ended.
func (in *intake) push(to *Subscription, msgs []*Msg) {
	n := to.pushAll(msgs, &in.free)
	in.free = in.free[:min(len(in.free), maxFree)]
	if n > 0 && to.woke() {
		in.woken++
	}
	for _, m := range msgs[n:] {
		l := letter{Frame: &m.Frame, msg: m, now: in.conn.local.clock.now()}
		l.route = &route{topic: m.Topic}
		var t tally
		v, w := to.gate.offer(&l, nil, true)
		t.note(&to.target, v, w)
		_, _ = in.conn.local.finish(context.Background(), &l, &t)
		in.fresh = false
	}
}

// maxFree is how many messages wait to be used again at most.
const maxFree = 1024
