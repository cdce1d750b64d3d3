package wasm

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// dataGap is how many zero bytes between two data segments are written out to
// make them one.
const dataGap = 256

// Compact gives a module, as a compiler left it, the form that starts fastest:
// see compactData. It is for those who build agents; a host runs what it gets.
// The error is that of [Scan].
func Compact(module []byte) ([]byte, error) {
	limits := DefaultScanLimits()
	info, err := Scan(module, limits)
	if err != nil {
		return nil, err
	}
	out := compactData(module, info)
	if _, err := Scan(out, limits); err != nil {
		return nil, err
	}
	return out, nil
}

// compactData is a scanned module with fewer data segments: those that lie close
// together become one. Go's linker leaves out every run of zeros, which makes
// 45,000 segments of 1.5 MB; the runtime evaluates and keeps each of them for
// each instance, which is most of the time and a third of the memory of a new
// one. Memory is zero before segments are written, and what is merged does not
// overlap, so that what an instance starts with is the same.
//
// A module whose code refers to its segments by number, or that has others than
// active ones at constant places, stays as it is.
func compactData(module []byte, info *ModuleInfo) []byte {
	if info.NamesData {
		return module
	}
	r := &scanReader{data: module, pos: wasmHeader, end: len(module)}
	out := append(make([]byte, 0, len(module)), module[:wasmHeader]...)
	countAt := -1 // where the data count section goes, if there is one
	for r.more() {
		start := r.pos
		id, size := r.byte(), int(r.u32())
		body := r.bytes(size)
		switch {
		case r.err != nil:
			return module
		case id == sectionDataCount:
			countAt = len(out)
		case id == sectionData:
			merged, count := mergeSegments(body)
			if merged == nil {
				return module
			}
			out = appendSection(out, sectionData, merged)
			if countAt >= 0 {
				section := appendSection(nil, sectionDataCount, binary.AppendUvarint(nil, uint64(count)))
				out = slices.Insert(out, countAt, section...)
			}
			return append(out, module[r.pos:]...)
		default:
			out = append(out, module[start:r.pos]...)
		}
	}
	return module
}

func appendSection(b []byte, id byte, content []byte) []byte {
	b = binary.AppendUvarint(append(b, id), uint64(len(content)))
	return append(b, content...)
}

// wasmHeader is the magic number and the version.
const wasmHeader = 8

// mergeSegments merges the segments of a data section and counts what is left;
// nil when that cannot be done or gains nothing.
func mergeSegments(section []byte) (merged []byte, count uint32) {
	r := &scanReader{data: section, end: len(section)}
	n := r.u32()
	var out dataWriter
	for range n {
		if flag := r.u32(); flag != 0 { // passive, or with a memory index
			return nil, 0
		}
		if r.byte() != opI32Const {
			return nil, 0
		}
		at := uint32(r.signed(32))
		if r.byte() != opEnd {
			return nil, 0
		}
		content := r.bytes(int(r.u32()))
		if r.err != nil {
			return nil, 0
		}
		out.add(at, content)
	}
	if out.flush(); out.count() >= n || r.more() || out.overlap() {
		return nil, 0
	}
	return out.section(), out.count()
}

// dataWriter collects segments and makes those one that follow each other
// closely.
type dataWriter struct {
	runs    []dataRun
	current dataRun
}

// dataRun is a segment, or several that have become one.
type dataRun struct {
	at      uint32
	content []byte
}

func (r *dataRun) end() uint64 { return uint64(r.at) + uint64(len(r.content)) }

func (w *dataWriter) add(at uint32, content []byte) {
	gap := int64(at) - int64(w.current.end())
	if w.current.content == nil || gap < 0 || gap > dataGap {
		w.flush()
		w.current = dataRun{at, append([]byte{}, content...)}
		return
	}
	w.current.content = append(w.current.content, make([]byte, gap)...)
	w.current.content = append(w.current.content, content...)
}

// flush ends the run that is being made.
func (w *dataWriter) flush() {
	if w.current.content != nil {
		w.runs = append(w.runs, w.current)
	}
	w.current = dataRun{}
}

func (w *dataWriter) count() uint32 { return uint32(len(w.runs)) }

// overlap reports whether the order of the segments matters.
func (w *dataWriter) overlap() bool {
	sorted := slices.SortedFunc(slices.Values(w.runs), func(a, b dataRun) int { return cmp.Compare(a.at, b.at) })
	for i := 1; i < len(sorted); i++ {
		if uint64(sorted[i].at) < sorted[i-1].end() {
			return true
		}
	}
	return false
}

func (w *dataWriter) section() []byte {
	b := binary.AppendUvarint(nil, uint64(len(w.runs)))
	for _, run := range w.runs {
		b = appendI32(append(b, 0, opI32Const), int32(run.at))
		b = binary.AppendUvarint(append(b, opEnd), uint64(len(run.content)))
		b = append(b, run.content...)
	}
	return b
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
