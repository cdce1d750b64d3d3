package rmp

import (
	"bytes"
	"hash/maphash"
)

// keySet finds the key of one map that comes twice. It remembers where keys
// start in the buffer they were read from, not the keys. Small maps, which is
// nearly all of them, are searched; larger ones get a hash table that grows
// with the keys that were really there, whatever count the map declared.
type keySet struct {
	first [8]int32
	n     int
	seed  maphash.Seed
	table []int32 // open addressing, offset+1, 0 is free; len is a power of two
}

// add records the key that starts at offset at, and reports whether the map
// had it before. The offset is that of the key's head.
func (s *keySet) add(b []byte, at int, key []byte) (dup bool) {
	if s.table != nil {
		return s.insert(b, at, key)
	}
	for _, seen := range s.first[:s.n] {
		if bytes.Equal(key, keyAt(b, seen)) {
			return true
		}
	}
	if s.n < len(s.first) {
		s.first[s.n] = int32(at)
		s.n++
		return false
	}
	s.seed = maphash.MakeSeed()
	s.grow(b, 4*len(s.first))
	return s.insert(b, at, key)
}

// insert is add for a set that has a table.
func (s *keySet) insert(b []byte, at int, key []byte) (dup bool) {
	mask := uint64(len(s.table) - 1)
	i := maphash.Bytes(s.seed, key) & mask
	for ; s.table[i] != 0; i = (i + 1) & mask {
		if bytes.Equal(key, keyAt(b, s.table[i]-1)) {
			return true
		}
	}
	s.table[i] = int32(at) + 1
	s.n++
	if 2*s.n >= len(s.table) {
		s.grow(b, 2*len(s.table))
	}
	return false
}

// grow moves all keys to a table of size slots.
func (s *keySet) grow(b []byte, size int) {
	old := s.table
	s.table = make([]int32, size)
	if old == nil {
		for _, at := range s.first[:s.n] {
			s.place(b, at)
		}
		return
	}
	for _, slot := range old {
		if slot != 0 {
			s.place(b, slot-1)
		}
	}
}

// place puts a key that is known to be new into the table.
func (s *keySet) place(b []byte, at int32) {
	mask := uint64(len(s.table) - 1)
	i := maphash.Bytes(s.seed, keyAt(b, at)) & mask
	for s.table[i] != 0 {
		i = (i + 1) & mask
	}
	s.table[i] = at + 1
}

// keyAt returns the key whose head is at offset at. It was read before, so
// that its head cannot be malformed.
func keyAt(b []byte, at int32) []byte {
	if c := b[at]; c&0xe0 == 0xa0 {
		return b[at+1 : at+1+int32(c&0x1f)]
	}
	it, err := readItem(b, int(at))
	if err != nil {
		return nil
	}
	return b[it.body : it.body+it.n]
}
