package pog

import (
	"bytes"
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// BlobGrace is how old a value should be before it can be garbage. Its event may be
// about to be appended; that is looked at as well, so this is for what cannot be
// seen, such as a ledger that is restored from a copy made just before.
const BlobGrace = time.Hour

// removeAtOnce bounds how many values are removed while appends wait.
const removeAtOnce = 500

// Collected is what CollectBlobs found.
type Collected struct {
	Values     int   `json:"values"`     // that no event names
	Unfinished int   `json:"unfinished"` // files of writes that were cut off
	Bytes      int64 `json:"bytes"`      // of both
	Named      int   `json:"named"`      // values that events name, and that stay
}

// CollectBlobs removes values that no event names and that are older than grace:
// what processes left behind that died before they could append, and what was kept
// for events that were refused. A dry run only counts.
//
// A value that an event is being appended for stays, however long that takes: see
// [blobStore.share]. A run needs no other values than those that events name.
//
// Errors: *StorageError; ErrCorrupt when a value that an event names cannot be read,
// since it may name others, and ErrNotFound when another ledger that has values
// here is not there to be looked at.
func (s *Store) CollectBlobs(ctx context.Context, grace time.Duration, dryRun bool) (*Collected, error) {
	c := &collection{s: s, blobs: s.opts.blobs(), grace: grace, used: map[Hash]bool{}}
	if err := c.mark(ctx); err != nil {
		return nil, err
	}
	if err := c.look(ctx); err != nil {
		return nil, err
	}
	out := &Collected{Named: len(c.used)}
	if dryRun {
		for _, g := range c.garbage {
			out.add(g)
		}
		return out, nil
	}
	for len(c.garbage) > 0 {
		n := min(removeAtOnce, len(c.garbage))
		if err := c.sweep(ctx, c.garbage[:n], out); err != nil {
			return out, err
		}
		c.garbage = c.garbage[n:]
	}
	out.Named = len(c.used)
	return out, nil
}

// collection is one pass.
type collection struct {
	s       *Store
	blobs   blobStore
	grace   time.Duration
	ledgers []markedLedger // the store's own is the first
	used    map[Hash]bool
	garbage []garbage
}

// markedLedger is a ledger of which everything up to an event was looked at.
type markedLedger struct {
	db   *database
	upTo int64
}

// garbage is a file that was nothing but garbage when it was found.
type garbage struct {
	path string
	hash Hash
	blob bool // otherwise it is what was left of a write
	size int64
}

func (c *Collected) add(g garbage) {
	if g.blob {
		c.Values++
	} else {
		c.Unfinished++
	}
	c.Bytes += g.size
}

// mark notes which values events name. Nothing waits for it: what is appended
// meanwhile is looked at before anything is removed.
func (c *collection) mark(ctx context.Context) error {
	own := c.s.ledgerDB.path
	paths, err := c.blobs.ledgers()
	if err != nil {
		return err
	}
	c.ledgers = []markedLedger{{db: c.s.ledgerDB}}
	for _, path := range paths {
		if path == own {
			continue
		}
		if _, err := os.Stat(path); err != nil {
			file, _ := c.blobs.ledgerFile(path)
			return &StorageError{Code: ErrNotFound, Op: "look for values of the ledger", Path: path,
				Err: fmt.Errorf("%w; if it is gone for good, remove %s", err, file)}
		}
		c.ledgers = append(c.ledgers, markedLedger{db: ledgerDatabase(path)})
	}
	for i := range c.ledgers {
		if err := c.markLedger(ctx, &c.ledgers[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *collection) markLedger(ctx context.Context, l *markedLedger) error {
	r, err := openReader(l.db)
	if err != nil {
		return err
	}
	defer r.close()
	return c.markIn(ctx, r, l)
}

// markIn notes what the events name that were not looked at yet.
func (c *collection) markIn(ctx context.Context, r *conn, l *markedLedger) error {
	head, err := r.int(`SELECT coalesce(max(id), 0) FROM events`)
	if err != nil {
		return storageError("read", r.path, err)
	}
	sql := `SELECT payload_json FROM events WHERE id > ? AND instr(payload_json, '"` + blobKey + `"') > 0`
	err = r.each(ctx, sql, []any{l.upTo}, func(v []driver.Value) error {
		return c.blobs.markInside([]byte(text(v[0])), c.used)
	})
	l.upTo = head
	return storageError("read", r.path, err)
}

// look finds what no event names.
func (c *collection) look(ctx context.Context) error {
	old := time.Now().Add(-c.grace)
	err := filepath.WalkDir(c.blobs.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || d.IsDir() {
			return err
		}
		h, isBlob := blobName(d.Name())
		if !isBlob && !strings.HasPrefix(d.Name(), blobTemp) || isBlob && c.used[h] {
			return nil
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a write that has just ended
		}
		if err == nil && !info.ModTime().After(old) {
			c.garbage = append(c.garbage, garbage{path, h, isBlob, info.Size()})
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return storageError("read", c.blobs.dir, err)
}

// sweep removes what is still garbage. Who has the lock knows that no event is on
// its way into a ledger that names a value which is there.
func (c *collection) sweep(ctx context.Context, found []garbage, out *Collected) error {
	release, err := c.blobs.seize(ctx)
	if err != nil {
		return err
	}
	defer release()
	for i := range c.ledgers {
		if err := c.settle(ctx, &c.ledgers[i]); err != nil {
			return err
		}
	}
	for _, g := range found {
		if g.blob && c.used[g.hash] {
			continue
		}
		switch err := os.Remove(g.path); {
		case err == nil:
			out.add(g)
		case !errors.Is(err, fs.ErrNotExist): // another collection was first
			return storageError("remove", g.path, err)
		}
	}
	return nil
}

// settle looks at what a ledger got since, and makes sure that it gets nothing of
// before: a process that was killed in its commit may have written all of it to
// the write-ahead log without anybody seeing it, until the log is read anew after
// all who have it open are gone. A commit of ours takes its place.
func (c *collection) settle(ctx context.Context, l *markedLedger) error {
	w, err := l.db.open()
	if err != nil {
		return err
	}
	defer w.close()
	err = w.tx(func() error {
		if err := w.exec(`UPDATE meta SET ts = ?`, time.Now().UTC().Format(time.RFC3339Nano)); err != nil {
			return err
		}
		return c.markIn(ctx, w, l)
	})
	return storageError("write", l.db.path, err)
}

// mark notes a blob if the document is a reference to one, and what it names.
func (b blobStore) mark(v []byte, used map[Hash]bool) error {
	if !bytes.Contains(v, []byte(`"`+blobKey+`"`)) {
		return nil
	}
	if !looksLikeRef(v) {
		return b.markInside(v, used)
	}
	var ref blobRef
	if err := json.Unmarshal(v, &ref); err != nil {
		return &StorageError{Code: ErrCorrupt, Op: "read", Path: b.dir, Err: err}
	}
	if used[ref.Blob] {
		return nil
	}
	used[ref.Blob] = true
	if ref.Raw {
		return nil
	}
	content, err := b.get(ref.Blob, ref.Size)
	if err != nil {
		return err
	}
	return b.markInside(content, used)
}

// markInside is mark for the inside of a payload or of a blob, which is never a
// reference itself.
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
