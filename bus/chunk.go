package bus

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// chunk is some frames in a row, as they go out on a connection.
type chunk struct {
	buf       []byte
	sent      int             // of buf
	deadlines []time.Duration // of each frame
	first     time.Duration   // the earliest of them
}

// chunkSize is the size of the usual chunk, in bytes. A larger frame has a
// chunk of its own.
const chunkSize = 64 << 10

// forever is the deadline of frames that do not expire.
const forever = time.Duration(1<<63 - 1)

var chunkPool = sync.Pool{New: func() any { return &chunk{buf: make([]byte, 0, chunkSize)} }}

// newChunk returns an empty chunk for a frame of n bytes.
func newChunk(n int) *chunk {
	if n > chunkSize {
		return &chunk{buf: make([]byte, 0, n), first: forever}
	}
	c := chunkPool.Get().(*chunk)
	c.first = forever
	return c
}

// free gives the chunk's memory back.
func (c *chunk) free() {
	if cap(c.buf) == chunkSize {
		c.buf, c.deadlines, c.sent = c.buf[:0], c.deadlines[:0], 0
		chunkPool.Put(c)
	}
}

// fits reports whether a frame of n bytes has room.
func (c *chunk) fits(n int) bool { return len(c.buf)+n <= cap(c.buf) }

// add appends a frame.
func (c *chunk) add(frame []byte, deadline time.Duration) {
	c.buf = append(c.buf, frame...)
	c.deadlines = append(c.deadlines, deadline)
	c.first = min(c.first, deadline)
}

// expire takes out the frames that may no longer be handed over, and returns
// copies of them.
func (c *chunk) expire(now time.Duration) (late [][]byte) {
	if c.first > now {
		return nil
	}
	rest, deadlines := c.buf, c.deadlines
	c.buf, c.deadlines, c.first = c.buf[:0], c.deadlines[:0], forever
	for _, deadline := range deadlines {
		n := rmp.PrefixLen + int(binary.BigEndian.Uint32(rest))
		if deadline > now {
			c.add(rest[:n], deadline) // to a place that was read already
		} else {
			late = append(late, append([]byte(nil), rest[:n]...))
		}
		rest = rest[n:]
	}
	return late
}
