package main

import (
	"fmt"
	"runtime"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// pair is something of ours and its reference; each runs n times.
type pair struct{ ours, reference func(n int) }

// perCall measures both in turns and returns the nanoseconds of one call.
func (p pair) perCall(rounds, n int) (ours, reference []float64) {
	p.ours(n / 10) // warm
	p.reference(n / 10)
	for range rounds {
		for _, side := range []struct {
			run func(int)
			to  *[]float64
		}{{p.ours, &ours}, {p.reference, &reference}} {
			start := time.Now()
			side.run(n)
			*side.to = append(*side.to, float64(time.Since(start).Nanoseconds())/float64(n))
		}
	}
	return ours, reference
}

// allocations counts the objects that f allocates.
func allocations(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs
}

// errorReport is a message whose frame has a body of 96 bytes.
func errorReport() *rmp.Message {
	return &rmp.Message{
		SchemaID:    rmp.CTErrorReport,
		CreatedAtMS: 1731465600123,
		TTLMS:       60_000,
		TraceID:     rmp.TraceID{1, 2, 3},
		MsgID:       42,
		Payload:     &rmp.ErrorReport{Code: "tool.unavailable", Message: "mailer offline now"},
		Meta:        rmp.Meta{Topic: "rlp"},
	}
}

// codecRows measures the codec in this process.
func codecRows(rounds int) []row {
	const n = 2_000_000
	m := errorReport()
	frame, err := rmp.AppendFrame(nil, m)
	if err != nil || len(frame) != rmp.PrefixLen+rmp.HeaderLen+96 {
		panic(fmt.Sprintf("busbench: a frame of %d bytes, %v", len(frame), err))
	}
	var rows []row
	ours, reference := headerPair(frame).perCall(rounds, n)
	rows = append(rows, row{What: "rmp header decode and validate; reference copying 64 bytes", Ours: median(ours),
		Reference: median(reference), Ratio: median(ratios(ours, reference)), Target: "<= 15 ns", Unit: "ns", OK: median(ours) <= 15})
	ours, reference = encodePair(m).perCall(rounds, n)
	rows = append(rows, compare("rmp frame encode, 96-byte body; reference msgp, same content", "ns", ours, reference, atMost(1.2)))
	ours, reference = envelopePair(frame).perCall(rounds, n)
	rows = append(rows, compare("rmp envelope decode, raw payload; reference msgp", "ns", ours, reference, atMost(1.2)))
	n0 := allocations(func() {
		headerPair(frame).ours(n)
		encodePair(m).ours(n)
		envelopePair(frame).ours(n)
	})
	return append(rows, row{What: "rmp allocations a call, all three", Ours: float64(n0 * 100 / (3 * n) / 100), Target: "0",
		Unit: "objects", OK: n0 < n/100})
}

func headerPair(frame []byte) pair {
	header := frame[rmp.PrefixLen:]
	var h rmp.Header
	var to [rmp.HeaderLen]byte
	return pair{func(n int) {
		for range n {
			if h.Decode(header, rmp.DefaultMaxBody) != nil || h.Check(nil) != nil {
				panic("busbench: header refused")
			}
		}
	}, func(n int) {
		for range n {
			copy(to[:], header)
			runtime.KeepAlive(&to)
		}
	}}
}

func encodePair(m *rmp.Message) pair {
	buf := make([]byte, 0, 512)
	payload := *m.Payload.(*rmp.ErrorReport)
	ref := report{SchemaID: m.SchemaID, CreatedAt: m.CreatedAtMS, TTL: m.TTLMS, TraceID: m.TraceID, MsgID: m.MsgID,
		Type: "error.report.v1", Payload: payload, Meta: m.Meta}
	return pair{func(n int) {
		for range n {
			if _, err := rmp.AppendFrame(buf, m); err != nil {
				panic(err)
			}
		}
	}, func(n int) {
		for range n {
			if _, err := ref.MarshalMsg(buf); err != nil {
				panic(err)
			}
		}
	}}
}

func envelopePair(frame []byte) pair {
	var ref rawEnvelope
	body := frame[rmp.PrefixLen+rmp.HeaderLen:]
	return pair{func(n int) {
		for range n {
			if _, err := rmp.ParseEnvelope(body); err != nil {
				panic(err)
			}
		}
	}, func(n int) {
		for range n {
			if _, err := ref.UnmarshalMsg(body); err != nil {
				panic(err)
			}
		}
	}}
}
