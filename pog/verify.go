package pog

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strings"

	sqlite3 "github.com/mattn/go-sqlite3"
)

// Damage is the first bad row of one kind of damage.
type Damage struct {
	// Kind is what is wrong: unreadable, gap, not_canonical, hash, chain,
	// seal, reference, schema, sequence, unfinished, blob, views, integrity or head.
	Kind    string `json:"kind"`
	EventID int64  `json:"event_id,omitempty"` // 0 when it is not about one event
	Detail  string `json:"detail"`
	Count   int    `json:"count"` // how many rows have it
}

// Report is the result of Verify.
type Report struct {
	Events    int64    `json:"events"`
	Head      Head     `json:"head"`
	Watermark int64    `json:"watermark"` // how far the views are
	Damages   []Damage `json:"damages"`
}

// OK says that nothing is wrong.
func (r *Report) OK() bool { return len(r.Damages) == 0 }

// add counts a damage; only its first row is described.
func (r *Report) add(kind string, id int64, format string, args ...any) {
	for i := range r.Damages {
		if r.Damages[i].Kind == kind {
			r.Damages[i].Count++
			return
		}
	}
	r.Damages = append(r.Damages, Damage{
		Kind: kind, EventID: id, Detail: fmt.Sprintf(format, args...), Count: 1,
	})
}

// VerifyOptions say what to compare with.
type VerifyOptions struct {
	// Head, when set, is a head that was written down before. Without one a
	// ledger that was cut off at its end, or replaced by an older copy of
	// itself, cannot be told from one that never grew.
	Head *Head
}

