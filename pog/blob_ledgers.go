package pog

import (
	"os"
	"path/filepath"
	"strings"
)

// Blobs are beside the ledger, and the configuration may put more than one ledger
// beside the same blobs. Each that has values there says so in a file of its own,
// which holds its path: relative where that leads into the folder, so that the
// folder can be moved.

const blobLedgerExt = ".ledger"

// ledgers are the paths of all ledgers that have values here.
func (b blobStore) ledgers() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(globQuote(b.dir), "*"+blobLedgerExt))
	if err != nil {
		return nil, storageError("read", b.dir, err)
	}
	var out []string
	for _, file := range files {
		name, err := os.ReadFile(file)
		if err != nil {
			return nil, storageError("read", file, err)
		}
		path := string(name)
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(b.dir), path)
		}
		out = append(out, path)
	}
	return out, nil
}

// globQuote makes a pattern of a path that matches only that.
func globQuote(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// ledgerFile is where a ledger says that it has values here, and what it says.
func (b blobStore) ledgerFile(ledger string) (file, name string) {
	name = ledger
	if rel, err := filepath.Rel(filepath.Dir(b.dir), ledger); err == nil && filepath.IsLocal(rel) {
		name = rel
	}
	return filepath.Join(b.dir, blobHash([]byte(name)).String()+blobLedgerExt), name
}

// belongTo notes durably that a ledger has values here.
func (b blobStore) belongTo(ledger string) error {
	file, name := b.ledgerFile(ledger)
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	err := writeBlob(file, []byte(name))
	if err == nil {
		err = syncDir(b.dir)
	}
	return storageError("write", file, err)
}
