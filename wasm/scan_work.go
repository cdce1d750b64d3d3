package wasm

// The scan estimates what compiling a module will cost wazero, because a few
// kilobytes can be made to take minutes and gigabytes. The figures are fits
// to generated modules, one instruction or pattern repeated up to 32,000
// times, on wazero v1.12.0 and a 2-core EPYC.
//
// Linear costs come in tenths of a microsecond. They stand for memory too:
// the compiler keeps about 600 bytes per microsecond of the function at hand,
// so that the limit on a function's linear work limits its memory.
const (
	workPlain    = 3
	workVector   = 6
	workTrap     = 80  // memory and table accesses, division: a check and an exit
	workTrunc    = 120 // trapping conversion to an integer
	workBulk     = 320 // memory.copy and the like are expanded in place
	workCall     = 16
	workIndirect = 250
	workReload   = 3  // per call and global that may be set
	workArity    = 10 // per value that a call or branch hands over
	workBranch   = 80 // block, loop, if, br_if
	workLabel    = 40 // of br_table
)

// scanTally counts what decides the cost of one function.
type scanTally struct {
	linear     int // tenths of a microsecond
	locals     int // with parameters
	height     int // operands at the deepest point
	branches   int // block, loop, if, br_if, br_table
	flow       int // the same by weight: the basic blocks they make
	labels     int // of all br_table
	returns    int
	loopDepth  int // loops around the current instruction
	loopDepths int // sum over all loops of how deep they lie
}

// estimate gives the work and the time of the whole function. On top of the
// linear part, time has:
//   - dominators and block layout, quadratic in branches and returns, with a
//     steeper term for loops in loops;
//   - values that may be live across every branch, which cost memory as well;
//   - the removal of needless phis: for each loop and loop around it, quadratic
//     in the variables that pass through its head.
func (t *scanTally) estimate() (work, time int) {
	linear := t.linear / 10
	variables := min(t.locals+t.height, linear)
	flow := t.flow*t.flow/200 + t.returns*t.returns/16 + t.loopDepths/3
	live := 2 * t.branches * variables
	phis := t.loopDepths * variables * variables / 200
	return linear + live/8, linear + flow + live + phis
}

// settle adds the function that was just read to the module's account.
func (s *scanner) settle(at int) {
	if s.err != nil {
		return
	}
	work, time := s.code.tally.estimate()
	s.info.FunctionTime = max(s.info.FunctionTime, time)
	s.spend(time)
	switch {
	case work > s.limits.FunctionWork:
		s.over(at, "units of work to compile a function", work, s.limits.FunctionWork)
	case time > s.limits.FunctionTime:
		s.over(at, "microseconds to compile a function", time, s.limits.FunctionTime)
	}
}

// spend adds microseconds to the module's account.
func (s *scanner) spend(time int) {
	s.info.Time += time
	if s.err == nil && s.info.Time > s.limits.ModuleTime {
		s.over(s.pos, "microseconds to compile the module", s.info.Time, s.limits.ModuleTime)
	}
}
