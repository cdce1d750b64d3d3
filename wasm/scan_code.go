package wasm

// scanFrame is an open block. Heights are numbers of operands; types are left
// to the compiler.
type scanFrame struct {
	op      byte // opBlock, opLoop, opIf, opElse; opBlock for the function itself
	dead    bool // after an unconditional branch: operands are whatever is wanted
	base    int  // operands below the block, its parameters not counted
	params  int
	results int
}

// arity is how many operands a branch to the block takes along.
func (f *scanFrame) arity() int {
	if f.op == opLoop {
		return f.params
	}
	return f.results
}

// scanCode is the state of the function body being read. Its slice is used
// again for the next body.
type scanCode struct {
	frames []scanFrame
	height int // operands now
	base   int // of the innermost frame
	tally  scanTally
}

// codeSection reads the bodies, each with its own length.
func (s *scanner) codeSection() {
	s.info.CodeBytes = s.remaining()
	// A length, no locals and an end.
	n := s.count("function bodies", s.limits.Functions, 3)
	if s.err == nil && n != len(s.funcs)-s.funcImports {
		s.malformed("%d functions are declared, %d have a body", len(s.funcs)-s.funcImports, n)
	}
	for s.bodies = 0; s.bodies < n && s.err == nil; s.bodies++ {
		s.function(s.types[s.funcs[s.funcImports+s.bodies]])
	}
}

// function reads one body.
func (s *scanner) function(t scanType) {
	at, size := s.pos, s.u32()
	if int(size) > s.limits.FunctionBytes {
		s.over(at, "bytes of a function", int(size), s.limits.FunctionBytes)
	}
	outer := s.enter("function body", size)
	from := s.pos
	c := &s.code
	c.tally = scanTally{}
	c.frames = append(c.frames[:0], scanFrame{op: opBlock, results: t.results.n})
	c.height, c.base = 0, 0
	locals := s.localTypes()
	c.tally.locals = t.params.n + locals
	s.locals += locals
	if s.marks != nil {
		s.marks.bodies = append(s.marks.bodies, gateBody{size: at, locals: from, code: s.pos, end: from + int(size)})
	}
	for s.more() && len(c.frames) > 0 {
		s.instruction()
	}
	if s.err == nil && len(c.frames) > 0 {
		s.malformed("function body has no end")
	}
	s.leave("function body", outer)
	s.settle(at)
}

// localTypes reads the declarations of locals: runs of one type.
func (s *scanner) localTypes() (locals int) {
	n := s.count("runs of locals", s.remaining(), 2)
	for i := 0; i < n && s.err == nil; i++ {
		at := s.pos
		locals += int(s.u32())
		s.valueType()
		if s.err == nil && locals > s.limits.Locals {
			s.over(at, "locals of a function", locals, s.limits.Locals)
		}
	}
	return locals
}

// instruction reads one instruction. Nearly all of a module passes through
// here, so the common immediates and the common case of taking and giving
// operands are spelled out.
func (s *scanner) instruction() {
	b := s.data[s.pos] // the caller has seen that there is one
	s.pos++
	op := &scanOps[b]
	switch op.imm {
	case immNone:
	case immLocal:
		if i := s.u32(); int(i) >= s.code.tally.locals {
			s.missing("local", i)
		}
	case immI32:
		if !s.short() {
			s.signed(32)
		}
	case immI64:
		if !s.short() {
			s.signed(64)
		}
	case immMemArg:
		s.memArg()
	case immControl:
		s.control(b)
	case immPrefix:
		op = s.prefixed(b)
		s.immediate(op.imm)
	default:
		s.immediate(op.imm)
	}
	c := &s.code
	c.tally.linear += int(op.work)
	if c.height -= int(op.pop); c.height < c.base {
		s.underflow()
	}
	if c.height += int(op.push); c.height > c.tally.height {
		s.deeper()
	}
}

// prefixed reads the rest of an opcode of two or more bytes.
func (s *scanner) prefixed(prefix byte) *scanOp {
	if prefix == opMiscPrefix {
		switch sub := s.u32(); {
		case sub == miscTableGrow:
			s.feature("table.grow")
		case sub < uint32(len(miscOps)):
			return &miscOps[sub]
		}
		return &scanOp{}
	}
	return &simdOps[s.simdOpcode()]
}