// Verify reads the whole ledger: every event's canonical form, hash, place in
// the chain and references, the schema with its triggers, the views against
// the ledger, and SQLite's own integrity check of both files. It returns an
// error only when it could not look; what it finds is in the report.
func (s *Store) Verify(ctx context.Context, opts VerifyOptions) (*Report, error) {
	r := &Report{Damages: []Damage{}}
	if err := s.current(ctx); err != nil && ctx.Err() == nil {
		r.add("views", 0, "they cannot be brought up to date: %v", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c, err := openReader(s.ledgerDB)
	if err != nil {
		return nil, err
	}
	defer c.close()
	if err := c.exec(`BEGIN`); err != nil { // one snapshot for all that is compared
		return nil, storageError("verify", c.path, err)
	}
	v := verification{c: c, report: r, want: opts.Head, blobs: s.opts.blobs()}
	for _, check := range []func(context.Context) error{
		v.rows, v.leftovers, v.schema, v.integrity,
	} {
		if err := check(ctx); ctx.Err() != nil {
			return nil, ctx.Err()
		} else if err != nil {
			r.add("unreadable", 0, "%v", err)
		}
	}
	v.head()
	if err := s.verifyViews(ctx, r, v.seals); ctx.Err() != nil {
		return nil, ctx.Err()
	} else if err != nil {
		r.add("views", 0, "%v", err)
	}
	return r, nil
}

// verification is one pass over the ledger.
type verification struct {
	c      *conn
	report *Report
	want   *Head
	found  bool // the wanted head
	// seals is the seal of one event, for the views' watermark.
	seals func(id int64) (Hash, bool)
	blobs blobStore
}

const selectForVerify = `SELECT ` + eventFields + `, c.chain_hash, c.seal
	FROM events e LEFT JOIN chain c ON c.event_id = e.id ORDER BY e.id`

// rows checks every event against itself and against the one before it. Each
// link is computed from the stored one before, so that one bad row does not
// make all later ones look bad.
func (v *verification) rows(ctx context.Context) error {
	var last link
	v.seals = func(id int64) (Hash, bool) {
		row, err := v.c.first(`SELECT seal FROM chain WHERE event_id = ?`, id)
		if err != nil || len(row) == 0 {
			return Hash{}, false
		}
		return toHash(row[0]), true
	}
	err := v.c.each(ctx, selectForVerify, nil, func(row []driver.Value) error {
		e := scanEvent(row)
		stored := link{e.ID, toHash(row[eventWidth]), toHash(row[eventWidth+1])}
		v.row(&e, last, stored)
		v.compareHead(stored)
		last = stored
		v.report.Events++
		return nil
	})
	v.report.Head = Head(last)
	if err != nil {
		v.report.add("unreadable", last.EventID+1, "the events after %d cannot be read: %v",
			last.EventID, err)
	}
	return nil
}

func (v *verification) row(e *Event, before, stored link) {
	r := v.report
	if e.ID != before.EventID+1 {
		r.add("gap", before.EventID+1, "after event %d comes event %d", before.EventID, e.ID)
		before.EventID = e.ID - 1
	}
	for name, doc := range map[string][]byte{"payload": e.Payload, "provenance": e.Provenance} {
		if !isCanonical(doc) {
			r.add("not_canonical", e.ID, "the %s of event %d is not canonical JSON", name, e.ID)
		}
	}
	hash, err := eventHash(e.Actor, e.Kind, e.Scope, e.Payload, e.Provenance)
	if err != nil || hash != e.Hash {
		r.add("hash", e.ID, "event %d (%s) does not have the contents its hash names",
			e.ID, oneLine(e.Kind, 40))
	}
	if _, err := v.blobs.whole(e.Payload); err != nil {
		r.add("blob", e.ID, "event %d (%s): %v", e.ID, oneLine(e.Kind, 40), err)
	}
	expected := before.next(e.Hash, e.TSMillis)
	if expected.Chain != stored.Chain {
		r.add("chain", e.ID, "event %d does not follow event %d in the chain", e.ID, before.EventID)
	}
	// The seal is computed from the stored chain hash, so that a wrong time
	// shows as such and not only as a consequence.
	if sealOf(before.Seal, stored.Chain, e.ID, e.TSMillis) != stored.Seal {
		r.add("seal", e.ID, "event %d has another id, time or place than it was sealed with", e.ID)
	}
	for _, id := range e.Evidence() {
		if id < 1 || id >= e.ID {
			r.add("reference", e.ID, "event %d cites event %d, which is not before it", e.ID, id)
		}
	}
}

// compareHead looks for the head that was written down.
func (v *verification) compareHead(l link) {
	w := v.want
	if w == nil || w.EventID != 0 && w.EventID != l.EventID {
		return
	}
	v.found = v.found || w.Seal == l.Seal || w.EventID == 0 && w.Chain == l.Chain
}

func (v *verification) head() {
	w, last := v.want, v.report.Head.EventID
	switch {
	case w == nil || v.found:
	case w.EventID > last:
		v.report.add("head", w.EventID, "the ledger ends at event %d; the head names event %d",
			last, w.EventID)
	default:
		v.report.add("head", w.EventID,
			"no event has the hash of the head: the ledger was cut off, rewritten or replaced")
	}
}

// leftovers finds links without events, and a sequence that remembers more
// events than there are.
func (v *verification) leftovers(ctx context.Context) error {
	row, err := v.c.first(`SELECT event_id FROM chain
		WHERE event_id NOT IN (SELECT id FROM events) LIMIT 1`)
	if err != nil {
		return err
	}
	if len(row) > 0 {
		id := integer(row[0])
		v.report.add("chain", id, "the chain has event %d, the ledger has not", id)
	}
	seq, err := v.c.int(`SELECT seq FROM sqlite_sequence WHERE name = 'events'`)
	if err == nil && seq != v.report.Head.EventID {
		v.report.add("sequence", seq, "%d events were appended, the last is %d",
			seq, v.report.Head.EventID)
	}
	return err
}

// schema compares tables, indexes and triggers with what this version makes:
// a dropped trigger is how tampering begins.
func (v *verification) schema(ctx context.Context) error {
	version, err := v.c.pragma("user_version")
	if err != nil {
		return err
	}
	if version != int64(len(ledgerMigrations)) {
		v.report.add("schema", 0, "schema version %d, want %d", version, len(ledgerMigrations))
	}
	dirty, err := v.c.int(`SELECT dirty FROM meta`)
	if err != nil {
		return err
	}
	if dirty != 0 {
		v.report.add("unfinished", 0, "a migration was interrupted")
	}
	want, err := expectedSchema()
	if err != nil {
		return err
	}
	got, err := schemaOf(ctx, v.c)
	if err != nil {
		return err
	}
	for name, sql := range want {
		if got[name] != sql {
			v.report.add("schema", 0, "%s is missing or was changed", name)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			v.report.add("schema", 0, "%s does not belong there", oneLine(name, 80))
		}
	}
	return nil
}

// expectedSchema makes an empty ledger in memory and reads its schema.
func expectedSchema() (map[string]string, error) {
	db, err := (&sqlite3.SQLiteDriver{}).Open(":memory:")
	if err != nil {
		return nil, err
	}
	c := &conn{db: db.(*sqlite3.SQLiteConn), stmts: map[string]*sqlite3.SQLiteStmt{}}
	defer c.close()
	if err := upgradeLedger(c, 0); err != nil {
		return nil, err
	}
	return schemaOf(context.Background(), c)
}

func schemaOf(ctx context.Context, c *conn) (map[string]string, error) {
	schema := map[string]string{}
	err := c.each(ctx, `SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%'`, nil,
		func(v []driver.Value) error {
			schema[text(v[0])+" "+text(v[1])] = text(v[2])
			return nil
		})
	return schema, err
}

func (v *verification) integrity(ctx context.Context) error {
	return integrityCheck(ctx, v.c, v.report, "integrity")
}

// integrityCheck runs SQLite's own checks
// (https://www.sqlite.org/pragma.html#pragma_integrity_check).
func integrityCheck(ctx context.Context, c *conn, r *Report, kind string) error {
	for _, pragma := range []string{`PRAGMA integrity_check(20)`, `PRAGMA foreign_key_check`} {
		err := c.each(ctx, pragma, nil, func(v []driver.Value) error {
			if detail := text(v[0]); detail != "ok" {
				detail = strings.ReplaceAll(detail, "***", "")
				r.add(kind, 0, "%s: %s", c.path, oneLine(detail, 200))
			}
			return nil
		})
		if err != nil {
			r.add(kind, 0, "%s: %v", c.path, err)
		}
	}
	return nil
}

// verifyViews checks that the views were made from this ledger and refer to
// nothing beyond it. Whatever is wrong with them, Rebuild mends.
func (s *Store) verifyViews(ctx context.Context, r *Report, seal func(int64) (Hash, bool)) error {
	c, err := openReader(s.viewsDB)
	if err != nil {
		return err
	}
	defer c.close()
	mark, err := readWatermark(c)
	if err != nil {
		return storageError("verify", c.path, err)
	}
	r.Watermark = mark.EventID
	// Events may have come in since the ledger's snapshot was taken; views
	// that are further than it are checked against what it has.
	if h, ok := seal(mark.EventID); ok && h != mark.Seal {
		r.add("views", mark.EventID, "they were made from another ledger")
	}
	for _, t := range viewTables() {
		for _, name := range []string{t.name, "safe_" + t.name} {
			row, err := c.first(`SELECT source_event FROM `+name+` WHERE source_event < 1
				OR source_event > ? OR source_event IS NULL LIMIT 1`, mark.EventID)
			if err != nil {
				return storageError("verify", c.path, err)
			}
			if len(row) > 0 {
				id := integer(row[0])
				r.add("views", id, "%s has a row from event %d, which is not there", name, id)
			}
		}
	}
	return integrityCheck(ctx, c, r, "views")
}
