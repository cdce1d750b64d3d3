package bus

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/runloop-os/runloop/rmp"
)

// Client is a member of the bus in this process. Its methods are safe for
// concurrent use.
type Client struct {
	bus  *Bus
	name string
	kind Kind

	mu     sync.Mutex // one publish at a time; of all below
	pub    publisher
	nextID uint64
	letter *letter
	room   int // that a frame is expected to need, in bytes
	subs   map[*Subscription]struct{}
	closed bool
}

// Client adds a member. The name is for people, in [Msg.From] and in blame for
// slow subscribers; it need not be unique. On a closed bus the client is
// closed too.
func (b *Bus) Client(name string, kind Kind) *Client {
	c := &Client{
		bus:    b,
		name:   name,
		kind:   kind,
		pub:    publisher{bus: b, name: name},
		nextID: randomID(),
		room:   2 * slabRoom,
		letter: new(letter),
		subs:   make(map[*Subscription]struct{}),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c.closed = b.closed
	if !c.closed {
		b.members[c] = struct{}{}
	}
	return c
}

// Name is what the client was called.
func (c *Client) Name() string { return c.name }

// Kind is what the client said it is.
func (c *Client) Kind() Kind { return c.kind }

// randomID is where the message ids of a publisher start: below 2^52, so that
// two publishers of one trace do not look like duplicates of each other.
func randomID() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:]) >> 12
}

// Publish publishes m to m.Meta.Topic. It sets m.MsgID, and m.CreatedAtMS when
// that is zero; m.TTLMS must be set. It returns how many subscriptions (a
// queue group counts as one) have the frame in their queue: 0 and no error
// means that nobody subscribes to the topic.
//
// When a queue is full it waits, until ctx is done or [Config.PublishWait] is
// over; that copy is then dropped. Errors are those of [rmp.Codec.AppendFrame],
// [ErrTopic], one for a RawMeta, [rmp.ErrExpired], [rmp.ErrDuplicate] and [ErrBackpressure] when
// no subscription took the frame, [ErrClosed] and that of ctx.
func (c *Client) Publish(ctx context.Context, m *rmp.Message) (delivered int, err error) {
	if m.RawMeta != nil {
		return 0, errRawMeta
	}
	return c.publish(ctx, m.Meta.Topic, func(l *letter) error {
		c.nextID++
		m.MsgID = c.nextID
		if m.CreatedAtMS == 0 {
			m.CreatedAtMS = c.bus.clock.wallMS(l.now)
		}
		l.Frame, l.borrowed = c.pub.slab.frame(), false
		return c.bus.cfg.Codec.EncodeFrame(c.pub.slab.room(c.room), m, l.Frame)
	})
}

// Send is [Client.Publish] for publishers that do not ask who got it.
func (c *Client) Send(ctx context.Context, m *rmp.Message) error {
	_, err := c.Publish(ctx, m)
	return err
}

// PublishFrame is [Client.Publish] for a frame that is encoded already: its
// own topic, ids and times hold, and its bytes are what subscribers get.
func (c *Client) PublishFrame(ctx context.Context, frame []byte) (delivered int, err error) {
	f, err := c.bus.cfg.Codec.ParseFrame(frame)
	if err != nil {
		return 0, err
	}
	topic, _, err := f.Route()
	if err != nil {
		return 0, err
	}
	return c.publish(ctx, string(topic), func(l *letter) error {
		l.Frame, l.borrowed = &f, true
		return nil
	})
}

// publish offers the frame that fill makes to the subscribers of topic.
func (c *Client) publish(ctx context.Context, topic string, fill func(*letter) error) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	var t tally
	l, err := c.offer(topic, fill, &t)
	if err != nil {
		if l != nil && err == rmp.ErrExpired {
			c.bus.drop(reasonTTL, topic, &l.Header)
		}
		return 0, err
	}
	return c.bus.finish(ctx, l, &t)
}

// offer makes the frame and passes it to whoever has room. The letter that it
// returns is nobody else's when something is left to do with it.
func (c *Client) offer(topic string, fill func(*letter) error, t *tally) (*letter, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	r, err := c.pub.route(topic)
	if err != nil {
		return nil, err
	}
	l := c.letter
	l.now = c.bus.clock.now()
	if err := fill(l); err != nil {
		return nil, err
	}
	deadline, err := c.bus.expire(&l.Header, l.now)
	if err != nil {
		c.letter = new(letter)
		return l, err
	}
	l.address(&c.pub, r, l.now, deadline)
	c.pub.pass(l, t, true)
	c.pub.flush()
	c.room = min(len(l.Bytes)+slabRoom, slabFrame) // the next is likely to be as large
	if t.lost {
		c.letter, c.pub.slab = new(letter), slab{}
	}
	return l, nil
}

// Subscribe adds a subscription for the topics that filter takes (see
// [CheckFilter]). Frames published from now on are in its queue until
// [Subscription.Recv] takes them.
func (c *Client) Subscribe(filter string, opts SubOptions) (*Subscription, error) {
	s := newSubscription(c.bus, c.name, filter, opts)
	s.onEnd = func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.subs, s)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	if err := c.bus.add(&s.target); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	c.subs[s] = struct{}{}
	return s, nil
}

// Close takes the client off the bus and ends its subscriptions. It always
// returns nil, and may be called again.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	subs := slices.Collect(maps.Keys(c.subs))
	stats := c.pub.stats
	c.pub.stats = publishStats{}
	c.mu.Unlock()
	for _, s := range subs {
		_ = s.Close()
	}
	c.bus.leave(c, stats)
	return nil
}
