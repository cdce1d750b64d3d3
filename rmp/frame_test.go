package rmp_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/runloop-os/runloop/rmp"
	"github.com/tinylib/msgp/msgp"
	"pgregory.net/rapid"
)

func TestGoldenEncode(t *testing.T) {
	m := goldenMessage()
	got, err := rmp.AppendFrame(nil, &m)
	if err != nil || !bytes.Equal(got, golden()) {
		t.Fatalf("encoded (%v)\n%x\nwant\n%x", err, got, golden())
	}
	prefix := []byte("before")
	got, err = rmp.AppendFrame(prefix, &m)
	if err != nil || !bytes.Equal(got, append([]byte("before"), golden()...)) {
		t.Errorf("appended (%v) %x", err, got)
	}
}

func TestEncodeFrameIsWhatAReaderFinds(t *testing.T) {
	for _, edit := range []func(*rmp.Message){
		func(m *rmp.Message) {},
		func(m *rmp.Message) { m.RawMeta, m.Meta.Topic = nil, "a/b" },
		func(m *rmp.Message) { m.RawMeta = nil },
		func(m *rmp.Message) { m.SchemaID, m.Payload = rmp.CTExecutorAgentResponse, nil },
	} {
		m := goldenMessage()
		edit(&m)
		f := rmp.Frame{Meta: []byte("stale")}
		if err := (rmp.Codec{}).EncodeFrame([]byte("used before"), &m, &f); err != nil {
			t.Fatal(err)
		}
		read, err := rmp.ParseFrame(f.Bytes)
		if err != nil || !same(&f, &read) {
			t.Errorf("made %+v, a reader finds %+v, %v", f, read, err)
		}
		for _, g := range []rmp.Frame{f, read} {
			if c := g.Clone(); !reflect.DeepEqual(c, g) || &c.Bytes[0] == &g.Bytes[0] {
				t.Errorf("clone of %+v is %+v", g, c)
			}
		}
	}
	m := goldenMessage()
	m.TTLMS = 0
	if err := (rmp.Codec{}).EncodeFrame(nil, &m, new(rmp.Frame)); !errors.Is(err, rmp.ErrInvalidTTL) {
		t.Errorf("a bad message: %v", err)
	}
}

// same compares what two frames show.
func same(f, g *rmp.Frame) bool {
	ft, fa, ferr := f.Route()
	gt, ga, gerr := g.Route()
	return f.Header == g.Header && f.Type == g.Type && bytes.Equal(f.Payload, g.Payload) &&
		bytes.Equal(f.Meta, g.Meta) && (f.Meta == nil) == (g.Meta == nil) && bytes.Equal(f.Bytes, g.Bytes) &&
		bytes.Equal(ft, gt) && (ft == nil) == (gt == nil) && fa == ga && (ferr == nil) == (gerr == nil)
}

func TestGoldenDecode(t *testing.T) {
	f, err := rmp.ParseFrame(golden())
	if err != nil {
		t.Fatal(err)
	}
	want := rmp.Header{
		SchemaID: rmp.CTErrorReport, BodyLen: 96, CreatedAtMS: 1731465600123, TTLMS: 60000,
		TraceID: mustTrace("112233445566778899aabbccddeeff00"), MsgID: 42,
	}
	if f.Header != want || f.Type != "error.report.v1" || f.ExpiresAtMS() != 1731465660123 {
		t.Errorf("header %+v, type %s", f.Header, f.Type)
	}
	if f.Expired(1731465660122) || !f.Expired(1731465660123) {
		t.Error("the frame expires at another time than created + ttl")
	}
	var report rmp.ErrorReport
	var meta openingMeta
	if err := errors.Join(f.Decode(&report), rmp.Unmarshal(f.Meta, &meta)); err != nil {
		t.Fatal(err)
	}
	if report != (rmp.ErrorReport{Code: "tool.unavailable", Message: "mailer offline"}) || meta.OpeningID != 1234 {
		t.Errorf("payload %+v, meta %+v", report, meta)
	}
	if m, err := f.DecodeMeta(); err != nil || m != (rmp.Meta{}) {
		t.Errorf("DecodeMeta = %+v, %v", m, err)
	}
}

