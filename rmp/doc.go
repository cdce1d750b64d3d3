// Package rmp is the Runloop message protocol, version 0: the frames that
// cross the bus and its sockets, the registry of their types, and the payloads
// they carry. It imports nothing else of the project.
//
// # Words
//
// A frame is a u32 length, a fixed 64-byte [Header] and a body. The body is an
// [Envelope]: a MsgPack map of a type, a payload and perhaps a meta map. A
// [Message] is what a publisher fills in to have a frame made; a [Frame] is
// what a reader gets: the header's fields and views of the rest. All integers
// of the frame and the header are big-endian.
//
//	| u32 length | 64-byte header              | body                                     |
//	| 000000a0   | RMP0 0000 0040 … id … trace | {"type": …, "payload": …, "meta"?: …}    |
//
// # Reading
//
// [ParseFrame] takes one whole frame, a [Reader] a stream of them. Neither
// copies: payload and meta stay the bytes that came until [Frame.Decode] or
// [Frame.DecodeMeta] is called, so that a frame can be forwarded unchanged by
// sending [Frame.Bytes]. Views of a Reader's frame end with the next call;
// [Frame.Clone] keeps one.
//
// A frame that is wrong gives exactly one [Error] of a closed list, the first
// that applies in the order of the specification, so that every implementation
// says the same. Its name is what goes into an error report. [InStep] tells
// whether the stream can go on: after a bad content it can, after a bad length
// or a foreign header nothing that follows can be trusted.
//
// # What is checked, and where
//
// The codec checks what a forwarder needs: framing, header fields, that the
// body is exactly one envelope with the registry's type string, that no key of
// the envelope comes twice, that every map key inside is a string of valid
// UTF-8, that nothing is nested deeper than [MaxFrameDepth]. It does not look
// into the strings and numbers of a payload. Those are checked by who decodes
// it: the generated decoders of the payload types refuse keys that come twice
// and counts beyond their limits; [AppendJSON] and [Valid] refuse whatever has
// no JSON form.
//
// No length that a peer declares is believed. A count must fit the bytes that
// are there before anything is allocated for it, and a Reader's buffer grows
// with what has arrived.
//
// # JSON
//
// [AppendJSON] and [AppendMsgpack] turn values into each other without loss of
// integers: what has no point and no exponent and fits 64 bits stays an
// integer on both sides. Both take no more than [MaxDepth] levels.
//
// # Payloads
//
// The structs of message.go are the payloads that the rooms of the project
// exchange. Their codecs are generated: run go generate ./rmp after a change.
package rmp
