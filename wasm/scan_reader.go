package wasm

import (
	"fmt"
	"unicode/utf8"
)

// scanReader is a cursor over a module. The first failure sticks: it moves the
// cursor to the end, so that every loop over the input stops by itself and
// callers check err once.
type scanReader struct {
	data []byte
	pos  int
	end  int // reads stop here: the end of the module, section or body
	err  *ScanError
	// passed is told now and then how far the reader is: what lies before need
	// not stay in memory. Nil for nobody.
	passed func(at int)
}

// failAt records the first failure; later ones are its consequences.
func (r *scanReader) failAt(offset int, code, format string, args ...any) {
	if r.err == nil {
		r.err = &ScanError{Code: code, Offset: offset, Message: fmt.Sprintf(format, args...)}
	}
	r.pos, r.end = len(r.data), len(r.data)
}

// over records that something passes a limit.
func (r *scanReader) over(offset int, what string, have, most int) {
	r.failAt(offset, CodeLimit, "%s: %d, at most %d are allowed", what, have, most)
}

// malformed records that the bytes just read are not WebAssembly.
func (r *scanReader) malformed(format string, args ...any) {
	r.failAt(r.pos, CodeMalformed, format, args...)
}

// more tells whether bytes are left and nothing has failed.
func (r *scanReader) more() bool { return r.pos < r.end && r.err == nil }

// remaining is how many bytes are left in the current part.
func (r *scanReader) remaining() int { return r.end - r.pos }

// byte reads one byte.
func (r *scanReader) byte() byte {
	if r.pos >= r.end {
		r.malformed("unexpected end")
		return 0
	}
	b := r.data[r.pos]
	r.pos++
	return b
}

// bytes reads n bytes without copying them.
func (r *scanReader) bytes(n int) []byte {
	if n > r.remaining() {
		r.malformed("unexpected end: %d bytes wanted, %d left", n, r.remaining())
		return nil
	}
	b := r.data[r.pos : r.pos+n]
	r.tell(r.pos)
	r.pos += n
	return b
}

// skip passes over n bytes.
func (r *scanReader) skip(n int) { r.bytes(n) }

// short passes over a number if it is one byte long, as most are.
func (r *scanReader) short() bool {
	if r.pos < r.end && r.data[r.pos] < 0x80 {
		r.pos++
		return true
	}
	return false
}

// u32 reads an unsigned LEB128 number of 32 bits.
func (r *scanReader) u32() uint32 {
	if r.short() {
		return uint32(r.data[r.pos-1])
	}
	return r.longU32()
}

// longU32 reads a number of any length. Padding is legal up to five bytes;
// the unused bits of the fifth must be zero (core spec, 5.2.2).
func (r *scanReader) longU32() (v uint32) {
	for shift := 0; shift < 35; shift += 7 {
		b := r.byte()
		v |= uint32(b&0x7f) << shift
		if b < 0x80 {
			if shift == 28 && b > 0x0f {
				r.malformed("number does not fit 32 bits")
			}
			return v
		}
	}
	r.malformed("number is longer than 5 bytes")
	return 0
}

// signed reads a signed LEB128 number of the given width in bits (32, 33 or
// 64). The unused bits of a last byte must repeat the sign.
func (r *scanReader) signed(bits int) int64 {
	var v int64
	for shift := 0; shift < bits; shift += 7 {
		b := r.byte()
		v |= int64(b&0x7f) << shift
		if b >= 0x80 {
			continue
		}
		if used := bits - shift; used < 7 {
			if top := int8(b<<1) >> used; top != 0 && top != -1 {
				r.malformed("number does not fit %d bits", bits)
			}
		}
		if shift+7 < 64 && b&0x40 != 0 {
			v |= -1 << (shift + 7)
		}
		return v
	}
	r.malformed("number is longer than %d bits allow", bits)
	return 0
}

// count reads the length of a vector whose items take at least minBytes each.
// A length that the bytes left cannot hold is malformed, whatever the limit.
func (r *scanReader) count(what string, limit, minBytes int) int {
	at, n := r.pos, int(r.u32())
	if r.err != nil {
		return 0
	}
	if n > r.remaining()/minBytes {
		r.failAt(at, CodeMalformed, "%d %s cannot be in the %d bytes left", n, what, r.remaining())
		return 0
	}
	if n > limit {
		r.over(at, what, n, limit)
		return 0
	}
	return n
}

// name reads a length and that many bytes of UTF-8. The result shares the
// module's memory; convert it to keep it.
func (r *scanReader) name(limit int) []byte {
	at := r.pos
	n := int(r.u32())
	if n > r.remaining() {
		r.failAt(at, CodeMalformed, "name of %d bytes in the %d left", n, r.remaining())
		return nil
	}
	if n > limit {
		r.over(at, "bytes of a name", n, limit)
		return nil
	}
	from := r.pos
	b := r.bytes(n)
	if !r.validUTF8(from, b) {
		r.failAt(at, CodeMalformed, "name is not UTF-8")
	}
	return b
}

// validUTF8 looks at text in pieces: a name of the name section may be most of the
// module.
func (r *scanReader) validUTF8(at int, b []byte) bool {
	const piece = 1 << 20
	for len(b) > piece {
		n := piece
		for n > piece-utf8.UTFMax && !utf8.RuneStart(b[n]) {
			n--
		}
		if !utf8.Valid(b[:n]) {
			return false
		}
		at, b = at+n, b[n:]
		r.tell(at)
	}
	return utf8.Valid(b)
}

// tell says how far the reader is.
func (r *scanReader) tell(at int) {
	if r.passed != nil {
		r.passed(at)
	}
}

// enter narrows the reader to the next size bytes and returns the end to give
// back to leave.
func (r *scanReader) enter(what string, size uint32) (outer int) {
	outer = r.end
	if int64(size) > int64(r.remaining()) {
		r.malformed("%s of %d bytes in the %d left", what, size, r.remaining())
		return outer
	}
	r.end = r.pos + int(size)
	return outer
}

// leave widens the reader again; the part must have been read to its end.
func (r *scanReader) leave(what string, outer int) {
	if r.err != nil {
		return
	}
	if r.pos != r.end {
		r.malformed("%s has %d bytes too many", what, r.remaining())
		return
	}
	r.tell(r.pos)
	r.end = outer
}
