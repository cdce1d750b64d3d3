package rmp

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"
)

// Reasons of the JSON reader.
const (
	whyJSON      = "not a JSON value"
	whyJSONShort = "JSON ends early"
	whyControl   = "control character in a JSON string"
	whyEscape    = "escape sequence is not JSON"
	whySurrogate = "half of a surrogate pair"
)

// AppendMsgpack appends the MsgPack form of exactly one JSON value (RFC 8259)
// to dst. Numbers written as integers that fit int64 or uint64 become
// integers, all others float64. Keys that come twice, invalid UTF-8, lone
// surrogates, numbers beyond float64 and more than [MaxDepth] levels are
// refused with a [SyntaxError]; dst is then returned as it was.
func AppendMsgpack(dst, json []byte) ([]byte, error) {
	f := fromJSON{src: json, out: slices.Grow(dst, len(json))}
	err := f.value(MaxDepth)
	if f.space(); err == nil && f.at != len(json) {
		err = malformed(f.at, whyTrailing)
	}
	if err != nil {
		return dst, err
	}
	return f.out, nil
}

// fromJSON walks a JSON value and writes MsgPack.
type fromJSON struct {
	src []byte
	at  int
	out []byte
}

// value transcodes the next value, in which levels more containers may be
// open at once.
func (f *fromJSON) value(levels int) error {
	f.space()
	c := f.peek()
	switch {
	case c == '{' || c == '[':
		if levels == 0 {
			return malformed(f.at, whyDepth)
		}
		f.at++
		if c == '[' {
			return f.array(levels - 1)
		}
		return f.object(levels - 1)
	case c == '"':
		return f.text()
	case c == '-' || '0' <= c && c <= '9':
		return f.number()
	case c == 't':
		return f.word("true", 0xc3)
	case c == 'f':
		return f.word("false", 0xc2)
	case c == 'n':
		return f.word("null", 0xc0)
	}
	return f.wrong(whyJSON)
}

// array transcodes what follows a "[".
func (f *fromJSON) array(levels int) error {
	head := f.begin()
	n := 0
	for more := !f.close(']'); more; n++ {
		if err := f.value(levels); err != nil {
			return err
		}
		var err error
		if more, err = f.comma(']'); err != nil {
			return err
		}
	}
	f.end(head, n, 0x90, 0xdc)
	return nil
}

// object transcodes what follows a "{".
func (f *fromJSON) object(levels int) error {
	var keys keySet
	head := f.begin()
	n := 0
	for more := !f.close('}'); more; n++ {
		if err := f.key(&keys); err != nil {
			return err
		}
		if err := f.value(levels); err != nil {
			return err
		}
		var err error
		if more, err = f.comma('}'); err != nil {
			return err
		}
	}
	f.end(head, n, 0x80, 0xde)
	return nil
}

// key transcodes a key and its colon.
func (f *fromJSON) key(keys *keySet) error {
	f.space()
	start, mark := f.at, len(f.out)
	if f.peek() != '"' {
		return f.wrong(whyKey)
	}
	if err := f.text(); err != nil {
		return err
	}
	if keys.add(f.out, mark, keyAt(f.out, int32(mark))) {
		return malformed(start, whyDup)
	}
	f.space()
	if f.peek() != ':' {
		return f.wrong(whyJSON)
	}
	f.at++
	return nil
}

// begin reserves the one-byte head of a short container.
func (f *fromJSON) begin() int {
	f.out = append(f.out, 0)
	return len(f.out) - 1
}

// end writes the head of the container whose content starts after offset
// head, and moves the content when the head needs more room than one byte.
// short is the lead byte for up to 15 entries, wide that for a u16 count.
func (f *fromJSON) end(head, n int, short, wide byte) {
	var b [5]byte
	size := 1
	switch {
	case n < 16:
		b[0] = short | byte(n)
	case n <= math.MaxUint16:
		b[0], size = wide, 3
		binary.BigEndian.PutUint16(b[1:], uint16(n))
	default:
		b[0], size = wide+1, 5
		binary.BigEndian.PutUint32(b[1:], uint32(n))
	}
	f.out = slices.Insert(f.out, head+1, b[1:size]...)
	f.out[head] = b[0]
}

// text transcodes a string. Its head is written when its length is known.
func (f *fromJSON) text() error {
	f.at++
	start := f.at
	for f.at < len(f.src) {
		switch c := f.src[f.at]; {
		case c == '"':
			raw := f.src[start:f.at]
			if !utf8.Valid(raw) {
				return malformed(start, whyUTF8)
			}
			f.at++
			f.out = msgp.AppendStringFromBytes(f.out, raw)
			return nil
		case c == '\\':
			return f.escaped(start)
		case c < 0x20:
			return malformed(f.at, whyControl)
		}
		f.at++
	}
	return malformed(f.at, whyJSONShort)
}

// escaped is text for a string with escape sequences, which started at offset
// start: it is decoded behind the output and then given its head.
func (f *fromJSON) escaped(start int) error {
	mark := len(f.out)
	f.at = start
	for f.at < len(f.src) {
		c := f.src[f.at]
		switch {
		case c == '"':
			f.at++
			return f.headString(mark, start)
		case c < 0x20:
			return malformed(f.at, whyControl)
		case c != '\\':
			f.out = append(f.out, c)
			f.at++
		default:
			if err := f.escape(); err != nil {
				return err
			}
		}
	}
	return malformed(f.at, whyJSONShort)
}