func TestCloneSharesNothing(t *testing.T) {
	b := golden()
	f, err := rmp.ParseFrame(b)
	if err != nil {
		t.Fatal(err)
	}
	g := f.Clone()
	clear(b)
	if !bytes.Equal(g.Bytes, golden()) || len(g.Payload) == 0 || g.Payload[0] == 0 || g.Meta[0] == 0 {
		t.Error("the clone changed with the original")
	}
}

// TestBits flips every single bit of header and prefix. What is accepted must
// be a flip of a field whose every value has a meaning of its own.
func TestBits(t *testing.T) {
	free := func(off int) bool { return off >= 20 && off < 60 }
	for bit := range 8 * (rmp.PrefixLen + rmp.HeaderLen) {
		b := golden()
		b[bit/8] ^= 1 << (bit % 8)
		off := bit/8 - rmp.PrefixLen
		f, err := rmp.ParseFrame(b)
		switch {
		case err == nil && !free(off):
			t.Errorf("bit %d of header byte %d is not checked", bit%8, off)
		case err != nil && rmp.ErrorName(err) == "":
			t.Errorf("bit %d: unnamed error %v", bit, err)
		case err != nil && free(off) && off >= 36:
			t.Errorf("bit %d of header byte %d: %v", bit%8, off, err)
		case err == nil:
			var again [rmp.HeaderLen]byte
			if f.Put(&again); !bytes.Equal(again[:], b[rmp.PrefixLen:][:rmp.HeaderLen]) {
				t.Errorf("bit %d is lost on re-encoding", bit)
			}
		}
	}
}

func TestAnyOrderAndUnknownKeys(t *testing.T) {
	in := "\x85\xa4meta\x82\xa5topic\xa1t\xa8priority\x09\xa3new\x92\x01\x80\xa7payload\x2a" +
		"\xa4type\xaferror.report.v1\xa0\xc0"
	f, err := rmp.ParseFrame(frameOf([]byte(in)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(f.Payload, []byte{0x2a}) {
		t.Errorf("payload % x", f.Payload)
	}
	if m, err := f.DecodeMeta(); err != nil || m.Topic != "t" {
		t.Errorf("meta %+v, %v", m, err)
	}
}

func TestDepthBoundary(t *testing.T) {
	at := func(levels int) error {
		_, err := rmp.ParseFrame(frameOf([]byte("\x82" + typeReport + "\xa7payload" +
			strings.Repeat("\x91", levels) + "\xc0")))
		return err
	}
	// The envelope's own map is one level.
	if err := at(rmp.MaxFrameDepth - 1); err != nil {
		t.Errorf("deepest allowed: %v", err)
	}
	if err := at(rmp.MaxFrameDepth); !errors.Is(err, rmp.ErrBodyDecode) || !errors.Is(err, rmp.ErrSyntax) {
		t.Errorf("one deeper: %v", err)
	}
}

func TestEncodeErrors(t *testing.T) {
	tests := []struct {
		name string
		edit func(*rmp.Message)
		want error
	}{
		{"schema", func(m *rmp.Message) { m.SchemaID = 0 }, rmp.ErrUnknownSchema},
		{"ttl", func(m *rmp.Message) { m.TTLMS = 0 }, rmp.ErrInvalidTTL},
		{"expiry", func(m *rmp.Message) { m.TTLMS = math.MaxUint64 }, rmp.ErrInvalidExpiry},
		{"two values", func(m *rmp.Message) { m.Payload, m.Raw = nil, []byte{1, 2} }, rmp.ErrBodyDecode},
		{"cut value", func(m *rmp.Message) { m.Payload, m.Raw = nil, []byte{0x91} }, rmp.ErrBodyDecode},
		{"meta is a string", func(m *rmp.Message) { m.RawMeta = []byte{0xa0} }, rmp.ErrBodyDecode},
		{"meta is empty", func(m *rmp.Message) { m.RawMeta = []byte{} }, rmp.ErrBodyDecode},
		{"meta and more", func(m *rmp.Message) { m.RawMeta = []byte{0x80, 0x80} }, rmp.ErrBodyDecode},
		{"meta ack", func(m *rmp.Message) { m.RawMeta = pack(map[string]any{"ack": "1"}) }, rmp.ErrBodyDecode},
		{"payload fails", func(m *rmp.Message) { m.Payload = stubborn{} }, errStubborn},
		{"too large", func(m *rmp.Message) { m.Payload, m.Raw = nil, pack(make([]byte, 80)) }, rmp.ErrBodyTooLarge},
	}
	codec := rmp.Codec{MaxBody: 96}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := goldenMessage()
			tt.edit(&m)
			dst := []byte("kept")
			got, err := codec.AppendFrame(dst, &m)
			if !errors.Is(err, tt.want) || string(got) != "kept" {
				t.Errorf("AppendFrame = %q, %v, want %v", got, err, tt.want)
			}
		})
	}
	if m := goldenMessage(); true {
		if b, err := codec.AppendFrame(nil, &m); err != nil || len(b) != 164 {
			t.Errorf("a body of exactly the limit: %v", err)
		}
	}
}

