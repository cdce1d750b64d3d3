package bus

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// outbox is the queue of frames that go out on a connection. Frames are copied
// into chunks as they come, so that a chunk is written with one system call
// and a queue holds no more memory than it counts.
//
// Whoever put something in calls flush. It may write what the socket takes at
// once; what is left is for the outbox's own goroutine. Only one of them
// writes at a time: who set writing, or who was handed it.
type outbox struct {
	gate
	bus     *Bus
	conn    *net.UnixConn
	raw     syscall.RawConn
	timeout time.Duration // for a write that does not move
	end     func(error)   // ends the connection; called without the lock

	// Under the lock of the gate.
	chunks  []*chunk // waiting, oldest first
	writing bool
	closing bool     // the goroutine is to end when nothing is left
	late    [][]byte // frames that expired here, to be reported
	frame   int      // the size that the next frame of encode may have
	asks    bool     // whether to remember requests
	asked   seenSet  // their trace ids

	// Of the one who writes.
	current *chunk
	try     func(fd uintptr) bool
	tryN    int
	tryErr  error

	kick chan struct{} // hands the writing to the goroutine
	done chan struct{} // closed when it has ended
}

// inlineChunks is how many chunks a publisher writes for others before it
// leaves the rest to the outbox's goroutine.
const inlineChunks = 4

// socketBuffer is asked of the system for what was written and not yet read.
const socketBuffer = 1 << 20

// maxAsked is how many requests at least a connection remembers.
const maxAsked = 1024

// newOutbox returns an outbox for a connection, of which run must be started.
func newOutbox(b *Bus, conn *net.UnixConn, maxBytes int, timeout time.Duration) (*outbox, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	// With room for some chunks in the socket both ends can work at the same
	// time. The system may allow less, which is slower but no error.
	_ = conn.SetWriteBuffer(socketBuffer)
	o := &outbox{
		bus:     b,
		conn:    conn,
		raw:     raw,
		timeout: timeout,
		asked:   seenSet{max: maxAsked},
		kick:    make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
	o.gate.put = o.push
	o.gate.maxBytes, o.gate.maxHeld = maxBytes, 1<<30
	o.gate.patience = b.cfg.LagLimit
	o.try = func(fd uintptr) bool {
		o.tryN, o.tryErr = writeNow(fd, o.current.buf[o.current.sent:])
		return true // never wait here
	}
	return o, nil
}

// push appends a letter, which the gate has counted.
func (o *outbox) push(l *letter) {
	o.append(l.Bytes, l.deadline)
	if o.asks && strings.HasPrefix(l.route.topic, agentTopics) {
		o.asked.add(&frameKey{trace: l.TraceID}, l.now)
	}
}

// agentTopics is where requests are published (spec/02 "Topics").
const agentTopics = "agent/"

// append copies a frame to the last chunk; the lock is held.
func (o *outbox) append(frame []byte, deadline time.Duration) {
	n := len(o.chunks)
	if n == 0 || !o.chunks[n-1].fits(len(frame)) {
		o.chunks = append(o.chunks, newChunk(len(frame)))
		n++
	}
	o.chunks[n-1].add(frame, deadline)
}

// encode queues the frame of m without a detour. It reports whether there was
// room; if not, and after an error, nothing has changed. The lock is held.
func (o *outbox) encode(codec rmp.Codec, m *rmp.Message) (bool, error) {
	if len(o.line) > 0 || o.err != nil {
		return false, nil
	}
	if n := len(o.chunks); n == 0 || !o.chunks[n-1].fits(o.frame) {
		o.chunks = append(o.chunks, newChunk(o.frame))
	}
	c := o.chunks[len(o.chunks)-1]
	buf, err := codec.AppendFrame(c.buf, m)
	size := len(buf) - len(c.buf)
	if err == nil && (o.held == 0 || o.bytes+size <= o.maxBytes) {
		c.buf, c.deadlines = buf, append(c.deadlines, forever)
		o.held++
		o.bytes += size
		o.frame = size + slabRoom
		return true, nil
	}
	if len(c.deadlines) == 0 {
		o.chunks = o.chunks[:len(o.chunks)-1]
		c.free()
	}
	return false, err
}

// control queues a frame about the connection itself. There is room for it
// unless the peer reads nothing at all; it reports whether there was.
func (o *outbox) control(frame []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil || o.bytes > 2*o.maxBytes {
		return false
	}
	o.held++
	o.bytes += len(frame)
	o.append(frame, forever)
	return true
}

// wasAsked reports whether a request with this trace id went out.
func (o *outbox) wasAsked(trace rmp.TraceID) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asked.has(&frameKey{trace: trace})
}

// flush has the queue written, inline as far as the socket takes it at once.
func (o *outbox) flush(inline bool) {
	o.mu.Lock()
	o.flushLocked(inline)
}

