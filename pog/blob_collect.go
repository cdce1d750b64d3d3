package pog

import (
	"bytes"
	"context"
	"database/sql/driver"
	"encoding/json"
	"io/fs"
	"os"
	"time"
)

// blobGrace is how old a blob must be before it can be garbage: its event may be
// about to be appended.
const blobGrace = time.Hour

// CollectBlobs removes values that no event names: what processes left behind that
// died before they could append. It returns how many there were and their size.
func (s *Store) CollectBlobs(ctx context.Context) (removed int, size int64, err error) {
	blobs := s.opts.blobs()
	used := map[Hash]bool{}
	err = s.ledger.use(ctx, func(c *conn) error {
		sql := `SELECT payload_json FROM events WHERE instr(payload_json, '"` + blobKey + `"') > 0`
		return storageError("read", c.path, c.each(ctx, sql, nil, func(v []driver.Value) error {
			return blobs.mark([]byte(text(v[0])), used)
		}))
	})
	if err != nil {
		return 0, 0, err
	}
	err = blobs.each(func(h Hash, info fs.FileInfo) error {
		if used[h] || time.Since(info.ModTime()) < blobGrace {
			return nil
		}
		removed++
		size += info.Size()
		return os.Remove(blobs.path(h))
	})
	return removed, size, storageError("remove", blobs.dir, err)
}

// mark notes every blob that a document names, also inside of blobs.
func (b blobStore) mark(v []byte, used map[Hash]bool) error {
	if !bytes.Contains(v, []byte(`"`+blobKey+`"`)) {
		return nil
	}
	if looksLikeRef(v) {
		var ref blobRef
		if json.Unmarshal(v, &ref) != nil || used[ref.Blob] {
			return nil
		}
		used[ref.Blob] = true
		if ref.Raw {
			return nil
		}
		content, err := os.ReadFile(b.path(ref.Blob))
		if err != nil {
			return nil // Verify tells of it
		}
		return b.markInside(content, used)
	}
	return b.markInside(v, used)
}

func (b blobStore) markInside(v []byte, used map[Hash]bool) (err error) {
	keep := func(m []byte) ([]byte, error) { return m, b.mark(m, used) }
	switch {
	case len(v) == 0:
	case v[0] == '{':
		_, err = eachMember(v, func(_ string, m []byte) ([]byte, error) { return keep(m) })
	case v[0] == '[':
		_, err = eachElement(v, keep)
	}
	return err
}
