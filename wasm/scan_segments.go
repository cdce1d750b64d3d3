package wasm

// constExpr reads a constant expression: one constant and an end. It returns
// the value of an i32.const, the only kind that can place a segment without
// imported globals; known is false for the others.
func (s *scanner) constExpr() (value uint32, known bool) {
	switch op := s.byte(); op {
	case opI32Const:
		value, known = uint32(s.signed(32)), true
	case opI64Const:
		s.signed(64)
	case opF32Const:
		s.skip(4)
	case opF64Const:
		s.skip(8)
	case opRefNull:
		s.refType()
	case opRefFunc:
		s.funcIndex()
	case opGlobalGet:
		if g := int(s.u32()); g >= s.globalsIn || s.globals[g] {
			s.malformed("constant reads global %d, which is not an imported constant", g)
		}
	case opSIMDPrefix:
		if sub := s.byte(); sub != simdV128Const {
			s.malformed("instruction %#x %#x in a constant", op, sub)
		}
		s.skip(16)
	default:
		s.malformed("instruction %#x in a constant", op)
	}
	s.constEnd()
	return value, known
}

// constEnd reads the end of a constant expression. Arithmetic before it is
// the extended constant proposal.
func (s *scanner) constEnd() {
	switch op := s.byte(); op {
	case opEnd:
	case opI32Const, opI64Const, opGlobalGet, 0x6a, 0x6b, 0x6c, 0x7c, 0x7d, 0x7e:
		s.feature("arithmetic in constants")
	default:
		s.malformed("instruction %#x in a constant", op)
	}
}

// funcIndex reads the index of a function that exists.
func (s *scanner) funcIndex() uint32 {
	f := s.u32()
	if int(f) >= len(s.funcs) {
		s.malformed("there is no function %d", f)
		return 0
	}
	return f
}

func (s *scanner) elementSection() {
	n := s.count("element segments", s.limits.Elements, 2)
	for s.elements = 0; s.elements < n && s.err == nil; s.elements++ {
		s.elementSegment()
	}
}

// elementSegment reads one segment. The three low bits of its first number
// say what follows (core spec, 5.5.12): 1 passive or declarative, 2 an
// explicit table (or, with 1, declarative), 4 expressions instead of indexes.
func (s *scanner) elementSegment() {
	flags := s.u32()
	if flags > 7 {
		s.malformed("element segment of kind %d", flags)
		return
	}
	active, explicit, expressions := flags&1 == 0, flags&2 != 0, flags&4 != 0
	if active {
		s.activeTable(explicit)
	}
	if !active || explicit {
		s.elementType(expressions)
	}
	n := s.count("items of an element segment", s.limits.ElementItems-s.elementItems, 1)
	s.elementItems += n
	for i := 0; i < n && s.err == nil; i++ {
		if expressions {
			s.constExpr()
		} else {
			s.funcIndex()
		}
	}
}

// activeTable reads which table a segment fills, and from where.
func (s *scanner) activeTable(explicit bool) {
	table := 0
	if explicit {
		table = int(s.u32())
	}
	if table >= len(s.tables) {
		s.malformed("there is no table %d", table)
	}
	s.constExpr()
}

// elementType reads the type of a segment's items: a reference type before
// expressions, the kind 0 (functions) before indexes.
func (s *scanner) elementType(expressions bool) {
	if expressions {
		s.refType()
	} else if kind := s.byte(); kind != 0 {
		s.malformed("element kind %#x", kind)
	}
}

func (s *scanner) dataSection() {
	n := s.count("data segments", s.limits.DataSegments, 2)
	for s.datas = 0; s.datas < n && s.err == nil; s.datas++ {
		s.dataSegment()
	}
}

// dataSegment reads one segment. One that is sure not to fit is refused here:
// it would only make every instantiation fail.
func (s *scanner) dataSegment() {
	at, kind := s.pos, s.u32()
	var offset uint32
	var known bool
	switch kind {
	case 2:
		if m := s.u32(); m != 0 {
			s.malformed("there is no memory %d", m)
		}
		fallthrough
	case 0:
		offset, known = s.constExpr()
		if s.memories == 0 {
			s.failAt(at, CodeMalformed, "data segment without a memory")
		}
	case 1:
	default:
		s.malformed("data segment of kind %d", kind)
	}
	n := s.count("bytes of a data segment", s.limits.ModuleBytes, 1)
	s.skip(n)
	room := uint64(s.info.MemoryMin) << 16
	if s.err == nil && known && s.info.HasMemory && uint64(offset)+uint64(n) > room {
		s.failAt(at, CodeMalformed,
			"data segment at %d of %d bytes in a memory of %d", offset, n, room)
	}
}
