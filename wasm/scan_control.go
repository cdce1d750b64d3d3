package wasm

// control handles instructions that change the flow of control. What they pop
// and push depends on types, so that scanOps cannot say it.
func (s *scanner) control(op byte) {
	switch op {
	case opBlock, opLoop, opIf:
		s.open(op)
	case opElse:
		s.alternative()
	case opEnd:
		s.close()
	case opBr:
		s.carry(s.label().arity())
		s.dead()
	case opBrIf:
		s.pop(1)
		s.branchPoint(op)
		s.carry(s.label().arity())
	case opBrTable:
		s.pop(1)
		s.branchTable()
		s.dead()
	case opReturn:
		s.code.tally.returns++
		s.carry(s.code.frames[0].results)
		s.dead()
	case opUnreachable:
		s.dead()
	case opCall:
		if s.marks != nil {
			s.marks.last().calls = true
		}
		s.call(s.typeOf(s.funcIndex()))
	case opCallIndirect:
		if s.marks != nil {
			s.marks.last().calls = true
		}
		s.callIndirect()
	case opSelectT:
		s.selectTyped()
	}
}

// open starts a block, loop or if.
func (s *scanner) open(op byte) {
	c := &s.code
	at := s.pos
	params, results := s.blockType()
	if op == opIf {
		s.pop(1)
	}
	s.branchPoint(op)
	s.pop(params)
	c.frames = append(c.frames, scanFrame{op: op, base: c.height, params: params, results: results})
	c.base = c.height
	s.push(params)
	c.tally.linear += workArity * (params + results)
	if op == opLoop {
		if s.marks != nil {
			s.marks.last().loops = append(s.marks.last().loops, s.pos)
		}
		c.tally.loopDepth++
		c.tally.loopDepths += c.tally.loopDepth
	}
	if len(c.frames) > s.limits.Nesting {
		s.over(at, "blocks inside one another", len(c.frames), s.limits.Nesting)
	}
}

// blockType reads the type of a block: nothing, one value, or the index of a
// function type as a 33-bit number that is not negative.
func (s *scanner) blockType() (params, results int) {
	if !s.more() {
		s.malformed("unexpected end")
		return 0, 0
	}
	b := s.data[s.pos]
	switch {
	case b == 0x40:
		s.pos++
		return 0, 0
	case b&0xc0 == 0x40: // negative in one byte: a value type
		s.valueType()
		return 0, 1
	}
	i := s.signed(33)
	if i < 0 || i >= int64(len(s.types)) {
		s.malformed("there is no type %d", i)
		return 0, 0
	}
	t := s.types[i]
	return t.params.n, t.results.n
}

// alternative is an else: it closes the first half of an if.
func (s *scanner) alternative() {
	c := &s.code
	f := &c.frames[len(c.frames)-1]
	if f.op != opIf {
		s.malformed("else without if")
		return
	}
	s.results(f)
	c.height = f.base + f.params
	f.op, f.dead = opElse, false
}

// close is the end of a block or of the function.
func (s *scanner) close() {
	c := &s.code
	f := &c.frames[len(c.frames)-1]
	if f.op == opIf && f.params != f.results {
		s.malformed("if without else changes the number of operands")
	}
	s.results(f)
	if f.op == opLoop {
		c.tally.loopDepth--
	}
	c.height = f.base
	c.frames = c.frames[:len(c.frames)-1]
	if n := len(c.frames); n > 0 {
		c.base = c.frames[n-1].base
	}
	s.push(f.results)
}

// results checks the operands at the end of a block.
func (s *scanner) results(f *scanFrame) {
	have := s.code.height - f.base
	if have > f.results || have < f.results && !f.dead {
		s.malformed("block ends with %d operands instead of %d", have, f.results)
	}
}

// label reads the target of a branch: how many blocks up.
func (s *scanner) label() *scanFrame {
	c := &s.code
	i := s.index("label", len(c.frames))
	return &c.frames[len(c.frames)-1-i]
}

// carry is what a branch does to the operands it takes along.
func (s *scanner) carry(n int) {
	s.pop(n)
	s.push(n)
	s.code.tally.linear += workArity * n
}

// dead marks the rest of the block as unreachable.
func (s *scanner) dead() {
	c := &s.code
	f := &c.frames[len(c.frames)-1]
	f.dead = true
	c.height = f.base
}

// branchPoint counts what splits the flow: the compiler is quadratic in it. A
// block adds one basic block, an if three, the others two.
func (s *scanner) branchPoint(op byte) {
	t := &s.code.tally
	t.branches++
	t.linear += workBranch
	switch op {
	case opBlock:
		t.flow++
	case opIf:
		t.flow += 3
	default:
		t.flow += 2
	}
	if t.branches > s.limits.Branches {
		s.over(s.pos, "blocks and branches of a function", t.branches, s.limits.Branches)
	}
}

// branchTable reads the labels of a br_table; the last is the default.
func (s *scanner) branchTable() {
	t := &s.code.tally
	n := s.count("labels of br_table instructions", s.limits.BrTable-t.labels, 1)
	t.labels += n
	for i := 0; i <= n && s.err == nil; i++ {
		s.carry(s.label().arity())
		t.linear += workLabel
	}
	s.branchPoint(opBrTable)
}

// typeOf is the type of a function.
func (s *scanner) typeOf(f uint32) scanType {
	if int(f) >= len(s.funcs) { // only after an error
		return scanType{}
	}
	return s.types[s.funcs[f]]
}

// callIndirect reads a type and a table.
func (s *scanner) callIndirect() {
	t := s.index("type", len(s.types))
	s.index("table", len(s.tables))
	if s.err != nil {
		return
	}
	s.pop(1)
	s.call(s.types[t])
	s.code.tally.linear += workIndirect
}

// call exchanges parameters for results. After a call the compiler reloads
// every global that may have been set.
func (s *scanner) call(t scanType) {
	s.pop(t.params.n)
	s.push(t.results.n)
	values := t.params.n + t.results.n
	s.code.tally.linear += workCall + workArity*values + workReload*s.mutables
}

// selectTyped reads the one type of a typed select.
func (s *scanner) selectTyped() {
	if n := s.byte(); n != 1 {
		s.malformed("select with %d types", n)
	}
	s.valueType()
	s.pop(3)
	s.push(1)
}
