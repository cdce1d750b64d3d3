package wasm

import (
	"os"
	"sort"
	"testing"
	"time"
)

// workFamilies are patterns that are small in bytes and dear to compile, by
// how often they are repeated. The estimate in scan_work.go is a fit to them.
var workFamilies = map[string]func(n int) []byte{
	"loads":         func(n int) []byte { return asmMain(asmRep(n, 0x41, 0, 0x29, 3, 0, 0x1a)) },
	"divisions":     func(n int) []byte { return oneLocal(n, 0x20, 0, 0x20, 0, 0x6d, 0x1a) },
	"truncations":   func(n int) []byte { return asmMain(asmRep(n, 0x20, 0, 0xa8, 0x1a), asmLocals(1, 0x7d)) },
	"memory.copy":   func(n int) []byte { return asmMain(asmRep(n, 0x41, 0, 0x41, 0, 0x41, 0, 0xfc, 0x0a, 0, 0)) },
	"calls":         func(n int) []byte { return asmMain(asmRep(n, 0x10, 0)) },
	"call_indirect": func(n int) []byte { return callIndirects(n) },
	"br_if":         func(n int) []byte { return oneLocal(n, 0x20, 0, 0x0d, 0) },
	"if":            func(n int) []byte { return oneLocal(n, 0x20, 0, 0x04, 0x40, 0x0b) },
	"return in if":  func(n int) []byte { return oneLocal(n, 0x20, 0, 0x04, 0x40, 0x0f, 0x0b) },
	"blocks":        func(n int) []byte { return oneLocal(n, 0x02, 0x40, 0x20, 0, 0x0d, 0, 0x0b) },
	"loops":         func(n int) []byte { return oneLocal(n, 0x03, 0x40, 0x20, 0, 0x0d, 0, 0x0b) },
	"nested blocks": func(n int) []byte {
		return asmMain(asmCat(asmRep(n, 0x02, 0x40), asmRep(n, 0x0b)))
	},
	"nested ifs": func(n int) []byte {
		return asmMain(asmCat(asmRep(n, 0x20, 0, 0x04, 0x40), asmRep(n, 0x0b)), asmLocals(1, 0x7f))
	},
	"nested loops": func(n int) []byte {
		return asmMain(asmCat(asmRep(n, 0x03, 0x40), asmRep(n, 0x20, 0, 0x0d, 0, 0x0b)), asmLocals(1, 0x7f))
	},
	"br_table":     func(n int) []byte { return switches(n) },
	"phis":         func(n int) []byte { return loopPhis(n) },
	"live values":  func(n int) []byte { return liveValues(n) },
	"wide br_if":   func(n int) []byte { return wideBranches(n) },
	"many blocks":  func(n int) []byte { return manyFunctions(n) },
	"call+globals": func(n int) []byte { return globalCalls(n) },
}

// oneLocal repeats code in a function with one local i32.
func oneLocal(n int, code ...byte) []byte { return asmMain(asmRep(n, code...), asmLocals(1, 0x7f)) }

func callIndirects(n int) []byte {
	return asmCat(asmHeader, asmOneType, asmOneFunc, asmSec(4, asmVec([]byte{0x70, 0, 1})), asmOnePage,
		asmExports, asmSec(10, asmVec(asmFunc(asmRep(n, 0x41, 0, 0x11, 0, 0)))))
}

// globalCalls calls in a module with 1000 globals that may be set.
func globalCalls(n int) []byte {
	return asmCat(asmHeader, asmOneType, asmOneFunc, asmOnePage, asmSec(6, asmVecRep(1000, 0x7e, 1, 0x42, 0, 0x0b)),
		asmExports, asmSec(10, asmVec(asmFunc(asmRep(n, 0x10, 0)))))
}

// switches is a br_table over n nested blocks.
func switches(n int) []byte {
	var labels []byte
	for i := range n {
		labels = append(labels, asmU(uint64(i))...)
	}
	return asmMain(asmCat(asmRep(n, 0x02, 0x40), []byte{0x20, 0, 0x0e}, asmU(uint64(n-1)), labels, asmRep(n, 0x0b)),
		asmLocals(1, 0x7f))
}

