package wasm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"golang.org/x/sys/unix"
)

const mib = 1 << 20

// memoryRig is a runtime and a compiled module whose instances get their
// memory from a pool.
type memoryRig struct {
	ctx    context.Context
	rt     wazero.Runtime
	module wazero.CompiledModule
	info   *ModuleInfo
	pool   *memoryPool
}

func newMemoryRig(t testing.TB, module []byte, limit uint64) *memoryRig {
	t.Helper()
	ctx := context.Background()
	limits := DefaultScanLimits()
	limits.MemoryPages = 1 << 16
	info, err := Scan(module, limits)
	if err != nil {
		t.Fatal(err)
	}
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithDebugInfoEnabled(false).
		WithCloseOnContextDone(true).WithMemoryLimitPages(uint32(limit/wasmPage)))
	t.Cleanup(func() { _ = rt.Close(ctx) })
	wasi_snapshot_preview1.MustInstantiate(ctx, rt)
	compiled, err := rt.CompileModule(ctx, module)
	if err != nil {
		t.Fatal(err)
	}
	return &memoryRig{ctx: ctx, rt: rt, module: compiled, info: info, pool: newMemoryPool(limit)}
}

// instantiate makes an instance without a name and without starting it.
func (r *memoryRig) instantiate() (api.Module, *guestMemory, error) {
	memory, err := r.pool.reserve(r.info)
	if err != nil {
		return nil, nil, err
	}
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions()
	mod, err := r.rt.InstantiateModule(memory.With(r.ctx), r.module, config)
	return mod, memory, err
}

// memoryModule has a memory and a function that grows it, one that stores for
// ever, and one that stores at an address.
func memoryModule(limits ...byte) []byte {
	grow := asmFunc([]byte{0x20, 0, 0x40, 0})
	spin := asmFunc([]byte{0x03, 0x40, 0x41, 0, 0x41, 1, 0x36, 2, 0, 0x0c, 0, 0x0b})
	poke := asmFunc([]byte{0x20, 0, 0x41, 1, 0x36, 2, 0})
	return asmCat(asmHeader,
		asmSec(1, asmVec([]byte{0x60, 1, 0x7f, 1, 0x7f}, asmVoid, []byte{0x60, 1, 0x7f, 0})),
		asmSec(3, asmVec([]byte{0}, []byte{1}, []byte{2})), asmSec(5, asmVec(limits)),
		asmSec(7, asmVec(asmMemory, asmExport("grow", 0, 0), asmExport("spin", 0, 1), asmExport("poke", 0, 2))),
		asmSec(10, asmVec(grow, spin, poke)))
}

// TestMemoryGrows grows a memory in steps up to the limit and uses it.
func TestMemoryGrows(t *testing.T) {
	for _, limits := range [][]byte{{0, 0}, {0, 1}, {1, 1, 200, 1}, {1, 0, 0}} {
		rig := newMemoryRig(t, memoryModule(limits...), 10*wasmPage)
		mod, memory, err := rig.instantiate()
		if err != nil {
			t.Fatal(err)
		}
		most := min(10, int32(rig.info.MemoryMax))
		for pages := int32(rig.info.MemoryMin); pages < most; pages++ {
			if got := growBy(t, mod, 1); got != pages {
				t.Errorf("%v: growing from %d pages answers %d", limits, pages, got)
			}
			last := uint64(pages+1)*wasmPage - 4
			if _, err := mod.ExportedFunction("poke").Call(rig.ctx, last); err != nil {
				t.Errorf("%v: storing in the last page: %v", limits, err)
			}
			if _, err := mod.ExportedFunction("poke").Call(rig.ctx, last+4); err == nil {
				t.Errorf("%v: storing behind %d pages succeeds", limits, pages+1)
			}
		}
		for _, by := range []int32{1, 1000, 65535, -1} {
			if got := growBy(t, mod, by); got != -1 {
				t.Errorf("%v: growing by %d beyond the limit answers %d", limits, by, got)
			}
		}
		if guests, live := rig.pool.Live(); guests != 1 || live != int64(most)*wasmPage {
			t.Errorf("%v: %d guests, %d bytes live", limits, guests, live)
		}
		if err := mod.Close(rig.ctx); err != nil {
			t.Error(err)
		}
		memory.Release()
		if guests, live := rig.pool.Live(); guests != 0 || live != 0 {
			t.Errorf("%v: after the end %d guests, %d bytes live", limits, guests, live)
		}
	}
}

