package wasm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// sig builds a FuncType from letters: i and I are i32 and i64, f and F f32
// and f64; results follow a colon.
func sig(s string) FuncType {
	letters := strings.NewReplacer("i", "\x7f", "I", "\x7e", "f", "\x7d", "F", "\x7c")
	params, results, _ := strings.Cut(s, ":")
	return FuncType{Params: letters.Replace(params), Results: letters.Replace(results)}
}

// testHost is a host with WASI and the functions of testdata/hostile/src/runloop.h.
func testHost(t testing.TB) KnownFunc {
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer rt.Close(ctx)
	host, err := wasi_snapshot_preview1.NewBuilder(rt).Compile(ctx)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]FuncType{
		"runloop.time_now": sig(":I"), "runloop.http_request": sig("ii:i"), "runloop.kb_read": sig("ii:i"),
		"runloop.kb_write": sig("ii:i"), "runloop.model_complete": sig("iiiiii:i"),
		"runloop.resolve_secret": sig("ii:i"), "runloop.exec_spawn": sig("ii:i"),
		"runloop.exec_spawn_capture": sig("iiiiii:i"), "runloop.notify_ready": sig(""),
		"runloop.mailbox_peek_meta": sig("ii:i"), "runloop.mailbox_recv": sig("ii:i"),
	}
	for name, def := range host.ExportedFunctions() {
		known["wasi_snapshot_preview1."+name] = NewFuncType(def.ParamTypes(), def.ResultTypes())
	}
	return func(module, name string) (FuncType, bool) {
		t, ok := known[module+"."+name]
		return t, ok
	}
}

// load scans and admits a module and names the outcome.
func load(module []byte, limits ScanLimits, known KnownFunc) (outcome string, err error) {
	info, err := Scan(module, limits)
	if err != nil {
		return err.(*ScanError).Code, err
	}
	life, err := info.Admit(known)
	if err != nil {
		return err.(*ScanError).Code, err
	}
	return life.String(), nil
}

// hostileRefused lists the guests of testdata/hostile that must not load.
var hostileRefused = map[string]string{
	"evil_exports":     CodeBadEntry, // a command that exports _initialize as well
	"import_memory":    CodeUnknownImport,
	"mem_max_touch":    CodeLimit,
	"mem_min_4g":       CodeLimit,
	"no_memory":        CodeNoMemory,
	"no_memory_wasi":   CodeNoMemory,
	"no_start":         CodeNoEntryPoint,
	"start_is_memory":  CodeNoEntryPoint,
	"start_wrong_sig":  CodeBadEntry,
	"table_fill_300m":  CodeFeature, // table.grow
	"table_grow":       CodeFeature,
	"table_grow_once":  CodeFeature,
	"table_min_1g":     CodeLimit,
	"unknown_import":   CodeUnknownImport,
	"unknown_module":   CodeUnknownImport,
	"wrong_sig_import": CodeImportSignature,
}

func TestHostileScans(t *testing.T) {
	files, err := filepath.Glob("testdata/hostile/wasm/*.wasm")
	if err != nil || len(files) < 60 {
		t.Fatalf("found %d guests, %v", len(files), err)
	}
	known := testHost(t)
	child := newCompileChild(t)
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".wasm")
		want, refused := hostileRefused[name]
		if !refused {
			want = "command"
		}
		module := readFile(t, f)
		got, err := load(module, DefaultScanLimits(), known)
		if got != want {
			t.Errorf("%s: got %s, want %s (%v)", name, got, want, err)
		}
		if !refused && child.outcome(module) != wantOK {
			t.Errorf("%s: the compiler refuses it", name)
		}
	}
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestPrefixes cuts a module off at every byte. Only cuts between the sections
// after the code leave a module that could run; the digest is for those.
func TestPrefixes(t *testing.T) {
	module := readFile(t, "testdata/hostile/wasm/ok_hello.wasm")
	known := testHost(t)
	legal := 0
	for n := range len(module) {
		outcome, err := load(module[:n], DefaultScanLimits(), known)
		var refusal *ScanError
		switch {
		case errors.As(err, &refusal) && refusal.Offset <= n && refusal.Message != "":
		case outcome == "command":
			legal++
		default:
			t.Fatalf("prefix of %d bytes: %s, %v", n, outcome, err)
		}
	}
	if legal > 10 {
		t.Errorf("%d of %d prefixes are legal modules", legal, len(module))
	}
}

