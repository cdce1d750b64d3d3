package pog

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"lukechampine.com/blake3"
)

// blobMin is the size in bytes from which on a value of the host's own records is
// kept beside the ledger, once, however many events have it.
const blobMin = 4 << 10

// blobStore keeps values by the BLAKE3 of their canonical JSON: blobs/<aa>/<hash>
// in the store's folder. A blob is on disk before an event names it, so that a
// process that dies in between leaves garbage and never a hole.
type blobStore struct{ dir string }

func (o Options) blobs() blobStore { return blobStore{filepath.Join(o.Dir, "blobs")} }

func (b blobStore) path(h Hash) string {
	name := h.String()
	return filepath.Join(b.dir, name[:2], name)
}

// blobHash names a value.
func blobHash(content []byte) Hash { return blake3.Sum256(content) }

// put keeps a value. One that is there already is left alone.
func (b blobStore) put(h Hash, content []byte) error {
	path := b.path(h)
	if st, err := os.Stat(path); err == nil && st.Size() == int64(len(content)) {
		return nil
	}
	dir := filepath.Dir(path)
	_, err := os.Stat(dir)
	fresh := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return storageError("write", dir, err)
	}
	err = writeBlob(path, content)
	if err == nil {
		err = syncDir(dir)
	}
	if err == nil && fresh {
		if err = syncDir(b.dir); err == nil {
			err = syncDir(filepath.Dir(b.dir))
		}
	}
	return storageError("write", path, err)
}

// blobTemp begins the name of a file that is being written.
const blobTemp = ".tmp-"

// writeBlob writes a file whole or not at all.
func writeBlob(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), blobTemp+"*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// errBlob is for a value that is not there or not what its name says.
var errBlob = errors.New("a value that an event names is missing or damaged")

// get reads a value and holds it against its name.
func (b blobStore) get(h Hash, size int64) ([]byte, error) {
	path := b.path(h)
	st, err := os.Stat(path)
	if err == nil && st.Size() != size {
		err = fmt.Errorf("it has %d bytes, not %d", st.Size(), size)
	}
	var content []byte
	if err == nil {
		content, err = os.ReadFile(path)
	}
	if err == nil && blobHash(content) != h {
		err = errors.New("its contents are others")
	}
	if err != nil {
		return nil, &StorageError{Code: ErrCorrupt, Op: "read", Path: path, Err: fmt.Errorf("%w: %w", errBlob, err)}
	}
	return content, nil
}

// each calls f for every blob in the store.
func (b blobStore) each(f func(h Hash, info fs.FileInfo) error) error {
	err := filepath.WalkDir(b.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		h, ok := blobName(d.Name())
		if !ok {
			return nil // not a blob: what a write that was cut off left behind
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return f(h, info)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// blobName reads the hash out of the name of a file.
func blobName(name string) (h Hash, ok bool) {
	raw, err := hex.DecodeString(name)
	if err != nil || len(raw) != len(h) {
		return h, false
	}
	copy(h[:], raw)
	return h, true
}
