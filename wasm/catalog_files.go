package wasm

import (
	"errors"
	"io/fs"
	"path"
	"strings"
)

// Files returns the files of the bundle for a reference by their path in a
// folder of bundles: those that its digest covers, its signature, and its module,
// which may lie beside the folder. They make the same bundle wherever they are put. Errors are
// those of [Catalog.Bundle].
func (c *Catalog) Files(ref string) (map[string][]byte, error) {
	b, err := c.Bundle(ref)
	if err != nil {
		return nil, err
	}
	for _, src := range c.sources {
		_, err := fs.Stat(src.FS, path.Join(ref, ManifestFile))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return src.files(b, ref)
	}
	return nil, errorf(CodeUnknownAgent, "no bundle for agent %q in %s", ref, c.places())
}

// files reads what b was read from.
func (src *Source) files(b *Bundle, ref string) (map[string][]byte, error) {
	refs := []string{ManifestFile}
	for _, f := range b.Manifest.files()[1:] {
		refs = append(refs, f.Path)
	}
	if b.Signer != "" {
		refs = append(refs, SignatureFile)
	}
	module, err := b.Module()
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{path.Join(ref, b.Manifest.Entry.Path): module}
	for _, r := range refs {
		name := path.Join(ref, r)
		content, err := readBundleFile(src.FS, name, textFileMax)
		if err != nil {
			return nil, err
		}
		files[name] = content
	}
	for name := range files {
		if strings.HasPrefix(name, "../") {
			return nil, errorf(CodeBundle, "%s: agent %s has a file outside of the folder: %s", src.Name, ref, name)
		}
	}
	return files, nil
}
