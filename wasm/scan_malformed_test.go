package wasm

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// malformedModule is a module that is garbage, a lie, or legal but dear.
type malformedModule struct {
	name string
	want string // a code of ScanError, or one of the two below
	data []byte
}

const (
	wantOK       = "ok"       // the scan and the compiler take it
	wantCompiler = "compiler" // the scan takes it, the compiler refuses it by name
	wantEither   = "either"
)

// malformedModules is a port of testdata/hostile/gen_malformed.py, without
// the files, which are 44 MB.
func malformedModules() []malformedModule {
	mods := append(malformedHeads(), malformedBodies()...)
	if underRace {
		return mods
	}
	return append(mods, malformedBombs()...)
}

// malformedHeads are modules that are wrong before any code.
func malformedHeads() []malformedModule {
	ok := asmMain(nil)
	noise := rand.NewChaCha8([32]byte{1})
	random := make([]byte, 1<<20)
	_, _ = noise.Read(random)
	lie := []byte{0xff, 0xff, 0xff, 0xff, 0x0f}
	mods := []malformedModule{
		{"ok_minimal", wantOK, ok},
		{"bad_empty", CodeMalformed, nil},
		{"bad_1byte", CodeMalformed, []byte{0}},
		{"bad_magic_only", CodeMalformed, asmHeader[:4]},
		{"bad_version2", CodeMalformed, []byte("\x00asm\x02\x00\x00\x00")},
		{"bad_version_be", CodeMalformed, []byte("\x00asm\x00\x00\x00\x01")},
		{"bad_component", CodeFeature, asmCat([]byte("\x00asm\x0d\x00\x01\x00"), make([]byte, 16))},
		{"bad_text_wat", CodeMalformed, []byte(`(module (func (export "_start")))`)},
		{"bad_elf", CodeMalformed, asmCat([]byte("\x7fELF\x02\x01\x01"), make([]byte, 57))},
		{"bad_shebang", CodeMalformed, []byte("#!/bin/sh\ntouch /tmp/PWNED\n")},
		{"bad_gzip", CodeMalformed, gzipped(ok)},
		{"bad_zeros64k", CodeMalformed, make([]byte, 65536)},
		{"bad_random1m", CodeMalformed, random},
		{"bad_header_random", CodeMalformed, asmCat(asmHeader, random[:65536])},
		{"bad_section_len_max", CodeMalformed, asmCat(asmHeader, []byte{1}, lie)},
		{"bad_leb_overlong", CodeMalformed, asmCat(asmHeader, []byte("\x01\x80\x80\x80\x80\x80\x00"))},
		{"bad_leb_unterminated", CodeMalformed, asmCat(asmHeader, []byte("\x01\xff\xff"))},
		{"bad_unknown_section", CodeMalformed, asmCat(asmHeader, []byte("\x7f\x01\x00"))},
		{"bad_dup_section", CodeMalformed, asmCat(asmHeader, asmOneType, asmOneType)},
		{"bad_order", CodeMalformed, asmCat(asmHeader, asmOneFunc, asmOneType)},
		{"bad_func_no_code", CodeMalformed, asmCat(asmHeader, asmOneType, asmOneFunc)},
		{"bad_code_no_func", CodeMalformed, asmCat(asmHeader, asmNothing)},
		{"bad_type_index", CodeMalformed, asmCat(asmHeader, asmOneType, asmSec(3, asmVec([]byte{9})), asmNothing)},
		{"bad_export_index", CodeMalformed, withExports(asmExport("_start", 0, 0x7f))},
		{"bad_dup_export", CodeMalformed, withExports(asmStart, asmStart)},
		{"bad_export_utf8", CodeMalformed, withExports(asmExport("\xff\xfe", 0, 0), asmStart)},
		{"bad_start_index", CodeMalformed, asmCat(asmHeader, asmOneType, asmOneFunc, asmSec(8, []byte{99}), asmNothing)},
		{"bad_export_name_len_4g", CodeMalformed,
			asmCat(asmHeader, asmOneType, asmOneFunc, asmSec(7, []byte{1}, lie, []byte{0, 0}), asmNothing)},
		{"bad_import_name_len_4g", CodeMalformed, asmCat(asmHeader, asmSec(2, []byte{1}, lie, []byte{0, 0}))},
		{"bad_import_name_esc", CodeUnknownImport,
			withImport("\x1b]0;owned\x07", "a\nlevel=info msg=granted\x1b[2J")},
		{"bad_import_name_100k", CodeLimit,
			withImport(string(asmRep(100000, 'm')), string(asmRep(100000, 'f')))},
		{"bad_import_traversal", CodeUnknownImport, withImport("../../etc", "/passwd")},
		{"bad_trailing_garbage", CodeMalformed, asmCat(ok, asmRep(64, 0xde, 0xad, 0xbe, 0xef))},
		{"bad_funcname_len_4g", CodeMalformed,
			asmCat(ok, asmCustom("name", []byte{1, 8, 1, 0}, lie, []byte{0}))},
		{"bomb_name_section_lies", CodeMalformed, asmCat(ok, asmCustom("name", []byte{1}, lie, lie))},
	}
	for _, n := range []int{9, 12, 20, len(ok) / 2, len(ok) - 1} {
		mods = append(mods, malformedModule{"bad_trunc", CodeMalformed, ok[:n]})
	}
	for _, id := range []byte{1, 2, 3, 4, 5, 6, 7, 9, 10, 11} {
		mods = append(mods, malformedModule{"bad_vec4g", CodeMalformed, asmCat(asmHeader, asmSec(id, lie, []byte{0}))})
	}
	return mods
}

