package wasm

import "github.com/tetratelabs/wazero/api"

// Section ids (core spec, 5.5.2). The tag section belongs to the exception
// handling proposal.
const (
	sectionCustom    = 0
	sectionType      = 1
	sectionImport    = 2
	sectionFunction  = 3
	sectionTable     = 4
	sectionMemory    = 5
	sectionGlobal    = 6
	sectionExport    = 7
	sectionStart     = 8
	sectionElement   = 9
	sectionCode      = 10
	sectionData      = 11
	sectionDataCount = 12
	sectionTag       = 13
)

// scanSectionOrder is the place of each section in a module, by id: the data
// count comes before the code that it helps to check.
var scanSectionOrder = [...]int{
	sectionType: 1, sectionImport: 2, sectionFunction: 3, sectionTable: 4, sectionMemory: 5,
	sectionTag: 6, sectionGlobal: 7, sectionExport: 8, sectionStart: 9, sectionElement: 10,
	sectionDataCount: 11, sectionCode: 12, sectionData: 13,
}

// scanner is the state of one Scan.
type scanner struct {
	scanReader
	limits ScanLimits
	info   *ModuleInfo

	lastSection  int // place of the last section in scanSectionOrder
	names        scanSpan
	nameBytes    int // of imports and exports
	types        []scanType
	funcs        []uint32 // type index of each function, imported ones first
	funcImports  int
	tables       []byte // reference type of each table
	tableMin     int    // elements of all tables together
	memories     int
	globals      []bool // of each global, whether it may be set
	globalsIn    int    // imported globals, the only ones constants may read
	mutables     int    // globals that may be set
	elements     int
	elementItems int
	datas        int
	dataCount    int // what the data count section says; -1 without one
	bodies       int
	locals       int // of all functions, to bound the name section
	code         scanCode
	marks        *gateMarks // nil: nobody wants them
}

// section reads one section.
func (s *scanner) section() {
	at, id := s.pos, s.byte()
	outer := s.enter("section", s.u32())
	if s.err != nil {
		return
	}
	if id != sectionCustom {
		s.order(at, id)
	}
	s.content(id)
	s.leave("section", outer)
}

// order refuses sections that are unknown, repeated or out of place.
func (s *scanner) order(at int, id byte) {
	if int(id) >= len(scanSectionOrder) {
		s.failAt(at, CodeMalformed, "unknown section %d", id)
		return
	}
	place := scanSectionOrder[id]
	if place <= s.lastSection {
		s.failAt(at, CodeMalformed, "section %d is repeated or out of order", id)
		return
	}
	s.lastSection = place
}

// content reads the inside of a section.
func (s *scanner) content(id byte) {
	switch id {
	case sectionCustom:
		s.customSection()
	case sectionType:
		s.typeSection()
	case sectionImport:
		s.importSection()
	case sectionFunction:
		s.functionSection()
	case sectionTable:
		s.tableSection()
	case sectionMemory:
		s.memorySection()
	case sectionTag:
		s.feature("exception handling")
	case sectionGlobal:
		s.globalSection()
	case sectionExport:
		s.exportSection()
	case sectionStart:
		s.startSection()
	case sectionElement:
		s.elementSection()
	case sectionDataCount:
		s.dataCount = int(s.u32())
	case sectionCode:
		s.codeSection()
	case sectionData:
		s.dataSection()
	}
}

// finish checks what can be known only at the end.
func (s *scanner) finish() {
	if s.err != nil {
		return
	}
	if defined := len(s.funcs) - s.funcImports; s.bodies != defined {
		s.malformed("%d functions are declared, %d have a body", defined, s.bodies)
	}
	if s.dataCount >= 0 && s.dataCount != s.datas {
		s.malformed("%d data segments are announced, %d are there", s.dataCount, s.datas)
	}
	s.nameSection()
	s.info.Functions = s.bodies
	s.spend(len(s.funcs) * len(s.globals) / 75) // each function declares every global
}

// importSection reads names and types of what the module wants from its host.
func (s *scanner) importSection() {
	// Two empty names, a kind and an index.
	n := s.count("imports", s.limits.Imports, 4)
	for i := 0; i < n && s.err == nil; i++ {
		imp := ModuleImport{Offset: s.pos}
		imp.Module = s.outerName()
		imp.Name = s.outerName()
		imp.Kind = s.byte()
		switch imp.Kind {
		case api.ExternTypeFunc:
			imp.Type = s.funcType(s.addFunction())
			s.funcImports++
		case api.ExternTypeTable:
			s.table()
		case api.ExternTypeMemory:
			s.memory()
		case api.ExternTypeGlobal:
			s.globalType()
			s.globalsIn++
		case 4:
			s.feature("exception handling")
		default:
			s.malformed("import %d has the unknown kind %d", i, imp.Kind)
		}
		s.info.Imports = append(s.info.Imports, imp)
	}
}

func (s *scanner) functionSection() {
	n := s.count("functions", s.limits.Functions-len(s.funcs), 1)
	for i := 0; i < n && s.err == nil; i++ {
		s.addFunction()
	}
}

// addFunction reads a type index and appends a function of that type.
func (s *scanner) addFunction() (typ uint32) {
	typ = s.u32()
	if int(typ) >= len(s.types) {
		s.malformed("there is no type %d", typ)
		return 0
	}
	s.funcs = append(s.funcs, typ)
	s.locals += s.types[typ].params.n
	return typ
}

