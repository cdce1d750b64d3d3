package wasm

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"

	"lukechampine.com/blake3"
)

// Sizes that a bundle's files may have, in bytes.
const (
	manifestMax = 64 << 10
	textFileMax = 1 << 20
	moduleMax   = ModuleMax
)

// ModuleMax is the most bytes that a module may have.
const ModuleMax = 64 << 20

// ManifestFile is the file that makes a folder a bundle.
const ManifestFile = "manifest.toml"

// Bundle is an agent as it lies on disk or in the binary, with every digest
// checked.
type Bundle struct {
	Manifest *Manifest
	Caps     *Caps // what it asks for, not what it gets
	Tools    Tools // of its tools.json, or nil
	// ModuleDigest is the hex BLAKE3 of the module; Digest that of the whole
	// bundle: manifest, capabilities, tools and schemas (and, through the
	// manifest, the module).
	ModuleDigest string
	Digest       string
	Origin       string // where it was found, for people
	BuiltIn      bool   // it came with the binary
	// Signer is the key that signed the manifest; empty for an unsigned bundle.
	Signer PublicKey

	module moduleBytes
}

// moduleBytes reads a WebAssembly binary and checks its digest.
type moduleBytes func() ([]byte, error)

// inHand is a binary that was read and checked.
func inHand(binary []byte) moduleBytes { return func() ([]byte, error) { return binary, nil } }

// Module returns the WebAssembly binary, which has ModuleDigest. That of a bundle
// that came with this program is read when it is first asked for: compiled code in
// the cache does without it, and reading 4 MB is a tenth of a warm run.
func (b *Bundle) Module() ([]byte, error) { return b.module() }

// LoadBundle reads and checks the bundle in folder dir of fsys. The entry
// module may lie beside the folder (a path that starts with ../), because
// several bundles may share one.
func LoadBundle(fsys fs.FS, dir string) (*Bundle, error) {
	return loadBundle(fsys, dir, nil)
}

// loadBundle is LoadBundle. With modules, by digest, the module is read later, once
// for all bundles that have it; they must name its digest.
func loadBundle(fsys fs.FS, dir string, modules map[string]moduleBytes) (*Bundle, error) {
	src, err := readBundleFile(fsys, path.Join(dir, ManifestFile), manifestMax)
	if err != nil {
		return nil, err
	}
	m, err := ParseManifest(path.Join(dir, ManifestFile), src)
	if err != nil {
		return nil, err
	}
	b := &Bundle{Manifest: m}
	if err := b.readSignature(fsys, dir, src); err != nil {
		return nil, err
	}
	sum := &bundleSum{}
	sum.add(ManifestFile, src)
	for _, read := range []func(fs.FS, string, *bundleSum) error{b.readCaps, b.readSchemas, b.readTools} {
		if err := read(fsys, dir, sum); err != nil {
			return nil, err
		}
	}
	b.Digest, b.ModuleDigest = sum.hex(), m.Entry.Blake3
	read := func() ([]byte, error) {
		module, _, err := readRef(fsys, dir, m.Entry, moduleMax)
		return module, err
	}
	if modules != nil && b.ModuleDigest != "" {
		if b.module = modules[b.ModuleDigest]; b.module == nil {
			b.module = sync.OnceValues(read)
			modules[b.ModuleDigest] = b.module
		}
		return b, nil
	}
	module, err := read()
	b.module = inHand(module)
	return b, err
}

func (b *Bundle) readCaps(fsys fs.FS, dir string, sum *bundleSum) error {
	src, name, err := readRef(fsys, dir, b.Manifest.Caps, textFileMax)
	if err != nil {
		return err
	}
	sum.add("caps", src)
	b.Caps, err = ParseCaps(name, src)
	return err
}

func (b *Bundle) readSchemas(fsys fs.FS, dir string, sum *bundleSum) error {
	schemas := map[string]json.RawMessage{}
	for _, ref := range b.Manifest.schemaRefs() {
		src, name, err := readRef(fsys, dir, ref, textFileMax)
		if err != nil {
			return err
		}
		if !json.Valid(src) {
			return errorf(CodeBundle, "%s: not JSON", name)
		}
		sum.add("schema/"+ref.Path, src)
		schemas[ref.Path] = src
	}
	for _, ports := range []map[string]Port{b.Manifest.In, b.Manifest.Out} {
		for name, p := range ports {
			if p.SchemaRef.Path != "" {
				p.Type, p.Schema = AnyType, schemas[p.SchemaRef.Path]
				ports[name] = p
			}
		}
	}
	return nil
}

func (b *Bundle) readTools(fsys fs.FS, dir string, sum *bundleSum) error {
	if b.Manifest.Tools == nil {
		return nil
	}
	src, name, err := readRef(fsys, dir, *b.Manifest.Tools, textFileMax)
	if err != nil {
		return err
	}
	sum.add("tools", src)
	b.Tools, err = ParseTools(name, src)
	return err
}

// readRef reads a file that a manifest names and compares its digest.
func readRef(fsys fs.FS, dir string, ref FileRef, most int64) ([]byte, string, error) {
	name := path.Join(dir, ref.Path)
	src, err := readBundleFile(fsys, name, most)
	if err != nil {
		return nil, name, err
	}
	if got := hexSum(src); ref.Blake3 != "" && got != ref.Blake3 {
		return nil, name, errorf(CodeDigest, "%s has BLAKE3 %s, but the manifest says %s",
			name, got, ref.Blake3)
	}
	return src, name, nil
}

func readBundleFile(fsys fs.FS, name string, most int64) ([]byte, error) {
	if st, err := fs.Stat(fsys, name); err == nil && !st.Mode().IsRegular() {
		return nil, errorf(CodeBundle, "%s: not a regular file", name) // opening a FIFO would wait for ever
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, errorf(CodeBundle, "%s: %v", name, reason(err))
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil || !st.Mode().IsRegular():
		return nil, errorf(CodeBundle, "%s: not a regular file", name)
	case st.Size() > most:
		return nil, errorf(CodeBundle, "%s: over %d bytes", name, most)
	}
	src := make([]byte, st.Size()) // a file that grows meanwhile fails its digest
	if _, err := io.ReadFull(f, src); err != nil {
		return nil, errorf(CodeBundle, "%s: %v", name, reason(err))
	}
	return src, nil
}

// reason is err without the operation and path that os puts around it.
func reason(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func hexSum(b []byte) string {
	sum := blake3.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// bundleSum is BLAKE3 over one line per part: its name and its own digest.
type bundleSum struct{ lines strings.Builder }

func (s *bundleSum) add(part string, content []byte) {
	fmt.Fprintf(&s.lines, "%s %s\n", part, hexSum(content))
}

func (s *bundleSum) hex() string { return hexSum([]byte(s.lines.String())) }
