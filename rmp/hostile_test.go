package rmp_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/runloop-os/runloop/rmp"
	"github.com/tinylib/msgp/msgp"
)

// slack is what a decoder may allocate on top of 16 times its input: error
// values and the first buffer of a stream.
const slack = 64 << 10

// payloads returns one of each payload type, so that hostile bytes meet every
// generated decoder.
func payloads() []msgp.Unmarshaler {
	return []msgp.Unmarshaler{
		new(rmp.Meta), new(rmp.ErrorReport), new(rmp.RunEvent), new(rmp.Budget), new(rmp.Usage),
		new(rmp.AgentRequest), new(rmp.Hostcall), new(rmp.HostcallError), new(rmp.AgentResponse),
		new(rmp.AgentError), new(rmp.Divergence), new(rmp.AgentLog), new(rmp.ActionRequest),
		new(rmp.ActionDecision), new(rmp.Cancel), new(rmp.DropNotice),
	}
}

// tame lists the vectors that are proper values, if odd ones.
var tame = []string{
	"array16_65535_nil", "int_boundaries", "key_1m", "many_strings_amplify", "nul_str",
	"overlong_int", "proto_key", "string_1m",
}

// TestVectors sends each hostile vector as a whole body, as a payload and to
// the transcoders. What is refused is refused by name, and nothing allocates
// more than sixteen times its input.
func TestVectors(t *testing.T) {
	vectors := readAll(t, "msgpack/*.bin")
	if len(vectors) != 32 {
		t.Errorf("%d vectors, want 32", len(vectors))
	}
	for name, v := range vectors {
		t.Run(name, func(t *testing.T) {
			bound := uint64(16*len(v) + slack)
			within := func(what string, f func()) {
				t.Helper()
				if n := allocated(f); n > bound {
					t.Errorf("%s: %d bytes allocated for %d", what, n, len(v))
				}
			}
			within("body", func() {
				if _, err := rmp.ParseFrame(frameOf(v)); !errors.Is(err, rmp.ErrBodyDecode) {
					t.Errorf("as a body: %v", err)
				}
			})
			within("transcoder", func() {
				_, err := rmp.AppendJSON(nil, v)
				if (err == nil) != slices.Contains(tame, name) || err != nil && !errors.Is(err, rmp.ErrSyntax) {
					t.Errorf("AppendJSON: %v", err)
				}
			})
			within("check", func() {
				if err := rmp.Valid(v); (err == nil) != slices.Contains(tame, name) {
					t.Errorf("Valid: %v", err)
				}
			})
			asPayload(t, v, within)
		})
	}
}

// asPayload sends v as the payload of a frame and, when the frame is taken,
// to every generated decoder.
func asPayload(t *testing.T, v []byte, within func(string, func())) {
	body := append([]byte("\x82"+typeReport+"\xa7payload"), v...)
	var f rmp.Frame
	var err error
	within("payload", func() { f, err = rmp.ParseFrame(frameOf(body)) })
	if err != nil {
		if !errors.Is(err, rmp.ErrBodyDecode) {
			t.Errorf("as a payload: %v", err)
		}
		return
	}
	for _, p := range payloads() {
		within("generated decoder", func() {
			if err := f.Decode(p); err != nil && !errors.Is(err, rmp.ErrBodyDecode) {
				t.Errorf("%T: %v", p, err)
			}
		})
	}
}

// TestWorstMaps builds the maps that cost the duplicate search most for their
// size.
func TestWorstMaps(t *testing.T) {
	const n = 60000
	var distinct []byte
	distinct = append(distinct, 0xde, n>>8, n&0xff)
	for i := range n {
		distinct = append(distinct, 0xa2, byte(i>>8)&0x7f, byte(i)&0x7f, 0xc0)
	}
	same := append([]byte{0xde, n >> 8, n & 0xff}, bytes.Repeat([]byte{0xa0, 0xc0}, n)...)
	nested := bytes.Repeat([]byte("\x8f\xa1a\xa1b\xa1c\xa1d\xa1e\xa1f\xa1g\xa1h\xa1i\xa1j"), 60)
	for _, v := range [][]byte{distinct, same, nested} {
		if got := allocated(func() { _ = rmp.Valid(v) }); got > uint64(16*len(v)+slack) {
			t.Errorf("%d bytes allocated for %d", got, len(v))
		}
		text, err := rmp.AppendJSON(nil, v)
		if err == nil {
			t.Error("a map with a key twice is taken")
		}
		_ = text
	}
	var object []byte
	for i := range n {
		object = append(object, `,"`...)
		object = strconv.AppendInt(object, int64(i), 36)
		object = append(object, `":0`...)
	}
	object = append(append([]byte{'{'}, object[1:]...), '}')
	if got := allocated(func() {
		if _, err := rmp.AppendMsgpack(nil, object); err != nil {
			t.Error(err)
		}
	}); got > uint64(16*len(object)+slack) {
		t.Errorf("%d bytes allocated for an object of %d", got, len(object))
	}
}

// extremes are the integers that mutations write.
var extremes = []uint64{0, 1, 63, 64, 65, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff,
	0x7fffffff, 0x80000000, 0xffffffff, 1<<63 - 1, 1 << 63, 1<<64 - 1}

