package wasm

import (
	"bytes"
	"context"
	"encoding/binary"
	"testing"

	"github.com/tetratelabs/wazero"
)

// TestCompactDataIsTheSameMemory compares what instances start with.
func TestCompactDataIsTheSameMemory(t *testing.T) {
	type segment struct {
		at   uint32
		text string
	}
	for name, tt := range map[string]struct {
		segments []segment
		merged   bool
	}{
		"none":              {},
		"one":               {[]segment{{8, "a"}}, false},
		"close":             {[]segment{{0, "ab"}, {4, "c"}, {5, "d"}, {200, "e"}}, true},
		"far":               {[]segment{{0, "a"}, {9000, "b"}}, false},
		"close and far":     {[]segment{{0, "a"}, {3, "b"}, {9000, "c"}, {9100, "d"}, {65000, "e"}}, true},
		"empty ones":        {[]segment{{0, ""}, {4, "x"}, {6, ""}, {7, "y"}}, true},
		"over each other":   {[]segment{{0, "abc"}, {1, "x"}, {2, "y"}}, false},
		"two rows":          {[]segment{{100, "a"}, {104, "b"}, {50, "c"}, {53, "d"}}, true},
		"out of order":      {[]segment{{100, "a"}, {50, "b"}, {110, "c"}}, false},
		"at the very end":   {[]segment{{65530, "abc"}, {65533, "def"}}, true},
		"behind the end":    {[]segment{{65530, "abc"}, {65535, "de"}}, true},
		"in the upper half": {[]segment{{1 << 31, "a"}, {1<<31 + 2, "b"}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			var data []byte
			data = binary.AppendUvarint(data, uint64(len(tt.segments)))
			for _, s := range tt.segments {
				data = append(data, 0, opI32Const)
				data = append(appendI32(data, int32(s.at)), opEnd)
				data = append(binary.AppendUvarint(data, uint64(len(s.text))), s.text...)
			}
			module := []byte("\x00asm\x01\x00\x00\x00" + "\x05\x03\x01\x00\x01" + "\x07\x05\x01\x01m\x02\x00")
			module = binary.AppendUvarint(append(module, sectionData), uint64(len(data)))
			module = append(append(module, data...), "\x00\x03\x02xyz"[:5]...)
			got := compactData(module, &ModuleInfo{})
			if bytes.Equal(got, module) == tt.merged {
				t.Errorf("merged is %v", !tt.merged)
			}
			want, wantErr := startMemory(t, module)
			have, haveErr := startMemory(t, got)
			if (wantErr == nil) != (haveErr == nil) || !bytes.Equal(want, have) {
				t.Errorf("errors %v and %v, memories equal %v", wantErr, haveErr, bytes.Equal(want, have))
			}
		})
	}
}

func TestCompactDataOfGo(t *testing.T) {
	module := probeModule(t, LifeReactor)
	want, err := Scan(module, DefaultScanLimits())
	if err != nil {
		t.Fatal(err)
	}
	got := compactData(module, want)
	if before, after := dataSegments(t, module), dataSegments(t, got); after > before/10 || len(got) > len(module)*5/4 {
		t.Errorf("%d segments are %d now, %d bytes %d", before, after, len(module), len(got))
	}
	have, err := Scan(got, DefaultScanLimits())
	if err != nil {
		t.Fatal(err)
	}
	if want.MemoryMin != have.MemoryMin || len(want.Imports) != len(have.Imports) {
		t.Error("it is another module")
	}
	if !bytes.Equal(compactData(got, have), got) {
		t.Error("what is compact is made more so")
	}
	for cut := range 2000 { // what is broken stays as it is, or at least breaks nothing
		compactData(module[:len(module)-cut*1000], want)
		if (cut+1)*1000+wasmHeader > len(module) {
			break
		}
	}
}

// startMemory is what memory an instance starts with.
func startMemory(t *testing.T, module []byte) ([]byte, error) {
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer r.Close(ctx)
	m, err := r.Instantiate(ctx, module)
	if err != nil {
		return nil, err
	}
	view, _ := m.Memory().Read(0, m.Memory().Size())
	return bytes.Clone(view), nil
}

// dataSegments counts the data segments of a module.
func dataSegments(t *testing.T, module []byte) uint32 {
	t.Helper()
	r := &scanReader{data: module, pos: wasmHeader, end: len(module)}
	for r.more() {
		id, size := r.byte(), int(r.u32())
		body := r.bytes(size)
		if id == sectionData && r.err == nil {
			return (&scanReader{data: body, end: len(body)}).u32()
		}
	}
	t.Fatalf("no data section, %v", r.err)
	return 0
}
