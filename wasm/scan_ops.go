package wasm

// Opcodes that the scan names (core spec, 5.4).
const (
	opUnreachable  = 0x00
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opSelectT      = 0x1c
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opI32Const     = 0x41
	opI64Const     = 0x42
	opF32Const     = 0x43
	opF64Const     = 0x44
	opRefNull      = 0xd0
	opRefFunc      = 0xd2
	opMiscPrefix   = 0xfc
	opSIMDPrefix   = 0xfd
	simdV128Const  = 0x0c
	miscTableGrow  = 0x0f
)

// scanImm says what follows an opcode.
type scanImm uint8

const (
	immUnknown scanImm = iota // not an instruction
	immFeature                // an instruction of a proposal that is off
	immNone
	immControl // handled one by one, see scanCode.control
	immLocal
	immGlobal
	immTable
	immMemArg
	immMemory // the index 0 in one byte
	immI32
	immI64
	immBytes4
	immBytes8
	immBytes16
	immRefType
	immFunc
	immLane
	immMemArgLane
	immData
	immDataMemory
	immMemory2
	immElem
	immElemTable
	immTable2
	immPrefix // the opcode goes on
)

// scanOp is one instruction: what follows it, how many operands it takes and
// gives, and what it costs to compile, in tenths of a unit of work.
type scanOp struct {
	imm       scanImm
	pop, push uint8
	work      uint16
}

// scanOpRange gives many opcodes in a row the same entry.
type scanOpRange struct {
	first, last byte
	scanOp
}

// expandOps turns ranges into a table. What no range covers is unknown.
func expandOps(ranges []scanOpRange) (table [256]scanOp) {
	for _, r := range ranges {
		for op := int(r.first); op <= int(r.last); op++ {
			table[op] = r.scanOp
		}
	}
	return table
}

