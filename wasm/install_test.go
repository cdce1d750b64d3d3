package wasm

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// tarOf packs files; edit may change and add entries.
func tarOf(t testing.TB, files fstest.MapFS, edit func(*tar.Writer)) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, f := range files {
		h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(f.Data))}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.Data); err != nil {
			t.Fatal(err)
		}
	}
	if edit != nil {
		edit(w)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zip(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func inFile(t testing.TB, name string, content []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// visible lists everything below a folder of agents.
func visible(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && p != dir {
			rel, _ := filepath.Rel(dir, p)
			out = append(out, rel)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return out
}

func installed(t testing.TB, dir, from string) *Bundle {
	t.Helper()
	s, err := Stage(dir, from)
	if err != nil {
		t.Fatal(err)
	}
	if len(visible(t, filepath.Join(dir, s.Bundle.Manifest.Name))) > 0 && s.Old == nil {
		t.Error("a staged bundle is visible")
	}
	if err := errors.Join(s.Install(), s.Close()); err != nil {
		t.Fatal(err)
	}
	return s.Bundle
}

func TestInstallFromEverything(t *testing.T) {
	key := testKey(t, 'a')
	files := signedFiles(t, "a", "1.0.0", "time = true", key)
	files["a/src/main.go"] = &fstest.MapFile{Data: []byte("package main")}
	top := fstest.MapFS{}
	for name, f := range files {
		top["./"+strings.TrimPrefix(name, "a/")] = f
	}
	folder := t.TempDir()
	if err := os.CopyFS(folder, files); err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]string{
		"tar":                   inFile(t, "a.tar", tarOf(t, files, nil)),
		"tar.gz":                inFile(t, "a.tar.gz", zip(t, tarOf(t, files, nil))),
		"tar with files at top": inFile(t, "a.tgz", zip(t, tarOf(t, top, nil))),
		"folder":                filepath.Join(folder, "a"),
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "agents")
			b := installed(t, dir, from)
			want := []string{"a", "a/README.md", "a/SIGNATURES", "a/SIGNATURES/manifest.sig", "a/bin", "a/bin/a.wasm",
				"a/manifest.toml", "a/policy.caps", "a/schemas", "a/schemas/out.json", "a/tools.json"}
			if got := visible(t, dir); !slices.Equal(got, want) {
				t.Errorf("installed %v", got)
			}
			got, err := catalogOf(t, dir).Bundle("a")
			if err != nil || got.Digest != b.Digest || got.Signer != key.Public() {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestHostileArchivesLeaveNothing: each is refused, quickly, and nothing is
// there afterwards.
func TestHostileArchivesLeaveNothing(t *testing.T) {
	good := signedFiles(t, "a", "1.0.0", "", testKey(t, 'a'))
	entry := func(h tar.Header) func(*tar.Writer) {
		return func(w *tar.Writer) {
			h.Mode = 0o777
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if h.Typeflag == tar.TypeReg {
				_, _ = w.Write(make([]byte, h.Size))
			}
		}
	}
	huge := func(w *tar.Writer) { // a header that promises 10 GiB
		_ = w.WriteHeader(&tar.Header{Name: "a/big", Typeflag: tar.TypeReg, Size: 10 << 30})
	}
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	zeros := make([]byte, 1<<20)
	for range archiveBytesMax>>20 + 8 {
		_, _ = z.Write(zeros)
	}
	_ = z.Close()
	archives := map[string][]byte{
		"absolute":       tarOf(t, good, entry(tar.Header{Name: "/etc/x", Typeflag: tar.TypeReg})),
		"dots":           tarOf(t, good, entry(tar.Header{Name: "a/../../x", Typeflag: tar.TypeReg})),
		"dots first":     tarOf(t, good, entry(tar.Header{Name: "../x", Typeflag: tar.TypeReg})),
		"symlink":        tarOf(t, good, entry(tar.Header{Name: "a/l", Linkname: "/etc", Typeflag: tar.TypeSymlink})),
		"hard link":      tarOf(t, good, entry(tar.Header{Name: "a/l", Linkname: "a/policy.caps", Typeflag: tar.TypeLink})),
		"device":         tarOf(t, good, entry(tar.Header{Name: "a/d", Typeflag: tar.TypeChar})),
		"fifo":           tarOf(t, good, entry(tar.Header{Name: "a/f", Typeflag: tar.TypeFifo})),
		"twice":          tarOf(t, good, entry(tar.Header{Name: "./a/policy.caps", Typeflag: tar.TypeReg})),
		"file as folder": tarOf(t, good, entry(tar.Header{Name: "a/policy.caps/x", Typeflag: tar.TypeReg})),
		"backslash":      tarOf(t, good, entry(tar.Header{Name: `a\x`, Typeflag: tar.TypeReg})),
		"escape":         tarOf(t, good, entry(tar.Header{Name: "a/\x1b[2J", Typeflag: tar.TypeReg})),
		"long name":      tarOf(t, good, entry(tar.Header{Name: strings.Repeat("n", 600), Typeflag: tar.TypeReg})),
		"deep":           tarOf(t, good, entry(tar.Header{Name: strings.Repeat("d/", 50) + "f", Typeflag: tar.TypeReg})),
		"two bundles":    tarOf(t, good, entry(tar.Header{Name: "b/manifest.toml", Typeflag: tar.TypeReg})),
		"gzip bomb":      bomb.Bytes(),
		"cut":            tarOf(t, good, nil)[:700],
		"empty":          {},
		"text":           []byte("hello"),
		"broken gzip":    []byte("\x1f\x8bnothing"),
		"many": tarOf(t, good, func(w *tar.Writer) {
			for i := range 2000 {
				_ = w.WriteHeader(&tar.Header{Name: "a/" + strings.Repeat("x", i%200) + string(rune('a'+i%26)) + "/" +
					time.Unix(int64(i), 0).UTC().Format("150405"), Typeflag: tar.TypeReg})
			}
		}),
	}
	var big bytes.Buffer
	w := tar.NewWriter(&big)
	huge(w)
	archives["huge"] = big.Bytes()
	for name, content := range archives {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "agents")
			s, err := Stage(dir, inFile(t, "a.tar", content))
			if !errors.Is(err, &Error{Code: CodeBundle}) || strings.ContainsRune(err.Error(), 0x1b) {
				t.Errorf("got %v", err)
			}
			if err == nil {
				s.Close()
			}
			if left := visible(t, dir); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestTamperedBundlesAreNotInstalled flips each file of a signed bundle on its
// way into an archive.
func TestTamperedBundlesAreNotInstalled(t *testing.T) {
	for file := range signedFiles(t, "a", "1.0.0", "", testKey(t, 'a')) {
		if file == "a/README.md" {
			continue
		}
		files := signedFiles(t, "a", "1.0.0", "", testKey(t, 'a'))
		files[file].Data = slices.Clone(files[file].Data)
		files[file].Data[len(files[file].Data)/2] ^= 1
		dir := filepath.Join(t.TempDir(), "agents")
		_, err := Stage(dir, inFile(t, "a.tar.gz", zip(t, tarOf(t, files, nil))))
		if err == nil || len(visible(t, dir)) > 0 {
			t.Errorf("%s flipped: %v, and there is %v", file, err, visible(t, dir))
		}
	}
}

func TestInstallReplacesWhole(t *testing.T) {
	key, other := testKey(t, 'a'), testKey(t, 'b')
	dir := filepath.Join(t.TempDir(), "agents")
	pack := func(version string, key *SigningKey) string {
		return inFile(t, "a.tar", tarOf(t, signedFiles(t, "a", version, "", key), nil))
	}
	installed(t, dir, pack("1.10.0", key))
	for _, tt := range []struct {
		version       string
		key           *SigningKey
		older, signer bool
	}{
		{"1.10.0", key, false, false}, {"1.9.9", key, true, false}, {"1.10.0-rc.1", key, true, false},
		{"2.0.0", nil, false, true}, {"2.0.0", other, false, true}, {"0.1.0", nil, true, true},
	} {
		s, err := Stage(dir, pack(tt.version, tt.key))
		if err != nil {
			t.Fatal(err)
		}
		if s.Downgrade() != tt.older || s.OtherSigner() != tt.signer {
			t.Errorf("%s: older %v, other signer %v", tt.version, s.Downgrade(), s.OtherSigner())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	before := visible(t, dir)
	installed(t, dir, pack("2.0.0", key))
	if b, err := catalogOf(t, dir).Bundle("a"); err != nil || b.Manifest.Version != "2.0.0" || !slices.Equal(before, visible(t, dir)) {
		t.Errorf("%v %v", err, visible(t, dir))
	}
	// A damaged one still tells its version.
	if err := os.WriteFile(filepath.Join(dir, "a", "policy.caps"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := Stage(dir, pack("1.0.0", key))
	if err != nil || !s.Downgrade() {
		t.Errorf("over a damaged one: %v", err)
	}
	if err := errors.Join(s.Close(), Remove(dir, "a")); err != nil || len(visible(t, dir)) > 0 {
		t.Errorf("%v %v", err, visible(t, dir))
	}
	for _, name := range []string{"a", "../a", ".", ""} {
		if err := Remove(dir, name); !errors.Is(err, &Error{Code: CodeUnknownAgent}) {
			t.Errorf("removing %q: %v", name, err)
		}
	}
}

func TestFoldersWithLinksAreNotInstalled(t *testing.T) {
	for _, link := range []string{"policy.caps", "bin"} {
		folder := t.TempDir()
		if err := os.CopyFS(folder, signedFiles(t, "a", "1.0.0", "", nil)); err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(folder, "a", link)
		if err := errors.Join(os.Rename(at, filepath.Join(folder, "real")), os.Symlink("../real", at)); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "agents")
		if _, err := Stage(dir, filepath.Join(folder, "a")); err == nil || len(visible(t, dir)) > 0 {
			t.Errorf("%s: %v", link, err)
		}
	}
}

func TestOldLeftoversGo(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".incoming-old", ".incoming-new"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(filepath.Join(dir, ".incoming-old"), long, long); err != nil {
		t.Fatal(err)
	}
	installed(t, dir, inFile(t, "a.tar", tarOf(t, signedFiles(t, "a", "1.0.0", "", nil), nil)))
	if got := strings.Join(visible(t, dir), " "); strings.Contains(got, "old") || !strings.Contains(got, ".incoming-new") {
		t.Errorf("%v", got)
	}
}

// FuzzUnpack: whatever an archive holds, nothing is written outside of its
// root and no error has a control character.
func FuzzUnpack(f *testing.F) {
	f.Add(tarOf(f, fstest.MapFS{"a/b": {Data: []byte("x")}}, nil))
	f.Add(zip(f, tarOf(f, fstest.MapFS{"../b": {Data: []byte("x")}}, nil)))
	f.Fuzz(func(t *testing.T, content []byte) {
		outer := t.TempDir()
		inner := filepath.Join(outer, "inner")
		if err := os.Mkdir(inner, 0o700); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(inner)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		if err := unpack(bytes.NewReader(content), root); err != nil && printable(err.Error()) != err.Error() {
			t.Errorf("%q", err)
		}
		if entries, err := os.ReadDir(outer); err != nil || len(entries) != 1 {
			t.Errorf("%v %v", entries, err)
		}
	})
}
