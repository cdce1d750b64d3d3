package wasm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// loaded is how the loader answers a module: "ok", a code, or what must not be.
func loaded(t testing.TB, r *Runtime, module []byte) string {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "code")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	_, err = r.compileInChild(context.Background(), module, dir, true)
	var e *Error
	switch {
	case err == nil:
		return "ok"
	case !errors.As(err, &e) || !strings.HasPrefix(e.Code, CodeLoadRefused):
		return "broken: " + err.Error()
	}
	return strings.TrimPrefix(e.Code, CodeLoadRefused+":")
}

// TestLoaderRefusesMalformed sends every module of the generator through the
// loader: what is garbage or a lie is refused by name, what is dear is refused
// or compiled within the child's limits.
func TestLoaderRefusesMalformed(t *testing.T) {
	r := NewRuntime(RuntimeConfig{})
	defer r.Close()
	var worst time.Duration
	for _, m := range malformedModules() {
		began := time.Now()
		got := loaded(t, r, m.data)
		took := time.Since(began)
		switch {
		case strings.HasPrefix(got, "broken"), got == CodeCompiler && !strings.HasPrefix(m.name, "bomb"):
			t.Errorf("%s: %s", m.name, got)
		case strings.HasPrefix(m.name, "bad_"):
			worst = max(worst, took)
			if got == "ok" {
				t.Errorf("%s is accepted", m.name)
			}
		}
	}
	t.Logf("the slowest refusal of a bad module took %v, the start of the child included", worst)
}

// TestLoaderMutants sends damaged modules of the specification tests through
// the loader; see TestMutants for many more of them before one compiler.
func TestLoaderMutants(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(wazeroDir(t), "internal/integration_test/spectest/v*/testdata/*.wasm"))
	if err != nil || len(files) < 5000 {
		t.Fatalf("found %d modules, %v", len(files), err)
	}
	r := NewRuntime(RuntimeConfig{})
	defer r.Close()
	counts := map[string]int{}
	total := soak(100, 5_000)
	for i := range total {
		got := loaded(t, r, mutant(t, files, uint64(i)))
		counts[got]++
		if strings.HasPrefix(got, "broken") || got == CodeCompiler {
			t.Errorf("mutant %d: %s", i, got)
		}
	}
	t.Logf("%d mutants: %v", total, counts)
}

// TestCacheOfForeignModules: native code that was changed after it was sealed
// is compiled anew, and never run.
func TestCacheOfForeignModules(t *testing.T) {
	dir := t.TempDir()
	module := hostileGuest(t, "ok_hello")
	run := func() error {
		r := NewRuntime(RuntimeConfig{CacheDir: filepath.Join(dir, "cache")})
		defer r.Close()
		_, err := r.RunWASI(context.Background(), WASIConfig{Module: module, Args: []string{"x"}})
		return err
	}
	if err := run(); err != nil {
		t.Fatal(err)
	}
	var native string
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.Contains(name, "wazero-") {
			native = name
		}
		return err
	})
	if err != nil || native == "" {
		t.Fatalf("no native code in the cache, %v", err)
	}
	was, err := os.ReadFile(native)
	if err != nil {
		t.Fatal(err)
	}
	changed := append([]byte(nil), was...)
	changed[len(changed)/2] ^= 0xff
	if err := os.WriteFile(native, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(); err != nil {
		t.Error(err)
	}
	if again, err := os.ReadFile(native); err != nil || string(again) != string(was) {
		t.Errorf("the changed code is still there, %v", err)
	}
}

// TestWorkerNoticesChangedCode: what changes after this process looked is
// noticed by the worker, and made anew.
func TestWorkerNoticesChangedCode(t *testing.T) {
	r := NewRuntime(RuntimeConfig{CacheDir: filepath.Join(t.TempDir(), "cache")})
	defer r.Close()
	module := hostileGuest(t, "ok_hello")
	code, err := r.code(context.Background(), module, hexSum(module))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(code.dir, moduleFile)
	if err := os.WriteFile(name, append(module, 0), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := startWorker(context.Background(), code, nil); !errors.Is(err, errCodeUnusable) {
		t.Errorf("a worker loads it: %v", err)
	}
	if _, err = r.RunWASI(context.Background(), WASIConfig{Module: module, Args: []string{"x"}}); err != nil {
		t.Error(err)
	}
	if again, err := os.ReadFile(name); err != nil || !bytes.Equal(again, module) {
		t.Errorf("the changed module is still there, %v", err)
	}
}

// TestWorkerCodeOfAnotherBuild: a sealed folder in which the compiler does not
// find its entry, as another build of this program may leave it.
func TestWorkerCodeOfAnotherBuild(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	module := hostileGuest(t, "ok_hello")
	run := func() error {
		r := NewRuntime(RuntimeConfig{CacheDir: dir})
		defer r.Close()
		_, err := r.RunWASI(context.Background(), WASIConfig{Module: module, Args: []string{"x"}})
		return err
	}
	if err := run(); err != nil {
		t.Fatal(err)
	}
	cache, err := openCodeCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	key := codeKey(hexSum(module), true)
	folder, s := cache.open(key)
	entries, err := filepath.Glob(filepath.Join(folder, "wazero-*", "*"))
	if err != nil || len(entries) != 1 || s == nil {
		t.Fatalf("%v, seal %v, %v", entries, s, err)
	}
	if err := os.Rename(entries[0], filepath.Join(filepath.Dir(entries[0]), strings.Repeat("0", 64))); err != nil {
		t.Fatal(err)
	}
	if _, err := cache.seal(key, s.Info, s.Life); err != nil {
		t.Fatal(err)
	}
	if err := run(); err != nil {
		t.Error(err)
	}
}
