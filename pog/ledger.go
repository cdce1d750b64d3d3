package pog

import (
	"context"
	"crypto/rand"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ledgerMigrations is the ledger's schema (spec/05): script n brings version n
// to n+1 and, once released, never changes. The triggers make the ledger
// append-only for everyone who opens the file, not only for this program:
// INSERT OR REPLACE would delete without firing a DELETE trigger, so an
// insert must have a later id and a new hash.
var ledgerMigrations = []string{`
CREATE TABLE events(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  ts_ms INTEGER NOT NULL,
  actor TEXT NOT NULL,
  kind TEXT NOT NULL,
  scope TEXT NOT NULL,
  payload_json TEXT NOT NULL,
  provenance_json TEXT NOT NULL,
  hash_blake3 BLOB NOT NULL UNIQUE CHECK(length(hash_blake3) = 32)
) STRICT;
CREATE INDEX events_kind_ts ON events(kind, ts_ms);
CREATE INDEX events_actor_ts ON events(actor, ts_ms);
CREATE TABLE chain(
  event_id INTEGER PRIMARY KEY REFERENCES events(id),
  chain_hash BLOB NOT NULL CHECK(length(chain_hash) = 32),
  seal BLOB NOT NULL CHECK(length(seal) = 32)
) STRICT;
CREATE TABLE salt(
  id INTEGER PRIMARY KEY CHECK(id = 1),
  value BLOB NOT NULL CHECK(length(value) = 32)
) STRICT;
CREATE TABLE meta(schema_version TEXT, dirty INTEGER, ts DATETIME);
INSERT INTO meta(schema_version, dirty, ts) VALUES('1', 0, datetime('now'));
CREATE TRIGGER events_append BEFORE INSERT ON events
WHEN EXISTS(SELECT 1 FROM events WHERE id >= NEW.id)
  OR EXISTS(SELECT 1 FROM events WHERE hash_blake3 = NEW.hash_blake3)
BEGIN SELECT RAISE(ABORT, 'events is append-only'); END;
CREATE TRIGGER events_update BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'events is append-only'); END;
CREATE TRIGGER events_delete BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'events is append-only'); END;
CREATE TRIGGER chain_append BEFORE INSERT ON chain
WHEN EXISTS(SELECT 1 FROM chain WHERE event_id >= NEW.event_id)
BEGIN SELECT RAISE(ABORT, 'chain is append-only'); END;
CREATE TRIGGER chain_update BEFORE UPDATE ON chain
BEGIN SELECT RAISE(ABORT, 'chain is append-only'); END;
CREATE TRIGGER chain_delete BEFORE DELETE ON chain
BEGIN SELECT RAISE(ABORT, 'chain is append-only'); END;
CREATE TRIGGER salt_append BEFORE INSERT ON salt WHEN EXISTS(SELECT 1 FROM salt)
BEGIN SELECT RAISE(ABORT, 'the salt never changes'); END;
CREATE TRIGGER salt_update BEFORE UPDATE ON salt
BEGIN SELECT RAISE(ABORT, 'the salt never changes'); END;
CREATE TRIGGER salt_delete BEFORE DELETE ON salt
BEGIN SELECT RAISE(ABORT, 'the salt never changes'); END;
`}

func ledgerDatabase(path string) *database {
	return &database{what: "ledger", path: path, appID: ledgerAppID,
		access:  access{synchronous: "FULL", busy: busyTimeout},
		version: int64(len(ledgerMigrations)), upgrade: upgradeLedger}
}

func upgradeLedger(c *conn, from int64) error {
	for _, script := range ledgerMigrations[from:] {
		if err := c.script(script); err != nil {
			return err
		}
	}
	return nil
}

// Event is one row of the ledger.
type Event struct {
	ID         int64           `json:"id"`
	TSMillis   int64           `json:"ts_ms"` // when it was appended
	Actor      string          `json:"actor"`
	Kind       string          `json:"kind"`
	Scope      string          `json:"scope"`
	Payload    json.RawMessage `json:"payload"`    // canonical JSON
	Provenance json.RawMessage `json:"provenance"` // canonical JSON
	Hash       Hash            `json:"hash"`
	// Existing is set on the answer to a proposal when the ledger had the
	// event before.
	Existing bool `json:"existing,omitempty"`
}

// Evidence lists the events this one follows from.
func (e *Event) Evidence() []int64 { return parseProvenance(e.Provenance).Evidence }

// selectEvent and selectRecord read rows for scanEvent; selectRecord adds
// the seal after them.
const (
	eventWidth  = 8
	eventFields = `e.id, e.ts_ms, e.actor, e.kind, e.scope, e.payload_json, e.provenance_json, e.hash_blake3`

	selectEvent  = `SELECT ` + eventFields + ` FROM events e`
	selectRecord = `SELECT ` + eventFields + `, c.seal FROM events e JOIN chain c ON c.event_id = e.id`
)

func scanEvent(v []driver.Value) Event {
	return Event{
		ID: integer(v[0]), TSMillis: integer(v[1]),
		Actor: text(v[2]), Kind: text(v[3]), Scope: text(v[4]),
		Payload: []byte(text(v[5])), Provenance: []byte(text(v[6])), Hash: toHash(v[7]),
	}
}

// toHash reads a digest; one of the wrong length becomes zero, which no
// digest is.
func toHash(v driver.Value) Hash {
	var h Hash
	if b := blob(v); len(b) == len(h) {
		copy(h[:], b)
	}
	return h
}

// Head names the newest event and commits to everything up to it.
type Head struct {
	EventID int64 `json:"event_id"` // 0 for an empty ledger
	// Chain is the hash chain over the events' contents (spec/05); Seal also
	// covers ids and times.
	Chain Hash `json:"chain"`
	Seal  Hash `json:"seal"`
}

// String is the form to write down outside of the machine: "<id>:<seal>".
func (h Head) String() string { return fmt.Sprintf("%d:%s", h.EventID, h.Seal) }

// ParseHead reads a head as String writes it, or a bare chain or seal hash.
func ParseHead(s string) (Head, error) {
	var h Head
	id, digest, hasID := strings.Cut(strings.TrimSpace(s), ":")
	if !hasID {
		id, digest = "0", id
	}
	n, err := strconv.ParseInt(id, 10, 64)
	if err == nil && n < 0 {
		err = errors.New("negative event id")
	}
	if err == nil {
		err = h.Seal.UnmarshalText([]byte(digest))
	}
	if err != nil {
		return Head{}, fmt.Errorf("head %.100q: %w; want ID:HASH as `kb verify` prints it", s, err)
	}
	h.EventID = n
	if !hasID {
		h.Chain = h.Seal // a bare hash may be either
	}
	return h, nil
}

// readHead returns the last link of the chain.
func readHead(ctx context.Context, c *conn) (link, error) {
	var l link
	const last = `SELECT event_id, chain_hash, seal FROM chain ORDER BY event_id DESC LIMIT 1`
	err := c.each(ctx, last, nil, func(v []driver.Value) error {
		l = link{EventID: integer(v[0]), Chain: toHash(v[1]), Seal: toHash(v[2])}
		return nil
	})
	return l, err
}

// loadSalt returns the store's salt, made on first use.
func loadSalt(c *conn) ([]byte, error) {
	row, err := c.first(`SELECT value FROM salt WHERE id = 1`)
	if err != nil {
		return nil, err
	}
	if len(row) > 0 {
		return blob(row[0]), nil
	}
	fresh := make([]byte, 32)
	rand.Read(fresh) // never fails (crypto/rand)
	err = c.exec(`INSERT INTO salt(id, value) SELECT 1, ? WHERE NOT EXISTS (SELECT 1 FROM salt)`, fresh)
	if err != nil {
		return nil, err
	}
	return loadSalt(c) // another process may have been first
}

// appendAll writes the events of one call after head and returns them with
// the new head. It checks everything before it writes anything, so that a
// refusal leaves the transaction of the whole batch as it was.
func appendAll(c *conn, head link, p *proposal, tsMillis int64) ([]Event, link, error) {
	out, err := checkNew(c, head, p.events, p.existing)
	if err != nil {
		return nil, head, err
	}
	for i := range out {
		if out[i].Existing {
			continue
		}
		e := &out[i]
		head = head.next(e.Hash, tsMillis)
		e.ID, e.TSMillis = head.EventID, tsMillis
		if err := insertEvent(c, e, head); err != nil {
			return nil, head, err
		}
	}
	return resolveRepeats(out), head, nil
}

// resolveRepeats fills in events that repeat an earlier one of their call.
func resolveRepeats(events []Event) []Event {
	first := map[Hash]*Event{}
	for i := range events {
		e := &events[i]
		if e.Existing && e.ID == 0 {
			repeated := *first[e.Hash]
			repeated.Existing = true
			*e = repeated
		}
		first[e.Hash] = e
	}
	return events
}

func insertEvent(c *conn, e *Event, l link) error {
	err := c.exec(`INSERT INTO events(id, ts_ms, actor, kind, scope,
		payload_json, provenance_json, hash_blake3) VALUES(?,?,?,?,?,?,?,?)`, e.ID, e.TSMillis, e.Actor, e.Kind, e.Scope,
		string(e.Payload), string(e.Provenance), e.Hash)
	if err != nil {
		return err
	}
	return c.exec(`INSERT INTO chain(event_id, chain_hash, seal) VALUES(?,?,?)`,
		l.EventID, l.Chain, l.Seal)
}

// checkNew checks what only the ledger knows: that what is referred to is
// there, and that the events are not.
func checkNew(c *conn, head link, events []pending, existing bool) ([]Event, error) {
	out := make([]Event, len(events))
	seen := map[Hash]bool{}
	var problems []Problem
	for i := range events {
		p := &events[i]
		for _, r := range p.refs {
			if r.id < 1 || r.id > head.EventID { // ids have no gaps
				problems = append(problems, Problem{Delta: i, Field: r.field,
					Reason: fmt.Sprintf("event %d does not exist", r.id)})
			}
		}
		old, err := findHash(c, p.hash)
		if err != nil {
			return nil, err
		}
		if (old != nil || seen[p.hash]) && !existing {
			return nil, duplicateOf(i, p, old)
		}
		out[i] = Event{Actor: p.actor, Kind: p.kind, Scope: p.scope, Payload: p.payload,
			Provenance: p.provenance, Hash: p.hash, Existing: seen[p.hash]}
		if old != nil {
			out[i] = *old
			out[i].Existing = true
		}
		seen[p.hash] = true
	}
	if len(problems) > 0 {
		return nil, &RefusedError{problems}
	}
	return out, nil
}

// duplicateOf describes a repetition; within one call there is no event yet.
func duplicateOf(i int, p *pending, old *Event) error {
	if old == nil {
		const reason = "the same delta comes twice in this call"
		return &RefusedError{[]Problem{{Delta: i, Reason: reason}}}
	}
	return &DuplicateError{Index: i, Kind: p.kind, EventID: old.ID}
}

// findHash returns the event with a hash, or nil. Nearly always there is
// none, which the index alone can tell.
func findHash(c *conn, h Hash) (*Event, error) {
	id, err := c.int(`SELECT id FROM events WHERE hash_blake3 = ?`, h)
	if err != nil || id == 0 {
		return nil, err
	}
	row, err := c.first(selectEvent+` WHERE e.id = ?`, id)
	if err != nil || len(row) == 0 {
		return nil, err
	}
	e := scanEvent(row)
	return &e, nil
}
