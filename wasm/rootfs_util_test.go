package wasm

import (
	"io/fs"
	"path/filepath"
)

// walkFiles tells the size of every regular file below a directory.
func walkFiles(dir string, visit func(size int64)) error {
	return filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			visit(info.Size())
		}
		return err
	})
}