// simdOpcode reads the number of a vector instruction. The compiler takes it
// for one byte, and the second byte of the larger ones for a nop; so only the
// shortest form is let through.
func (s *scanner) simdOpcode() byte {
	sub := s.byte()
	if sub < 0x80 {
		return sub
	}
	switch high := s.byte(); {
	case high == 0:
		s.malformed("padded vector opcode")
	case high > 1:
		s.feature("relaxed vectors")
	}
	return sub
}

// immediate reads what follows an opcode.
func (s *scanner) immediate(imm scanImm) {
	switch imm {
	case immGlobal:
		s.index("global", len(s.globals))
	case immTable:
		s.index("table", len(s.tables))
	case immBytes4:
		s.skip(4)
	case immBytes8:
		s.skip(8)
	case immBytes16:
		s.skip(16)
	case immLane:
		s.skip(1)
	case immRefType:
		s.refType()
	case immFunc:
		s.funcIndex()
	case immFeature:
		s.feature("an instruction of a later proposal")
	case immUnknown:
		s.malformed("unknown instruction")
	default:
		s.memoryImmediate(imm)
	}
}

// memoryImmediate reads what follows the opcode of a memory or bulk
// instruction.
func (s *scanner) memoryImmediate(imm scanImm) {
	switch imm {
	case immMemArg: // of a vector
		s.memArg()
	case immMemArgLane:
		s.memArg()
		s.skip(1)
	case immMemory:
		s.memoryIndex()
	case immMemory2:
		s.memoryIndex()
		s.memoryIndex()
	case immData:
		s.dataIndex()
	case immDataMemory:
		s.dataIndex()
		s.memoryIndex()
	case immElem:
		s.index("element segment", s.elements)
	case immElemTable:
		s.index("element segment", s.elements)
		s.index("table", len(s.tables))
	case immTable2:
		s.index("table", len(s.tables))
		s.index("table", len(s.tables))
	}
}

// index reads an index that must be below have.
func (s *scanner) index(what string, have int) int {
	i := s.u32()
	if int(i) >= have {
		s.missing(what, i)
		return 0
	}
	return int(i)
}

// missing refuses an index of something that is not there.
func (s *scanner) missing(what string, index uint32) {
	s.malformed("there is no %s %d", what, index)
}

// dataIndex reads the index of a data segment. Segments come after the code;
// how many there will be is what the data count section is for.
func (s *scanner) dataIndex() {
	s.info.NamesData = true
	if s.dataCount < 0 && s.err == nil {
		s.malformed("a data segment is used without a data count section")
	}
	s.index("data segment", s.dataCount)
}

// memArg reads alignment and offset of a memory access.
func (s *scanner) memArg() {
	if align := s.u32(); align > 4 || s.memories == 0 {
		s.badMemArg(align)
	}
	if !s.short() {
		s.u32()
	}
}

func (s *scanner) badMemArg(align uint32) {
	switch {
	case s.err != nil:
	case align >= 0x40 && align < 0x80:
		s.feature("more than one memory")
	case align > 4:
		s.malformed("alignment 2**%d", align)
	default:
		s.malformed("memory access without a memory")
	}
}

// memoryIndex reads the index of the only memory, a zero of one byte.
func (s *scanner) memoryIndex() {
	if b := s.byte(); b != 0 {
		s.malformed("memory index %#x", b)
	}
	if s.memories == 0 && s.err == nil {
		s.malformed("memory instruction without a memory")
	}
}

// pop takes n operands.
func (s *scanner) pop(n int) {
	if s.code.height -= n; s.code.height < s.code.base {
		s.underflow()
	}
}

// underflow is reached when a block has fewer operands than an instruction
// takes. In dead code that is legal: there, operands appear as wanted.
func (s *scanner) underflow() {
	c := &s.code
	if n := len(c.frames); n > 0 && !c.frames[n-1].dead {
		s.malformed("not enough operands")
	}
	c.height = c.base
}

// push gives n operands.
func (s *scanner) push(n int) {
	if s.code.height += n; s.code.height > s.code.tally.height {
		s.deeper()
	}
}

// deeper notes that there are more operands than ever before.
func (s *scanner) deeper() {
	c := &s.code
	c.tally.height = c.height
	if c.height > s.limits.StackValues {
		s.over(s.pos, "operands at once", c.height, s.limits.StackValues)
	}
}
