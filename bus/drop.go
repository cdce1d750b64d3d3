package bus

import (
	"sync"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// TopicDrops is where drop notices are published.
const TopicDrops = "rlp/sys/drops"

// dropReason says why a copy of a frame was not delivered.
type dropReason uint8

const (
	reasonTTL dropReason = iota
	reasonDuplicate
	reasonBackpressure
	reasonForbidden
)

// reasonNames are the reasons as drop notices and statistics name them.
var reasonNames = [...]string{
	reasonTTL:          "ttl",
	reasonDuplicate:    "duplicate",
	reasonBackpressure: "backpressure",
	reasonForbidden:    "forbidden",
}

// notices publishes drop notices at a bounded rate.
type notices struct {
	mu         sync.Mutex
	pub        publisher
	nextID     uint64
	left       int // this second
	second     time.Duration
	suppressed uint64
}

// noticeTTL is how long a drop notice is worth reading.
const noticeTTL = time.Minute

// start makes the notices ready.
func (n *notices) start(b *Bus) {
	n.pub = publisher{bus: b, name: "bus"}
	n.nextID = randomID()
}

// drop counts a copy that was not delivered and publishes a notice about it,
// unless it was a notice itself or there were too many this second. It is
// called without any lock.
func (b *Bus) drop(reason dropReason, topic string, h *rmp.Header) {
	b.drops[reason].Add(1)
	if topic == TopicDrops || b.cfg.DropNotices < 0 {
		return
	}
	b.expel(b.notices.send(reason, topic, h))
}

// send publishes a notice unless there were too many this second, and returns
// the subscribers to notices that must go.
func (n *notices) send(reason dropReason, topic string, h *rmp.Header) (stuck []*target) {
	n.mu.Lock()
	defer n.mu.Unlock()
	b := n.pub.bus
	now := b.clock.now()
	if second := now.Truncate(time.Second); second != n.second {
		n.second, n.left = second, b.cfg.DropNotices
	}
	if n.left == 0 {
		n.suppressed++
		return nil
	}
	n.left--
	return n.publish(now, &rmp.DropNotice{
		Reason:      reasonNames[reason],
		Topic:       topic,
		TraceID:     h.TraceID.String(),
		MsgID:       h.MsgID,
		ExpiresAtMS: h.ExpiresAtMS(),
	}, h.TraceID)
}

// publish sends a notice to whoever has room for it now.
func (n *notices) publish(now time.Duration, notice *rmp.DropNotice, trace rmp.TraceID) (stuck []*target) {
	r, err := n.pub.route(TopicDrops)
	if err != nil || len(r.targets)+len(r.groups) == 0 {
		return nil
	}
	b := n.pub.bus
	n.nextID++
	l := letter{Frame: n.pub.slab.frame()}
	err = b.cfg.Codec.EncodeFrame(n.pub.slab.room(slabRoom), &rmp.Message{
		SchemaID:    rmp.CTBusDropNotice,
		TraceID:     trace,
		MsgID:       n.nextID,
		CreatedAtMS: b.clock.wallMS(now),
		TTLMS:       uint64(noticeTTL / time.Millisecond),
		Meta:        rmp.Meta{Topic: TopicDrops},
		Payload:     notice,
	}, l.Frame)
	if err != nil {
		return nil // a body limit that is smaller than a notice
	}
	l.address(&n.pub, r, now, now+noticeTTL)
	var t tally
	n.pub.pass(&l, &t, false)
	b.drops[reasonBackpressure].Add(uint64(t.dropped[reasonBackpressure]))
	n.pub.flush()
	return t.stuck
}
