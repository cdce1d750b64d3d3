package rmp

import (
	"fmt"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"
)

// Envelope is a body in parts, as views into it. Payload and Meta stay the
// MsgPack that came; nothing is decoded until somebody asks.
type Envelope struct {
	Type    []byte
	Payload []byte // exactly one value
	Meta    []byte // exactly one map, nil when there is none

	at offsets
}

// offsets says where in a body payload and meta start, and what is in meta for
// a router, if that was looked at.
type offsets struct {
	payload, meta uint32
	routed        bool
	topicLen      uint16
	topic         uint32 // 0 for none
	ack           uint64
}

// ParseEnvelope takes a body apart in place: one map with string keys, a
// string "type", a "payload", perhaps a map "meta", nothing after it. Other
// keys are ignored, but no key may come twice. Every failure is an
// [ErrBodyDecode]; its text says what and where. The views alias body.
func ParseEnvelope(body []byte) (Envelope, error) {
	var e Envelope
	it, err := readItem(body, 0)
	if err != nil {
		return Envelope{}, bodyError(err)
	}
	if it.kind != kindMap {
		return Envelope{}, bodyError(malformed(0, "body is not a map"))
	}
	var keys keySet
	i := it.body
	for range it.n {
		if i, err = e.field(body, i, &keys); err != nil {
			return Envelope{}, bodyError(err)
		}
	}
	switch {
	case i != len(body):
		err = malformed(i, whyTrailing)
	case e.Type == nil:
		err = malformed(0, `envelope has no "type"`)
	case e.Payload == nil:
		err = malformed(0, `envelope has no "payload"`)
	default:
		return e, nil
	}
	return Envelope{}, bodyError(err)
}

// field reads the key at offset i and its value, and returns the offset after
// them. The three fields remember themselves; only other keys go into keys.
func (e *Envelope) field(body []byte, i int, keys *keySet) (int, error) {
	key, at, err := readString(body, i)
	if err != nil {
		return i, err
	}
	switch string(key) {
	case "type":
		return e.typeField(body, i, at)
	case "payload":
		e.at.payload = uint32(at)
		return viewField(&e.Payload, body, i, at)
	case "meta":
		if at < len(body) && body[at]&0xf0 != 0x80 && body[at]|1 != 0xdf {
			return i, malformed(at, `"meta" is not a map`)
		}
		e.at.meta = uint32(at)
		return viewField(&e.Meta, body, i, at)
	}
	return otherKey(body, i, at, key, keys)
}

// envelopeDepth is what is left of the depth inside the envelope's own map.
const envelopeDepth = MaxFrameDepth - 1

// typeField reads the value at offset at of the key at offset i.
func (e *Envelope) typeField(body []byte, i, at int) (int, error) {
	if e.Type != nil {
		return i, malformed(i, whyDup)
	}
	text, next, err := readKey(body, at)
	if err != nil {
		return i, malformed(at, `"type" is not a string of valid UTF-8`)
	}
	e.Type = text
	return next, nil
}

// viewField is typeField for a value that is not looked at.
func viewField(field *[]byte, body []byte, i, at int) (int, error) {
	if *field != nil {
		return i, malformed(i, whyDup)
	}
	next, err := skip(body, at, envelopeDepth)
	if err != nil {
		return i, err
	}
	*field = body[at:next:next]
	return next, nil
}

// MetaRoute reads from a raw meta map what a router needs, without decoding
// the rest: the topic, as a view, and the number to acknowledge. Both are
// zero when absent. A meta in which a key comes twice, or whose topic or ack
// is of another type, is an [ErrBodyDecode].
func MetaRoute(meta []byte) (topic []byte, ack uint64, err error) {
	if len(meta) == 0 {
		return nil, 0, nil
	}
	if topic, _, ack, err = metaRoute(meta); err != nil {
		return nil, 0, bodyError(err)
	}
	return topic, ack, nil
}

// metaRoute is MetaRoute with the reason alone as its error. It also says where
// in meta the topic ends.
func metaRoute(meta []byte) (topic []byte, end int, ack uint64, err error) {
	it, err := readItem(meta, 0)
	if err != nil || it.kind != kindMap {
		return nil, 0, 0, malformed(0, `"meta" is not a map`)
	}
	var keys keySet
	seen := 0
	i := it.body
	for range it.n {
		key, at, err := readString(meta, i)
		if err != nil {
			return nil, 0, 0, err
		}
		known := 0
		switch string(key) {
		case "topic":
			known = 1
			topic, at, err = readKey(meta, at)
			end = at
		case "ack":
			known = 2
			ack, at, err = readAck(meta, at)
		default:
			at, err = otherKey(meta, i, at, key, &keys)
		}
		if seen&known != 0 {
			err = malformed(i, whyDup)
		}
		if err != nil {
			return nil, 0, 0, err
		}
		seen |= known
		i = at
	}
	if i != len(meta) {
		return nil, 0, 0, malformed(i, whyTrailing)
	}
	return topic, end, ack, nil
}

// otherKey passes over the value at offset at of a key at offset i that has no
// meaning here, but may not come twice either.
func otherKey(b []byte, i, at int, key []byte, keys *keySet) (int, error) {
	if !isASCII(key) && !utf8.Valid(key) {
		return i, malformed(i, whyUTF8)
	}
	if keys.add(b, i, key) {
		return i, malformed(i, whyDup)
	}
	return skip(b, at, envelopeDepth-1)
}

// readAck decodes a non-negative integer.
func readAck(b []byte, i int) (uint64, int, error) {
	n, rest, err := msgp.ReadUint64Bytes(b[i:])
	if err != nil {
		return 0, i, malformed(i, `"ack" is not a non-negative integer`)
	}
	return n, len(b) - len(rest), nil
}

// Unmarshal decodes a payload that is exactly one value into v. Its failures
// are [ErrBodyDecode].
func Unmarshal(payload []byte, v msgp.Unmarshaler) error {
	rest, err := v.UnmarshalMsg(payload)
	if err != nil {
		return fmt.Errorf("%w: payload of %T: %w", ErrBodyDecode, v, err)
	}
	if len(rest) != 0 {
		return bodyError(malformed(len(payload)-len(rest), whyTrailing))
	}
	return nil
}