func growBy(t *testing.T, mod api.Module, pages int32) int32 {
	t.Helper()
	res, err := mod.ExportedFunction("grow").Call(context.Background(), api.EncodeI32(pages))
	if err != nil {
		t.Fatal(err)
	}
	return api.DecodeI32(res[0])
}

// TestMemoryLimit asks for more than there is from the start.
func TestMemoryLimit(t *testing.T) {
	pool := newMemoryPool(10*wasmPage + 1)
	var refusal *MemoryError
	_, err := pool.reserve(&ModuleInfo{MemoryMin: 11, MemoryMax: 20})
	if !errors.As(err, &refusal) || refusal.Code != CodeMemoryLimit {
		t.Errorf("got %v", err)
	}
	if guests, live := pool.Live(); guests != 0 || live != 0 {
		t.Errorf("%d guests, %d bytes live", guests, live)
	}
}

// TestWazeroWithoutMemory pins down what makes reserve necessary: an allocator
// that gives nothing makes wazero panic.
func TestWazeroWithoutMemory(t *testing.T) {
	rig := newMemoryRig(t, memoryModule(0, 1), 10*wasmPage)
	for name, memory := range map[string]experimental.LinearMemory{"none": nil, "one that is full": heapMemory(nil)} {
		ctx := experimental.WithMemoryAllocator(rig.ctx, experimental.MemoryAllocatorFunc(
			func(uint64, uint64) experimental.LinearMemory { return memory }))
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: wazero no longer panics; reserve could be simpler", name)
				}
			}()
			_, _ = rig.rt.InstantiateModule(ctx, rig.module, wazero.NewModuleConfig().WithName(""))
		}()
	}
}

// TestMemoryAskedTwice gives a second memory, though a small one.
func TestMemoryAskedTwice(t *testing.T) {
	pool := newMemoryPool(10 * wasmPage)
	memory, err := pool.reserve(&ModuleInfo{MemoryMin: 1, MemoryMax: 5})
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Release()
	first, second := memory.Allocate(wasmPage, 5*wasmPage), memory.Allocate(wasmPage, 5*wasmPage)
	if first == second || len(second.Reallocate(wasmPage)) != wasmPage || second.Reallocate(2*wasmPage) != nil {
		t.Errorf("the second memory is %T", second)
	}
	second.Free()
}

// TestFailedInstance makes instances that fail after they have their memory:
// a trap in the start section, and data that does not fit.
func TestFailedInstance(t *testing.T) {
	trap := asmCat(asmHeader, asmOneType, asmOneFunc, asmOnePage, asmExports, asmSec(8, []byte{0}),
		asmSec(10, asmVec(asmFunc([]byte{0x00}))))
	rig := newMemoryRig(t, trap, 10*wasmPage)
	for range 100 {
		_, memory, err := rig.instantiate()
		if err == nil || memory == nil {
			t.Fatalf("the module starts: %v", err)
		}
		memory.Release()
		memory.Release()
	}
	if guests, live := rig.pool.Live(); guests != 0 || live != 0 {
		t.Errorf("%d guests, %d bytes live", guests, live)
	}
}

// TestCloseWhileRunning closes an instance from outside while it stores to its
// memory, which must still be there.
func TestCloseWhileRunning(t *testing.T) {
	rig := newMemoryRig(t, memoryModule(0, 1), 10*wasmPage)
	for range 20 {
		mod, memory, err := rig.instantiate()
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			_, err := mod.ExportedFunction("spin").Call(rig.ctx)
			done <- err
		}()
		time.Sleep(time.Millisecond)
		_ = mod.Close(rig.ctx)
		if err := <-done; err == nil {
			t.Error("an endless loop ended by itself")
		}
		memory.Release()
	}
}

// TestMemoryRace uses one pool from many goroutines.
func TestMemoryRace(t *testing.T) {
	rig := newMemoryRig(t, memoryModule(0, 1), 40*wasmPage)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 30 {
				mod, memory, err := rig.instantiate()
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = mod.ExportedFunction("grow").Call(rig.ctx, 30)
				_, _ = mod.ExportedFunction("poke").Call(rig.ctx, 30*wasmPage)
				wg.Go(memory.Free)
				_ = mod.Close(rig.ctx)
				memory.Release()
			}
		})
	}
	wg.Wait()
	if guests, live := rig.pool.Live(); guests != 0 || live != 0 {
		t.Errorf("%d guests, %d bytes live", guests, live)
	}
}

