package rmp

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"
)

// Reasons of the transcoders.
const (
	whyNumber  = "number is NaN, infinite or out of range"
	whyExt     = "extension types have no JSON form"
	whyInteger = "integer is cut short"
)

// AppendJSON appends the JSON form of exactly one MsgPack value to dst.
//
// Integers keep every digit; floats always have a point or an exponent, so
// that [AppendMsgpack] makes floats of them again; bin becomes a base64
// string. NaN, infinities, extensions and timestamps, keys that are not
// strings or come twice, invalid UTF-8 and more than [MaxDepth] levels are
// refused with a [SyntaxError]; dst is then returned as it was.
func AppendJSON(dst, msgpack []byte) ([]byte, error) {
	t := toJSON{src: msgpack, out: dst}
	t.room(len(msgpack))
	err := t.value(MaxDepth)
	if err == nil && t.at != len(msgpack) {
		err = malformed(t.at, whyTrailing)
	}
	if err != nil {
		return dst, err
	}
	return t.out, nil
}

// Valid reports, as a [SyntaxError], why msgpack is not exactly one value
// that [AppendJSON] takes. It writes nothing.
func Valid(msgpack []byte) error {
	t := toJSON{src: msgpack, mute: true}
	err := t.value(MaxDepth)
	if err == nil && t.at != len(msgpack) {
		err = malformed(t.at, whyTrailing)
	}
	return err
}

// toJSON walks a MsgPack value and writes JSON, unless it is mute.
type toJSON struct {
	src  []byte
	at   int
	out  []byte
	mute bool
}

// value transcodes the value at t.at, in which levels more containers may be
// open at once.
func (t *toJSON) value(levels int) error {
	t.room(scalarRoom)
	it, err := readItem(t.src, t.at)
	if err != nil {
		return err
	}
	if it.kind >= kindArray {
		if levels == 0 {
			return malformed(t.at, whyDepth)
		}
		t.at = it.body
		if it.kind == kindArray {
			return t.array(it.n, levels-1)
		}
		return t.object(it.n, levels-1)
	}
	start := t.at
	t.at = it.body + it.n
	return t.scalar(it, start)
}

// array transcodes n values.
func (t *toJSON) array(n, levels int) error {
	t.put('[')
	for i := range n {
		if i > 0 {
			t.put(',')
		}
		if err := t.value(levels); err != nil {
			return err
		}
	}
	t.put(']')
	return nil
}

// object transcodes n pairs.
func (t *toJSON) object(n, levels int) error {
	var keys keySet
	t.put('{')
	for i := range n {
		key, next, err := readKey(t.src, t.at)
		if err != nil {
			return err
		}
		if keys.add(t.src, t.at, key) {
			return malformed(t.at, whyDup)
		}
		if i > 0 {
			t.put(',')
		}
		t.text(key)
		t.put(':')
		t.at = next
		if err := t.value(levels); err != nil {
			return err
		}
	}
	t.put('}')
	return nil
}

// scalar transcodes the item it, whose head is at offset start.
func (t *toJSON) scalar(it item, start int) error {
	body := t.src[it.body : it.body+it.n]
	switch it.kind {
	case kindNil:
		t.word("null")
	case kindBool:
		t.word(strconv.FormatBool(t.src[start] == 0xc3))
	case kindStr:
		if !utf8.Valid(body) {
			return malformed(start, whyUTF8)
		}
		t.text(body)
	case kindBin:
		t.base64(body)
	case kindUint, kindInt:
		return t.integer(it.kind, start)
	case kindFloat32:
		return t.float(float64(math.Float32frombits(binary.BigEndian.Uint32(body))), start)
	case kindFloat64:
		return t.float(math.Float64frombits(binary.BigEndian.Uint64(body)), start)
	default:
		return malformed(start, whyExt)
	}
	return nil
}

// integer transcodes the integer whose head is at offset start.
func (t *toJSON) integer(k kind, start int) error {
	if t.mute {
		return nil
	}
	if k == kindUint {
		n, _, err := msgp.ReadUint64Bytes(t.src[start:])
		if err != nil {
			return malformed(start, whyInteger)
		}
		t.out = strconv.AppendUint(t.out, n, 10)
		return nil
	}
	n, _, err := msgp.ReadInt64Bytes(t.src[start:])
	if err != nil {
		return malformed(start, whyInteger)
	}
	t.out = strconv.AppendInt(t.out, n, 10)
	return nil
}

// float writes f so that it reads back as the same float, not as an integer.
func (t *toJSON) float(f float64, start int) error {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return malformed(start, whyNumber)
	}
	if t.mute {
		return nil
	}
	mark := len(t.out)
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	t.out = strconv.AppendFloat(t.out, f, format, -1, 64)
	for _, c := range t.out[mark:] {
		if c == '.' || c == 'e' {
			return nil
		}
	}
	t.out = append(t.out, ".0"...)
	return nil
}

// base64 writes b as a string of standard, padded base64 (RFC 4648 section 4).
func (t *toJSON) base64(b []byte) {
	if t.mute {
		return
	}
	t.room(base64.StdEncoding.EncodedLen(len(b)) + scalarRoom)
	t.out = append(t.out, '"')
	t.out = base64.StdEncoding.AppendEncode(t.out, b)
	t.out = append(t.out, '"')
}

// put writes one byte of syntax.
func (t *toJSON) put(c byte) {
	if !t.mute {
		t.out = append(t.out, c)
	}
}

// word writes a literal.
func (t *toJSON) word(s string) {
	if !t.mute {
		t.out = append(t.out, s...)
	}
}

// text writes a string that is known to be valid UTF-8.
func (t *toJSON) text(s []byte) {
	if !t.mute {
		t.room(quotedLen(s) + scalarRoom)
		t.out = appendString(t.out, s)
	}
}

// scalarRoom is enough for any scalar but a string, and for the syntax around
// it, in bytes.
const scalarRoom = 64

// room makes place for n bytes. The buffer doubles exactly: one byte of input
// can become six of output, and append's own steps of a quarter would then
// allocate thirty times the input on the way.
func (t *toJSON) room(n int) {
	if t.mute || cap(t.out)-len(t.out) >= n {
		return
	}
	bigger := make([]byte, len(t.out), max(2*cap(t.out), len(t.out)+n))
	copy(bigger, t.out)
	t.out = bigger
}

// quotedLen returns the length of s as a JSON string.
func quotedLen(s []byte) int {
	n := len(s) + 2
	for _, c := range s {
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		n += 5 // at most: \u00XX
	}
	return n
}

// appendString appends s as a JSON string. Only what RFC 8259 section 7
// demands is escaped.
func appendString[S []byte | string](out []byte, s S) []byte {
	out = append(out, '"')
	done := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		out = append(out, s[done:i]...)
		done = i + 1
		out = appendEscape(out, c)
	}
	out = append(out, s[done:]...)
	return append(out, '"')
}

// appendEscape appends the escape sequence of one ASCII character.
func appendEscape(out []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(out, '\\', c)
	case '\n':
		return append(out, '\\', 'n')
	case '\r':
		return append(out, '\\', 'r')
	case '\t':
		return append(out, '\\', 't')
	}
	return append(out, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}
