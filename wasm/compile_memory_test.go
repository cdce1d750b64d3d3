package wasm

import (
	"fmt"
	"os"
	"testing"
)

// refusalMemory is the most memory that refusing a module may take (spec/03
// "Loading and isolation"), in bytes.
const refusalMemory = 64 << 20

// judgedBy is what a compiling child says of a module, and the most memory it had
// until then.
func judgedBy(t testing.TB, r *Runtime, module []byte) (*compileEnd, int64) {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "code")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file, err := moduleInMemory(module)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	c, err := startChild(compileName, &jail{rules: []jailRule{writingBelow(dir)}}, file)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	end := &compileEnd{}
	if err = c.conn.sendJSON(msgJob, r.compileJob(dir, len(module), true)); err == nil {
		err = c.conn.expect(msgEnd, end)
	}
	if err != nil {
		c.kill()
		t.Fatalf("%v: %v", err, c.death())
	}
	return end, peakMemory(c.proc.Pid)
}

// largeMistakes are modules of the largest size there may be, wrong only at their
// end: a refusal that had read them would hold all of them.
func largeMistakes() []malformedModule {
	const most = ModuleMax
	wrong := []byte{0xff}
	body := asmFunc(asmRep(2<<20, 0x01)) // nops
	bodies := asmVecRep(31, body...)
	return []malformedModule{
		{"large_custom", CodeMalformed, asmCat(asmMain(nil), asmCustom("padding", make([]byte, most-200)), wrong)},
		{"large_code", CodeMalformed, asmCat(asmHeader, asmOneType, asmSec(3, asmVecRep(31, 0)), asmOnlyMain, asmSec(10, bodies), wrong)},
		{"large_many_functions", CodeMalformed, asmCat(asmHeader, asmOneType, asmSec(3, asmVecRep(200_000, 0)), asmOnlyMain,
			asmSec(10, asmVecRep(200_000, asmFunc(asmRep(300, 0x01))...)), wrong)},
		{"large_name", CodeMalformed, asmCat(asmMain(nil), asmCustom("name", asmSec(0, asmName(string(asmRep(most-200, 'n')))), wrong))},
		{"large_data", CodeMalformed, asmCat(asmMain(nil), asmSec(11, asmVec(asmCat([]byte{1}, asmName(string(make([]byte, most-200)))))), wrong)},
		{"large_types", CodeMalformed, asmCat(asmHeader, asmSec(1, asmVecRep(most/1_010, asmCat([]byte{0x60}, asmVecRep(1000, 0x7e), []byte{0})...)), wrong)},
		{"large_exports", CodeLimit, asmCat(asmHeader, asmOneType, asmOneFunc, asmOnePage, asmSec(7, manyNames(16_000, 4_000)), asmNothing, wrong)},
		{"large_nothing", CodeLimit, make([]byte, most+1)},
	}
}

// manyNames is a vector of exports with long names.
func manyNames(n, size int) []byte {
	out := append(asmU(uint64(n)+1), asmStart...)
	for i := range n {
		out = append(out, asmExport(fmt.Sprintf("%0*d", size, i), 0, 0)...)
	}
	return out
}

// TestRefusalMemory: whatever is refused is refused within 64 MiB of a process that
// has nothing else to do.
func TestRefusalMemory(t *testing.T) {
	if underRace {
		t.Skip("the race detector takes memory of its own")
	}
	r := NewRuntime(RuntimeConfig{})
	defer r.Close()
	worst, name, refused := int64(0), "", 0
	modules := malformedModules()
	small := len(modules)
	for i, m := range append(modules, largeMistakes()...) {
		end, peak := judgedBy(t, r, m.data)
		switch {
		case peak == 0:
			t.Errorf("%s: the child was gone before it was looked at", m.name)
		case end.Code == "" && i < small:
			continue // it was compiled, within other limits
		case end.Code == "":
			t.Errorf("%s was not refused", m.name)
		case peak > refusalMemory:
			t.Errorf("%s: refused as %s (%s) with %d MiB", m.name, end.Code, end.Message, peak>>20)
		}
		if i >= small && end.Code != m.want {
			t.Errorf("%s: refused as %s (%s), want %s", m.name, end.Code, end.Message, m.want)
		}
		refused++
		if peak > worst {
			worst, name = peak, m.name
		}
	}
	t.Logf("%d refusals; the dearest, %s, took %d KiB", refused, name, worst>>10)
}