// TestMemoryLeak makes and ends many instances; address space comes back.
func TestMemoryLeak(t *testing.T) {
	rig := newMemoryRig(t, memoryModule(0, 1), 1024*wasmPage)
	cycle := func(n int) {
		for range n {
			mod, memory, err := rig.instantiate()
			if err != nil {
				t.Fatal(err)
			}
			_, _ = mod.ExportedFunction("grow").Call(rig.ctx, 100)
			_ = mod.Close(rig.ctx)
			memory.Release()
		}
	}
	cycle(20)
	before := procStatus(t, "VmSize")
	cycle(1000)
	if after := procStatus(t, "VmSize"); after > before+200*mib {
		t.Errorf("address space grew from %d to %d MiB", before/mib, after/mib)
	}
}

// procStatus reads a size from /proc/self/status, in bytes.
func procStatus(t testing.TB, key string) int64 {
	_, rest, ok := strings.Cut(string(readFile(t, "/proc/self/status")), key+":")
	var kib int64
	if _, err := fmt.Sscan(rest, &kib); !ok || err != nil {
		t.Fatalf("no %s in /proc/self/status", key)
	}
	return kib << 10
}

// memoryChildEnv names the job of TestMemoryChild.
const memoryChildEnv = "RUNLOOP_TEST_MEMORY_CHILD"

// TestMemoryChild is no test but the main function of children.
func TestMemoryChild(t *testing.T) {
	job := os.Getenv(memoryChildEnv)
	switch job {
	case "":
		t.Skip("runs as a child of other tests")
	case "no space":
		childWithoutSpace(t)
		return
	}
	rig := newMemoryRig(t, hostileGuest(t, job), 64*mib)
	memory, err := rig.pool.reserve(rig.info)
	if err != nil {
		t.Fatal(err)
	}
	_, err = rig.rt.InstantiateModule(memory.With(rig.ctx), rig.module, wazero.NewModuleConfig().WithName("").WithStdout(os.Stdout))
	fmt.Printf("\nended: %v\npeak %d\n", err, procStatus(t, "VmHWM"))
}

// childWithoutSpace reserves memory while there is hardly any address space.
func childWithoutSpace(t *testing.T) {
	space := uint64(procStatus(t, "VmSize")) + 256*mib
	if err := unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: space, Max: space}); err != nil {
		t.Fatal(err)
	}
	pool := newMemoryPool(4 << 30)
	memory, err := pool.reserve(&ModuleInfo{MemoryMin: 16, MemoryMax: 65536})
	if err != nil {
		t.Fatal(err)
	}
	buf := memory.Reallocate(16 * wasmPage)
	buf[len(buf)-1] = 1
	fmt.Printf("grows: %v\n", memory.Reallocate(17*wasmPage) != nil)
	memory.Release()
	_, err = pool.reserve(&ModuleInfo{MemoryMin: 32768, MemoryMax: 65536})
	fmt.Println("error:", err)
}

func memoryChild(t *testing.T, job string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestMemoryChild$")
	cmd.Env = append(os.Environ(), memoryChildEnv+"="+job)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", job, err, out)
	}
	return string(out)
}

// TestMemoryBombs runs guests that take all the memory they can get, in
// children, and looks at what stays resident: the limit and little else.
func TestMemoryBombs(t *testing.T) {
	peak := func(out string) (n int64) {
		_, rest, _ := strings.Cut(out, "\npeak ")
		if _, err := fmt.Sscan(rest, &n); err != nil {
			t.Fatal(out)
		}
		return n
	}
	base := peak(memoryChild(t, "ok_hello"))
	for guest, want := range map[string]string{"membomb": "MiB", "mem_grow": "out of bounds memory access"} {
		out := memoryChild(t, guest)
		t.Logf("%s: %d MiB above %d MiB", guest, (peak(out)-base)/mib, base/mib)
		if !strings.Contains(out, want) {
			t.Errorf("%s: %s", guest, out)
		}
		if over := peak(out) - base; over > 64*mib+32*mib {
			t.Errorf("%s: %d MiB above the base for a limit of 64 MiB", guest, over/mib)
		}
	}
}

// TestNoAddressSpace reserves where the system refuses.
func TestNoAddressSpace(t *testing.T) {
	if underRace {
		t.Skip("the race detector needs the address space")
	}
	out := memoryChild(t, "no space")
	if !strings.Contains(out, "grows: false") || !strings.Contains(out, "error: "+CodeMemoryUnavailable) {
		t.Error(out)
	}
}
