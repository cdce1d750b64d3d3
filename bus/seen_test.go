package bus

import (
	"runtime"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestSeenRemembers compares the set with the history of all calls: the last
// max keys must be known, and nothing that was never added may be.
func TestSeenRemembers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 40).Draw(t, "max")
		s := seenSet{max: limit}
		last := make(map[uint64]int) // step at which a key was added
		added := 0
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			id := rapid.Uint64Range(0, 80).Draw(t, "id")
			k := frameKey{msgID: id}
			at, known := last[id]
			if rapid.IntRange(0, 4).Draw(t, "op") == 0 {
				s.remove(&k)
				delete(last, id)
				continue
			}
			had := s.has(&k)
			dup := s.add(&k, 0)
			if had != dup || !s.has(&k) {
				t.Fatalf("key %d: had %v, dup %v", id, had, dup)
			}
			if dup && !known {
				t.Fatalf("key %d was never added", id)
			}
			if !dup && known && added-at < limit {
				t.Fatalf("key %d is forgotten after %d others", id, added-at)
			}
			added++
			last[id] = added
		}
		if n := len(s.now.slots) + len(s.past.slots); n > 8*max(limit, firstSlots) {
			t.Fatalf("%d slots for %d keys", n, limit)
		}
	})
}

func TestSeenTellsKeysApart(t *testing.T) {
	s := seenSet{max: 100}
	keys := []frameKey{{}, {msgID: 1}, {topic: 1}, {trace: [16]byte{1}}, {trace: [16]byte{15: 1}}}
	for i, k := range keys {
		if s.add(&k, 0) {
			t.Errorf("key %d looks like another", i)
		}
	}
	for i, k := range keys {
		if !s.add(&k, 0) {
			t.Errorf("key %d is forgotten", i)
		}
	}
	none := seenSet{max: -1}
	if none.add(&keys[0], 0) || none.add(&keys[0], 0) {
		t.Error("a set of no size remembers")
	}
	none.remove(&keys[0])
}

// TestSeenIsBounded sends two million ids through a window of a million.
func TestSeenIsBounded(t *testing.T) {
	const n = 1_000_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := seenSet{max: n, age: 10 * time.Second}
	for i := range uint64(2 * n) {
		s.add(&frameKey{msgID: i}, 0)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	perID := float64(after.HeapAlloc-before.HeapAlloc) / (2 * n)
	t.Logf("%.1f bytes for each id", perID)
	if perID > 40 {
		t.Errorf("%.1f bytes for each id", perID)
	}
	for i := range uint64(n) {
		if k := (frameKey{msgID: 2*n - 1 - i}); !s.add(&k, 0) {
			t.Fatalf("id %d of the last million is forgotten", k.msgID)
		}
	}
	if s.add(&frameKey{msgID: 0}, 0) {
		t.Error("the oldest id is still there")
	}
}

func TestSeenCountsYoung(t *testing.T) {
	s := seenSet{max: 10, age: 10 * time.Second}
	next := uint64(0)
	add := func(n int, now time.Duration) {
		for range n {
			s.add(&frameKey{msgID: next}, now)
			next++
		}
	}
	add(10, 0)              // the first generation is full
	add(10, 20*time.Second) // the second, and the first is forgotten later
	if s.young != 0 {
		t.Errorf("%d young after twenty seconds", s.young)
	}
	add(10, 25*time.Second)
	if s.young != 10 {
		t.Errorf("%d young, want the ten of five seconds ago", s.young)
	}
}
