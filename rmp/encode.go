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
	envelope2   = "\x82\xa4type"
	envelope3   = "\x83\xa4type"
	keyPayload  = "\xa7payload"
	keyMeta     = "\xa4meta"
	envelopeMax = len(envelope3) + 3 + maxTypeLen + len(keyPayload) + len(keyMeta)
)

// AppendFrame appends the frame of m to dst, length prefix included, with the
// envelope's keys in the order type, payload, meta. Meta is left out when it
// is empty. It reports what a decoder would: [ErrUnknownSchema],
// [ErrInvalidTTL], [ErrInvalidExpiry], [ErrBodyTooLarge], [ErrBodyDecode] for
// raw parts that are not one value; dst is then returned as it was. When dst
// has room for the frame nothing is allocated.
func (c Codec) AppendFrame(dst []byte, m *Message) ([]byte, error) {
	h := Header{
		SchemaID:    m.SchemaID,
		CreatedAtMS: m.CreatedAtMS,
		TTLMS:       m.TTLMS,
		TraceID:     m.TraceID,
		MsgID:       m.MsgID,
	}
	typ, err := h.check(c.Registry)
	if err != nil {
		return dst, err
	}
	mark := len(dst)
	out := slices.Grow(dst, PrefixLen+HeaderLen+envelopeMax)
	out = out[:mark+PrefixLen+HeaderLen]
	if out, err = m.appendBody(out, typ); err != nil {
		return dst[:mark], err
	}
	bodyLen := len(out) - mark - PrefixLen - HeaderLen
	if uint64(bodyLen) > uint64(c.Limit()) {
		return dst[:mark], ErrBodyTooLarge
	}
	h.BodyLen = uint32(bodyLen)
	binary.BigEndian.PutUint32(out[mark:], HeaderLen+h.BodyLen)
	h.Put((*[HeaderLen]byte)(out[mark+PrefixLen:]))
	return out, nil
}

// AppendFrame is [Codec.AppendFrame] with the frozen registry and the default
// limit.
func AppendFrame(dst []byte, m *Message) ([]byte, error) { return Codec{}.AppendFrame(dst, m) }

// appendBody appends the envelope.
func (m *Message) appendBody(out []byte, typ string) ([]byte, error) {
	hasMeta := m.RawMeta != nil || m.Meta != (Meta{})
	if hasMeta {
		out = append(out, envelope3...)
	} else {
		out = append(out, envelope2...)
	}
	out = msgp.AppendString(out, typ)
	out = append(out, keyPayload...)
	out, err := m.appendPayload(out)
	if err != nil || !hasMeta {
		return out, err
	}
	out = append(out, keyMeta...)
	if m.RawMeta == nil {
		return m.Meta.MarshalMsg(out)
	}
	if _, _, err := MetaRoute(m.RawMeta); err != nil {
		return out, err
	}
	return appendOne(out, m.RawMeta)
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
	return appendOne(out, m.Raw)
}

// appendOne appends raw, which must be exactly one value.
func appendOne(out, raw []byte) ([]byte, error) {
	next, err := skip(raw, 0, MaxFrameDepth-1)
	if err == nil && next != len(raw) {
		err = malformed(next, whyTrailing)
	}
	if err != nil {
		return out, bodyError(err)
	}
	return append(out, raw...), nil
}
