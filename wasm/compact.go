package wasm

import (
	"bytes"
	"encoding/binary"
)

// dataGap is how many zero bytes between two data segments are written out to
// make them one.
const dataGap = 256

// compactData is a scanned module with fewer data segments: those that lie close
// together become one. Go's linker leaves out every run of zeros, which makes
// 45,000 segments of 1.5 MB; the runtime evaluates and keeps each of them for
// each instance, which is most of the time and a third of the memory of a new
// one. Memory is zero before segments are written, and these are merged only
// in ascending order, so that what an instance starts with is the same.
//
// A module that refers to its segments by number, or has others than active
// ones at constant places, stays as it is.
func compactData(module []byte) []byte {
	r := &scanReader{data: module, pos: wasmHeader, end: len(module)}
	for r.more() {
		start := r.pos
		id, size := r.byte(), int(r.u32())
		body := r.bytes(size)
		switch {
		case r.err != nil, id == sectionDataCount:
			return module
		case id == sectionData:
			merged := mergeSegments(body)
			if merged == nil {
				return module
			}
			out := make([]byte, 0, len(module)+len(merged)-size)
			out = append(append(out, module[:start]...), sectionData)
			out = binary.AppendUvarint(out, uint64(len(merged)))
			return append(append(out, merged...), module[r.pos:]...)
		}
	}
	return module
}

// wasmHeader is the magic number and the version.
const wasmHeader = 8

// mergeSegments merges the segments of a data section; nil when that cannot be
// done or gains nothing.
func mergeSegments(section []byte) []byte {
	r := &scanReader{data: section, end: len(section)}
	n := r.u32()
	var out dataWriter
	for range n {
		if flag := r.u32(); flag != 0 { // passive, or with a memory index
			return nil
		}
		if r.byte() != opI32Const {
			return nil
		}
		at := uint32(r.signed(32))
		if r.byte() != opEnd {
			return nil
		}
		content := r.bytes(int(r.u32()))
		if r.err != nil {
			return nil
		}
		out.add(at, content)
	}
	if out.unsorted || out.count >= n || r.more() {
		return nil
	}
	return out.section()
}

// dataWriter writes a data section.
type dataWriter struct {
	body     []byte
	count    uint32
	at       uint32 // of the segment that is being made
	content  []byte
	unsorted bool
}

func (w *dataWriter) add(at uint32, content []byte) {
	end := uint64(w.at) + uint64(len(w.content))
	switch {
	case w.content == nil:
		w.at, w.content = at, append([]byte{}, content...)
	case uint64(at) < end:
		w.unsorted = true
	case uint64(at)-end <= dataGap:
		w.content = append(w.content, make([]byte, uint64(at)-end)...)
		w.content = append(w.content, content...)
	default:
		w.flush()
		w.at, w.content = at, append(w.content[:0:0], content...)
	}
	if w.content == nil {
		w.content = []byte{}
	}
}

// flush writes the segment that is being made.
func (w *dataWriter) flush() {
	w.count++
	w.body = append(w.body, 0, opI32Const)
	w.body = appendI32(w.body, int32(w.at))
	w.body = append(w.body, opEnd)
	w.body = binary.AppendUvarint(w.body, uint64(len(w.content)))
	w.body = append(w.body, w.content...)
}

func (w *dataWriter) section() []byte {
	if w.content != nil {
		w.flush()
	}
	var b bytes.Buffer
	b.Write(binary.AppendUvarint(nil, uint64(w.count)))
	b.Write(w.body)
	return b.Bytes()
}

// appendI32 appends a signed LEB128 number (core spec, 5.2.2).
func appendI32(b []byte, v int32) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}