func (s *scanner) tableSection() {
	n := s.count("tables", s.limits.Tables-len(s.tables), 3)
	for i := 0; i < n && s.err == nil; i++ {
		s.table()
	}
}

// table reads a table type. Its minimum is allocated when the module is
// instantiated, eight bytes an element; its maximum is of no concern because
// table.grow is refused.
func (s *scanner) table() {
	at := s.pos
	s.tables = append(s.tables, s.refType())
	lo, _ := s.limitsType("table")
	s.tableMin += int(lo)
	if s.err == nil && s.tableMin > s.limits.TableElements {
		s.over(at, "elements of the tables", s.tableMin, s.limits.TableElements)
	}
}

func (s *scanner) memorySection() {
	n := s.count("memories", 1<<30, 2)
	for i := 0; i < n && s.err == nil; i++ {
		s.memory()
		s.info.HasMemory = true
	}
}

// memory reads a memory type; a module may have one.
func (s *scanner) memory() {
	at := s.pos
	lo, hi := s.limitsType("memory")
	s.memories++
	switch {
	case s.err != nil:
	case s.memories > 1:
		s.failAt(at, CodeFeature, "more than one memory is not available")
	case lo > memoryMaxPages || hi > memoryMaxPages:
		s.failAt(at, CodeMalformed, "memory of more than %d pages", memoryMaxPages)
	case int(lo) > s.limits.MemoryPages:
		s.over(at, "pages of memory from the start", int(lo), s.limits.MemoryPages)
	}
	s.info.MemoryMin, s.info.MemoryMax = lo, min(hi, memoryMaxPages)
}

// memoryMaxPages is the most a 32-bit memory can have (core spec, 3.2.4).
const memoryMaxPages = 1 << 16

// limitsType reads a minimum and, if there is one, a maximum. Without one, hi
// is the largest legal value for a memory.
func (s *scanner) limitsType(what string) (lo, hi uint32) {
	flags := s.byte()
	switch {
	case flags > 7:
		s.malformed("%s limits start with %#x", what, flags)
	case flags&4 != 0:
		s.feature("a 64-bit " + what)
	case flags&2 != 0:
		s.feature("a shared " + what)
	}
	lo, hi = s.u32(), memoryMaxPages
	if flags&1 != 0 {
		if hi = s.u32(); hi < lo {
			s.malformed("%s maximum %d is below its minimum %d", what, hi, lo)
		}
	}
	return lo, hi
}

func (s *scanner) globalSection() {
	n := s.count("globals", s.limits.Globals-len(s.globals), 5)
	for i := 0; i < n && s.err == nil; i++ {
		s.globalType()
		s.constExpr()
	}
}

func (s *scanner) globalType() {
	s.valueType()
	mutable := s.byte()
	if mutable > 1 {
		s.malformed("mutability of a global is %#x", mutable)
	}
	s.globals = append(s.globals, mutable == 1)
	s.mutables += int(mutable)
}

// outerName reads a name of an import or an export. They are kept, and reported to
// whoever had the module scanned.
func (s *scanner) outerName() string {
	at, name := s.pos, s.name(s.limits.NameBytes)
	if s.nameBytes += len(name); s.nameBytes > s.limits.AllNameBytes {
		s.over(at, "bytes of all names of imports and exports", s.nameBytes, s.limits.AllNameBytes)
	}
	return string(name)
}

// exportSection reads names and indexes of what the module offers.
func (s *scanner) exportSection() {
	n := s.count("exports", s.limits.Exports, 3)
	seen := make(map[string]struct{}, n)
	for i := 0; i < n && s.err == nil; i++ {
		exp := ModuleExport{Offset: s.pos}
		exp.Name = s.outerName()
		exp.Kind = s.byte()
		index := s.u32()
		s.exportIndex(exp.Kind, index)
		if s.err != nil {
			return
		}
		if exp.Kind == api.ExternTypeFunc {
			exp.Type = s.funcType(s.funcs[index])
		}
		if _, dup := seen[exp.Name]; dup {
			s.failAt(exp.Offset, CodeMalformed, "export %s is there twice", quoteName(exp.Name))
		}
		seen[exp.Name] = struct{}{}
		s.info.Exports = append(s.info.Exports, exp)
	}
}

// exportIndex refuses an export of something that does not exist.
func (s *scanner) exportIndex(kind byte, index uint32) {
	have := 0
	switch kind {
	case api.ExternTypeFunc:
		have = len(s.funcs)
	case api.ExternTypeTable:
		have = len(s.tables)
	case api.ExternTypeMemory:
		have = s.memories
	case api.ExternTypeGlobal:
		have = len(s.globals)
	}
	if int(index) >= have {
		s.malformed("export of kind %d with index %d: there are %d", kind, index, have)
	}
}

func (s *scanner) startSection() {
	index := s.u32()
	if int(index) >= len(s.funcs) {
		s.malformed("there is no start function %d", index)
		return
	}
	if t := s.funcType(s.funcs[index]); t != (FuncType{}) {
		s.malformed("start function has the type %s", t)
	}
	s.info.HasStart = true
}