// headString puts the head of a string before the text at offset mark.
func (f *fromJSON) headString(mark, start int) error {
	text := f.out[mark:]
	if !utf8.Valid(text) {
		return malformed(start, whyUTF8)
	}
	var b [5]byte
	size := 1
	switch n := len(text); {
	case n < 32:
		b[0] = 0xa0 | byte(n)
	case n <= math.MaxUint8:
		b[0], b[1], size = 0xd9, byte(n), 2
	case n <= math.MaxUint16:
		b[0], size = 0xda, 3
		binary.BigEndian.PutUint16(b[1:], uint16(n))
	default:
		b[0], size = 0xdb, 5
		binary.BigEndian.PutUint32(b[1:], uint32(n))
	}
	f.out = slices.Insert(f.out, mark, b[:size]...)
	return nil
}

// escape decodes one escape sequence.
func (f *fromJSON) escape() error {
	if f.at+1 >= len(f.src) {
		return malformed(f.at, whyJSONShort)
	}
	c := f.src[f.at+1]
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		return f.unicode()
	default:
		return malformed(f.at, whyEscape)
	}
	f.out = append(f.out, c)
	f.at += 2
	return nil
}

// unicode decodes \uXXXX, or two of them that make a surrogate pair.
func (f *fromJSON) unicode() error {
	r, ok := f.hex4(f.at)
	if !ok {
		return malformed(f.at, whyEscape)
	}
	size := 6
	if utf16.IsSurrogate(r) {
		low, ok := f.hex4(f.at + 6)
		if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
			return malformed(f.at, whySurrogate)
		}
		size = 12
	}
	f.out = utf8.AppendRune(f.out, r)
	f.at += size
	return nil
}

// hex4 reads \uXXXX at offset i.
func (f *fromJSON) hex4(i int) (rune, bool) {
	if i+6 > len(f.src) || f.src[i] != '\\' || f.src[i+1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range f.src[i+2 : i+6] {
		digit := hexDigit(c)
		if digit < 0 {
			return 0, false
		}
		r = r<<4 | digit
	}
	return r, true
}

// hexDigit returns the value of a hex digit, -1 for another character.
func hexDigit(c byte) rune {
	switch {
	case '0' <= c && c <= '9':
		return rune(c - '0')
	case 'a' <= c && c <= 'f':
		return rune(c - 'a' + 10)
	case 'A' <= c && c <= 'F':
		return rune(c - 'A' + 10)
	}
	return -1
}

// number transcodes a number (RFC 8259 section 6).
func (f *fromJSON) number() error {
	start := f.at
	if f.peek() == '-' {
		f.at++
	}
	if whole := f.digits(); whole == 0 || whole > 1 && f.src[f.at-whole] == '0' {
		return malformed(start, whyJSON)
	}
	integer := true
	if f.peek() == '.' {
		integer = false
		f.at++
		if f.digits() == 0 {
			return malformed(start, whyJSON)
		}
	}
	if c := f.peek(); c == 'e' || c == 'E' {
		integer = false
		f.at++
		if c := f.peek(); c == '+' || c == '-' {
			f.at++
		}
		if f.digits() == 0 {
			return malformed(start, whyJSON)
		}
	}
	return f.putNumber(string(f.src[start:f.at]), start, integer)
}

// putNumber writes a number of valid syntax. Minus zero is a float: integers
// have no such value.
func (f *fromJSON) putNumber(s string, start int, integer bool) error {
	if integer && s != "-0" {
		if n, err := strconv.ParseUint(s, 10, 64); err == nil {
			f.out = msgp.AppendUint64(f.out, n)
			return nil
		}
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			f.out = msgp.AppendInt64(f.out, n)
			return nil
		}
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return malformed(start, whyNumber)
	}
	f.out = msgp.AppendFloat64(f.out, n)
	return nil
}

// digits passes over decimal digits and says how many.
func (f *fromJSON) digits() int {
	start := f.at
	for f.at < len(f.src) && '0' <= f.src[f.at] && f.src[f.at] <= '9' {
		f.at++
	}
	return f.at - start
}

// word transcodes a literal to the one byte that it is in MsgPack.
func (f *fromJSON) word(w string, code byte) error {
	if len(f.src)-f.at < len(w) || string(f.src[f.at:f.at+len(w)]) != w {
		return f.wrong(whyJSON)
	}
	f.at += len(w)
	f.out = append(f.out, code)
	return nil
}

// close passes over c, the end of an empty container, if it comes next.
func (f *fromJSON) close(c byte) bool {
	f.space()
	if f.peek() != c {
		return false
	}
	f.at++
	return true
}

// comma passes over the comma between two entries, or over the container's
// end, and says which it was.
func (f *fromJSON) comma(end byte) (more bool, err error) {
	f.space()
	c := f.peek()
	if c != ',' && c != end {
		return false, f.wrong(whyJSON)
	}
	f.at++
	return c == ',', nil
}

// space passes over white space.
func (f *fromJSON) space() {
	for f.at < len(f.src) {
		switch f.src[f.at] {
		case ' ', '\t', '\n', '\r':
			f.at++
		default:
			return
		}
	}
}

// peek returns the next byte, 0 at the end. No token of JSON starts with 0.
func (f *fromJSON) peek() byte {
	if f.at < len(f.src) {
		return f.src[f.at]
	}
	return 0
}

// wrong is the error for the next byte, or for its absence.
func (f *fromJSON) wrong(why string) error {
	if f.at >= len(f.src) {
		why = whyJSONShort
	}
	return malformed(f.at, why)
}