func gzipped(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(data)
	_ = w.Close()
	return b.Bytes()
}

func withExports(exports ...[]byte) []byte {
	return asmCat(asmHeader, asmOneType, asmOneFunc, asmSec(7, asmVec(exports...)), asmNothing)
}

func withImport(module, name string) []byte {
	return asmCat(asmHeader, asmOneType, asmSec(2, asmVec(asmImport(module, name, 0))), asmOneFunc, asmOnePage,
		asmSec(7, asmVec(asmExport("_start", 0, 1), asmMemory)), asmNothing)
}

func withMemory(limits ...byte) []byte {
	return asmCat(asmHeader, asmOneType, asmOneFunc, asmSec(5, asmVec(limits)), asmOnlyMain, asmNothing)
}

// malformedBodies are modules that are wrong in code, data or memories.
func malformedBodies() []malformedModule {
	lie := []byte{0xff, 0xff, 0xff, 0xff, 0x0f}
	table := asmSec(4, asmVec([]byte{0x70, 0, 1}))
	many := uint64(0xffffffff)
	return []malformedModule{
		{"bad_stack_underflow", CodeMalformed, asmMain([]byte{0x6a, 0x1a})},
		{"bad_type_mismatch", wantCompiler, asmMain([]byte{0x42, 1, 0x41, 1, 0x6a, 0x1a})},
		{"bad_br_depth", CodeMalformed, asmMain(asmCat([]byte{0x0c}, lie))},
		{"bad_local_index", CodeMalformed, asmMain([]byte{0x20, 0x7f, 0x1a})},
		{"bad_call_index", CodeMalformed, asmMain([]byte{0x10, 0xff, 0x7f})},
		{"bad_opcode", CodeMalformed, asmMain([]byte{0xff, 0xff})},
		{"bad_missing_end", CodeMalformed,
			asmCat(asmHeader, asmOneType, asmOneFunc, asmOnlyMain, asmSec(10, asmVec([]byte{1, 0})))},
		{"bad_align", CodeFeature, asmMain([]byte{0x41, 0, 0x28, 0x40, 0, 0x1a})},
		{"bad_mem_min_gt_max", CodeMalformed, withMemory(1, 5, 1)},
		{"bad_mem_65537", CodeMalformed, withMemory(0, 0x81, 0x80, 0x04)},
		{"bad_two_memories", CodeFeature, asmCat(asmHeader, asmSec(5, asmVec([]byte{0, 1}, []byte{0, 1})))},
		{"bad_shared_memory", CodeFeature, withMemory(3, 1, 1)},
		{"bad_memory64", CodeFeature, withMemory(4, 1)},
		{"bad_data_oob", CodeMalformed, asmCat(asmMain(nil), asmSec(11,
			asmVec(asmCat([]byte{0, 0x41, 0xff, 0xff, 0xff, 0xff, 0x07, 0x0b}, asmName("xxxxxxxxxxxxxxxx")))))},
		{"odd_elem_oob", wantEither, asmCat(asmHeader, asmOneType, asmOneFunc, table, asmOnlyMain,
			asmSec(9, asmVec([]byte{0, 0x41, 0xe4, 0, 0x0b, 1, 0})), asmNothing)},
		{"bad_locals_4g", CodeLimit, asmMain(nil, asmLocals(many, 0x7e))},
		{"bad_locals_overflow", CodeLimit,
			asmMain(nil, asmLocals(many, 0x7e), asmLocals(many, 0x7e), asmLocals(many, 0x7e), asmLocals(many, 0x7e))},
		{"bad_data_len_4g", CodeMalformed, asmCat(asmMain(nil), asmSec(11, []byte{1, 0, 0x41, 0, 0x0b}, lie))},
		{"bad_elem_init_4g", CodeMalformed, asmCat(asmHeader, asmOneType, asmOneFunc, table, asmOnlyMain,
			asmSec(9, []byte{1, 0, 0x41, 0, 0x0b}, lie), asmNothing)},
	}
}

