package wasm

import (
	"context"
	"testing"
)

// crewModule is the module of the built-in agents, and its digest.
func crewModule(b *testing.B) (module []byte, digest string) {
	b.Helper()
	src, _, _ := DirSource("../agents/dist")
	src.BuiltIn = true
	bd, err := NewCatalog(src).Bundle("critic")
	if err != nil {
		b.Fatal(err)
	}
	if module, err = bd.Module(); err != nil {
		b.Fatal(err)
	}
	return module, bd.ModuleDigest
}

func BenchmarkCrewInstance(b *testing.B) {
	module, digest := crewModule(b)
	m, err := testRuntime().Load(context.Background(), module, digest)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		in, err := m.initialized(context.Background(), &guest{args: []string{"critic"}, memory: 64 << 20})
		if err != nil {
			b.Fatal(err)
		}
		in.close()
	}
}

func BenchmarkCrewHash(b *testing.B) {
	module, _ := crewModule(b)
	b.SetBytes(int64(len(module)))
	for b.Loop() {
		hexSum(module)
	}
}

func BenchmarkCrewScan(b *testing.B) {
	module, _ := crewModule(b)
	b.SetBytes(int64(len(module)))
	for b.Loop() {
		Scan(module, DefaultScanLimits())
	}
}
