package runloop

import (
	"bytes"
	"os"
	"path/filepath"

	"github.com/runloop-os/runloop/wasm"
)

// refreshManifest writes the digests of a bundle's files into its manifest and
// returns it.
func refreshManifest(dir string) ([]byte, error) {
	name := filepath.Join(dir, wasm.ManifestFile)
	src, err := readFileLimited(name, 1<<20)
	if os.IsNotExist(err) {
		return nil, exitErrorf(exitNotFound, "no bundle at %s: it has no %s", dir, wasm.ManifestFile)
	}
	if err != nil {
		return nil, err
	}
	fresh, err := wasm.RefreshDigests(name, src, func(path string) ([]byte, error) {
		return readFileLimited(filepath.Join(dir, filepath.FromSlash(path)), 64<<20)
	})
	if err != nil || bytes.Equal(fresh, src) {
		return src, err
	}
	return fresh, os.WriteFile(name, fresh, 0o644)
}