// malformedBombs are legal modules that cost a compiler far more than they
// weigh.
func malformedBombs() []malformedModule {
	ok := asmMain(nil)
	mods := []malformedModule{
		{"bomb_custom_8m", wantOK, asmCat(ok, asmCustom("padding", make([]byte, 8<<20)))},
		{"bomb_custom_100k_sections", wantOK, asmCat(ok, asmRep(100000, asmCustom("x")...))},
		{"bomb_name_esc", wantOK, asmCat(ok, asmCustom("name", asmSec(0, asmName("\x1b]0;owned\x07\nlevel=info")),
			asmSec(1, []byte{1, 0}, asmName("f\x1b[2J\n"))))},
		{"bomb_exports_100k", CodeLimit, exportsBomb(100000)},
		{"bomb_types_100k", wantOK,
			asmCat(asmHeader, asmSec(1, asmVecRep(100000, asmVoid...)), asmOneFunc, asmOnlyMain, asmNothing)},
		{"bomb_type_1000_results", wantOK, asmCat(asmHeader, asmSec(1, asmVec(
			asmCat([]byte{0x60, 0}, asmVecRep(1000, 0x7e)), asmVoid)), asmSec(3, asmVec([]byte{1})), asmOnlyMain, asmNothing)},
		{"bomb_funcs_100k", wantOK, asmCat(asmHeader, asmOneType, asmSec(3, asmVecRep(100000, 0)), asmOnlyMain,
			asmSec(10, asmVecRep(100000, asmFunc(nil)...)))},
		{"bomb_imports_20k", CodeLimit, asmCat(asmHeader, asmOneType,
			asmSec(2, asmVecRep(20000, asmImport("runloop", "notify_ready", 0)...)), asmOneFunc,
			asmSec(7, asmVec(asmExport("_start", 0, 20000))), asmNothing)},
		{"bomb_globals_1m", CodeLimit, asmCat(asmHeader, asmOneType, asmOneFunc,
			asmSec(6, asmVecRep(1000000, 0x7e, 1, 0x42, 0, 0x0b)), asmOnlyMain, asmNothing)},
		{"bomb_tables_1k", CodeLimit, asmCat(asmHeader, asmOneType, asmOneFunc,
			asmSec(4, asmVecRep(1000, asmCat([]byte{0x70, 0}, asmU(1000000))...)), asmOnlyMain, asmNothing)},
		{"bomb_data_100k", wantOK, asmCat(ok, asmSec(11, asmVecRep(100000, 0, 0x41, 0, 0x0b, 1, 'x')))},
		{"bomb_table_min_4g", CodeLimit, asmCat(asmHeader, asmOneType, asmOneFunc,
			asmSec(4, asmVec([]byte{0x70, 0, 0xfe, 0xff, 0xff, 0xff, 0x0f})), asmOnePage, asmOnlyMain, asmNothing)},
		{"bomb_elem_1m", wantOK, asmCat(asmHeader, asmOneType, asmOneFunc,
			asmSec(4, asmVec(asmCat([]byte{0x70, 0}, asmU(1000000)))), asmOnlyMain,
			asmSec(9, []byte{1, 0, 0x41, 0, 0x0b}, asmVecRep(1000000, 0)), asmNothing)},
		{"bomb_locals_50k", wantOK, asmMain(nil, asmLocals(50000, 0x7e))},
		{"bomb_locals_1m", CodeLimit, asmMain(nil, asmLocals(1000000, 0x7e))},
		{"bomb_locals_100m", CodeLimit, asmMain(nil, asmLocals(100000000, 0x7e))},
		{"bomb_adds_1m", wantOK, asmMain(asmCat([]byte{0x41, 1}, asmRep(1000000, 0x41, 1, 0x6a), []byte{0x1a}))},
		{"bomb_deep_stack_1m", CodeLimit, asmMain(asmCat(asmRep(1000000, 0x41, 1), asmRep(999999, 0x6a), []byte{0x1a}))},
		{"bomb_calls_1m", CodeLimit, asmMain(asmCat([]byte{0x41, 0, 0x04, 0x40}, asmRep(1000000, 0x10, 0), []byte{0x0b}))},
		{"bomb_loads_500k", CodeLimit, asmMain(asmRep(500000, 0x41, 0, 0x29, 3, 0, 0x1a))},
	}
	return append(mods, controlBombs()...)
}

