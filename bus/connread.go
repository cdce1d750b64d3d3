package bus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// intake is the reading half of a connection. Frames that come together for
// one subscription are put into its queue together.
type intake struct {
	conn  *Conn
	pub   publisher // to the subscriptions here
	now   time.Duration
	fresh bool   // now is that of the present batch
	msg   *Msg   // that the next frame is read into
	free  []*Msg // that may be used again
	to    *Subscription
	batch []*Msg // for to
	last  error  // what the server said last, if it was an error report
}

// maxBatch is how many frames are put into a queue together.
const maxBatch = 64

// read hands out what comes, until the connection ends.
func (c *Conn) read(reader *rmp.Reader) {
	defer c.reading.Done()
	in := intake{conn: c, pub: publisher{bus: c.local, name: c.welcome.Server}}
	for {
		if !reader.Buffered() {
			in.flush()
			in.fresh = false
		}
		if in.msg == nil {
			in.msg = in.message()
		}
		f := &in.msg.Frame
		err := reader.Next(f)
		if !in.fresh {
			in.fresh, in.now = true, c.local.clock.now()
		}
		switch {
		case err == nil:
			in.take(f)
		case rmp.InStep(err): // perhaps a type that is newer than this client
			c.unasked(&WireError{Code: rmp.ErrorName(err), Message: err.Error()})
		default:
			in.flush()
			c.end(hungUp(err, in.last))
			return
		}
	}
}

// hungUp is why a connection ended: what the server said last, if anything.
func hungUp(err, last error) error {
	if last != nil {
		return fmt.Errorf("%w: %w", ErrClosed, last)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("%w by the server", ErrClosed)
	}
	return fmt.Errorf("%w: %w", ErrClosed, err)
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
		if !c.resolve(ack, reply{err: in.last}) {
			c.unasked(wireError(in.last))
		}
	case f.SchemaID == rmp.CTControl:
		var r reply
		if r.err = f.Decode(&r.control); r.Op == opAck {
			ack = r.N
		}
		c.resolve(ack, r)
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
	if t.sub != in.to || len(in.batch) == maxBatch {
		in.flush()
		in.to = t.sub
	}
	in.batch = append(in.batch, m)
}

// share gives a message to several subscriptions, so that it cannot be used
// again.
func (in *intake) share(m *Msg, targets []*target) {
	in.flush()
	in.msg = nil
	m.mem = nil
	m.MoveTo(make([]byte, len(m.Bytes)))
	for _, t := range targets {
		if t.handle != nil {
			t.handle(m)
		} else {
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
	if len(in.batch) > 0 {
		in.push(in.to, in.batch)
		clear(in.batch)
		in.batch = in.batch[:0]
	}
}

// push puts messages into a queue. For those that find no room it waits, or
// drops them, as every publisher does; nobody asks how that ended.
func (in *intake) push(to *Subscription, msgs []*Msg) {
	n, free := to.pushAll(msgs, in.free)
	in.free = free[:min(len(free), maxFree)]
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
