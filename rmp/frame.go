package rmp

import (
	"encoding/binary"

	"github.com/tinylib/msgp/msgp"
)

// Codec holds what an encoder or decoder may be told: which schema ids exist
// and how large a body may be. The zero Codec has the frozen registry and
// [DefaultMaxBody].
type Codec struct {
	Registry *Registry
	MaxBody  uint32 // in bytes, 0 means DefaultMaxBody
}

// Limit is the largest body that c takes, in bytes.
func (c Codec) Limit() uint32 {
	if c.MaxBody == 0 {
		return DefaultMaxBody
	}
	return c.MaxBody
}

// Frame is a frame that was validated, as views into the bytes it came in.
// Type is the registry's own string and stays valid for ever; Payload, Meta
// and Bytes are valid as long as those bytes are.
type Frame struct {
	Header
	Type    string
	Payload []byte // raw MsgPack, exactly one value
	Meta    []byte // raw MsgPack map, nil when absent
	Bytes   []byte // all of it, with the u32 length prefix

	at offsets
}

// ParseFrame validates b as one whole frame, length prefix included, with
// nothing after it. It reports the first error of the table of spec/01.
func (c Codec) ParseFrame(b []byte) (Frame, error) {
	var f Frame
	if err := c.parse(b, &f); err != nil {
		return Frame{}, err
	}
	return f, nil
}

// ParseFrame is [Codec.ParseFrame] with the frozen registry and the default
// limit.
func ParseFrame(b []byte) (Frame, error) { return Codec{}.ParseFrame(b) }

// parse is ParseFrame into a Frame of the caller's, which is unusable after
// an error.
func (c Codec) parse(b []byte, f *Frame) error {
	if len(b) < PrefixLen {
		return ErrTruncatedHeader
	}
	frameLen := binary.BigEndian.Uint32(b)
	if frameLen < HeaderLen {
		return ErrTruncatedHeader
	}
	if err := f.Header.Decode(b[PrefixLen:], c.Limit()); err != nil {
		return err
	}
	if uint64(frameLen) != HeaderLen+uint64(f.BodyLen) ||
		uint64(len(b)) != PrefixLen+uint64(frameLen) {
		return ErrLengthMismatch
	}
	return f.content(c.Registry, b)
}

// content does the part of the validation that comes after framing. The
// header is decoded, b is the whole frame.
func (f *Frame) content(reg *Registry, b []byte) error {
	typ, err := f.Header.check(reg)
	if err != nil {
		return err
	}
	f.Type, f.Bytes = typ, b
	body := b[PrefixLen+HeaderLen:]
	if f.plain(body, typ) {
		return nil
	}
	e, err := ParseEnvelope(body)
	if err != nil {
		return err
	}
	if string(e.Type) != typ {
		return ErrBodyTypeMismatch
	}
	f.Payload, f.Meta, f.at = e.Payload, e.Meta, e.at
	return nil
}

// Decode decodes the payload into v, which copies what it keeps.
func (f *Frame) Decode(v msgp.Unmarshaler) error { return Unmarshal(f.Payload, v) }

// DecodeMeta decodes what this package knows of the meta map.
func (f *Frame) DecodeMeta() (Meta, error) {
	var m Meta
	if f.Meta == nil {
		return m, nil
	}
	return m, Unmarshal(f.Meta, &m)
}

// Route is [MetaRoute] of the frame's meta, which the reader of the frame has
// mostly done already.
func (f *Frame) Route() (topic []byte, ack uint64, err error) {
	if !f.at.routed {
		return MetaRoute(f.Meta)
	}
	if f.at.topic != 0 {
		topic = view(f.Bytes[PrefixLen+HeaderLen:], f.at.topic, int(f.at.topicLen))
	}
	return topic, f.at.ack, nil
}

// Clone returns a copy that shares no memory with f.
func (f *Frame) Clone() Frame {
	g := *f
	g.MoveTo(make([]byte, len(f.Bytes)))
	return g
}

// MoveTo copies the frame's bytes to mem, of len(f.Bytes) bytes, and makes
// the views those of the copy.
func (f *Frame) MoveTo(mem []byte) {
	copy(mem, f.Bytes)
	f.Bytes = mem
	body := mem[PrefixLen+HeaderLen:]
	f.Payload = view(body, f.at.payload, len(f.Payload))
	if f.Meta != nil {
		f.Meta = view(body, f.at.meta, len(f.Meta))
	}
}

// view returns n bytes of body, with no room to append to.
func view(body []byte, at uint32, n int) []byte {
	return body[at : int(at)+n : int(at)+n]
}