// controlBombs are about blocks and branches, which the compiler likes least.
func controlBombs() []malformedModule {
	labels := func(n int) []byte {
		return asmCat([]byte{0x02, 0x40, 0x41, 0, 0x0e}, asmVecRep(n, 0), []byte{0, 0x0b})
	}
	var ifs, heads []byte
	for i := range uint64(200) {
		ifs = asmCat(ifs, []byte{0x42, 1, 0x21}, asmU(i))
	}
	ifs = asmCat([]byte{0x41, 0, 0x04, 0x40}, ifs, []byte{0x0b})
	for i := range uint64(2000) {
		heads = asmCat(heads, []byte{0x03, 0x40, 0x20}, asmU(i%100), []byte{0x42, 1, 0x7c, 0x21}, asmU((i+1)%100))
	}
	nest := func(n int, open ...byte) []byte { return asmMain(asmCat(asmRep(n, open...), asmRep(n, 0x0b))) }
	seq := func(n int) []byte { return asmMain(asmRep(n, 0x02, 0x40, 0x41, 0, 0x0d, 0, 0x0b)) }
	return []malformedModule{
		{"bomb_nest_block_10000", wantOK, nest(10000, 0x02, 0x40)},
		{"bomb_nest_block_100000", CodeLimit, nest(100000, 0x02, 0x40)},
		{"bomb_nest_block_1000000", CodeLimit, nest(1000000, 0x02, 0x40)},
		{"bomb_nest_loop_100000", CodeLimit, nest(100000, 0x03, 0x40)},
		{"bomb_nest_if_100000", CodeLimit, nest(100000, 0x41, 1, 0x04, 0x40)},
		{"bomb_seq_blocks_10000", wantOK, seq(10000)},
		{"bomb_seq_blocks_100000", CodeLimit, seq(100000)},
		{"bomb_seq_blocks_1000000", CodeLimit, seq(1000000)},
		{"bomb_brtable_1m", CodeLimit, asmMain(labels(1000000))},
		{"bomb_brtable_x1000", CodeLimit, asmMain(asmRep(1000, labels(1000)...))},
		{"bomb_localset_phi", wantOK, asmMain(asmRep(2000, ifs...), asmLocals(200, 0x7e))},
		{"bomb_nested_loops_locals", CodeLimit,
			asmMain(asmCat(heads, asmRep(2000, 0x20, 0, 0xa7, 0x0d, 0, 0x0b)), asmLocals(100, 0x7e))},
	}
}

