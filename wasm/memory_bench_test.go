package wasm

import (
	"testing"

	"github.com/tetratelabs/wazero"
)

// BenchmarkInstantiate makes and ends instances with memory from a pool and
// from wazero's own allocator: of a C program, and of a module that grows to
// 64 MiB.
func BenchmarkInstantiate(b *testing.B) {
	modules := map[string][]byte{"hello": hostileGuest(b, "ok_hello"), "grow64": memoryModule(0, 1)}
	for _, name := range sortedKeys(modules) {
		rig := newMemoryRig(b, modules[name], 64*mib)
		config := wazero.NewModuleConfig().WithName("").WithStartFunctions()
		use := func(ctx func() (*guestMemory, error)) func(*testing.B) {
			return func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					memory, err := ctx()
					if err != nil {
						b.Fatal(err)
					}
					at := rig.ctx
					if memory != nil {
						at = memory.With(at)
					}
					mod, err := rig.rt.InstantiateModule(at, rig.module, config)
					if err != nil {
						b.Fatal(err)
					}
					for grow := mod.ExportedFunction("grow"); grow != nil && mod.Memory().Size() < 60*mib; {
						_, _ = grow.Call(at, 16)
					}
					_ = mod.Close(at)
					if memory != nil {
						memory.Release()
					}
				}
			}
		}
		b.Run(name+"/wazero", use(func() (*guestMemory, error) { return nil, nil }))
		b.Run(name+"/pool", use(func() (*guestMemory, error) { return rig.pool.reserve(rig.info) }))
	}
}
