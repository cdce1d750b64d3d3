package wasm

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"
)

// bundleFiles is a bundle as files; module is its WebAssembly binary.
func bundleFiles(name, caps string, module []byte) fstest.MapFS {
	manifest := `[agent]
name = "` + name + `"
version = "0.1.0"
kind = "wasm32-wasip1"
entry_wasm = { path = "bin/` + name + `.wasm", blake3 = "` + hexSum(module) + `" }

[ports.out]
out = "any"
`
	return fstest.MapFS{
		name + "/manifest.toml":         {Data: []byte(manifest), Mode: 0o644},
		name + "/policy.caps":           {Data: []byte("[capabilities]\n" + caps), Mode: 0o644},
		name + "/bin/" + name + ".wasm": {Data: module, Mode: 0o644},
	}
}

// writeBundle puts a bundle below a folder of the host and returns the folder.
func writeBundle(t *testing.T, name, caps string, module []byte) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, bundleFiles(name, caps, module)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func catalogOf(t *testing.T, dirs ...string) *Catalog {
	t.Helper()
	var sources []Source
	for _, d := range dirs {
		src, ok, err := DirSource(d)
		if err != nil || !ok {
			t.Fatalf("%s: %v %v", d, ok, err)
		}
		sources = append(sources, src)
	}
	return NewCatalog(sources...)
}

