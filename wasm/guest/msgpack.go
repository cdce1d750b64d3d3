package guest

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// The door speaks MsgPack (https://github.com/msgpack/msgpack/blob/master/spec.md),
// handlers speak JSON. These two functions translate the part of MsgPack that
// JSON has; keys of maps are written sorted, so that a call has one form.

// encodeRequest is {"op": op, "args": args} as MsgPack.
func encodeRequest(op string, args json.RawMessage) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(args))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	b := appendString([]byte{0x82}, "op")
	b = appendString(appendString(b, op), "args")
	return appendValue(b, v)
}

func appendValue(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(b, 0xc0), nil
	case bool:
		if v {
			return append(b, 0xc3), nil
		}
		return append(b, 0xc2), nil
	case string:
		return appendString(b, v), nil
	case json.Number:
		return appendNumber(b, v)
	case []any:
		b = appendHeader(b, len(v), 0x90, 0xdc)
		return appendAll(b, v)
	case map[string]any:
		return appendMap(b, v)
	}
	return nil, fmt.Errorf("a %T has no MsgPack form here", v)
}

func appendAll(b []byte, items []any) ([]byte, error) {
	var err error
	for _, e := range items {
		if b, err = appendValue(b, e); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func appendMap(b []byte, m map[string]any) ([]byte, error) {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	b = appendHeader(b, len(m), 0x80, 0xde)
	var err error
	for _, k := range keys {
		if b, err = appendValue(appendString(b, k), m[k]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// appendHeader writes a count: in the lead byte up to 15, else behind lead16
// or lead16+1 in 16 or 32 bits.
func appendHeader(b []byte, n int, fix, lead16 byte) []byte {
	switch {
	case n < 16:
		return append(b, fix|byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, lead16), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, lead16+1), uint32(n))
}

func appendString(b []byte, s string) []byte {
	switch n := len(s); {
	case n < 32:
		b = append(b, 0xa0|byte(n))
	case n <= math.MaxUint8:
		b = append(b, 0xd9, byte(n))
	case n <= math.MaxUint16:
		b = binary.BigEndian.AppendUint16(append(b, 0xda), uint16(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, 0xdb), uint32(n))
	}
	return append(b, s...)
}

func appendNumber(b []byte, n json.Number) ([]byte, error) {
	if i, err := strconv.ParseInt(string(n), 10, 64); err == nil {
		return appendInt(b, i), nil
	}
	if u, err := strconv.ParseUint(string(n), 10, 64); err == nil {
		return binary.BigEndian.AppendUint64(append(b, 0xcf), u), nil
	}
	f, err := n.Float64()
	if err != nil {
		return nil, err
	}
	return binary.BigEndian.AppendUint64(append(b, 0xcb), math.Float64bits(f)), nil
}

func appendInt(b []byte, i int64) []byte {
	switch {
	case i >= 0 && i <= 0x7f, i < 0 && i >= -32:
		return append(b, byte(i))
	case i >= 0:
		return binary.BigEndian.AppendUint64(append(b, 0xcf), uint64(i))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xd3), uint64(i))
}

var errAnswer = errors.New("the host's answer is not MsgPack as it should be")

// decodeAnswer takes {"ok": v} or {"err": {…}} apart.
func decodeAnswer(b []byte) (json.RawMessage, error) {
	d := decoder{rest: b}
	v := d.value()
	m, ok := v.(map[string]any)
	if d.bad || !ok || len(d.rest) > 0 {
		return nil, errAnswer
	}
	if e, refused := m["err"]; refused {
		return nil, refusal(e)
	}
	return json.Marshal(m["ok"])
}

func refusal(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return errAnswer
	}
	e := &Error{}
	if json.Unmarshal(b, e) != nil {
		return errAnswer
	}
	return e
}

// decoder reads MsgPack into values that encoding/json can write. After bad is
// set it returns nothing more.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n < 0 || n > len(d.rest) {
		d.bad = true
		return make([]byte, 8) // enough for any number that is now worthless
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) uint(bytes int) uint64 {
	var wide [8]byte
	copy(wide[8-bytes:], d.take(bytes))
	return binary.BigEndian.Uint64(wide[:])
}

func (d *decoder) value() any {
	c := d.take(1)[0]
	switch {
	case d.bad:
		return nil
	case c <= 0x7f:
		return int64(c)
	case c >= 0xe0:
		return int64(int8(c))
	case c <= 0x8f:
		return d.object(int(c & 0x0f))
	case c <= 0x9f:
		return d.array(int(c & 0x0f))
	case c <= 0xbf:
		return string(d.take(int(c & 0x1f)))
	}
	return d.wide(c)
}

// wide reads the types whose lead byte only names them.
func (d *decoder) wide(c byte) any {
	switch c {
	case 0xc0:
		return nil
	case 0xc2, 0xc3:
		return c == 0xc3
	case 0xc4, 0xc5, 0xc6: // bin: JSON has no bytes
		return base64.StdEncoding.EncodeToString(d.take(int(d.uint(1 << (c - 0xc4)))))
	case 0xca:
		return float64(math.Float32frombits(uint32(d.uint(4))))
	case 0xcb:
		return math.Float64frombits(d.uint(8))
	case 0xcc, 0xcd, 0xce, 0xcf:
		return d.uint(1 << (c - 0xcc))
	case 0xd0, 0xd1, 0xd2, 0xd3:
		return d.signed(1 << (c - 0xd0))
	case 0xd9, 0xda, 0xdb:
		return string(d.take(int(d.uint(1 << (c - 0xd9)))))
	case 0xdc, 0xdd:
		return d.array(int(d.uint(2 << (c - 0xdc))))
	case 0xde, 0xdf:
		return d.object(int(d.uint(2 << (c - 0xde))))
	}
	d.bad = true
	return nil
}

func (d *decoder) signed(bytes int) int64 {
	shift := 64 - 8*bytes
	return int64(d.uint(bytes)) << shift >> shift
}

func (d *decoder) array(n int) any {
	out := []any{}
	for i := 0; i < n && !d.bad; i++ {
		out = append(out, d.value())
	}
	return out
}

func (d *decoder) object(n int) any {
	out := map[string]any{}
	for i := 0; i < n && !d.bad; i++ {
		key, ok := d.value().(string)
		if !ok {
			d.bad = true
		}
		out[key] = d.value()
	}
	return out
}
