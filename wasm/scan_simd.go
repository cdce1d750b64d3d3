package wasm

// simdOps is the table of vector instructions, after the prefix 0xfd. Most
// take two operands, so the ranges start from that and carve out the rest.
var simdOps = expandOps(append([]scanOpRange{
	{0x00, 0x0a, scanOp{immMemArg, 1, 1, workTrap}}, // loads
	{0x0b, 0x0b, scanOp{immMemArg, 2, 0, workTrap}}, // store
	{0x0c, 0x0c, scanOp{immBytes16, 0, 1, workPlain}},
	{0x0d, 0x0d, scanOp{immBytes16, 2, 1, workVector}}, // shuffle
	{0x0e, 0xff, scanOp{immNone, 2, 1, workVector}},
	{0x15, 0x22, scanOp{immLane, 1, 1, workVector}},     // extract a lane
	{0x52, 0x52, scanOp{immNone, 3, 1, workVector}},     // bitselect
	{0x54, 0x57, scanOp{immMemArgLane, 2, 1, workTrap}}, // load a lane
	{0x58, 0x5b, scanOp{immMemArgLane, 2, 0, workTrap}}, // store a lane
	{0x5c, 0x5d, scanOp{immMemArg, 1, 1, workTrap}},     // load and zero
}, simdExceptions()...))

// simdExceptions lists, as pairs of first and last opcode, the vector
// instructions with one operand, those that replace a lane (two operands and
// a lane), and the numbers that mean nothing.
func simdExceptions() (ranges []scanOpRange) {
	const unary = "\x0f\x14\x4d\x4d\x53\x53\x5e\x64\x67\x6a\x74\x75\x7a\x7a\x7c\x81\x83\x84\x87\x8a" +
		"\x94\x94\xa0\xa1\xa3\xa4\xa7\xaa\xc0\xc1\xc3\xc4\xc7\xca\xe0\xe1\xe3\xe3\xec\xed\xef\xef\xf8\xff"
	const replace = "\x17\x17\x1a\x1a\x1c\x1c\x1e\x1e\x20\x20\x22\x22"
	const holes = "\x9a\x9a\xa2\xa2\xa5\xa6\xaf\xb0\xb2\xb4\xbb\xbb\xc2\xc2\xc5\xc6\xcf\xd0\xd2\xd4" +
		"\xe2\xe2\xee\xee"
	add := func(pairs string, op scanOp) {
		for i := 0; i < len(pairs); i += 2 {
			ranges = append(ranges, scanOpRange{pairs[i], pairs[i+1], op})
		}
	}
	add(unary, scanOp{immNone, 1, 1, workVector})
	add(replace, scanOp{immLane, 2, 1, workVector})
	add(holes, scanOp{})
	return ranges
}