func TestBundleDigestsAreChecked(t *testing.T) {
	for _, tt := range []struct {
		name, file, content string
		want                *Error
		text                string
	}{
		{"module changed", "a/bin/a.wasm", "other", &Error{Code: CodeDigest}, "a/bin/a.wasm has BLAKE3"},
		{"manifest broken", "a/manifest.toml", "[agent", &Error{Code: CodeBundle}, "a/manifest.toml:1"},
		{"caps broken", "a/policy.caps", "[capabilities]\nx = 1", &Error{Code: CodeBundle}, "unknown key"},
		{"another name", "a/manifest.toml", "", &Error{Code: CodeBundle}, "agent.name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := writeBundle(t, "a", "", []byte("module"))
			if err := os.WriteFile(filepath.Join(dir, tt.file), []byte(tt.content), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := catalogOf(t, dir).Bundle("a")
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) || !strings.Contains(err.Error(), dir) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestBundleFilesStayInTheirSource(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret.wasm")
	if err := os.WriteFile(outside, []byte("module"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := writeBundle(t, "a", "", []byte("module"))
	wasm := filepath.Join(dir, "a", "bin", "a.wasm")
	if err := errors.Join(os.Remove(wasm), os.Symlink(outside, wasm)); err != nil {
		t.Fatal(err)
	}
	if _, err := catalogOf(t, dir).Bundle("a"); !errors.Is(err, &Error{Code: CodeBundle}) {
		t.Errorf("a link out of the folder was followed: %v", err)
	}
}

func TestCatalogOrderAndVariants(t *testing.T) {
	first, second := writeBundle(t, "a", "", []byte("one")), writeBundle(t, "a", "", []byte("two"))
	variant := filepath.Join(second, "a@fast")
	if err := os.CopyFS(variant, mustSub(t, bundleFiles("a", "", []byte("fast")), "a")); err != nil {
		t.Fatal(err)
	}
	c := catalogOf(t, first, second)
	for ref, want := range map[string]string{"a": "one", "a@fast": "fast"} {
		b, err := c.Bundle(ref)
		if err != nil {
			t.Fatal(err)
		}
		if module, err := b.Module(); err != nil || string(module) != want {
			t.Errorf("%s: %q %v", ref, module, err)
		}
	}
	refs, err := c.Refs()
	if err != nil || strings.Join(refs, " ") != "a a@fast" {
		t.Errorf("refs %v %v", refs, err)
	}
	for _, ref := range []string{"b", "A", "../a", "a@", "a/b", "", "a@../a", "a\x1b"} {
		if _, err := c.Bundle(ref); !errors.Is(err, &Error{Code: CodeUnknownAgent}) {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

// TestBuiltInModuleIsReadLate: and checked then; all that the manifest names is
// checked at once, as with any other bundle.
func TestBuiltInModuleIsReadLate(t *testing.T) {
	files := bundleFiles("a", "", []byte("module"))
	files["a/bin/a.wasm"].Data = []byte("other")
	b, err := NewCatalog(Source{Name: "built in", FS: files, BuiltIn: true}).Bundle("a")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := b.Module(); !errors.Is(err, &Error{Code: CodeDigest}) {
			t.Errorf("a module that is another was taken: %v", err)
		}
	}
	if _, err := testRuntime().load(t.Context(), b.module, b.ModuleDigest); !errors.Is(err, &Error{Code: CodeDigest}) {
		t.Errorf("it was loaded: %v", err)
	}
	files["a/policy.caps"].Data = []byte("[capabilities]\nx = 1")
	if _, err := NewCatalog(Source{Name: "built in", FS: files, BuiltIn: true}).Bundle("a"); err == nil {
		t.Error("broken capabilities were taken")
	}
}

func mustSub(t *testing.T, fsys fs.FS, dir string) fs.FS {
	t.Helper()
	sub, err := fs.Sub(fsys, dir)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

func TestBundleDigestCoversEveryPart(t *testing.T) {
	seen := map[string]string{}
	for name, files := range map[string]fstest.MapFS{
		"base": bundleFiles("a", "", []byte("m")), "caps": bundleFiles("a", "time = true", []byte("m")),
		"module": bundleFiles("a", "", []byte("n")),
	} {
		b, err := LoadBundle(files, "a")
		if err != nil {
			t.Fatal(err)
		}
		if other, dup := seen[b.Digest]; dup {
			t.Errorf("%s and %s have the same digest", name, other)
		}
		seen[b.Digest] = name
	}
}

func TestNothingRunsUngranted(t *testing.T) {
	dir := writeBundle(t, "a", "time = true", []byte("m"))
	b, err := catalogOf(t, dir).Bundle("a")
	if err != nil {
		t.Fatal(err)
	}
	grants := &Grants{Dir: filepath.Join(t.TempDir(), "grants")}
	p := &Policy{Grants: grants}
	_, _, err = p.Effective(b)
	if !errors.Is(err, &Error{Code: CodeNotGranted}) || !strings.Contains(err.Error(), "tell the time") ||
		!strings.Contains(err.Error(), "rlp agent grant a") {
		t.Errorf("got %v", err)
	}
	if err := grants.Add(b, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if caps, _, err := p.Effective(b); err != nil || !caps.Time {
		t.Errorf("granted: %+v %v", caps, err)
	}
	wider, err := LoadBundle(bundleFiles("a", "time = true\nmodel = true", []byte("m")), "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Effective(wider); !errors.Is(err, &Error{Code: CodeNotGranted}) {
		t.Errorf("a bundle that wants more runs on the old grant: %v", err)
	}
	if _, _, err := (&Policy{GrantNames: []string{"a"}}).Effective(b); err != nil {
		t.Errorf("granted for this process: %v", err)
	}
	if _, _, err := (&Policy{GrantNames: []string{"b"}}).Effective(b); err == nil {
		t.Error("the grant of another agent counts")
	}
}

func TestOverridesOnlyTakeAway(t *testing.T) {
	b, err := LoadBundle(bundleFiles("a", "time = true\nmodel = true\nkb_read = [\"notes\"]", []byte("m")), "a")
	if err != nil {
		t.Fatal(err)
	}
	b.BuiltIn = true
	for _, tt := range []struct{ name, override, want, warning string }{
		{"takes one away", "time = false", "to read notes from the knowledge base; ask a model", ""},
		{"empties a list", "kb_read = false", "to tell the time; ask a model", ""},
		{"adds", "net = [\"x\"]", "to tell the time; read notes from the knowledge base; ask a model", "only take away"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			src := []byte("[capabilities]\n" + tt.override)
			if err := os.WriteFile(filepath.Join(dir, "a.toml"), src, 0o600); err != nil {
				t.Fatal(err)
			}
			caps, warnings, err := (&Policy{OverridesDir: dir}).Effective(b)
			if err != nil || caps.Describe() != tt.want {
				t.Errorf("got %v %v", caps.Describe(), err)
			}
			if text := strings.Join(warnings, "\n"); !strings.Contains(text, tt.warning) || (tt.warning == "") != (text == "") {
				t.Errorf("warnings %q", text)
			}
		})
	}
}

// TestFilesThatWouldBlockAreRefused: opening a FIFO waits for a writer.
func TestFilesThatWouldBlockAreRefused(t *testing.T) {
	for _, file := range []string{"manifest.toml", "policy.caps", "bin/a.wasm", SignatureFile} {
		dir := writeBundle(t, "a", "", []byte("module"))
		name := filepath.Join(dir, "a", file)
		_ = os.Remove(name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), unix.Mkfifo(name, 0o644)); err != nil {
			t.Fatal(err)
		}
		if _, err := catalogOf(t, dir).Bundle("a"); !errors.Is(err, &Error{Code: CodeBundle}) {
			t.Errorf("%s: %v", file, err)
		}
	}
}
