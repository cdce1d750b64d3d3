package rmp

import "encoding/binary"

// Sizes of the parts of a frame, in bytes.
const (
	// PrefixLen is the u32 frame length before the header.
	PrefixLen = 4
	// HeaderLen is the fixed header.
	HeaderLen = 64
	// DefaultMaxBody is the body limit unless a [Codec] has its own.
	DefaultMaxBody = 8 << 20
)

// start is the first eight header bytes of every version 0 frame: magic,
// header version 0, header length 64.
const start uint64 = 0x52_4d_50_30_0000_0040

// magic is the upper half of start, ASCII "RMP0".
const magic = uint32(start >> 32)

// Header is the fixed header of a frame without its constant fields.
//
//	offset  0     4     6     8     12       14     16      20           28    36      52    60
//	        magic ver=0 len=64 flags schema_id 0     body_len created_at ttl   trace_id msg_id 0
//
// All integers are big-endian (spec/01).
type Header struct {
	SchemaID    uint16
	BodyLen     uint32
	CreatedAtMS uint64 // sender's clock, milliseconds since the epoch
	TTLMS       uint64 // from CreatedAtMS, in milliseconds, never 0
	TraceID     TraceID
	MsgID       uint64 // monotonic per publisher
}

// ExpiresAtMS is the first millisecond at which the frame may no longer be
// delivered. It cannot overflow in a header that was validated.
func (h *Header) ExpiresAtMS() uint64 { return h.CreatedAtMS + h.TTLMS }

// Expired reports whether a frame received at nowMS is past its time to live.
func (h *Header) Expired(nowMS uint64) bool { return nowMS >= h.ExpiresAtMS() }

// Put writes the header to b as it is, without validating it.
func (h *Header) Put(b *[HeaderLen]byte) {
	binary.BigEndian.PutUint64(b[0:], start)
	binary.BigEndian.PutUint32(b[8:], 0)
	binary.BigEndian.PutUint32(b[12:], uint32(h.SchemaID)<<16)
	binary.BigEndian.PutUint32(b[16:], h.BodyLen)
	binary.BigEndian.PutUint64(b[20:], h.CreatedAtMS)
	binary.BigEndian.PutUint64(b[28:], h.TTLMS)
	*(*[16]byte)(b[36:52]) = h.TraceID
	binary.BigEndian.PutUint64(b[52:], h.MsgID)
	binary.BigEndian.PutUint32(b[60:], 0)
}

// Decode reads the header at the start of b. It reports, in this order,
// [ErrTruncatedHeader], [ErrInvalidMagic], [ErrUnsupportedVersion],
// [ErrInvalidHeaderFlags] and, for a body of more than maxBody bytes,
// [ErrBodyTooLarge]. After the last two the fields are set, since BodyLen
// tells where the frame ends; [Header.Check] does the rest.
func (h *Header) Decode(b []byte, maxBody uint32) error {
	if len(b) < HeaderLen {
		return ErrTruncatedHeader
	}
	b = b[:HeaderLen:HeaderLen]
	if binary.BigEndian.Uint64(b) != start {
		return wrongStart(b)
	}
	schema := binary.BigEndian.Uint32(b[12:])
	zero := binary.BigEndian.Uint32(b[8:]) | schema&0xffff | binary.BigEndian.Uint32(b[60:])
	h.SchemaID = uint16(schema >> 16)
	h.BodyLen = binary.BigEndian.Uint32(b[16:])
	h.CreatedAtMS = binary.BigEndian.Uint64(b[20:])
	h.TTLMS = binary.BigEndian.Uint64(b[28:])
	h.TraceID = TraceID(b[36:52])
	h.MsgID = binary.BigEndian.Uint64(b[52:])
	if zero != 0 {
		return ErrInvalidHeaderFlags
	}
	if h.BodyLen > maxBody {
		return ErrBodyTooLarge
	}
	return nil
}

// Check validates the fields that do not bear on framing. It reports, in this
// order, [ErrUnknownSchema], [ErrInvalidTTL] and [ErrInvalidExpiry].
func (h *Header) Check(reg *Registry) error {
	_, err := h.check(reg)
	return err
}

// check is Check, and returns the type string that it looked up.
func (h *Header) check(reg *Registry) (string, error) {
	return checkFields(reg, h.SchemaID, h.CreatedAtMS, h.TTLMS)
}

// checkFields is check for fields that are not in a Header.
func checkFields(reg *Registry, id uint16, created, ttl uint64) (string, error) {
	typ, ok := reg.TypeOf(id)
	switch {
	case !ok:
		return "", ErrUnknownSchema
	case ttl == 0:
		return "", ErrInvalidTTL
	case created+ttl < created: // the u128 sum does not fit u64
		return "", ErrInvalidExpiry
	}
	return typ, nil
}

// wrongStart tells a foreign stream from a version this code does not know.
func wrongStart(b []byte) error {
	if binary.BigEndian.Uint32(b) != magic {
		return ErrInvalidMagic
	}
	return ErrUnsupportedVersion
}
