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
	if key, next, err = readString(b, i); err != nil {
		return nil, i, err
	}
	if !isASCII(key) && !utf8.Valid(key) {
		return nil, i, malformed(i, whyUTF8)
	}
	return key, next, nil
}

// readString decodes a map key at offset i whose text is not checked.
func readString(b []byte, i int) (text []byte, next int, err error) {
	if i < len(b) && b[i]&0xe0 == 0xa0 { // short, as nearly all keys are
		next = i + 1 + int(b[i]&0x1f)
		if next > len(b) {
			return nil, i, malformed(i, whyClaim)
		}
		return b[i+1 : next], next, nil
	}
	it, err := readItem(b, i)
	if err != nil {
		return nil, i, err
	}
	if it.kind != kindStr {
		return nil, i, malformed(i, whyKey)
	}
	next = it.body + it.n
	return b[it.body:next], next, nil
}

// isASCII is quicker than utf8.Valid for the few bytes of a key.
func isASCII(b []byte) bool {
	var all uint64
	for len(b) >= 8 {
		all |= binary.LittleEndian.Uint64(b)
		b = b[8:]
	}
	for _, c := range b {
		all |= uint64(c)
	}
	return all&0x8080808080808080 == 0
}

// pending is an open container: the number of items still to come, times two,
// plus one for a map. In a map keys and values take turns, so that a key is
// next when the number is even.
type pending uint64

func (p pending) done() bool    { return p < 2 }
func (p pending) wantKey() bool { return p&3 == 1 }

// shallow is the depth up to which skip needs no memory of its own.
const shallow = 16

// skip returns the offset after the value at offset i. It checks structure:
// lengths, depth, and that keys are strings of valid UTF-8. It does not
// recurse, and allocates only for what is nested deeper than shallow.
func skip(b []byte, i, depth int) (int, error) {
	if it, err := readItem(b, i); err == nil && it.kind < kindArray {
		return it.body + it.n, nil
	}
	return skipNested(b, i, depth)
}

// skipNested is skip for any value.
func skipNested(b []byte, i, depth int) (int, error) {
	var room [shallow]pending
	open := room[:0]
	for {
		if i < len(b) && int8(b[i]) >= -32 { // one byte, an integer
			i++
		} else {
			it, err := readItem(b, i)
			if err != nil {
				return i, err
			}
			if it.kind < kindArray {
				i = it.body + it.n
			} else {
				if len(open) == depth {
					return i, malformed(i, whyDepth)
				}
				open = append(open, it.pending())
				i = it.body
			}
		}
		for len(open) > 0 && open[len(open)-1].done() {
			open = open[:len(open)-1]
		}
		if len(open) == 0 {
			return i, nil
		}
		top := &open[len(open)-1]
		if top.wantKey() {
			var err error
			if _, i, err = readKey(b, i); err != nil {
				return i, err
			}
			*top -= 2
		}
		*top -= 2
	}
}

// pending returns what is to come of a container.
func (it item) pending() pending {
	if it.kind == kindMap {
		return pending(it.n)<<2 | 1
	}
	return pending(it.n) << 1
}