// flushLocked is flush with the lock held, which it frees.
func (o *outbox) flushLocked(inline bool) {
	if o.writing || len(o.chunks) == 0 {
		o.mu.Unlock()
		return
	}
	o.writing = true
	var failed error
	more := true
	for i := 0; inline && more && i < inlineChunks; i++ {
		if more = o.next(); !more {
			break
		}
		o.mu.Unlock()
		whole, err := o.writeNow()
		o.mu.Lock()
		if failed = err; err != nil || !whole {
			break
		}
		o.written()
		more = len(o.chunks) > 0
	}
	o.release(more, failed)
}

// release ends a turn of writing, for which the lock is held, and frees the
// lock: what is left, or the end of the goroutine, is handed to it.
func (o *outbox) release(more bool, failed error) {
	if failed != nil {
		o.abandon(failed)
	}
	late := o.late
	o.late = nil
	if more && failed == nil || o.closing {
		o.kick <- struct{}{} // has room: only one writes
	} else {
		o.writing = false
	}
	o.mu.Unlock()
	o.report(late, failed)
}

// run writes what is handed over, until close.
func (o *outbox) run() {
	defer close(o.done)
	for range o.kick {
		var failed error
		o.mu.Lock()
		for failed == nil && o.next() {
			o.mu.Unlock()
			failed = o.writeAll()
			o.mu.Lock()
			if failed == nil {
				o.written()
			}
		}
		if failed != nil {
			o.abandon(failed)
		}
		late, closing := o.late, o.closing
		o.late, o.writing = nil, false
		o.mu.Unlock()
		o.report(late, failed)
		if closing {
			return
		}
	}
}

// close lets the goroutine end once everything is written.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closing {
		return
	}
	o.closing = true
	if !o.writing {
		o.writing = true
		o.kick <- struct{}{}
	}
}

// abort drops what is queued and refuses more.
func (o *outbox) abort(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.abandon(err)
}

// purge drops what is queued but not what is being written, of which the peer
// may have half a frame.
func (o *outbox) purge() {
	o.mu.Lock()
	defer o.mu.Unlock()
	chunks := o.chunks
	o.chunks = nil // who is let in now starts a new one
	for _, c := range chunks {
		o.leave(len(c.deadlines), len(c.buf))
		c.free()
	}
}

// abandon is abort with the lock held.
func (o *outbox) abandon(err error) {
	if o.err == nil {
		o.shut(err)
	}
	o.chunks = nil
}

// next makes the next chunk the current one, without the frames that have
// expired, unless one is current. The lock is held.
func (o *outbox) next() bool {
	for o.current == nil {
		if len(o.chunks) == 0 {
			return false
		}
		c := o.chunks[0]
		o.chunks[0] = nil
		if o.chunks = o.chunks[1:]; len(o.chunks) == 0 {
			o.chunks = nil // its memory too
		}
		for _, frame := range c.expire(o.bus.clock.now()) {
			o.late = append(o.late, frame)
			o.leave(1, len(frame))
		}
		if len(c.deadlines) == 0 {
			c.free()
			continue
		}
		o.current = c
	}
	return true
}

// written takes the current chunk, which is out, off the queue; the lock is
// held.
func (o *outbox) written() {
	c := o.current
	o.current = nil
	o.leave(len(c.deadlines), len(c.buf))
	c.free()
}

// writeNow writes of the current chunk what the socket takes without waiting.
func (o *outbox) writeNow() (whole bool, err error) {
	if err := o.raw.Write(o.try); err != nil {
		return false, err
	}
	switch {
	case o.tryErr == syscall.EAGAIN || o.tryErr == syscall.EINTR:
		return false, nil
	case o.tryErr != nil:
		return false, fmt.Errorf("bus: write: %w", o.tryErr)
	}
	o.current.sent += o.tryN
	return o.current.sent == len(o.current.buf), nil
}

// writeAll writes the rest of the current chunk. A peer that takes not one
// byte for the time of a timeout is a slow consumer.
func (o *outbox) writeAll() error {
	c := o.current
	for c.sent < len(c.buf) {
		_ = o.conn.SetWriteDeadline(time.Now().Add(o.timeout))
		n, err := o.conn.Write(c.buf[c.sent:])
		c.sent += n
		switch {
		case err == nil:
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("bus: write: %w", err)
		case n == 0:
			// After a stop of this process the deadline is over although
			// the socket may have room.
			if _, err := o.writeNow(); err != nil || o.tryN <= 0 {
				return fmt.Errorf("%w: nothing was read for %s", ErrSlowConsumer, o.timeout)
			}
		}
	}
	return nil
}

// report tells about frames that expired here, and ends a connection that
// cannot be written to. It is called without the lock.
func (o *outbox) report(late [][]byte, failed error) {
	for _, frame := range late {
		f, err := o.bus.cfg.Codec.ParseFrame(frame)
		if err != nil {
			continue // it was valid when it came
		}
		topic, _, _ := f.Route()
		o.bus.drop(reasonTTL, string(topic), &f.Header)
	}
	if failed != nil {
		o.end(failed)
	}
}
