package wasm

// Subsections of the name section (core spec, 7.4.1) that the compiler reads.
const (
	namesModule    = 0
	namesFunctions = 1
	namesLocals    = 2
)

// customSection passes over a custom section. Only the one called "name"
// reaches the compiler, and it is kept for the end, when the number of
// functions and locals it may speak of is known.
func (s *scanner) customSection() {
	at := s.pos
	name := s.name(s.limits.NameBytes)
	if string(name) == "name" {
		if s.names.n != 0 {
			s.failAt(at, CodeMalformed, "name section is there twice")
		}
		s.names = scanSpan{s.pos, s.remaining()}
	}
	s.skip(s.remaining())
}

// nameSection checks the name section. The standard lets an engine ignore a
// broken one; this compiler believes its counts, so it has to be sound.
func (s *scanner) nameSection() {
	if s.err != nil {
		return
	}
	r := scanReader{data: s.data, pos: s.names.at, end: s.names.at + s.names.n, passed: s.passed}
	for r.more() {
		id := r.byte()
		outer := r.enter("name subsection", r.u32())
		switch id {
		case namesModule:
			r.name(s.limits.ModuleBytes)
		case namesFunctions:
			s.nameMap(&r, "function names", len(s.funcs))
		case namesLocals:
			s.localNames(&r)
		default:
			r.skip(r.remaining())
		}
		r.leave("name subsection", outer)
	}
	if r.err != nil {
		s.err = r.err
	}
}

// nameMap reads indexes with names. Indexes are unique, so that there cannot
// be more of them than of the things they name.
func (s *scanner) nameMap(r *scanReader, what string, most int) (n int) {
	n = r.count(what, most, 2)
	for i := 0; i < n && r.err == nil; i++ {
		r.u32()
		r.name(s.limits.ModuleBytes)
	}
	return n
}

// localNames reads a name map for each of some functions.
func (s *scanner) localNames(r *scanReader) {
	left := s.locals
	n := r.count("functions with local names", len(s.funcs), 2)
	for i := 0; i < n && r.err == nil; i++ {
		r.u32()
		left -= s.nameMap(r, "local names", left)
	}
	// The names of parameters are looked up once for each function, by a walk
	// over all of these.
	s.spend(n * len(s.funcs) / 500)
}
