package bus

import (
	"hash/maphash"
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
// group, so that a frame that is sent again is dropped. It keeps two
// generations of at most max keys each. When the younger is full the older is
// forgotten and they change places, so that the last max keys are always
// there, at a bounded cost in time and about 32 bytes for each key. A key that
// comes again moves to the younger generation: what is used stays.
//
// A key should be kept for as long as a copy of its frame could still be
// valid, which is the largest time to live. A subscription that gets more
// frames than that in this time forgets earlier; young counts those.
type seenSet struct {
	seed  maphash.Seed
	now   generation
	past  generation
	max   int           // keys in a generation, 0 for no memory
	age   time.Duration // what is forgotten before it is this old counts as young
	young uint64
}

// generation is a hash table with open addressing, at most half full.
type generation struct {
	slots []seenKey // len is a power of two
	used  int       // of them, with removed keys
	last  time.Duration
}

// seenKey is a frameKey in short: a hash of all of it with a secret seed, and
// the message id. Both are the same for two frames once in 2^64 pairs with the
// same id.
type seenKey struct{ hash, msgID uint64 }

// Hashes that are no key.
const (
	slotFree    = 0
	slotRemoved = 1
	slotKey     = 2 // and above
)

const firstSlots = 16

// short returns the short form of a key.
func (s *seenSet) short(k *frameKey) seenKey {
	h := maphash.Comparable(s.seed, *k)
	return seenKey{hash: max(h, slotKey), msgID: k.msgID}
}

// add remembers a key at now. It reports whether the key was there.
func (s *seenSet) add(k *frameKey, now time.Duration) (dup bool) {
	if s.max <= 0 {
		return false
	}
	if s.now.slots == nil {
		s.seed = maphash.MakeSeed()
		s.now.slots = make([]seenKey, firstSlots)
	}
	key := s.short(k)
	at := s.now.find(key)
	if s.now.slots[at] == key {
		return true
	}
	if old := s.past.find(key); old >= 0 && s.past.slots[old] == key {
		s.past.slots[old].hash = slotRemoved
		dup = true
	}
	s.now.slots[at] = key
	s.now.used++
	s.now.last = now
	if 2*s.now.used >= len(s.now.slots) || s.now.used >= s.max {
		s.grow(now)
	}
	return dup
}

// has reports whether a key is remembered, and does not count as its use.
func (s *seenSet) has(k *frameKey) bool {
	if s.now.slots == nil {
		return false
	}
	key := s.short(k)
	if s.now.slots[s.now.find(key)] == key {
		return true
	}
	at := s.past.find(key)
	return at >= 0 && s.past.slots[at] == key
}

// grow makes room in the younger generation: a larger table, or that of the
// older one.
func (s *seenSet) grow(now time.Duration) {
	if s.now.used < s.max {
		old := s.now.slots
		s.now.slots = make([]seenKey, 2*len(old))
		for _, key := range old {
			if key.hash >= slotKey {
				s.now.slots[s.now.find(key)] = key
			}
		}
		return
	}
	if s.past.used > 0 && now-s.past.last < s.age {
		s.young += uint64(s.past.used)
	}
	s.now, s.past = s.past, s.now
	s.now.used = 0
	if len(s.now.slots) != len(s.past.slots) {
		s.now.slots = make([]seenKey, len(s.past.slots))
	} else {
		clear(s.now.slots)
	}
}

// remove forgets a key, of a frame that was dropped after all.
func (s *seenSet) remove(k *frameKey) {
	if s.now.slots == nil {
		return
	}
	key := s.short(k)
	for _, g := range [...]*generation{&s.now, &s.past} {
		if at := g.find(key); at >= 0 && g.slots[at] == key {
			g.slots[at].hash = slotRemoved
		}
	}
}

// find returns the slot of a key, or the free one where it belongs, or -1 in a
// generation without slots.
func (g *generation) find(key seenKey) int {
	if len(g.slots) == 0 {
		return -1
	}
	mask := len(g.slots) - 1
	at := int(key.hash) & mask
	for g.slots[at] != key && g.slots[at].hash != slotFree {
		at = (at + 1) & mask
	}
	return at
}
