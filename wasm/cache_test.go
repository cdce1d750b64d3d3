package wasm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// hello loads ok_hello in a runtime of its own with a cache in dir.
func hello(t *testing.T, dir string) {
	t.Helper()
	r := NewRuntime(RuntimeConfig{CacheDir: dir, Warn: func(err error) { t.Errorf("warned: %v", err) }})
	module := hostileGuest(t, "ok_hello")
	if _, err := r.Load(context.Background(), module, hexSum(module)); err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// nativeCode is the one file of native code below a cache.
func nativeCode(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "wazero-*", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%d files of native code: %v", len(files), err)
	}
	return files[0]
}

func TestCacheThrowsAwayWhatWasChanged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	hello(t, dir)
	file := nativeCode(t, dir)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func() error{
		"nothing":      func() error { return nil },
		"a byte":       func() error { return os.WriteFile(file, flipped(good), 0o600) },
		"cut":          func() error { return os.WriteFile(file, good[:100], 0o600) },
		"one more":     func() error { return os.WriteFile(file+"x", good, 0o600) },
		"no seal":      func() error { return os.Remove(sealOf(t, dir)) },
		"another seal": func() error { return os.WriteFile(sealOf(t, dir), []byte(`{"scan":1}`), 0o600) },
		"not a seal":   func() error { return os.WriteFile(sealOf(t, dir), []byte(`x`), 0o600) },
		"old scan":     func() error { return replaceIn(sealOf(t, dir), `"scan":1`, `"scan":0`) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := damage(); err != nil {
				t.Fatal(err)
			}
			hello(t, dir)
			got, err := os.ReadFile(nativeCode(t, dir))
			if err != nil || string(got) != string(good) {
				t.Errorf("the code is not as it was: %v", err)
			}
			hello(t, dir)
		})
	}
}

func flipped(b []byte) []byte {
	out := append([]byte(nil), b...)
	out[len(out)/2] ^= 1
	return out
}

func sealOf(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.seal"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%d seals: %v", len(files), err)
	}
	return files[0]
}

func replaceIn(file, old, new string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(strings.Replace(string(b), old, new, 1)), 0o600)
}

// TestCachedCodeNeedsNoModule: what is in the cache under a digest is not read
// again from where it was compiled.
func TestCachedCodeNeedsNoModule(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	hello(t, dir)
	r := NewRuntime(RuntimeConfig{CacheDir: dir, Warn: func(err error) { t.Errorf("warned: %v", err) }})
	digest := hexSum(hostileGuest(t, "ok_hello"))
	_, err := r.load(t.Context(), func() ([]byte, error) { return nil, errors.New("the module was read") }, digest)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Error(err)
	}
}

func TestCacheFolderMustBeOurs(t *testing.T) {
	open := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{open, link} {
		var warned error
		r := NewRuntime(RuntimeConfig{CacheDir: dir, Warn: func(err error) { warned = err }})
		if warned == nil || r.cache != nil {
			t.Errorf("%s is used: %v", dir, warned)
		}
		module := hostileGuest(t, "ok_hello")
		if _, err := r.Load(context.Background(), module, hexSum(module)); err != nil {
			t.Errorf("without a cache: %v", err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestManyFirstRuns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { hello(t, dir) })
	}
	all.Wait()
	nativeCode(t, dir)
}
