package wasm

import (
	"encoding/binary"
)

// A guest in this process must end when it is told to, and must let Go's
// collector have its turn: native code does neither by itself. wazero's own
// answer leaves native code at each turn of each loop, which makes a loop
// fifteen times as slow, and forgets recursion, which needs no loop to go on
// for ever and then stops the whole process with it. So a module is changed
// before it is compiled for this process. At the head of each loop, and of each
// function that calls others, goes a gate, in WebAssembly itself:
//
//	fuel--; if fuel|stop < 0 { tick() }
//
// fuel and stop are globals of ours, tick is a function of ours at the end of
// the module's own: it fills fuel up, grows the memory by nothing, which is the
// way out of native code that every module has, and traps if stop was set. The
// host sets stop when the guest's context ends. A start section becomes an
// export that the host calls, since nobody can stop what runs before there is
// an instance.
const (
	gateFuel = 1 << 16
	gateStop = "\x00runloop.stop"
	gateMain = "\x00runloop.start"
)

// gateMarks are the places of a module that a gate needs to know, found by a
// scan.
type gateMarks struct {
	bodies  []gateBody
	funcs   int // imported ones included
	globals int
	void    int // a type without parameters and results
}

// last is the function that is being read.
func (m *gateMarks) last() *gateBody { return &m.bodies[len(m.bodies)-1] }

// gateBody is one function: where it starts with its size, its locals and its
// code, where it ends, where loops begin, and whether it calls.
type gateBody struct {
	size, locals, code, end int
	loops                   []int
	calls                   bool
}

// gated returns the module with gates. It must have passed a scan; the error
// is that of scanning it again.
func gated(module []byte, limits ScanLimits) ([]byte, error) {
	s := newScanner(module, limits)
	s.marks = &gateMarks{void: -1}
	s.header()
	for s.more() {
		s.section()
	}
	s.finish()
	if s.err != nil {
		return nil, s.err
	}
	m := s.marks
	m.funcs, m.globals = len(s.funcs), len(s.globals)
	for i, t := range s.types {
		if t.params.n == 0 && t.results.n == 0 {
			m.void = i
			break
		}
	}
	g := &gater{marks: m, src: module, out: make([]byte, 0, len(module)+len(module)/4+256)}
	return g.module(), nil
}

// gater writes a module with gates.
type gater struct {
	marks   *gateMarks
	src     []byte
	out     []byte
	start   int // the function of the start section, or -1
	globals bool
}

// module copies sections, changed where they need to be.
func (g *gater) module() []byte {
	g.start = g.startFunction()
	g.out = append(g.out, g.src[:8]...)
	g.eachSection(func(id byte, body []byte, at int) {
		if id != sectionCustom && !g.globals && scanSectionOrder[id] > scanSectionOrder[sectionGlobal] {
			g.section(sectionGlobal, g.ourGlobals([]byte{0}))
		}
		switch id {
		case sectionFunction:
			g.section(id, binary.AppendUvarint(more(body, 1), uint64(g.marks.void)))
		case sectionGlobal:
			g.section(id, g.ourGlobals(body))
		case sectionExport:
			g.section(id, g.ourExports(body))
		case sectionStart:
		case sectionCode:
			g.section(id, g.code())
		default:
			g.section(id, body)
		}
	})
	return g.out
}

// eachSection visits the sections of the module.
func (g *gater) eachSection(visit func(id byte, body []byte, at int)) {
	for at := 8; at < len(g.src); {
		n, width := binary.Uvarint(g.src[at+1:])
		from := at + 1 + width
		visit(g.src[at], g.src[from:from+int(n)], from)
		at = from + int(n)
	}
}

func (g *gater) startFunction() (index int) {
	index = -1
	g.eachSection(func(id byte, body []byte, _ int) {
		if id == sectionStart {
			n, _ := binary.Uvarint(body)
			index = int(n)
		}
	})
	return index
}

func (g *gater) section(id byte, body []byte) {
	g.out = binary.AppendUvarint(append(g.out, id), uint64(len(body)))
	g.out = append(g.out, body...)
}

