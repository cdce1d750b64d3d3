package rmp

import (
	"encoding/binary"
	"errors"
	"io"
)

// Sizes of a Reader's and a Writer's own buffer, in bytes.
const (
	firstBuffer  = 4 << 10
	streamBuffer = 64 << 10
	// keepBuffer is the largest buffer a Reader keeps once a frame that
	// needed more has been consumed.
	keepBuffer = 256 << 10
)

// maxIdleReads is how often in a row a source may return no bytes and no
// error.
const maxIdleReads = 100

// Reader takes a stream of frames apart in its own buffer. It is not safe for
// concurrent use.
type Reader struct {
	src   io.Reader
	codec Codec
	buf   []byte
	r, w  int // unread bytes are buf[r:w]
	skip  int // bytes of a bad frame that are still to be passed over
	err   error
}

// NewReader returns a Reader of frames from src. Its buffer grows with the
// bytes that arrive, never with a length that was only announced.
func NewReader(src io.Reader, codec Codec) *Reader {
	return &Reader{src: src, codec: codec}
}

// SetCodec makes the frames after this one be read with another codec, for
// example with a larger limit once a peer is known.
func (r *Reader) SetCodec(codec Codec) { r.codec = codec }

// Next reads one frame into f, whose views are valid until the next call.
//
// A bad frame is an error of the table of spec/01. When [InStep] holds for
// it, the next call goes on with the frame after it; all other errors are
// final and come again. The stream's end between two frames is [io.EOF].
// Errors of the source are returned as they are; a timeout is not final, the
// next call goes on where this one was interrupted.
func (r *Reader) Next(f *Frame) error {
	if r.err != nil {
		return r.err
	}
	err := r.next(f)
	if err != nil && !InStep(err) && !isTimeout(err) {
		r.err = err
	}
	return err
}

// isTimeout reports whether a source may have more later, as errors of the net
// package say.
func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// Buffered reports whether a whole frame is in the buffer, so that the next
// call of Next will not wait for the source.
func (r *Reader) Buffered() bool {
	have := r.buf[r.r+min(r.skip, r.w-r.r) : r.w]
	return len(have) >= PrefixLen &&
		uint64(len(have)) >= PrefixLen+uint64(binary.BigEndian.Uint32(have))
}

// next is Next without the memory of earlier errors.
func (r *Reader) next(f *Frame) error {
	if r.skip > 0 {
		if err := r.pass(); err != nil {
			return err
		}
	}
	if err := r.header(f); err != nil {
		return err
	}
	size := PrefixLen + HeaderLen + int(f.BodyLen)
	if r.w-r.r < size {
		if err := r.fill(size); err != nil {
			return ended(err, ErrLengthMismatch)
		}
	}
	frame := r.buf[r.r : r.r+size : r.r+size]
	r.r += size
	return f.content(r.codec.Registry, frame)
}

// header reads prefix and header and validates all that bears on framing. On
// ErrInvalidHeaderFlags it arranges for the frame to be passed over; when its
// lengths are wrong as well, the call after that says so and is final.
func (r *Reader) header(f *Frame) error {
	if r.w-r.r < PrefixLen+HeaderLen {
		if err := r.start(); err != nil {
			return err
		}
	}
	frameLen := binary.BigEndian.Uint32(r.buf[r.r:])
	if frameLen < HeaderLen {
		return ErrTruncatedHeader
	}
	limit := r.codec.Limit()
	err := f.Header.Decode(r.buf[r.r+PrefixLen:r.w], limit)
	agrees := uint64(frameLen) == HeaderLen+uint64(f.BodyLen)
	switch {
	case err == ErrInvalidHeaderFlags && f.BodyLen > limit:
		r.err = ErrBodyTooLarge
	case err == ErrInvalidHeaderFlags && !agrees:
		r.err = ErrLengthMismatch
	case err == ErrInvalidHeaderFlags:
		r.skip = PrefixLen + int(frameLen)
	case err == nil && !agrees:
		return ErrLengthMismatch
	}
	return err
}

// start reads until the header is there, or a length that has no room for one.
func (r *Reader) start() error {
	if err := r.fill(PrefixLen); err != nil {
		if r.w == r.r {
			return err
		}
		return ended(err, ErrTruncatedHeader)
	}
	if binary.BigEndian.Uint32(r.buf[r.r:]) < HeaderLen {
		return nil
	}
	if err := r.fill(PrefixLen + HeaderLen); err != nil {
		return ended(err, ErrTruncatedHeader)
	}
	return nil
}

// pass discards what is left of a bad frame.
func (r *Reader) pass() error {
	for r.skip > 0 {
		n := min(r.skip, r.w-r.r)
		r.r += n
		r.skip -= n
		if r.skip == 0 {
			break
		}
		if err := r.fill(1); err != nil {
			return ended(err, ErrLengthMismatch)
		}
	}
	return nil
}

// fill reads until n unread bytes are there.
func (r *Reader) fill(n int) error {
	idle := 0
	for r.w-r.r < n {
		r.makeRoom(n)
		m, err := r.src.Read(r.buf[r.w:])
		r.w += m
		if err != nil && r.w-r.r < n {
			return err
		}
		if idle++; m > 0 {
			idle = 0
		}
		if idle == maxIdleReads {
			return io.ErrNoProgress
		}
	}
	return nil
}

// makeRoom makes place for at least one more byte towards n unread ones.
func (r *Reader) makeRoom(n int) {
	size, have, full := len(r.buf), r.w-r.r, r.w == len(r.buf)
	if have == 0 {
		r.r, r.w = 0, 0
	}
	switch {
	case full && size < streamBuffer: // the source is quick: read more at a time
		r.resize(max(firstBuffer, 4*size))
	case have == 0 && size > keepBuffer && n <= streamBuffer:
		r.resize(streamBuffer)
	case r.r+n <= size:
	case n <= size || have < size:
		r.resize(size)
	default: // doubling, so that a peer has to send what it makes us hold
		r.resize(min(2*size, n))
	}
}

// resize moves the unread bytes to the start of a buffer of size bytes.
func (r *Reader) resize(size int) {
	to := r.buf
	if size != len(r.buf) {
		to = make([]byte, size)
	} else if r.r == 0 {
		return
	}
	r.w = copy(to, r.buf[r.r:r.w])
	r.buf, r.r = to, 0
}

// ended turns the end of the stream inside a frame into the format's error
// for it and leaves other errors of the source alone.
func ended(err error, named *Error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return named
	}
	return err
}