// scanOps is the table of one-byte instructions (core spec, 5.4). A memory
// access or anything else that may trap costs some twenty times an addition.
var scanOps = expandOps([]scanOpRange{
	{0x00, 0x05, scanOp{imm: immControl, work: workPlain}}, // unreachable to else
	{0x01, 0x01, scanOp{imm: immNone, work: workPlain}},    // nop
	{0x06, 0x0a, scanOp{imm: immFeature}},                  // exceptions
	{0x0b, 0x11, scanOp{imm: immControl, work: workPlain}}, // end to call_indirect
	{0x12, 0x15, scanOp{imm: immFeature}},                  // tail calls, call_ref
	{0x18, 0x19, scanOp{imm: immFeature}},                  // exceptions
	{0x1a, 0x1a, scanOp{immNone, 1, 0, workPlain}},         // drop
	{0x1b, 0x1b, scanOp{immNone, 3, 1, workPlain}},         // select
	{0x1c, 0x1c, scanOp{imm: immControl, work: workPlain}}, // select t
	{0x1f, 0x1f, scanOp{imm: immFeature}},                  // exceptions
	{0x20, 0x20, scanOp{immLocal, 0, 1, workPlain}},        // local.get
	{0x21, 0x21, scanOp{immLocal, 1, 0, workPlain}},        // local.set
	{0x22, 0x22, scanOp{immLocal, 1, 1, workPlain}},        // local.tee
	{0x23, 0x23, scanOp{immGlobal, 0, 1, workPlain}},       // global.get
	{0x24, 0x24, scanOp{immGlobal, 1, 0, workPlain}},       // global.set
	{0x25, 0x25, scanOp{immTable, 1, 1, workTrap}},         // table.get
	{0x26, 0x26, scanOp{immTable, 2, 0, workTrap}},         // table.set
	{0x28, 0x35, scanOp{immMemArg, 1, 1, workTrap}},        // loads
	{0x36, 0x3e, scanOp{immMemArg, 2, 0, workTrap}},        // stores
	{0x3f, 0x3f, scanOp{immMemory, 0, 1, workPlain}},       // memory.size
	{0x40, 0x40, scanOp{immMemory, 1, 1, workTrap}},        // memory.grow
	{0x41, 0x41, scanOp{immI32, 0, 1, workPlain}},
	{0x42, 0x42, scanOp{immI64, 0, 1, workPlain}},
	{0x43, 0x43, scanOp{immBytes4, 0, 1, workPlain}},
	{0x44, 0x44, scanOp{immBytes8, 0, 1, workPlain}},
	{0x45, 0x45, scanOp{immNone, 1, 1, workPlain}}, // i32.eqz
	{0x46, 0x4f, scanOp{immNone, 2, 1, workPlain}},
	{0x50, 0x50, scanOp{immNone, 1, 1, workPlain}}, // i64.eqz
	{0x51, 0x66, scanOp{immNone, 2, 1, workPlain}},
	{0x67, 0x69, scanOp{immNone, 1, 1, workPlain}}, // i32.clz to popcnt
	{0x6a, 0x78, scanOp{immNone, 2, 1, workPlain}},
	{0x6d, 0x70, scanOp{immNone, 2, 1, workTrap}},  // i32 division
	{0x79, 0x7b, scanOp{immNone, 1, 1, workPlain}}, // i64.clz to popcnt
	{0x7c, 0x8a, scanOp{immNone, 2, 1, workPlain}},
	{0x7f, 0x82, scanOp{immNone, 2, 1, workTrap}},  // i64 division
	{0x8b, 0x91, scanOp{immNone, 1, 1, workPlain}}, // f32.abs to sqrt
	{0x92, 0x98, scanOp{immNone, 2, 1, workPlain}},
	{0x99, 0x9f, scanOp{immNone, 1, 1, workPlain}}, // f64.abs to sqrt
	{0xa0, 0xa6, scanOp{immNone, 2, 1, workPlain}},
	{0xa7, 0xc4, scanOp{immNone, 1, 1, workPlain}}, // conversions
	{0xa8, 0xab, scanOp{immNone, 1, 1, workTrunc}}, // i32.trunc
	{0xae, 0xb1, scanOp{immNone, 1, 1, workTrunc}}, // i64.trunc
	{0xd0, 0xd0, scanOp{immRefType, 0, 1, workPlain}},
	{0xd1, 0xd1, scanOp{immNone, 1, 1, workPlain}},
	{0xd2, 0xd2, scanOp{immFunc, 0, 1, workTrap}},
	{0xd3, 0xd6, scanOp{imm: immFeature}}, // typed references
	{0xfb, 0xfb, scanOp{imm: immFeature}}, // garbage collection
	{0xfc, 0xfd, scanOp{imm: immPrefix}},
	{0xfe, 0xfe, scanOp{imm: immFeature}}, // threads
})

// miscOps is the table of instructions after the prefix 0xfc. table.grow is a
// legal instruction, refused because a table grows in host memory that no
// limit covers.
var miscOps = expandOps([]scanOpRange{
	{0x00, 0x07, scanOp{immNone, 1, 1, workPlain}},      // trunc_sat
	{0x08, 0x08, scanOp{immDataMemory, 3, 0, workBulk}}, // memory.init
	{0x09, 0x09, scanOp{immData, 0, 0, workPlain}},      // data.drop
	{0x0a, 0x0a, scanOp{immMemory2, 3, 0, workBulk}},    // memory.copy
	{0x0b, 0x0b, scanOp{immMemory, 3, 0, workBulk}},     // memory.fill
	{0x0c, 0x0c, scanOp{immElemTable, 3, 0, workBulk}},  // table.init
	{0x0d, 0x0d, scanOp{immElem, 0, 0, workPlain}},      // elem.drop
	{0x0e, 0x0e, scanOp{immTable2, 3, 0, workBulk}},     // table.copy
	{0x0f, 0x0f, scanOp{imm: immFeature}},               // table.grow
	{0x10, 0x10, scanOp{immTable, 0, 1, workPlain}},     // table.size
	{0x11, 0x11, scanOp{immTable, 3, 0, workBulk}},      // table.fill
	{0x12, 0x13, scanOp{imm: immFeature}},               // later proposals
})