// mutate returns a damaged copy of one of the valid frames.
func mutate(r *rand.Rand, valid [][]byte) []byte {
	pick := func() []byte { return valid[r.IntN(len(valid))] }
	b := slices.Clone(pick())
	for range 1 + r.IntN(3) {
		if len(b) == 0 {
			b = slices.Clone(pick())
		}
		at := r.IntN(len(b))
		if r.IntN(10) < 7 {
			at = r.IntN(min(rmp.PrefixLen+rmp.HeaderLen, len(b)))
		}
		switch r.IntN(8) {
		case 0:
			b[at] ^= 1 << r.IntN(8)
		case 1:
			b[at] = byte(r.Uint32())
		case 2:
			var x [8]byte
			binary.BigEndian.PutUint64(x[:], extremes[r.IntN(len(extremes))])
			copy(b[at:], x[8-(2<<r.IntN(3)):])
		case 3:
			b = b[:at]
		case 4:
			extra := make([]byte, []int{1, 7, 64, 4096}[r.IntN(4)])
			for i := range extra {
				extra[i] = byte(r.Uint32())
			}
			b = append(b, extra...)
		case 5:
			b = append(b, pick()...)
		case 6:
			b = b[min(rmp.HeaderLen, len(b)):]
		case 7:
			fill := []byte{0, 0xff}[r.IntN(2)]
			for i := range min(rmp.HeaderLen, len(b)) {
				b[i] = fill
			}
		}
	}
	return b
}

// TestMutants decodes damaged frames: a frame or a named error comes out,
// never a panic. RUNLOOP_SOAK=1 makes it a million.
func TestMutants(t *testing.T) {
	n := 20000
	if os.Getenv("RUNLOOP_SOAK") != "" {
		n = 1_000_000
	}
	var valid [][]byte
	for _, b := range readAll(t, "*.bin") {
		valid = append(valid, b)
	}
	slices.SortFunc(valid, bytes.Compare) // the map's order is random, the test is not
	r := rand.New(rand.NewPCG(1, 2))
	names := make(map[string]int)
	for range n {
		b := mutate(r, valid)
		f, err := rmp.ParseFrame(b)
		name := rmp.ErrorName(err)
		if err != nil && name == "" {
			t.Fatalf("unnamed error %v for %x", err, b)
		}
		names[name]++
		if err == nil {
			checkTaken(t, &f)
		}
		readStream(t, b)
	}
	t.Logf("%d mutants: %v", n, names)
	if len(names) < 12 {
		t.Errorf("only %d outcomes seen", len(names))
	}
}

// checkTaken fails when a frame that was accepted is not what it should be.
func checkTaken(t testing.TB, f *rmp.Frame) {
	t.Helper()
	if typ, ok := (*rmp.Registry)(nil).TypeOf(f.SchemaID); !ok || typ != f.Type || f.TTLMS == 0 {
		t.Fatalf("accepted %+v", f.Header)
	}
	e, err := rmp.ParseEnvelope(f.Bytes[rmp.PrefixLen+rmp.HeaderLen:])
	if err != nil || string(e.Type) != f.Type || !bytes.Equal(e.Payload, f.Payload) || !bytes.Equal(e.Meta, f.Meta) ||
		(e.Meta == nil) != (f.Meta == nil) {
		t.Fatalf("the envelope is %+v, %v, the frame has %+v", e, err, f)
	}
	ft, fa, ferr := f.Route()
	if topic, ack, err := rmp.MetaRoute(f.Meta); !bytes.Equal(topic, ft) || (topic == nil) != (ft == nil) ||
		ack != fa || (err == nil) != (ferr == nil) {
		t.Fatalf("the route is %q, %d, %v, that of the frame %q, %d, %v", topic, ack, err, ft, fa, ferr)
	}
	again, err := rmp.AppendFrame(nil, &rmp.Message{SchemaID: f.SchemaID, TraceID: f.TraceID,
		MsgID: f.MsgID, CreatedAtMS: f.CreatedAtMS, TTLMS: f.TTLMS, Raw: f.Payload})
	if err != nil {
		t.Fatalf("accepted what cannot be encoded: %v", err)
	}
	if g, err := rmp.ParseFrame(again); err != nil || !bytes.Equal(g.Payload, f.Payload) {
		t.Fatalf("payload changed: %v", err)
	}
	if text, err := rmp.AppendJSON(nil, f.Payload); err == nil && !json.Valid(text) {
		t.Fatalf("transcoded to %s", text)
	}
}

// readStream reads b to its end as a stream. The frames must be disjoint
// parts of b in order, and the errors named.
func readStream(t testing.TB, b []byte) {
	t.Helper()
	r := rmp.NewReader(bytes.NewReader(b), rmp.Codec{})
	var f rmp.Frame
	total := 0
	for calls := 0; ; calls++ {
		err := r.Next(&f)
		if err == nil {
			total += len(f.Bytes)
			if !bytes.Contains(b, f.Bytes) {
				t.Fatalf("a frame that was not sent: %x", f.Bytes)
			}
			continue
		}
		if calls > len(b)/rmp.HeaderLen+2 || total > len(b) {
			t.Fatalf("more frames than bytes: %d calls, %d bytes", calls, total)
		}
		if !rmp.InStep(err) {
			return
		}
	}
}
