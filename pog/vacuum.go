package pog

import (
	"context"
	"os"
	"time"
)

// Vacuumed is what Vacuum gave back.
type Vacuumed struct {
	DryRun bool      `json:"dry_run"` // nothing was changed: this is what would be removed
	Blobs  Collected `json:"blobs"`
	// The views' size in bytes before and after. A dry run cannot tell what it
	// would be after.
	ViewsBefore int64 `json:"views_before"`
	ViewsAfter  int64 `json:"views_after"`
}

// Vacuum gives space back to the file system: values that no event names and that
// are older than grace (see [Store.CollectBlobs]), and pages of the views that hold
// nothing. The ledger has none: nothing is ever removed from it.
//
// Errors: as CollectBlobs; ErrBusy when another process keeps writing the views.
func (s *Store) Vacuum(ctx context.Context, grace time.Duration, dryRun bool) (*Vacuumed, error) {
	out := &Vacuumed{DryRun: dryRun}
	blobs, err := s.CollectBlobs(ctx, grace, dryRun)
	if blobs != nil {
		out.Blobs = *blobs
	}
	if err != nil {
		return out, err
	}
	if err := s.current(ctx); err != nil {
		return out, err
	}
	out.ViewsBefore = fileSize(s.viewsDB.path)
	out.ViewsAfter = out.ViewsBefore
	if !dryRun {
		err = s.mat.compact()
		out.ViewsAfter = fileSize(s.viewsDB.path)
	}
	return out, err
}

// fileSize is that of a database with its write-ahead log.
func fileSize(path string) (n int64) {
	for _, suffix := range []string{"", "-wal"} {
		if info, err := os.Stat(path + suffix); err == nil {
			n += info.Size()
		}
	}
	return n
}

// compact writes the views anew, without empty pages
// (https://www.sqlite.org/lang_vacuum.html).
func (m *materializer) compact() error {
	m.busy.Lock()
	defer m.busy.Unlock()
	select {
	case <-m.done:
		return ErrClosed
	default:
	}
	if err := m.connect(); err != nil {
		return err
	}
	db := m.views.db
	err := db.script(`VACUUM`)
	if err == nil && db.checkpoint() != nil {
		return nil // somebody reads: the log is moved into the file later
	}
	return storageError("compact", m.viewsDB.path, err)
}
