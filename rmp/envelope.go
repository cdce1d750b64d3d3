package rmp

import (
	"fmt"

	"github.com/tinylib/msgp/msgp"
)

// Envelope is a body in parts, as views into it. Payload and Meta stay the
// MsgPack that came; nothing is decoded until somebody asks.
type Envelope struct {
	Type    []byte
	Payload []byte // exactly one value
	Meta    []byte // exactly one map, nil when there is none
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
// them.
func (e *Envelope) field(body []byte, i int, keys *keySet) (int, error) {
	key, at, err := readKey(body, i)
	if err != nil {
		return i, err
	}
	if keys.add(body, i, key) {
		return i, malformed(i, whyDup)
	}
	// One level is used by the envelope's own map.
	next, err := skip(body, at, MaxFrameDepth-1)
	if err != nil {
		return i, err
	}
	switch string(key) {
	case "type":
		if e.Type, _, err = readKey(body, at); err != nil {
			return i, malformed(at, `"type" is not a string of valid UTF-8`)
		}
	case "payload":
		e.Payload = body[at:next:next]
	case "meta":
		if k := body[at]; k&0xf0 != 0x80 && k != 0xde && k != 0xdf {
			return i, malformed(at, `"meta" is not a map`)
		}
		e.Meta = body[at:next:next]
	}
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
	it, err := readItem(meta, 0)
	if err != nil || it.kind != kindMap {
		return nil, 0, bodyError(malformed(0, `"meta" is not a map`))
	}
	var keys keySet
	i := it.body
	for range it.n {
		key, at, err := readKey(meta, i)
		if err != nil {
			return nil, 0, bodyError(err)
		}
		if keys.add(meta, i, key) {
			return nil, 0, bodyError(malformed(i, whyDup))
		}
		switch string(key) {
		case "topic":
			topic, i, err = readKey(meta, at)
		case "ack":
			ack, i, err = readAck(meta, at)
		default:
			i, err = skip(meta, at, MaxFrameDepth-2)
		}
		if err != nil {
			return nil, 0, bodyError(err)
		}
	}
	return topic, ack, nil
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