// loopPhis changes 200 locals inside n nested loops.
func loopPhis(n int) []byte {
	var body []byte
	for i := uint64(1); i <= 200; i++ {
		body = asmCat(body, []byte{0x20}, asmU(i), []byte{0x42, 1, 0x7c, 0x21}, asmU(i))
	}
	return asmMain(asmCat(asmRep(n, 0x03, 0x40), body, asmRep(n, 0x20, 0, 0x0d, 0, 0x0b)),
		asmLocals(1, 0x7f), asmLocals(200, 0x7e))
}

// liveValues keeps 2000 locals alive across n ifs.
func liveValues(n int) []byte {
	var before, after []byte
	for i := uint64(1); i <= 2000; i++ {
		before = asmCat(before, []byte{0x20, 0, 0xac, 0x42, byte(i & 0x3f), 0x7c, 0x21}, asmU(i))
		after = asmCat(after, []byte{0x41, 0, 0x20}, asmU(i), []byte{0x37, 3, 0})
	}
	return asmMain(asmCat(before, asmRep(n, 0x20, 0, 0x04, 0x40, 0x41, 1, 0x21, 0, 0x0b), after),
		asmLocals(1, 0x7f), asmLocals(2000, 0x7e))
}

// wideBranches has n br_if out of a block with 1000 results.
func wideBranches(n int) []byte {
	return asmCat(asmHeader, asmSec(1, asmVec(asmVoid, asmCat([]byte{0x60, 0}, asmVecRep(1000, 0x7e)))),
		asmOneFunc, asmOnePage, asmExports, asmSec(10, asmVec(asmFunc(asmCat([]byte{0x02, 1}, asmRep(1000, 0x42, 0),
			asmRep(n, 0x20, 0, 0x0d, 0), []byte{0x0b}, asmRep(1000, 0x1a)), asmLocals(1, 0x7f)))))
}

// manyFunctions has n functions of 1000 blocks each.
func manyFunctions(n int) []byte {
	body := asmFunc(asmRep(1000, 0x02, 0x40, 0x20, 0, 0x0d, 0, 0x0b), asmLocals(1, 0x7f))
	return asmCat(asmHeader, asmOneType, asmSec(3, asmVecRep(n, 0)), asmOnePage, asmExports,
		asmSec(10, asmVecRep(n, body...)))
}

// TestWorkIsLimited checks that none of the patterns can be repeated at will:
// the scan refuses each in less than 16 MB. With RUNLOOP_TEST_SLOW set, the
// largest that it lets through is compiled, which takes minutes in all.
func TestWorkIsLimited(t *testing.T) {
	if testing.Short() || underRace {
		t.Skip("scans hundreds of megabytes")
	}
	child := newCompileChild(t)
	child.limit = 2 * time.Minute
	for _, name := range sortedKeys(workFamilies) {
		module, n := largestAccepted(workFamilies[name])
		if len(module) > 16<<20 {
			t.Errorf("%s: %d bytes pass", name, len(module))
		}
		if os.Getenv("RUNLOOP_TEST_SLOW") == "" {
			continue
		}
		if got := child.outcome(module); got != wantOK {
			t.Errorf("%s: %s", name, got)
		}
		child.close() // so that its time and memory are about one module
		t.Logf("%-14s %7d times, %8d bytes: %v, %d MiB",
			name, n, len(module), child.cpu.Round(time.Millisecond), child.rss>>20)
	}
}

// largestAccepted finds how often a pattern can be repeated: by doubling, then
// by halving the gap, so that no module is built that is far too large.
func largestAccepted(family func(int) []byte) (module []byte, n int) {
	accepted := func(n int) bool {
		_, err := Scan(family(n), DefaultScanLimits())
		return err == nil
	}
	over := 1
	for over < 1<<22 && accepted(over) {
		over *= 2
	}
	n = over/2 + sort.Search(over/2, func(i int) bool { return !accepted(over/2 + i + 1) })
	return family(n), n
}
