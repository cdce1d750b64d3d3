package rmp

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/tinylib/msgp/msgp"
)

// Message is a frame to be: what a publisher fills in. Nothing in it is kept
// once it is encoded.
type Message struct {
	SchemaID    uint16
	TraceID     TraceID
	MsgID       uint64
	CreatedAtMS uint64
	TTLMS       uint64
	Meta        Meta
	// Payload is the body's payload. When it is nil, Raw is: exactly one
	// MsgPack value, or nothing for nil.
	Payload msgp.Marshaler
	Raw     []byte
	// RawMeta, when set, is the whole meta map and Meta is not looked at.
	RawMeta []byte
}

// The parts of an envelope that never change.
const (
	keyType     = "\x83\xa4type" // and the head of the map
	keyPayload  = "\xa7payload"
	keyMeta     = "\xa4meta"
	envelopeMax = len(keyType) + 2 + maxTypeLen + len(keyPayload)
	frameMax    = PrefixLen + HeaderLen + envelopeMax
)

// AppendFrame appends the frame of m to dst, length prefix included, with the
// envelope's keys in the order type, payload, meta. Meta is left out when it
// is empty. It reports what a decoder would: [ErrUnknownSchema],
// [ErrInvalidTTL], [ErrInvalidExpiry], [ErrBodyTooLarge], [ErrBodyDecode] for
// raw parts that are not one value; dst is then returned as it was. When dst
// has room for the frame and its longest type nothing is allocated.
func (c Codec) AppendFrame(dst []byte, m *Message) ([]byte, error) {
	out, _, err := c.encode(dst, m)
	return out, err
}

// AppendFrame is [Codec.AppendFrame] with the frozen registry and the default
// limit.
func AppendFrame(dst []byte, m *Message) ([]byte, error) { return Codec{}.AppendFrame(dst, m) }

// EncodeFrame is [Codec.AppendFrame] to an empty buffer, of which it uses the
// memory, and fills in f as a reader of the frame would find it, without
// reading it again.
func (c Codec) EncodeFrame(buf []byte, m *Message, f *Frame) error {
	out, at, err := c.encode(buf[:0], m)
	if err != nil {
		return err
	}
	f.Header = Header{
		SchemaID:    m.SchemaID,
		BodyLen:     uint32(len(out) - PrefixLen - HeaderLen),
		CreatedAtMS: m.CreatedAtMS,
		TTLMS:       m.TTLMS,
		TraceID:     m.TraceID,
		MsgID:       m.MsgID,
	}
	f.Type, _ = c.Registry.TypeOf(m.SchemaID)
	f.Bytes, f.Meta, f.at = out, nil, at
	body := out[PrefixLen+HeaderLen:]
	end := len(body)
	if at.meta != 0 {
		f.Meta = view(body, at.meta, end-int(at.meta))
		end = int(at.meta) - len(keyMeta)
	}
	f.Payload = view(body, at.payload, end-int(at.payload))
	return nil
}

// encode is AppendFrame, and says where in the body payload and meta are.
func (c Codec) encode(dst []byte, m *Message) ([]byte, offsets, error) {
	typ, err := checkFields(c.Registry, m.SchemaID, m.CreatedAtMS, m.TTLMS)
	if err != nil {
		return dst, offsets{}, err
	}
	mark := len(dst)
	out := dst
	if cap(out)-mark < frameMax {
		out = slices.Grow(out, frameMax)
	}
	out, at, err := m.appendBody(out[:mark+frameMax], mark+PrefixLen+HeaderLen, typ)
	if err != nil {
		return dst[:mark], offsets{}, err
	}
	bodyLen := uint64(len(out) - mark - PrefixLen - HeaderLen)
	if bodyLen > uint64(c.Limit()) {
		return dst[:mark], offsets{}, ErrBodyTooLarge
	}
	b := (*[PrefixLen + HeaderLen]byte)(out[mark:])
	binary.BigEndian.PutUint32(b[:], HeaderLen+uint32(bodyLen))
	putHeader((*[HeaderLen]byte)(b[PrefixLen:]), m, uint32(bodyLen))
	return out, at, nil
}

// putHeader writes the header of m. It does what [Header.Put] does, but
// building a Header first would cost as much again.
func putHeader(b *[HeaderLen]byte, m *Message, bodyLen uint32) {
	binary.BigEndian.PutUint64(b[0:], start)
	binary.BigEndian.PutUint64(b[8:], uint64(m.SchemaID)<<16)
	binary.BigEndian.PutUint32(b[16:], bodyLen)
	binary.BigEndian.PutUint64(b[20:], m.CreatedAtMS)
	binary.BigEndian.PutUint64(b[28:], m.TTLMS)
	*(*[16]byte)(b[36:52]) = m.TraceID
	binary.BigEndian.PutUint64(b[52:], m.MsgID)
	binary.BigEndian.PutUint32(b[60:], 0)
}

// appendBody writes the envelope at offset at. All that comes before the
// payload fits in out, which is then cut and appended to.
func (m *Message) appendBody(out []byte, at int, typ string) ([]byte, offsets, error) {
	hasMeta := m.RawMeta != nil || m.Meta != (Meta{})
	b := out[at:]
	n := copy(b, keyType)
	if !hasMeta {
		b[0]-- // two keys instead of three
	}
	if len(typ) < 32 {
		b[n] = 0xa0 | byte(len(typ))
		n++
	} else {
		b[n], b[n+1] = 0xd9, byte(len(typ))
		n += 2
	}
	n += copy(b[n:], typ)
	n += copy(b[n:], keyPayload)
	out, err := m.appendPayload(out[:at+n])
	where := offsets{payload: uint32(n)}
	if err != nil || !hasMeta {
		return out, where, err
	}
	out = append(out, keyMeta...)
	where.meta = uint32(len(out) - at)
	if m.RawMeta == nil {
		out, err = m.Meta.MarshalMsg(out)
		return out, where, err
	}
	if _, _, _, err := metaRoute(m.RawMeta); err != nil {
		return out, where, bodyError(err)
	}
	return append(out, m.RawMeta...), where, nil
}

// appendPayload appends the payload, nil when there is none.
func (m *Message) appendPayload(out []byte) ([]byte, error) {
	switch {
	case m.Payload != nil:
		out, err := m.Payload.MarshalMsg(out)
		if err != nil {
			return out, fmt.Errorf("rmp: encode payload %T: %w", m.Payload, err)
		}
		return out, nil
	case len(m.Raw) == 0:
		return msgp.AppendNil(out), nil
	}
	next, err := skip(m.Raw, 0, envelopeDepth)
	if err == nil && next != len(m.Raw) {
		err = malformed(next, whyTrailing)
	}
	if err != nil {
		return out, bodyError(err)
	}
	return append(out, m.Raw...), nil
}