var errStubborn = errors.New("will not")

// stubborn is a payload that cannot be encoded.
type stubborn struct{}

func (stubborn) MarshalMsg(b []byte) ([]byte, error) { return append(b, "rubbish"...), errStubborn }

func TestEmptyParts(t *testing.T) {
	b, err := rmp.AppendFrame(nil, &rmp.Message{SchemaID: rmp.CTControl, TTLMS: 1})
	if err != nil {
		t.Fatal(err)
	}
	f, err := rmp.ParseFrame(b)
	if err != nil || f.Meta != nil || !msgp.IsNil(f.Payload) {
		t.Errorf("payload % x, meta % x, %v", f.Payload, f.Meta, err)
	}
}

func TestMetaRoute(t *testing.T) {
	tests := []struct {
		name  string
		meta  []byte
		topic string
		ack   uint64
		bad   bool
	}{
		{name: "none", meta: nil},
		{name: "both", meta: []byte("\x83\xa3ack\xcd\x01\x00\xa1x\x91\xc0\xa5topic\xa3a/b"), topic: "a/b", ack: 256},
		{name: "empty topic", meta: []byte("\x81\xa5topic\xa0")},
		{name: "long topic", meta: append([]byte("\x81\xa5topic\xdb\x00\x01\x00\x00"), bytes.Repeat([]byte("t"), 1<<16)...),
			topic: strings.Repeat("t", 1<<16)},
		{name: "topic twice", meta: []byte("\x82\xa5topic\xa1a\xa5topic\xa1b"), bad: true},
		{name: "topic is bin", meta: []byte("\x81\xa5topic\xc4\x01a"), bad: true},
		{name: "topic is bad UTF-8", meta: []byte("\x81\xa5topic\xa1\xff"), bad: true},
		{name: "ack is negative", meta: []byte("\x81\xa3ack\xff"), bad: true},
		{name: "ack is a float", meta: []byte("\x81\xa3ack\xca\x00\x00\x00\x00"), bad: true},
		{name: "not a map", meta: []byte("\x91\xc0"), bad: true},
		{name: "cut", meta: []byte("\x81\xa5topic"), bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// The frame's own way must come to the same.
			body := append([]byte("\x83"+typeReport+"\xa7payload\xc0\xa4meta"), tt.meta...)
			if f, err := rmp.ParseFrame(frameOf(body)); err == nil {
				topic, ack, err := f.Route()
				if string(topic) != tt.topic || ack != tt.ack || errors.Is(err, rmp.ErrBodyDecode) != tt.bad {
					t.Errorf("Route = %q, %d, %v", topic, ack, err)
				}
			}
			topic, ack, err := rmp.MetaRoute(tt.meta)
			if string(topic) != tt.topic || ack != tt.ack || errors.Is(err, rmp.ErrBodyDecode) != tt.bad {
				t.Errorf("MetaRoute = %q, %d, %v", topic, ack, err)
			}
		})
	}
}

func TestUnmarshal(t *testing.T) {
	var r rmp.ErrorReport
	for _, b := range []string{"", "\xc0", "\x81\xa4code\x01", "\x80\xc0", "\x82\xa4code\xa0\xa4code\xa0"} {
		if err := rmp.Unmarshal([]byte(b), &r); !errors.Is(err, rmp.ErrBodyDecode) {
			t.Errorf("Unmarshal(%q): %v", b, err)
		}
	}
}

