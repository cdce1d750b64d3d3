package rmp

import "math"

// onlyTopic starts a meta map that has a topic and nothing else.
const onlyTopic = "\x81\xa5topic"

// plain takes apart a body that is laid out as encoders here do it: the type,
// which must be typ, then the payload, perhaps the meta map, each with its
// shortest head. It reports whether it was one; [ParseEnvelope] reads all
// others, and says what is wrong with them. Nearly all frames are plain, and
// this costs half.
func (f *Frame) plain(body []byte, typ string) bool {
	n := len(typ)
	if len(body) < len(keyType)+2+n+len(keyPayload) || body[0]|1 != keyType[0] ||
		string(body[1:len(keyType)]) != keyType[1:] {
		return false
	}
	i := len(keyType)
	if n < 32 {
		if body[i] != 0xa0|byte(n) {
			return false
		}
	} else {
		if body[i] != 0xd9 || body[i+1] != byte(n) {
			return false
		}
		i++
	}
	i++
	at := i + n + len(keyPayload)
	if string(body[i:i+n]) != typ || string(body[i+n:at]) != keyPayload {
		return false
	}
	end, err := skip(body, at, envelopeDepth)
	if err != nil {
		return false
	}
	f.Payload, f.Meta = body[at:end:end], nil
	f.at = offsets{payload: uint32(at)}
	if body[0] != keyType[0] {
		return end == len(body)
	}
	return f.plainMeta(body, end)
}

// plainMeta is plain for the meta map at offset at, with its key. Since it has
// to walk through the map it finds what a router needs at once.
func (f *Frame) plainMeta(body []byte, at int) bool {
	meta := at + len(keyMeta)
	if meta >= len(body) || string(body[at:meta]) != keyMeta {
		return false
	}
	f.Meta, f.at.meta = body[meta:len(body):len(body)], uint32(meta)
	var topic []byte
	var end int
	var ack uint64
	var err error
	if len(f.Meta) > len(onlyTopic) && string(f.Meta[:len(onlyTopic)]) == onlyTopic {
		topic, end, err = readKey(f.Meta, len(onlyTopic))
		if end != len(f.Meta) {
			return false
		}
	} else {
		topic, end, ack, err = metaRoute(f.Meta)
	}
	if err != nil || len(topic) > math.MaxUint16 {
		return false
	}
	f.at.routed, f.at.ack = true, ack
	if topic != nil {
		f.at.topic, f.at.topicLen = uint32(meta+end-len(topic)), uint16(len(topic))
	}
	return true
}