func TestAdmit(t *testing.T) {
	known := testHost(t)
	wasi := "wasi_snapshot_preview1"
	types := asmSec(1, asmVec(asmVoid, []byte{0x60, 1, 0x7f, 1, 0x7f}, []byte{0x60, 0, 1, 0x7f}))
	build := func(imports []byte, exports ...[]byte) []byte {
		return asmCat(asmHeader, types, imports, asmSec(3, asmVec([]byte{0}, []byte{1}, []byte{2})), asmOnePage,
			asmSec(7, asmVec(exports...)), asmSec(10, asmVec(asmFunc(nil), asmFunc([]byte{0x20, 0}), asmFunc([]byte{0x41, 0}))))
	}
	fn := func(name string, index uint64) []byte { return asmExport(name, 0, index) }
	tests := []struct {
		name, want, message string
		module              []byte
	}{
		{"command", "command", "", build(nil, asmMemory, fn("_start", 0))},
		{"reactor", "reactor", "", build(nil, asmMemory, fn("_initialize", 0), fn("runloop_handle", 1))},
		{"command with a handler", "command", "", build(nil, asmMemory, fn("_start", 0), fn("runloop_handle", 1))},
		{"imports", "command", "", build(asmSec(2, asmVec(asmImport(wasi, "sched_yield", 2))), asmMemory, fn("_start", 1))},
		{"no memory export", CodeNoMemory, `"memory"`, build(nil, fn("_start", 0))},
		{"memory is a function", CodeNoMemory, "", build(nil, fn("memory", 0), fn("_start", 0))},
		{"nothing to run", CodeNoEntryPoint, "_start", build(nil, asmMemory)},
		{"half a reactor", CodeNoEntryPoint, "runloop_handle", build(nil, asmMemory, fn("_initialize", 0))},
		{"other half", CodeNoEntryPoint, "_initialize", build(nil, asmMemory, fn("runloop_handle", 1))},
		{"both", CodeBadEntry, "both", build(nil, asmMemory, fn("_start", 0), fn("_initialize", 0))},
		{"start type", CodeBadEntry, "(i32) -> (i32)", build(nil, asmMemory, fn("_start", 1))},
		{"initialize type", CodeBadEntry, "() -> (i32)", build(nil, asmMemory, fn("_initialize", 2), fn("runloop_handle", 1))},
		{"handle type", CodeBadEntry, "runloop_handle", build(nil, asmMemory, fn("_initialize", 0), fn("runloop_handle", 0))},
		{"unknown import", CodeUnknownImport, `"env"."system"`, build(asmSec(2, asmVec(asmImport("env", "system", 0))), asmMemory)},
		{"escape in a name", CodeUnknownImport, `"a\x1b[2J\n"`, build(asmSec(2, asmVec(asmImport("env", "a\x1b[2J\n", 0))), asmMemory)},
		{"import type", CodeImportSignature, "sched_yield", build(asmSec(2, asmVec(asmImport(wasi, "sched_yield", 0))), asmMemory)},
		{"import of a global", CodeUnknownImport, "global", build(
			asmSec(2, asmVec(asmCat(asmName("env"), asmName("g"), []byte{3, 0x7f, 0}))), asmMemory)},
		{"import of a table", CodeUnknownImport, "table", build(
			asmSec(2, asmVec(asmCat(asmName("env"), asmName("t"), []byte{1, 0x70, 0, 1}))), asmMemory)},
	}
	for _, tt := range tests {
		got, err := load(tt.module, DefaultScanLimits(), known)
		if got != tt.want {
			t.Errorf("%s: got %s, want %s (%v)", tt.name, got, tt.want, err)
		}
		if err != nil && (!strings.Contains(err.Error(), tt.message) || strings.ContainsAny(err.Error(), "\n\x1b")) {
			t.Errorf("%s: message %q does not say %q on one line", tt.name, err, tt.message)
		}
	}
}

