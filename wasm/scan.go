package wasm

import (
	"fmt"
	"strconv"
)

// Codes of a [ScanError]. They are stable: the ledger and scripts read them.
const (
	// CodeMalformed: the bytes are not a WebAssembly core module.
	CodeMalformed = "module_malformed"
	// CodeLimit: a legal module that asks for more than a [ScanLimits] field allows.
	CodeLimit = "module_limit"
	// CodeFeature: a legal module that needs a WebAssembly feature which is off here.
	CodeFeature = "module_feature"
	// CodeNoMemory: the module defines or exports no memory named "memory".
	CodeNoMemory = "no_memory"
	// CodeNoEntryPoint: neither the exports of a command nor those of a reactor are there.
	CodeNoEntryPoint = "no_entry_point"
	// CodeBadEntry: an entry point has the wrong type, or both kinds are mixed.
	CodeBadEntry = "bad_entry_signature"
	// CodeUnknownImport: an import that the host does not offer.
	CodeUnknownImport = "unknown_import"
	// CodeImportSignature: an import that the host offers with another type.
	CodeImportSignature = "import_signature"
)

// ScanError says why a module was refused.
type ScanError struct {
	Code    string // one of the Code constants
	Offset  int    // where in the module, in bytes from its start
	Message string // one line; names out of the module are quoted and cut
}

// Error gives code, place and reason on one line.
func (e *ScanError) Error() string {
	return e.Code + ": " + e.Message + " (at byte " + strconv.Itoa(e.Offset) + ")"
}

// ScanLimits bounds what [Scan] accepts. A zero field allows nothing, so start
// from [DefaultScanLimits]. Where the engines behind the JavaScript API agree
// on a figure (https://webassembly.github.io/spec/js-api/, "Implementation
// Limits"), ours is that or smaller.
type ScanLimits struct {
	ModuleBytes   int // size of the whole module
	Types         int // entries of the type section
	Params        int // parameters of one function type
	Results       int // results of one function type
	Imports       int // imports of every kind
	Functions     int // functions, imported ones included
	Globals       int // globals, imported ones included
	Exports       int // exports of every kind
	NameBytes     int // one name of an import, an export or a section
	AllNameBytes  int // all names of imports and exports
	Tables        int // tables, imported ones included
	TableElements int // initial elements of all tables together
	Elements      int // element segments
	ElementItems  int // items of all element segments together
	DataSegments  int // data segments
	FunctionBytes int // body of one function
	Locals        int // locals of one function, parameters not counted
	StackValues   int // operands of one function at its deepest point
	Nesting       int // blocks inside one another, per function
	Branches      int // blocks, loops, ifs and conditional branches of one function
	BrTable       int // labels of all br_table instructions of one function
	MemoryPages   int // initial pages (64 KiB) of the memory
	FunctionWork  int // estimate of the compiler's memory for one function, about 600 bytes each
	FunctionTime  int // estimate of the time to compile one function, microseconds
	ModuleTime    int // estimate of the time to compile the module, microseconds
}

// DefaultScanLimits returns limits that the modules of real compilers keep:
// they were measured against the Go compiler and the go command built for
// wasip1 (49 and 28 MB, among the largest modules there are).
func DefaultScanLimits() ScanLimits {
	return ScanLimits{
		ModuleBytes:   64 << 20,
		Types:         100_000,
		Params:        1_000,
		Results:       1_000,
		Imports:       1_000,
		Functions:     200_000,
		Globals:       10_000,
		Exports:       20_000,
		NameBytes:     4_096,
		AllNameBytes:  1 << 20,
		Tables:        100,
		TableElements: 1_000_000,
		Elements:      100_000,
		ElementItems:  1_000_000,
		DataSegments:  100_000,
		FunctionBytes: 7_654_321,
		Locals:        50_000,
		StackValues:   10_000,
		Nesting:       20_000,
		Branches:      20_000,
		BrTable:       65_536,
		MemoryPages:   1_024,
		FunctionWork:  800_000,
		FunctionTime:  10_000_000,
		ModuleTime:    100_000_000,
	}
}

// FuncType is the type of a function, one byte a value as in
// [github.com/tetratelabs/wazero/api.ValueType]. It is comparable: two
// functions have the same type if their FuncTypes are equal.
type FuncType struct {
	Params, Results string
}

