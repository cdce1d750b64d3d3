package pog

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestPeekCheck: what was done to the latest events is found, what was done to
// older ones is left to Verify, and the store stays as it is.
func TestPeekCheck(t *testing.T) {
	ctx := context.Background()
	if _, err := PeekCheck(ctx, Options{Dir: t.TempDir()}, 5); !errors.Is(err, ErrNotFound) {
		t.Errorf("no ledger: %v", err)
	}
	dir, head := sampleLedger(t, 12)
	before := listing(t, dir)
	r, err := PeekCheck(ctx, Options{Dir: dir}, 5)
	if err != nil || !r.OK() || r.Events != 12 || r.Head != head {
		t.Errorf("whole: %+v, %v", r, err)
	}
	if after := listing(t, dir); after != before {
		t.Errorf("it changed the store:\n%s\n%s", before, after)
	}
	const dropTriggers = `DROP TRIGGER events_update; DROP TRIGGER events_delete; DROP TRIGGER chain_delete; `
	for name, c := range map[string]struct{ sql, kinds string }{
		"trigger": {``, "schema"},
		"edit":    {`UPDATE events SET payload_json = '{"body":"x","title":"y"}' WHERE id = 10`, "hash schema"},
		"time":    {`UPDATE events SET ts_ms = ts_ms + 1 WHERE id = 8`, "schema seal"},
		"gap":     {`DELETE FROM chain WHERE event_id = 9; DELETE FROM events WHERE id = 9`, "chain gap schema seal"},
		"start":   {`DELETE FROM chain WHERE event_id = 7`, "chain schema"},
		"older":   {`UPDATE events SET payload_json = '{"body":"x","title":"y"}' WHERE id = 2`, "schema"},
	} {
		broken := copyStore(t, dir)
		if err := rawExec(t, filepath.Join(broken, "events.sqlite"), dropTriggers+c.sql); err != nil {
			t.Fatal(err)
		}
		r, err := PeekCheck(ctx, Options{Dir: broken}, 5)
		if err != nil || damages(r) != c.kinds {
			t.Errorf("%s: %v, %v, want %s", name, r, err, c.kinds)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "events.sqlite"), []byte("no ledger at all, but a text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := PeekCheck(ctx, Options{Dir: dir}, 5); err == nil {
		t.Errorf("no ledger: %+v", r)
	}
}