// TestLimits takes a module that is inside every limit, and each limit in turn
// one step below what the module needs.
func TestLimits(t *testing.T) {
	module := limitsModule()
	base := DefaultScanLimits()
	info, err := Scan(module, base)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		field *int
		needs int
	}{
		{"ModuleBytes", &base.ModuleBytes, len(module)},
		{"Types", &base.Types, 3},
		{"Params", &base.Params, 2},
		{"Results", &base.Results, 3},
		{"Imports", &base.Imports, 1},
		{"Functions", &base.Functions, 3},
		{"Globals", &base.Globals, 2},
		{"Exports", &base.Exports, 2},
		{"NameBytes", &base.NameBytes, 6},
		{"AllNameBytes", &base.AllNameBytes, 14},
		{"Tables", &base.Tables, 2},
		{"TableElements", &base.TableElements, 7},
		{"Elements", &base.Elements, 2},
		{"ElementItems", &base.ElementItems, 3},
		{"DataSegments", &base.DataSegments, 2},
		{"FunctionBytes", &base.FunctionBytes, 35},
		{"Locals", &base.Locals, 4},
		{"StackValues", &base.StackValues, 3},
		{"Nesting", &base.Nesting, 3},
		{"Branches", &base.Branches, 5},
		{"BrTable", &base.BrTable, 2},
		{"MemoryPages", &base.MemoryPages, 2},
		{"FunctionWork", &base.FunctionWork, leastWork(t, module)},
		{"FunctionTime", &base.FunctionTime, info.FunctionTime},
		{"ModuleTime", &base.ModuleTime, info.Time},
	}
	for _, tt := range tests {
		old := *tt.field
		*tt.field = tt.needs
		if _, err := Scan(module, base); err != nil {
			t.Errorf("%s = %d: %v", tt.name, tt.needs, err)
		}
		*tt.field = tt.needs - 1
		var refusal *ScanError
		if _, err := Scan(module, base); !errors.As(err, &refusal) || refusal.Code != CodeLimit {
			t.Errorf("%s = %d: got %v, want %s", tt.name, tt.needs-1, err, CodeLimit)
		}
		*tt.field = old
	}
}

// leastWork finds the smallest FunctionWork that lets a module pass.
func leastWork(t *testing.T, module []byte) int {
	limits := DefaultScanLimits()
	for limits.FunctionWork = 0; limits.FunctionWork < 1000; limits.FunctionWork++ {
		if _, err := Scan(module, limits); err == nil {
			return limits.FunctionWork
		}
	}
	t.Fatal("no limit is enough")
	return 0
}

// limitsModule has two or three of everything that is limited.
func limitsModule() []byte {
	code := []byte{
		0x02, 0x40, 0x03, 0x40, 0x20, 0, 0x0d, 0, 0x20, 0, 0x0e, 1, 0, 1, 0x0b, 0x0b, // block, loop, br_if, br_table
		0x20, 0, 0x0e, 1, 0, 0, // br_table out of the function
		0x41, 1, 0x41, 2, 0x41, 3, 0x6a, 0x6a, 0x1a, // three operands
	}
	return asmCat(asmHeader,
		asmSec(1, asmVec(asmVoid, []byte{0x60, 2, 0x7f, 0x7f, 0}, []byte{0x60, 0, 3, 0x7f, 0x7f, 0x7f})),
		asmSec(2, asmVec(asmImport("m", "f", 1))),
		asmSec(3, asmVec([]byte{0}, []byte{0})),
		asmSec(4, asmVec([]byte{0x70, 0, 3}, []byte{0x6f, 1, 4, 9})),
		asmSec(5, asmVec([]byte{1, 2, 5})),
		asmSec(6, asmVec([]byte{0x7f, 0, 0x41, 0, 0x0b}, []byte{0x7e, 1, 0x42, 0, 0x0b})),
		asmSec(7, asmVec(asmExport("_start", 0, 1), asmMemory)),
		asmSec(9, asmVec([]byte{0, 0x41, 0, 0x0b, 2, 1, 2}, []byte{5, 0x70, 1, 0xd2, 1, 0x0b})),
		asmSec(10, asmVec(asmFunc(code, asmLocals(4, 0x7f)), asmFunc(nil))),
		asmSec(11, asmVec([]byte{0, 0x41, 0, 0x0b, 1, 'x'}, []byte{1, 1, 'y'})))
}

// TestScanAllocation checks that lies about sizes do not cost memory.
func TestScanAllocation(t *testing.T) {
	for _, m := range malformedModules() {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = Scan(m.data, DefaultScanLimits())
		runtime.ReadMemStats(&after)
		// Sixty bytes of result for each byte of an export or a type is the
		// most there is; growing a slice doubles it.
		if got, most := after.TotalAlloc-before.TotalAlloc, uint64(len(m.data))*128+64<<10; got > most {
			t.Errorf("%s of %d bytes: allocated %d, at most %d are justified", m.name, len(m.data), got, most)
		}
	}
}

// TestScanInfo checks what a scan reports.
func TestScanInfo(t *testing.T) {
	info, err := Scan(limitsModule(), DefaultScanLimits())
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%v %v memory %v %d-%d start %v functions %d code %d", info.Imports, info.Exports,
		info.HasMemory, info.MemoryMin, info.MemoryMax, info.HasStart, info.Functions, info.CodeBytes)
	want := "[{m f 0 (i32 i32) -> () 28}] [{_start 0 () -> () 71} {memory 2 () -> () 80}] " +
		"memory true 2-5 start false functions 2 code 40"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