// NewFuncType builds a FuncType from lists of value types, such as those of a
// wazero function definition.
func NewFuncType(params, results []byte) FuncType {
	return FuncType{Params: string(params), Results: string(results)}
}

// String renders the type as "(i32 i64) -> (i32)".
func (t FuncType) String() string {
	return "(" + valueTypeNames(t.Params) + ") -> (" + valueTypeNames(t.Results) + ")"
}

// ModuleImport is one entry of the import section.
type ModuleImport struct {
	Module, Name string
	Kind         byte     // api.ExternType: 0 function, 1 table, 2 memory, 3 global
	Type         FuncType // of a function, empty otherwise
	Offset       int      // of the entry in the module
}

// ModuleExport is one entry of the export section.
type ModuleExport struct {
	Name   string
	Kind   byte     // api.ExternType, as in ModuleImport
	Type   FuncType // of a function, empty otherwise
	Offset int      // of the entry in the module
}

// ModuleInfo is what [Scan] learned about a module. It keeps no reference to
// the module's bytes.
type ModuleInfo struct {
	Imports []ModuleImport
	Exports []ModuleExport

	HasMemory    bool   // the module defines a memory of its own
	MemoryMin    uint32 // initial pages of 64 KiB
	MemoryMax    uint32 // most pages it will ever ask for; 65536 if it does not say
	NamesData    bool   // code refers to data segments by their number
	HasStart     bool   // there is a start section: code runs at instantiation
	Functions    int    // functions with a body
	CodeBytes    int    // size of the code section
	Time         int    // estimate for compiling it, about microseconds
	FunctionTime int    // the same for its most costly function
}

// Export returns the export of that name.
func (m *ModuleInfo) Export(name string) (ModuleExport, bool) {
	for _, e := range m.Exports {
		if e.Name == name {
			return e, true
		}
	}
	return ModuleExport{}, false
}

// Scan reads a module once from front to back and reports what it holds, or
// why it must not reach the compiler. It believes no count: memory is set
// aside only for bytes that are there, nothing recurses, and time is linear in
// the size of the module.
//
// It checks structure, index ranges and operand counts, not operand types:
// those are left to the compiler, which handles them well once sizes are sane.
//
// # Errors
//
// Every error is a [*ScanError] with the code CodeMalformed, CodeLimit or
// CodeFeature. The checks that concern the host are in [ModuleInfo.Admit].
func Scan(module []byte, limits ScanLimits) (*ModuleInfo, error) {
	return scan(module, limits, nil)
}

// scan is Scan for a module that need not stay in memory where it was read; see
// scanReader.
func scan(module []byte, limits ScanLimits, passed func(at int)) (*ModuleInfo, error) {
	s := newScanner(module, limits)
	s.passed = passed
	if len(module) > limits.ModuleBytes {
		s.over(0, "bytes of the module", len(module), limits.ModuleBytes)
	}
	s.header()
	for s.more() {
		s.section()
	}
	s.finish()
	if s.err != nil {
		return nil, s.err
	}
	return s.info, nil
}

// newScanner prepares a scan of module; nothing has been read yet.
func newScanner(module []byte, limits ScanLimits) *scanner {
	return &scanner{
		scanReader: scanReader{data: module, end: len(module)},
		limits:     limits,
		info:       &ModuleInfo{},
		dataCount:  -1,
	}
}

// header checks the magic number and the version. Components (the layer field
// of the version is 1) are told apart because people do try them.
func (s *scanner) header() {
	magic, version := s.bytes(4), s.bytes(4)
	switch {
	case s.err != nil:
		s.err.Message = "not a WebAssembly module: shorter than its header"
	case string(magic) != "\x00asm":
		s.failAt(0, CodeMalformed, "not a WebAssembly module: wrong magic number")
	case string(version) == "\x01\x00\x00\x00":
	case version[2] == 1 && version[3] == 0:
		s.failAt(4, CodeFeature, "this is a component; only core modules run here")
	default:
		s.failAt(4, CodeMalformed, "unknown binary version %x", version)
	}
}

// quoteName makes a name out of a module fit for a message on one line.
func quoteName(name string) string {
	const most = 64
	if len(name) <= most {
		return strconv.QuoteToASCII(name)
	}
	return fmt.Sprintf("%s... (%d bytes)", strconv.QuoteToASCII(name[:most]), len(name))
}
