package pog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// copyStore copies the ledger of a closed store into a new directory.
func copyStore(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	doc, err := os.ReadFile(filepath.Join(from, "events.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to, "events.sqlite"), doc, 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

// sampleLedger makes a store of n notes, closes it and returns its directory
// and its head.
func sampleLedger(t testing.TB, n int) (string, Head) {
	dir := t.TempDir()
	s := openStore(t, dir)
	for i := range n {
		propose(t, s, User(), note(fmt.Sprint("note ", i), strings.Repeat("text ", i%40)))
	}
	_ = dump(t, s)
	head, err := s.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	return dir, head
}

// damages lists the kinds of damage of a report, sorted.
func damages(r *Report) string {
	var kinds []string
	for _, d := range r.Damages {
		kinds = append(kinds, d.Kind)
	}
	slices.Sort(kinds)
	return strings.Join(kinds, " ")
}

// TestTamper edits a copy of the ledger the way somebody with sqlite3 would
// and expects Verify to name the first bad row; security.md 73.
func TestTamper(t *testing.T) {
	dir, head := sampleLedger(t, 12)
	const dropTriggers = `DROP TRIGGER events_append; DROP TRIGGER events_update; DROP TRIGGER events_delete;
		DROP TRIGGER chain_append; DROP TRIGGER chain_update; DROP TRIGGER chain_delete; `
	// Put back at the end, they hide that they were gone.
	schema := ledgerMigrations[0]
	restore := schema[strings.Index(schema, "CREATE TRIGGER events_append"):strings.Index(schema, "CREATE TRIGGER salt_append")]
	const cut = `DELETE FROM chain WHERE event_id > 9; DELETE FROM events WHERE id > 9; UPDATE sqlite_sequence SET seq = 9;`
	for name, c := range map[string]struct {
		sql   string
		kinds string // without a head
		event int64  // the first bad row of the first of those kinds
	}{
		"edit":          {`UPDATE events SET payload_json = '{"body":"x","title":"y"}' WHERE id = 5`, "hash", 5},
		"edit and name": {`UPDATE events SET actor = 'system', hash_blake3 = zeroblob(32) WHERE id = 5`, "chain hash", 5},
		"not canonical": {`UPDATE events SET payload_json = ' ' || payload_json WHERE id = 5`, "hash not_canonical", 5},
		"provenance":    {`UPDATE events SET provenance_json = '{"trace_id":"x"}' WHERE id = 7`, "hash", 7},
		"scope":         {`UPDATE events SET scope = 'system' WHERE id = 7`, "hash", 7},
		"time":          {`UPDATE events SET ts_ms = ts_ms + 1 WHERE id = 5`, "seal", 5},
		"delete":        {`DELETE FROM chain WHERE event_id = 5; DELETE FROM events WHERE id = 5`, "chain gap seal", 6},
		"delete first":  {`DELETE FROM chain WHERE event_id = 1; DELETE FROM events WHERE id = 1`, "chain gap seal", 2},
		"chain row":     {`DELETE FROM chain WHERE event_id = 5`, "chain seal", 5},
		"chain hash":    {`UPDATE chain SET chain_hash = zeroblob(32) WHERE event_id = 5`, "chain seal", 5},
		"seal":          {`UPDATE chain SET seal = zeroblob(32) WHERE event_id = 5`, "seal", 5},
		"reorder": {`UPDATE events SET id = 100 WHERE id = 5; UPDATE events SET id = 5 WHERE id = 6; UPDATE events SET id = 6 WHERE id = 100`,
			"chain seal", 5},
		"insert": {`UPDATE chain SET event_id = 100 + event_id WHERE event_id > 5; UPDATE events SET id = 100 + id WHERE id > 5;
			INSERT INTO events SELECT 6, ts_ms, actor, kind, scope, payload_json, provenance_json, zeroblob(32) FROM events WHERE id = 5;
			INSERT INTO chain VALUES(6, zeroblob(32), zeroblob(32));
			UPDATE chain SET event_id = event_id - 99 WHERE event_id > 100; UPDATE events SET id = id - 99 WHERE id > 100`, "chain hash seal sequence", 6},
		"evidence":        {`UPDATE events SET provenance_json = '{"evidence":[11]}' WHERE id = 3`, "hash reference", 3},
		"tail":            {`DELETE FROM chain WHERE event_id > 9; DELETE FROM events WHERE id > 9`, "sequence", 12},
		"tail, carefully": {cut, "", 0},
		"dirty":           {`UPDATE meta SET dirty = 1`, "unfinished", 0},
		"index":           {`DROP INDEX events_kind_ts`, "schema", 0},
		"table":           {`CREATE TABLE more(a)`, "schema", 0},
		"orphan":          {`PRAGMA foreign_keys=OFF; INSERT INTO chain VALUES(99, zeroblob(32), zeroblob(32))`, "chain integrity views", 99},
	} {
		t.Run(name, func(t *testing.T) {
			copied := copyStore(t, dir)
			if err := rawExec(t, filepath.Join(copied, "events.sqlite"), dropTriggers+c.sql+";"+restore); err != nil {
				t.Fatal(err)
			}
			s := openStore(t, copied)
			r, err := s.Verify(t.Context(), VerifyOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if damages(r) != c.kinds {
				t.Errorf("found %q, want %q: %+v", damages(r), c.kinds, r.Damages)
			}
			first := strings.Fields(c.kinds + " none")[0]
			for _, d := range r.Damages {
				if d.Kind == first && d.EventID != c.event {
					t.Errorf("the first bad row is %d, want %d: %s", d.EventID, c.event, d.Detail)
				}
			}
			// The head that was written down finds what the ledger cannot.
			r, err = s.Verify(t.Context(), VerifyOptions{Head: &head})
			if err != nil {
				t.Fatal(err)
			}
			cutOff := strings.HasPrefix(name, "tail") || name == "insert"
			if strings.Contains(damages(r), "head") != cutOff {
				t.Errorf("against the head: %+v", r.Damages)
			}
		})
	}
	t.Run("triggers gone", func(t *testing.T) {
		copied := copyStore(t, dir)
		if err := rawExec(t, filepath.Join(copied, "events.sqlite"), dropTriggers); err != nil {
			t.Fatal(err)
		}
		r, err := openStore(t, copied).Verify(t.Context(), VerifyOptions{})
		if err != nil || damages(r) != "schema" || r.Damages[0].Count != 6 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// TestOlderCopy puts an older copy in place of the ledger. It is sound, and
// only the head tells.
func TestOlderCopy(t *testing.T) {
	dir, _ := sampleLedger(t, 5)
	old := copyStore(t, dir)
	s := openStore(t, dir)
	propose(t, s, User(), note("later", "x"))
	head, err := s.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Verify(t.Context(), VerifyOptions{Head: &head})
	if err != nil || !r.OK() || r.Head != head {
		t.Errorf("%+v, %v", r, err)
	}
	s = openStore(t, old)
	if r, err = s.Verify(t.Context(), VerifyOptions{}); err != nil || !r.OK() {
		t.Errorf("%+v, %v", r, err)
	}
	for _, given := range []string{head.String(), head.Seal.String(), head.Chain.String()} {
		h, err := ParseHead(given)
		if err != nil {
			t.Fatal(err)
		}
		if r, err = s.Verify(t.Context(), VerifyOptions{Head: &h}); err != nil || damages(r) != "head" {
			t.Errorf("%s: %+v, %v", given, r, err)
		}
	}
	// An older head is part of a newer ledger.
	h, _ := ParseHead(head.Chain.String())
	if r, err = openStore(t, dir).Verify(t.Context(), VerifyOptions{Head: &h}); err != nil || !r.OK() {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestBitRot flips one bit of a ledger at a time and expects every flip that
// changes a row to be found; security.md 76.
func TestBitRot(t *testing.T) {
	dir, _ := sampleLedger(t, 60)
	sound, err := os.ReadFile(filepath.Join(dir, "events.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	want := ledgerText(t, copyStore(t, dir))
	flips := 60
	if n := envInt("POG_BITROT"); n > 0 {
		flips = n
	}
	rng := rand.New(rand.NewPCG(7, 7))
	changed, silent := 0, 0
	for range flips {
		at := rng.IntN(len(sound))
		rotten := slices.Clone(sound)
		rotten[at] ^= 1 << rng.IntN(8)
		copied := t.TempDir()
		if err := os.WriteFile(filepath.Join(copied, "events.sqlite"), rotten, 0o600); err != nil {
			t.Fatal(err)
		}
		found := flipFound(t, copied)
		if ledgerText(t, copied) != want {
			changed++
			if !found {
				silent++
				t.Errorf("a flip at byte %d changes a row and is not found", at)
			}
		}
	}
	if changed < flips/4 {
		t.Errorf("only %d of %d flips changed a row: the test tests little", changed, flips)
	}
	t.Logf("%d flips, %d changed a row, %d silent", flips, changed, silent)
}

// flipFound says whether opening or verifying notices.
func flipFound(t testing.TB, dir string) bool {
	s, err := Open(context.Background(), Options{Dir: dir})
	if err != nil {
		var se *StorageError
		if !errors.As(err, &se) {
			t.Errorf("an unnamed error: %v", err)
		}
		return true
	}
	defer s.Close()
	r, err := s.Verify(context.Background(), VerifyOptions{})
	return err != nil || !r.OK()
}

// ledgerText is everything the ledger says, or why it cannot be read.
func ledgerText(t testing.TB, dir string) string {
	c, err := openConn(filepath.Join(dir, "events.sqlite"), access{synchronous: "FULL", busy: busyTimeout})
	if err != nil {
		return err.Error()
	}
	defer c.close()
	var b strings.Builder
	d := dumper{ctx: context.Background(), c: c, enc: json.NewEncoder(&b)}
	d.query("events", `SELECT * FROM events NOT INDEXED ORDER BY id`)
	d.query("chain", `SELECT * FROM chain ORDER BY event_id`)
	if d.err != nil {
		return d.err.Error()
	}
	return b.String()
}

func TestVerifyHonoursContext(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Verify(ctx, VerifyOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestViewDamageIsFound edits the views behind the store's back.
func TestViewDamageIsFound(t *testing.T) {
	for name, c := range map[string]struct{ sql, kinds string }{
		"row":  {`UPDATE contacts SET source_event = 77`, "views"},
		"seal": {`UPDATE materializer_state SET seal = zeroblob(32)`, "views"},
	} {
		t.Run(name, func(t *testing.T) {
			s := seeded(t)
			_ = dump(t, s)
			if err := rawExec(t, s.viewsDB.path, c.sql); err != nil {
				t.Fatal(err)
			}
			r, err := s.Verify(t.Context(), VerifyOptions{})
			if err != nil || damages(r) != c.kinds {
				t.Errorf("%+v, %v", r, err)
			}
			if err := s.Rebuild(t.Context()); err != nil {
				t.Fatal(err)
			}
			verifyOK(t, s)
		})
	}
}
