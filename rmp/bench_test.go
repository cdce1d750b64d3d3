package rmp_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/runloop-os/runloop/rmp"
	"github.com/tinylib/msgp/msgp"
)

// BenchmarkHeader is decode and validate; its reference is a copy of the same
// 64 bytes.
func BenchmarkHeader(b *testing.B) {
	frame := golden()[rmp.PrefixLen:]
	b.Run("copy", func(b *testing.B) {
		var to [rmp.HeaderLen]byte
		for b.Loop() {
			copy(to[:], frame)
		}
	})
	b.Run("decode", func(b *testing.B) {
		var h rmp.Header
		b.ReportAllocs()
		for b.Loop() {
			if h.Decode(frame, rmp.DefaultMaxBody) != nil || h.Check(nil) != nil {
				b.Fatal("refused")
			}
		}
	})
}

// BenchmarkEncode is a whole frame with a body of 96 bytes against msgp's own
// code for a struct of the same content; the raw pair leaves the header out of
// the reference.
func BenchmarkEncode(b *testing.B) {
	buf := make([]byte, 0, 512)
	report := &rmp.ErrorReport{Code: "tool.unavailable", Message: "mailer offline"}
	meta := rmp.Meta{Topic: "rlp/ctrl"}
	m := goldenMessage()
	m.Payload, m.Meta, m.RawMeta = report, meta, nil
	b.Run("msgp", func(b *testing.B) {
		ref := message{SchemaID: m.SchemaID, CreatedAt: m.CreatedAtMS, TTL: m.TTLMS, TraceID: m.TraceID,
			MsgID: m.MsgID, Type: "error.report.v1", Payload: *report, Meta: meta}
		for b.Loop() {
			_, _ = ref.MarshalMsg(buf)
		}
	})
	b.Run("frame", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = rmp.AppendFrame(buf, &m)
		}
	})
	raw, _ := m.Payload.MarshalMsg(nil)
	b.Run("msgp-raw", func(b *testing.B) {
		rawMeta, _ := meta.MarshalMsg(nil)
		ref := rawEnvelope{Type: "error.report.v1", Payload: raw, Meta: rawMeta}
		for b.Loop() {
			_, _ = ref.MarshalMsg(buf)
		}
	})
	b.Run("frame-raw", func(b *testing.B) {
		m.Payload, m.Raw = nil, raw
		b.ReportAllocs()
		for b.Loop() {
			_, _ = rmp.AppendFrame(buf, &m)
		}
	})
}

// BenchmarkEnvelope is the parse with raw payload and meta against msgp's own
// decoder of the same struct, which reuses its memory as well as it can.
func BenchmarkEnvelope(b *testing.B) {
	body := golden()[rmp.PrefixLen+rmp.HeaderLen:]
	b.Run("msgp", func(b *testing.B) {
		var ref rawEnvelope
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ref.UnmarshalMsg(body); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := rmp.ParseEnvelope(body); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkStream reads frames from memory.
func BenchmarkStream(b *testing.B) {
	stream := bytes.Repeat(golden(), 1000)
	src := bytes.NewReader(stream)
	r := rmp.NewReader(src, rmp.Codec{})
	var f rmp.Frame
	b.SetBytes(164)
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Next(&f); err != nil {
			if err != io.EOF {
				b.Fatal(err)
			}
			src.Reset(stream)
			r = rmp.NewReader(src, rmp.Codec{})
		}
	}
}

// BenchmarkTranscode turns an agent's request of some hundred bytes.
func BenchmarkTranscode(b *testing.B) {
	text := []byte(`{"ref":"writer","inputs":{"topic":["Q4 plan"],"contacts":[{"name":"Jöhn","age":41,"score":0.75}]},` +
		`"tags":["a","b","c"],"ok":true,"none":null,"n":[1,2,3,4,5,-6,7000,80000000000]}`)
	msg, err := rmp.AppendMsgpack(nil, text)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 1024)
	b.Run("to-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = rmp.AppendJSON(buf, msg)
		}
	})
	b.Run("to-json-msgp", func(b *testing.B) {
		var w bytes.Buffer
		b.ReportAllocs()
		for b.Loop() {
			w.Reset()
			_, _ = msgp.UnmarshalAsJSON(&w, msg)
		}
	})
	b.Run("to-msgpack", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = rmp.AppendMsgpack(buf, text)
		}
	})
	b.Run("valid", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = rmp.Valid(msg)
		}
	})
}
