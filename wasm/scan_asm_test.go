package wasm

import "encoding/binary"

// A few functions to write modules byte by byte, so that the tests can say
// things no assembler would.

// asmU is an unsigned LEB128 number.
func asmU(n uint64) []byte { return binary.AppendUvarint(nil, n) }

// asmCat joins parts.
func asmCat(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// asmRep repeats a part.
func asmRep(n int, part ...byte) []byte {
	b := make([]byte, 0, n*len(part))
	for range n {
		b = append(b, part...)
	}
	return b
}

// asmVec is a vector: a count and its items.
func asmVec(items ...[]byte) []byte {
	return append(asmU(uint64(len(items))), asmCat(items...)...)
}

// asmVecRep is a vector of n equal items.
func asmVecRep(n int, item ...byte) []byte {
	return append(asmU(uint64(n)), asmRep(n, item...)...)
}

// asmSec is a section.
func asmSec(id byte, body ...[]byte) []byte {
	b := asmCat(body...)
	return asmCat([]byte{id}, asmU(uint64(len(b))), b)
}

// asmName is a length and bytes.
func asmName(s string) []byte { return append(asmU(uint64(len(s))), s...) }

// asmCustom is a custom section.
func asmCustom(name string, body ...[]byte) []byte {
	return asmSec(0, append([][]byte{asmName(name)}, body...)...)
}

// asmLocals is a run of locals of one type.
func asmLocals(n uint64, typ byte) []byte { return append(asmU(n), typ) }

// asmFunc is a function body; the end is added.
func asmFunc(code []byte, locals ...[]byte) []byte {
	b := asmCat(asmVec(locals...), code, []byte{opEnd})
	return append(asmU(uint64(len(b))), b...)
}

// asmExport is an entry of the export section.
func asmExport(name string, kind byte, index uint64) []byte {
	return asmCat(asmName(name), []byte{kind}, asmU(index))
}

// asmImport is an entry of the import section for a function.
func asmImport(module, name string, typ uint64) []byte {
	return asmCat(asmName(module), asmName(name), []byte{0}, asmU(typ))
}

var (
	asmHeader   = []byte("\x00asm\x01\x00\x00\x00")
	asmVoid     = []byte{0x60, 0, 0} // the type () -> ()
	asmStart    = asmExport("_start", 0, 0)
	asmMemory   = asmExport("memory", 2, 0)
	asmOnePage  = asmSec(sectionMemory, asmVec([]byte{0, 1}))
	asmOneType  = asmSec(sectionType, asmVec(asmVoid))
	asmOneFunc  = asmSec(sectionFunction, asmVec([]byte{0}))
	asmExports  = asmSec(sectionExport, asmVec(asmStart, asmMemory))
	asmOnlyMain = asmSec(sectionExport, asmVec(asmStart))
	asmNothing  = asmSec(sectionCode, asmVec(asmFunc(nil)))
)

// asmMain is a module with a memory and one function, exported as _start.
func asmMain(code []byte, locals ...[]byte) []byte {
	return asmCat(asmHeader, asmOneType, asmOneFunc, asmOnePage, asmExports,
		asmSec(sectionCode, asmVec(asmFunc(code, locals...))))
}
