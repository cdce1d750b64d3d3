package wasm

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// FuzzScan looks for a module that makes the scan fail without a named reason,
// or that passes it and makes the compiler panic.
func FuzzScan(f *testing.F) {
	for _, m := range malformedModules() {
		if len(m.data) < 1<<10 {
			f.Add(m.data)
		}
	}
	f.Add(limitsModule())
	f.Fuzz(func(t *testing.T, module []byte) {
		info, err := Scan(module, DefaultScanLimits())
		var refusal *ScanError
		switch {
		case errors.As(err, &refusal):
			if refusal.Offset < 0 || refusal.Offset > len(module) || refusal.Code == "" || refusal.Message == "" {
				t.Errorf("refusal without a reason or place: %#v", refusal)
			}
		case err != nil:
			t.Errorf("error of another type: %v", err)
		case info.Time < 100_000:
			_ = compilePlain(module) // refusing is fine; a panic is not
		}
	})
}

func BenchmarkScan(b *testing.B) {
	module := goGuest(b, "package main\nimport \"fmt\"\nfunc main() { fmt.Println(1) }\n")
	limits := DefaultScanLimits()
	b.SetBytes(int64(len(module)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Scan(module, limits); err != nil {
			b.Fatal(err)
		}
	}
}

// TestSigned reads back signed numbers of every width the format has.
func TestSigned(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.SampledFrom([]int{32, 33, 64}).Draw(t, "bits")
		low, high := int64(-1)<<(bits-1), int64(math.MaxInt64)>>(64-bits)
		want := rapid.Int64Range(low, high).Draw(t, "value")
		r := scanReader{data: appendSigned(nil, want)}
		r.end = len(r.data)
		if got := r.signed(bits); got != want || r.err != nil || r.pos != r.end {
			t.Errorf("signed(%d) of %x = %d, %v; want %d", bits, r.data, got, r.err, want)
		}
	})
}

// appendSigned encodes a signed LEB128 number.
func appendSigned(b []byte, v int64) []byte {
	for {
		low := byte(v & 0x7f)
		v >>= 7
		if v == 0 && low&0x40 == 0 || v == -1 && low&0x40 != 0 {
			return append(b, low)
		}
		b = append(b, low|0x80)
	}
}

// TestNumbersOutOfRange feeds numbers that do not fit or are too long.
func TestNumbersOutOfRange(t *testing.T) {
	ones := func(n int, last byte) []byte { return append(bytes.Repeat([]byte{0xff}, n), last) }
	unsigned := func(r *scanReader) { r.u32() }
	signed := func(bits int) func(r *scanReader) { return func(r *scanReader) { r.signed(bits) } }
	tests := []struct {
		name string
		read func(*scanReader)
		data []byte
		ok   bool
	}{
		{"u32 largest", unsigned, ones(4, 0x0f), true},
		{"u32 one more bit", unsigned, ones(4, 0x1f), false},
		{"u32 padded", unsigned, []byte{0x80, 0x80, 0x80, 0x80, 0}, true},
		{"u32 six bytes", unsigned, []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0}, false},
		{"u32 cut", unsigned, []byte{0x80}, false},
		{"s32 minus one padded", signed(32), ones(4, 0x7f), true},
		{"s32 sign bits differ", signed(32), ones(4, 0x4f), false},
		{"s32 six bytes", signed(32), ones(5, 0x7f), false},
		{"s33 largest", signed(33), ones(4, 0x0f), true},
		{"s33 too large", signed(33), ones(4, 0x1f), false},
		{"s64 largest", signed(64), ones(9, 0), true},
		{"s64 too large", signed(64), ones(9, 1), false},
		{"s64 eleven bytes", signed(64), ones(10, 0), false},
	}
	for _, tt := range tests {
		r := scanReader{data: tt.data, end: len(tt.data)}
		tt.read(&r)
		if (r.err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, r.err)
		}
	}
}
