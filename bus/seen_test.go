package bus

import (
	"runtime"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestSeenRemembers compares the set with the history of all calls: the last
// max frames must be known, and nothing that was never added may be.
func TestSeenRemembers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 40).Draw(t, "max")
		spread := rapid.SampledFrom([]uint64{1, 7, 64, 1 << 40}).Draw(t, "spread")
		s := seenSet{max: limit}
		last := make(map[frameKey]int) // step at which a frame was added
		added := 0
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			k := frameKey{
				msgID: spread * rapid.Uint64Range(0, 80).Draw(t, "id"),
				topic: rapid.Uint64Range(0, 1).Draw(t, "topic"),
			}
			at, known := last[k]
			if rapid.IntRange(0, 4).Draw(t, "op") == 0 {
				s.remove(&k)
				delete(last, k)
				continue
			}
			had := s.has(&k)
			dup := s.add(&k, 0)
			if had != dup || !s.has(&k) {
				t.Fatalf("frame %+v: had %v, dup %v", k, had, dup)
			}
			if dup && !known {
				t.Fatalf("frame %+v was never added", k)
			}
			if !dup && known && added-at < limit {
				t.Fatalf("frame %+v is forgotten after %d others", k, added-at)
			}
			added++
			last[k] = added
		}
		if n := len(s.now.slots) + len(s.past.slots); n > 8*max(limit, firstSlots) {
			t.Fatalf("%d slots for %d blocks", n, limit)
		}
	})
}

func TestSeenTellsKeysApart(t *testing.T) {
	s := seenSet{max: 100}
	keys := []frameKey{{}, {msgID: 1}, {msgID: 64}, {topic: 1}, {trace: [16]byte{1}}, {trace: [16]byte{15: 1}}}
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
	if none.add(&keys[0], 0) || none.add(&keys[0], 0) || none.has(&keys[0]) {
		t.Error("a set of no size remembers")
	}
	none.remove(&keys[0])
}

// TestSeenIsBounded sends two million frames through a window of a million,
// once in a row and once so that no two are in one block.
func TestSeenIsBounded(t *testing.T) {
	const n = 1 << 20
	for _, step := range []uint64{1, 1 << blockBits} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		s := seenSet{max: n, age: 10 * time.Second}
		for i := range uint64(2 * n) {
			s.add(&frameKey{msgID: i * step}, 0)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		perID := float64(after.HeapAlloc-before.HeapAlloc) / (2 * n)
		t.Logf("numbers %d apart: %.1f bytes for each", step, perID)
		if perID > 60 || step == 1 && perID > 2 {
			t.Errorf("numbers %d apart: %.1f bytes for each", step, perID)
		}
		for i := range uint64(n) {
			if k := (frameKey{msgID: (2*n - 1 - i) * step}); !s.has(&k) {
				t.Fatalf("frame %d of the last million is forgotten", k.msgID)
			}
		}
		s.add(&frameKey{msgID: 1 << 60}, 0)
		if step > 1 && s.has(&frameKey{msgID: 0}) {
			t.Error("the oldest frame is still there")
		}
	}
}

func TestSeenCountsYoung(t *testing.T) {
	s := seenSet{max: 10, age: 10 * time.Second}
	next := uint64(0)
	add := func(n int, now time.Duration) {
		for range n {
			s.add(&frameKey{msgID: next}, now)
			next += 1 << blockBits
		}
	}
	add(10, 0)              // the first generation is full
	add(10, 20*time.Second) // the second
	add(1, 20*time.Second)  // and the first is forgotten
	if s.young != 0 {
		t.Errorf("%d young after twenty seconds", s.young)
	}
	add(9, 25*time.Second)
	add(1, 25*time.Second)
	if s.young != 10 {
		t.Errorf("%d young, want the ten of five seconds ago", s.young)
	}
}
