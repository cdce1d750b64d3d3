package wasm

import (
	"context"
	"testing"
)

func BenchmarkCrewInstance(b *testing.B) {
	src, _, _ := DirSource("../agents/dist")
	src.BuiltIn = true
	bd, err := NewCatalog(src).Bundle("critic")
	if err != nil {
		b.Fatal(err)
	}
	m, err := testRuntime().Load(context.Background(), bd.Module, bd.ModuleDigest)
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
	src, _, _ := DirSource("../agents/dist")
	src.BuiltIn = true
	bd, err := NewCatalog(src).Bundle("critic")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(bd.Module)))
	for b.Loop() {
		hexSum(bd.Module)
	}
}

func BenchmarkCrewScan(b *testing.B) {
	src, _, _ := DirSource("../agents/dist")
	src.BuiltIn = true
	bd, err := NewCatalog(src).Bundle("critic")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(bd.Module)))
	for b.Loop() {
		Scan(bd.Module, DefaultScanLimits())
	}
}
