package wasm

import (
	"fmt"

	"github.com/tetratelabs/wazero/api"
)

// Life is how a module wants to be run, as its exports tell.
type Life uint8

const (
	// LifeCommand: a fresh instance for each attempt, started at _start.
	LifeCommand Life = iota + 1
	// LifeReactor: initialised ahead through _initialize, then called through
	// runloop_handle.
	LifeReactor
	// LifeResident: started once, and then given its work through a mailbox.
	// A module cannot say so; its manifest does.
	LifeResident
)

// String names the kind of life.
func (l Life) String() string {
	switch l {
	case LifeCommand:
		return "command"
	case LifeReactor:
		return "reactor"
	case LifeResident:
		return "resident"
	}
	return "unknown"
}

// Names that a guest exports for the host (WASI application ABI, and the
// chapter on agents for runloop_handle).
const (
	exportMemory     = "memory"
	exportStart      = "_start"
	exportInitialize = "_initialize"
	exportHandle     = "runloop_handle"
)

// KnownFunc tells the type of a function that the host offers to guests; ok is
// false for one that it does not have.
type KnownFunc func(module, name string) (sig FuncType, ok bool)

// Admit decides whether a scanned module fits this host, and which life it
// leads. It wants a memory of the module's own, exported as "memory"; the
// entry points of exactly one kind of life, with the right types; and no
// import except functions that known has, with the same types. A start
// section is fine: the deadline covers instantiation.
//
// # Errors
//
// Every error is a [*ScanError] with the code CodeNoMemory, CodeNoEntryPoint,
// CodeBadEntry, CodeUnknownImport or CodeImportSignature.
func (m *ModuleInfo) Admit(known KnownFunc) (Life, error) {
	if err := m.admitImports(known); err != nil {
		return 0, err
	}
	life, err := m.admitEntry()
	if err != nil {
		return 0, err
	}
	if e, ok := m.Export(exportMemory); !ok || e.Kind != api.ExternTypeMemory || !m.HasMemory {
		return 0, refuse(CodeNoMemory, e.Offset,
			"the module exports no memory of its own named %q", exportMemory)
	}
	return life, nil
}

func refuse(code string, offset int, format string, args ...any) error {
	return &ScanError{Code: code, Offset: offset, Message: fmt.Sprintf(format, args...)}
}

// admitImports checks every import against what the host has.
func (m *ModuleInfo) admitImports(known KnownFunc) error {
	for _, imp := range m.Imports {
		name := quoteName(imp.Module) + "." + quoteName(imp.Name)
		if imp.Kind != api.ExternTypeFunc {
			return refuse(CodeUnknownImport, imp.Offset,
				"import %s is a %s; only functions can be imported", name, api.ExternTypeName(imp.Kind))
		}
		sig, ok := known(imp.Module, imp.Name)
		if !ok {
			return refuse(CodeUnknownImport, imp.Offset, "the host has no function %s", name)
		}
		if sig != imp.Type {
			return refuse(CodeImportSignature, imp.Offset,
				"import %s has the type %s, the host's has %s", name, imp.Type, sig)
		}
	}
	return nil
}

// admitEntry finds out the kind of life. An export under one of the names that
// is not a function counts as absent.
func (m *ModuleInfo) admitEntry() (Life, error) {
	start, hasStart := m.exportedFunc(exportStart)
	initialize, hasInitialize := m.exportedFunc(exportInitialize)
	handle, hasHandle := m.exportedFunc(exportHandle)
	void := FuncType{}
	switch {
	case hasStart && hasInitialize:
		return 0, refuse(CodeBadEntry, start.Offset,
			"the module exports both %s (of a command) and %s (of a reactor)",
			exportStart, exportInitialize)
	case hasStart:
		return LifeCommand, entryType(start, void)
	case !hasInitialize && !hasHandle:
		return 0, refuse(CodeNoEntryPoint, 0,
			"the module exports no function %s (a command), nor %s and %s (a reactor)",
			exportStart, exportInitialize, exportHandle)
	case !hasHandle:
		return 0, refuse(CodeNoEntryPoint, initialize.Offset,
			"the reactor exports no function %s", exportHandle)
	case !hasInitialize:
		return 0, refuse(CodeNoEntryPoint, handle.Offset,
			"the reactor exports no function %s", exportInitialize)
	}
	if err := entryType(initialize, void); err != nil {
		return 0, err
	}
	i32 := string([]byte{api.ValueTypeI32})
	return LifeReactor, entryType(handle, FuncType{Params: i32, Results: i32})
}

// exportedFunc finds an export that is a function.
func (m *ModuleInfo) exportedFunc(name string) (ModuleExport, bool) {
	e, ok := m.Export(name)
	return e, ok && e.Kind == api.ExternTypeFunc
}

// entryType checks the type of an entry point.
func entryType(e ModuleExport, want FuncType) error {
	if e.Type != want {
		return refuse(CodeBadEntry, e.Offset, "%s has the type %s instead of %s", e.Name, e.Type, want)
	}
	return nil
}
