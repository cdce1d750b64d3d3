package rmp

import "io"

// Writer collects frames and writes them in batches. It is not safe for
// concurrent use.
type Writer struct {
	dst   io.Writer
	codec Codec
	buf   []byte
	err   error
}

// NewWriter returns a Writer of frames to dst. The caller ends with
// [Writer.Flush].
func NewWriter(dst io.Writer, codec Codec) *Writer {
	return &Writer{dst: dst, codec: codec}
}

// Message encodes m. A message that cannot be encoded leaves the stream as it
// was; an error of the destination is final and comes again.
func (w *Writer) Message(m *Message) error {
	if w.err != nil {
		return w.err
	}
	var err error
	if w.buf, err = w.codec.AppendFrame(w.buf, m); err != nil {
		return err
	}
	return w.spill()
}

// Frame takes a frame that is encoded already, such as [Frame.Bytes]. It is
// written as it is.
func (w *Writer) Frame(b []byte) error {
	if w.err != nil {
		return w.err
	}
	w.buf = append(w.buf, b...)
	return w.spill()
}

// Flush writes everything collected so far.
func (w *Writer) Flush() error {
	if w.err != nil || len(w.buf) == 0 {
		return w.err
	}
	_, w.err = w.dst.Write(w.buf)
	w.buf = w.buf[:0]
	if cap(w.buf) > keepBuffer {
		w.buf = nil
	}
	return w.err
}

// spill flushes once enough has come together.
func (w *Writer) spill() error {
	if len(w.buf) < streamBuffer {
		return nil
	}
	return w.Flush()
}
