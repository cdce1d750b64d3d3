package wasm

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/tinylib/msgp/msgp"

	"github.com/runloop-os/runloop/rmp"
)

var errMalformedCall = errors.New("a hostcall is a map of op and args")

// emptyMap is a MsgPack map without entries.
var emptyMap = []byte{0x80}

// parseCall takes {"op": string, "args": map} apart. args is a part of b, or
// an empty map when it is left out; whether its inside is valid is seen when
// it is read.
func parseCall(b []byte) (op string, args []byte, err error) {
	if err := rmp.Valid(b); err != nil {
		return "", nil, err
	}
	n, rest, err := msgp.ReadMapHeaderBytes(b)
	if err != nil || n == 0 || n > 2 {
		return "", nil, errMalformedCall
	}
	args = emptyMap
	for range n {
		var key []byte
		if key, rest, err = msgp.ReadMapKeyZC(rest); err != nil {
			return "", nil, errMalformedCall
		}
		switch string(key) {
		case "op":
			op, rest, err = msgp.ReadStringBytes(rest)
		case "args":
			args, rest, err = readMap(rest)
		default:
			err = errMalformedCall
		}
		if err != nil {
			return "", nil, errMalformedCall
		}
	}
	if op == "" {
		return "", nil, errMalformedCall
	}
	return op, args, nil
}

func readMap(b []byte) (m, rest []byte, err error) {
	if msgp.NextType(b) != msgp.MapType {
		return nil, nil, errMalformedCall
	}
	rest, err = msgp.Skip(b)
	return b[:len(b)-len(rest)], rest, err
}

// encodeAnswer is {"ok": …} or {"err": {code, message, retryable}}.
func encodeAnswer(c rmp.Hostcall) []byte {
	b := msgp.AppendMapHeader(nil, 1)
	if c.Err == nil {
		b = msgp.AppendString(b, "ok")
		if len(c.OK) == 0 { // nil comes back from a tape as nothing
			return msgp.AppendNil(b)
		}
		return append(b, c.OK...)
	}
	b = msgp.AppendString(b, "err")
	b = msgp.AppendMapHeader(b, 3)
	b = msgp.AppendString(msgp.AppendString(b, "code"), c.Err.Code)
	b = msgp.AppendString(msgp.AppendString(b, "message"), c.Err.Message)
	return msgp.AppendBool(msgp.AppendString(b, "retryable"), c.Err.Retryable)
}

// unmarshalArgs reads a hostcall's arguments into v and refuses keys that v
// does not have.
func unmarshalArgs(op string, args []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(args))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return errorf(CodeInvalid, "%s: %v", op, err)
	}
	return nil
}

func marshalMsgpack(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return rmp.AppendMsgpack(nil, b)
}