// more is the inside of a section that is a vector, with a higher count.
func more(body []byte, by uint64) []byte {
	n, width := binary.Uvarint(body)
	out := binary.AppendUvarint(make([]byte, 0, len(body)+64), n+by)
	return append(out, body[width:]...)
}

// ourGlobals adds fuel and stop.
func (g *gater) ourGlobals(body []byte) []byte {
	g.globals = true
	out := append(more(body, 2), typeI32, 1, opI32Const)
	out = append(appendPositive(out, gateFuel), opEnd)
	return append(out, typeI32, 1, opI32Const, 0, opEnd)
}

// ourExports adds stop and what was the start section.
func (g *gater) ourExports(body []byte) []byte {
	const isFunc, isGlobal = 0, 3
	n := uint64(1)
	if g.start >= 0 {
		n++
	}
	out := appendExport(more(body, n), gateStop, isGlobal, g.marks.globals+1)
	if g.start >= 0 {
		out = appendExport(out, gateMain, isFunc, g.start)
	}
	return out
}

func appendExport(out []byte, name string, kind byte, index int) []byte {
	out = append(binary.AppendUvarint(out, uint64(len(name))), name...)
	return binary.AppendUvarint(append(out, kind), uint64(index))
}

// code writes the functions with their gates, and tick behind them.
func (g *gater) code() []byte {
	gate, tick := g.gate(), g.tick()
	out := binary.AppendUvarint(make([]byte, 0, len(g.src)), uint64(len(g.marks.bodies)+1))
	for i := range g.marks.bodies {
		b := &g.marks.bodies[i]
		n := len(b.loops)
		if b.calls {
			n++
		}
		out = binary.AppendUvarint(out, uint64(b.end-b.locals+n*len(gate)))
		out = append(out, g.src[b.locals:b.code]...)
		if b.calls {
			out = append(out, gate...)
		}
		at := b.code
		for _, loop := range b.loops {
			out = append(append(out, g.src[at:loop]...), gate...)
			at = loop
		}
		out = append(out, g.src[at:b.end]...)
	}
	return append(binary.AppendUvarint(out, uint64(len(tick))), tick...)
}

// gate is fuel--; if fuel|stop < 0 { tick() }. It leaves the operands alone.
func (g *gater) gate() []byte {
	fuel, stop := g.marks.globals, g.marks.globals+1
	b := appendIndexed(nil, opGlobalGet, fuel)
	b = append(b, opI32Const, 1, opI32Sub)
	b = appendIndexed(b, opGlobalSet, fuel)
	b = appendIndexed(b, opGlobalGet, fuel)
	b = appendIndexed(b, opGlobalGet, stop)
	b = append(b, opI32Or, opI32Const, 0, opI32LtS, opIf, blockVoid)
	return append(appendIndexed(b, opCall, g.marks.funcs), opEnd)
}

// tick is fuel = gateFuel; memory.grow 0; if stop { unreachable }.
func (g *gater) tick() []byte {
	b := appendPositive([]byte{0, opI32Const}, gateFuel) // no locals
	b = appendIndexed(b, opGlobalSet, g.marks.globals)
	b = append(b, opI32Const, 0, opMemoryGrow, 0, opDrop)
	b = appendIndexed(b, opGlobalGet, g.marks.globals+1)
	return append(b, opIf, blockVoid, opUnreachable, opEnd, opEnd)
}

// Instructions of the gate (core spec, 5.4).
const (
	opDrop       = 0x1a
	opMemoryGrow = 0x40
	opI32LtS     = 0x48
	opI32Sub     = 0x6b
	opI32Or      = 0x72
	blockVoid    = 0x40
)

func appendIndexed(b []byte, op byte, index int) []byte {
	return binary.AppendUvarint(append(b, op), uint64(index))
}

// appendPositive writes a number that is not negative as signed LEB128.
func appendPositive(b []byte, n uint32) []byte {
	for ; n >= 0x40; n >>= 7 {
		b = append(b, byte(n&0x7f|0x80))
	}
	return append(b, byte(n))
}