func exportsBomb(n int) []byte {
	exports := append(asmU(uint64(n)+1), asmStart...)
	for i := range n {
		exports = append(exports, asmExport(fmt.Sprintf("e%d", i), 0, 0)...)
	}
	return asmCat(asmHeader, asmOneType, asmOneFunc, asmOnePage, asmSec(7, exports), asmNothing)
}

// TestMalformed runs every module through the scan and, if it passes, through
// the compiler. Each bomb has a child of its own, so that its memory can be
// told.
func TestMalformed(t *testing.T) {
	child := newCompileChild(t)
	for _, m := range malformedModules() {
		got := scanOutcome(m.data)
		bomb := strings.HasPrefix(m.name, "bomb_")
		if got == wantOK && !(bomb && testing.Short()) {
			got = child.outcome(m.data)
		}
		if got != m.want && m.want != wantEither {
			t.Errorf("%s: got %s, want %s", m.name, got, m.want)
		}
		if bomb {
			child.close()
		}
		if child.rss > 512<<20 {
			t.Errorf("%s: the compiler took %d MiB", m.name, child.rss>>20)
		}
	}
	t.Logf("the slowest answer took %v", child.slow)
	if child.deaths+child.hangs > 0 {
		t.Errorf("the compiler died %d times and hung %d times", child.deaths, child.hangs)
	}
}

// scanOutcome is the code of the refusal, or wantOK. Imports are checked
// against a host that has none.
func scanOutcome(module []byte) string {
	info, err := Scan(module, DefaultScanLimits())
	if err == nil {
		err = info.admitImports(func(string, string) (FuncType, bool) { return FuncType{}, false })
	}
	if err != nil {
		return err.(*ScanError).Code
	}
	return wantOK
}

// TestMalformedPython checks that the port above says what the generator says:
// the modules it writes end the same way. It needs Python.
func TestMalformedPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if testing.Short() || underRace || err != nil {
		t.Skip("needs python3 and more than a moment")
	}
	dir := t.TempDir()
	script, err := os.ReadFile("testdata/hostile/gen_malformed.py")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "gen.py"), script, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(python, filepath.Join(dir, "gen.py")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "malformed", "*.wasm"))
	if err != nil || len(files) < 100 {
		t.Fatalf("the generator wrote %d modules, %v", len(files), err)
	}
	want := map[string]string{}
	for _, m := range malformedModules() {
		want[m.name] = m.want
	}
	for _, f := range files {
		checkGenerated(t, f, want)
	}
}

// checkGenerated compares one generated module with the port's expectation.
// Families such as bad_trunc_9 share one.
func checkGenerated(t *testing.T, file string, want map[string]string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(file[:len(file)-len(".wasm")])
	expect, ok := want[name]
	if !ok {
		expect, ok = want[name[:strings.LastIndexByte(name, '_')]]
	}
	if !ok {
		t.Errorf("%s is not in the port", name)
		return
	}
	got := scanOutcome(data)
	if got == wantOK && expect == wantCompiler || expect == wantEither {
		return
	}
	if got != expect {
		t.Errorf("%s: got %s, want %s", name, got, expect)
	}
}