// TestRoundTrip: what is encoded decodes to the same, and encoding again gives
// the same bytes.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := rmp.Message{
			SchemaID:    rapid.SampledFrom([]uint16{1, 8, 9, 10, 240, 2001, 3007, 4001}).Draw(t, "schema"),
			TraceID:     rmp.TraceID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "trace")),
			MsgID:       rapid.Uint64().Draw(t, "id"),
			CreatedAtMS: rapid.Uint64Max(1<<62).Draw(t, "created"),
			TTLMS:       rapid.Uint64Range(1, 1<<62).Draw(t, "ttl"),
			Meta: rmp.Meta{
				Topic: rapid.String().Draw(t, "topic"),
				From:  rapid.String().Draw(t, "from"),
				Ack:   rapid.Uint64().Draw(t, "ack"),
			},
			Payload: &rmp.ErrorReport{Code: rapid.String().Draw(t, "code"), Message: rapid.String().Draw(t, "msg")},
		}
		b, err := rmp.AppendFrame(nil, &m)
		if err != nil {
			t.Fatal(err)
		}
		f, err := rmp.ParseFrame(b)
		if err != nil {
			t.Fatal(err)
		}
		var r rmp.ErrorReport
		meta, err := f.DecodeMeta()
		if err := errors.Join(err, f.Decode(&r)); err != nil {
			t.Fatal(err)
		}
		back := rmp.Message{SchemaID: f.SchemaID, TraceID: f.TraceID, MsgID: f.MsgID,
			CreatedAtMS: f.CreatedAtMS, TTLMS: f.TTLMS, Meta: meta, Payload: &r}
		again, err := rmp.AppendFrame(nil, &back)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("re-encoded (%v)\n%x\nfrom\n%x", err, again, b)
		}
	})
}

// TestAgreesWithGenerated: a body that this package takes, msgp's own decoder
// takes as well, and reads the same from it.
func TestAgreesWithGenerated(t *testing.T) {
	for name, b := range readAll(t, "*.bin") {
		f, err := rmp.ParseFrame(b)
		if err != nil {
			continue
		}
		var ref rawEnvelope
		rest, err := ref.UnmarshalMsg(b[rmp.PrefixLen+rmp.HeaderLen:])
		if err != nil || len(rest) != 0 || ref.Type != f.Type ||
			!bytes.Equal(ref.Payload, f.Payload) || !bytes.Equal(ref.Meta, f.Meta) {
			t.Errorf("%s: generated code reads %+v, %v", name, ref, err)
		}
	}
}

// TestManyKeys drives the part of the duplicate search that has a table.
func TestManyKeys(t *testing.T) {
	envelope := func(keys int, last string) []byte {
		b := []byte{0xdf, 0, 0, 0, 0}
		binary.BigEndian.PutUint32(b[1:], uint32(keys+3))
		b = append(b, typeReport+"\xa7payload\xc0"...)
		for i := range keys {
			b = append(msgp.AppendString(b, "key"+string(rune('a'+i))), 0xc0)
		}
		return append(msgp.AppendString(b, last), 0xc0)
	}
	for _, n := range []int{0, 4, 5, 6, 7, 20, 1000} {
		if _, err := rmp.ParseEnvelope(envelope(n, "new")); err != nil {
			t.Errorf("%d different keys: %v", n, err)
		}
		if _, err := rmp.ParseEnvelope(envelope(n, "payload")); !errors.Is(err, rmp.ErrBodyDecode) {
			t.Errorf("%d keys and one twice: %v", n, err)
		}
		if n > 0 {
			if _, err := rmp.ParseEnvelope(envelope(n, "key"+string(rune('a'+n-1)))); err == nil {
				t.Errorf("%d keys and the last twice is taken", n)
			}
		}
	}
}

func TestNoAllocations(t *testing.T) {
	m := goldenMessage()
	frame, buf := golden(), make([]byte, 0, 256)
	var h rmp.Header
	for name, f := range map[string]func(){
		"header":   func() { _ = h.Decode(frame[rmp.PrefixLen:], rmp.DefaultMaxBody); _ = h.Check(nil) },
		"frame":    func() { _, _ = rmp.ParseFrame(frame) },
		"envelope": func() { _, _ = rmp.ParseEnvelope(frame[rmp.PrefixLen+rmp.HeaderLen:]) },
		"encode":   func() { _, _ = rmp.AppendFrame(buf, &m) },
		"route":    func() { _, _, _ = rmp.MetaRoute(m.RawMeta) },
		"valid":    func() { _ = rmp.Valid(m.RawMeta) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
