package rmp

import (
	"encoding/binary"
	"unicode/utf8"
)

// Nesting limits, in containers one inside the other.
const (
	// MaxDepth bounds a value that is transcoded or checked with [Valid].
	MaxDepth = 64
	// MaxFrameDepth bounds a whole body. It leaves room for the structs that
	// carry values of MaxDepth, such as the tape of an agent's response.
	MaxFrameDepth = 128
)

// kind is the MsgPack family of an item.
type kind uint8

const (
	kindNil kind = iota
	kindBool
	kindUint
	kindInt
	kindFloat32
	kindFloat64
	kindStr
	kindBin
	kindExt
	kindArray
	kindMap
)

// item is the head of one MsgPack item: what it is and what follows. Array
// and map items are followed by n values or n pairs, others by n bytes.
type item struct {
	kind kind
	body int // offset of what follows the head
	n    int
}

// Reasons that several places give.
const (
	whyShort    = "value is cut short"
	whyClaim    = "declared length is more than the bytes that are there"
	whyReserved = "byte 0xc1 is not MsgPack"
	whyDepth    = "nesting is too deep"
	whyKey      = "map key is not a string"
	whyUTF8     = "string is not valid UTF-8"
	whyDup      = "map key comes twice"
	whyTrailing = "bytes follow the value"
)

// readItem decodes the head at offset i and checks that what it declares can
// be there at all: each byte, value or pair needs its room in b.
func readItem(b []byte, i int) (item, error) {
	if uint(i) >= uint(len(b)) {
		return item{}, malformed(i, whyShort)
	}
	var it item
	switch c := b[i]; {
	case c < 0x80:
		return item{kindUint, i, 1}, nil
	case c >= 0xe0:
		return item{kindInt, i, 1}, nil
	case c >= 0xa0 && c < 0xc0:
		it = item{kindStr, i + 1, int(c & 0x1f)}
	case c < 0x90:
		it = item{kindMap, i + 1, int(c & 0x0f)}
	case c < 0xa0:
		it = item{kindArray, i + 1, int(c & 0x0f)}
	default:
		var err error
		if it, err = readWide(b, i, c); err != nil {
			return item{}, err
		}
	}
	room := len(b) - it.body
	if it.kind == kindMap {
		room /= 2
	}
	if uint(it.n) > uint(room) {
		return item{}, malformed(i, whyClaim)
	}
	return it, nil
}

// readWide decodes a head of more than one byte. In the lead bytes 0xc4–0xdf
// the low bits give the width of the number or length that follows.
func readWide(b []byte, i int, c byte) (item, error) {
	switch {
	case c == 0xc0:
		return item{kindNil, i + 1, 0}, nil
	case c == 0xc1:
		return item{}, malformed(i, whyReserved)
	case c < 0xc4:
		return item{kindBool, i + 1, 0}, nil
	case c < 0xc7:
		return readLen(b, i, kindBin, 1<<(c-0xc4))
	case c < 0xca:
		return readLen(b, i, kindExt, 1<<(c-0xc7))
	case c == 0xca:
		return item{kindFloat32, i + 1, 4}, nil
	case c == 0xcb:
		return item{kindFloat64, i + 1, 8}, nil
	case c < 0xd0:
		return item{kindUint, i + 1, 1 << (c - 0xcc)}, nil
	case c < 0xd4:
		return item{kindInt, i + 1, 1 << (c - 0xd0)}, nil
	case c < 0xd9:
		return item{kindExt, i + 1, 1 + 1<<(c-0xd4)}, nil
	case c < 0xdc:
		return readLen(b, i, kindStr, 1<<(c-0xd9))
	case c < 0xde:
		return readLen(b, i, kindArray, 2<<(c-0xdc))
	default:
		return readLen(b, i, kindMap, 2<<(c-0xde))
	}
}

// readLen decodes a length of width bytes after the lead byte at i.
func readLen(b []byte, i int, k kind, width int) (item, error) {
	body := i + 1 + width
	if body > len(b) {
		return item{}, malformed(i, whyShort)
	}
	var n int
	switch width {
	case 1:
		n = int(b[i+1])
	case 2:
		n = int(binary.BigEndian.Uint16(b[i+1:]))
	default:
		n = int(binary.BigEndian.Uint32(b[i+1:]))
	}
	if k == kindExt {
		n++ // the type byte
	}
	return item{k, body, n}, nil
}

// readKey decodes a map key at offset i: a string of valid UTF-8.
func readKey(b []byte, i int) (key []byte, next int, err error) {
	it, err := readItem(b, i)
	if err != nil {
		return nil, i, err
	}
	if it.kind != kindStr {
		return nil, i, malformed(i, whyKey)
	}
	next = it.body + it.n
	key = b[it.body:next]
	if !utf8.Valid(key) {
		return nil, i, malformed(i, whyUTF8)
	}
	return key, next, nil
}

// skip returns the offset after the value at offset i. It checks structure:
// lengths, depth, and that keys are strings of valid UTF-8. It neither
// recurses nor allocates.
func skip(b []byte, i, depth int) (int, error) {
	it, err := readItem(b, i)
	if err != nil {
		return i, err
	}
	if it.kind < kindArray {
		return it.body + it.n, nil
	}
	return skipContainer(b, i, it, depth)
}

// skipContainer is skip for the array or map it, which starts at offset i.
// Open containers are counted in pending; in that of a map keys and values
// take turns, so that a key is next when the count is even.
func skipContainer(b []byte, i int, it item, depth int) (int, error) {
	var pending [MaxFrameDepth]struct {
		left  int
		isMap bool
	}
	open := 0
	for {
		if it.kind >= kindArray {
			if open == depth {
				return i, malformed(i, whyDepth)
			}
			p := &pending[open]
			p.left, p.isMap = it.n, it.kind == kindMap
			if p.isMap {
				p.left *= 2
			}
			open++
			i = it.body
		} else {
			i = it.body + it.n
		}
		for open > 0 && pending[open-1].left == 0 {
			open--
		}
		if open == 0 {
			return i, nil
		}
		p := &pending[open-1]
		if p.isMap && p.left&1 == 0 {
			_, next, err := readKey(b, i)
			if err != nil {
				return i, err
			}
			i = next
			p.left--
		}
		p.left--
		var err error
		if it, err = readItem(b, i); err != nil {
			return i, err
		}
	}
}
