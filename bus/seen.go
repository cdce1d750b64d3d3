package bus

import (
	"hash/maphash"
	"math/bits"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// frameKey is what must not come twice: a message on a topic. The topic is
// there as a hash with a secret seed.
type frameKey struct {
	trace rmp.TraceID
	msgID uint64
	topic uint64
}

// seenSet remembers the last frames of one subscription, or of one queue
// group, so that a frame that is sent again is dropped.
//
// A publisher numbers its messages one after the other, so they are remembered
// in blocks of 64 numbers, a bit for each: a stream of one publisher costs less
// than a byte a frame, and mostly stays in the block of the frame before. The
// blocks are in two generations of at most max each. When the younger is full
// the older is forgotten and they change places, so that the last max frames
// are always there. A block that is used again moves to the younger
// generation: what is used stays.
//
// A frame should be remembered for as long as a copy of it could still be
// valid, which is the largest time to live. A subscription that gets more
// frames than that in this time forgets earlier; young counts those.
type seenSet struct {
	seed  maphash.Seed
	now   generation
	past  generation
	last  frameKey // of the frame before, with the number of its block
	at    int      // where its block is in now, -1 when it is not known
	max   int      // blocks in a generation, 0 for no memory
	age   time.Duration
	young uint64
}

// generation is a hash table with open addressing, at most half full.
type generation struct {
	slots []seenBlock // len is a power of two
	used  int         // of them, with removed ones
	last  time.Duration
}

// seenBlock is 64 consecutive messages of a trace on a topic. The hash is of
// all three with a secret seed; with the block's number it is the same for two
// blocks once in 2^64 pairs that have the same number.
type seenBlock struct {
	hash   uint64
	number uint64
	bits   uint64 // of the messages that were seen; 0 in a free or removed slot
}

// slotRemoved is the hash of a slot that was used and is not any more; that of
// a free slot is 0.
const (
	slotRemoved = 1
	slotUsed    = 2 // and above
)

const (
	firstSlots = 16
	blockBits  = 6
)

// add remembers a frame at now. It reports whether it was there.
func (s *seenSet) add(k *frameKey, now time.Duration) (dup bool) {
	if s.max <= 0 {
		return false
	}
	bit := uint64(1) << (k.msgID & (1<<blockBits - 1))
	key := *k
	key.msgID >>= blockBits
	if s.at < 0 || s.last != key || s.now.slots == nil {
		s.at, s.last = s.block(&key, now), key
	}
	b := &s.now.slots[s.at]
	dup = b.bits&bit != 0
	b.bits |= bit
	s.now.last = now
	return dup
}

// block returns the slot of a block in the younger generation. Key has the
// block's number for a message id.
func (s *seenSet) block(key *frameKey, now time.Duration) int {
	if s.now.slots == nil {
		s.seed = maphash.MakeSeed()
		s.now.slots = make([]seenBlock, firstSlots)
	}
	b := s.name(key)
	at := s.now.find(b)
	if s.now.slots[at].hash == b.hash {
		return at
	}
	if old := s.past.find(b); old >= 0 && s.past.slots[old].hash == b.hash {
		b.bits = s.past.slots[old].bits
		s.past.slots[old] = seenBlock{hash: slotRemoved}
	}
	if s.now.used >= s.max || 2*s.now.used >= len(s.now.slots) {
		s.grow(now)
		at = s.now.find(b)
	}
	s.now.slots[at] = b
	s.now.used++
	return at
}

// name returns the empty block of a key.
func (s *seenSet) name(key *frameKey) seenBlock {
	return seenBlock{hash: max(maphash.Comparable(s.seed, *key), slotUsed), number: key.msgID}
}

// has reports whether a frame is remembered, and does not count as its use.
func (s *seenSet) has(k *frameKey) bool {
	_, bit := s.where(k)
	return bit != 0
}

// remove forgets a frame, which was dropped after all.
func (s *seenSet) remove(k *frameKey) {
	if b, bit := s.where(k); bit != 0 {
		b.bits &^= bit
	}
}

// where returns the block in which a frame is remembered, and its bit, or no
// bit.
func (s *seenSet) where(k *frameKey) (b *seenBlock, bit uint64) {
	if s.now.slots == nil {
		return nil, 0
	}
	bit = uint64(1) << (k.msgID & (1<<blockBits - 1))
	key := *k
	key.msgID >>= blockBits
	name := s.name(&key)
	for _, g := range [...]*generation{&s.now, &s.past} {
		if at := g.find(name); at >= 0 && g.slots[at].hash == name.hash && g.slots[at].bits&bit != 0 {
			return &g.slots[at], bit
		}
	}
	return nil, 0
}

// grow makes room in the younger generation: a larger table, or that of the
// older one.
func (s *seenSet) grow(now time.Duration) {
	s.at = -1
	if s.now.used < s.max {
		old := s.now.slots
		s.now.slots = make([]seenBlock, 2*len(old))
		for _, b := range old {
			if b.hash >= slotUsed {
				s.now.slots[s.now.find(b)] = b
			}
		}
		return
	}
	if now-s.past.last < s.age {
		for _, b := range s.past.slots {
			s.young += uint64(bits.OnesCount64(b.bits))
		}
	}
	s.now, s.past = s.past, s.now
	s.now.used = 0
	if len(s.now.slots) != len(s.past.slots) {
		s.now.slots = make([]seenBlock, len(s.past.slots))
	} else {
		clear(s.now.slots)
	}
}

// find returns the slot of a block, or the free one where it belongs, or -1 in
// a generation without slots.
func (g *generation) find(b seenBlock) int {
	if len(g.slots) == 0 {
		return -1
	}
	mask := len(g.slots) - 1
	at := int(b.hash) & mask
	for s := &g.slots[at]; s.hash != 0 && (s.hash != b.hash || s.number != b.number); s = &g.slots[at] {
		at = (at + 1) & mask
	}
	return at
}
