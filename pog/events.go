package pog

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Filter selects events. Its zero value selects all of them.
type Filter struct {
	Entity  string // what they are about: "run:<trace>", "contact:<key>", …
	Kinds   []string
	Actor   string
	AfterID int64 // only newer ones
	Since   time.Time
	Until   time.Time
	Limit   int  // default and most 10,000
	Newest  bool // newest first; otherwise oldest first
	// Stored leaves payloads as the ledger has them, with references to values
	// that are kept beside it: this is what hashes are of.
	Stored bool
}

const maxEvents = 10_000

// errEnough ends a query from inside of its callback.
var errEnough = errors.New("enough")

// Event returns one event, or ErrNotFound when there is none or the reader
// may not see it.
func (s *Store) Event(ctx context.Context, r Reader, id int64) (*Event, error) {
	var found *Event
	err := s.ledger.use(ctx, func(c *conn) error {
		row, err := c.first(selectEvent+` WHERE e.id = ?`, id)
		if err == nil && len(row) > 0 {
			e := scanEvent(row)
			if err = s.fill(&e); err == nil {
				found = s.show(r, &e)
			}
		}
		return storageError("read", c.path, err)
	})
	if err == nil && found == nil {
		err = fmt.Errorf("event %d: %w", id, ErrNotFound)
	}
	return found, err
}

// fill puts the values into a payload that are kept beside the ledger.
func (s *Store) fill(e *Event) (err error) {
	e.Payload, err = s.opts.blobs().whole(e.Payload)
	return err
}

// show returns the event as the reader may see it, or nil. A masked event
// has no hash: it would confirm a guess at what was masked.
func (s *Store) show(r Reader, e *Event) *Event {
	if !r.may(domainOf(e.Kind)) {
		return nil
	}
	if !r.Raw {
		e.Payload = s.red.maskJSON(e.Payload)
		e.Provenance = s.red.maskJSON(e.Provenance)
		e.Hash = Hash{}
	}
	return e
}

// Events returns the events the filter selects and the reader may see, from
// the ledger itself. Selecting by entity waits for the views, which know
// what an event is about, and fails when they cannot be brought up to date.
func (s *Store) Events(ctx context.Context, r Reader, f Filter) ([]Event, error) {
	if f.Limit <= 0 || f.Limit > maxEvents {
		f.Limit = maxEvents
	}
	source, from := s.ledger, "events e"
	where, args := f.where()
	if f.Entity != "" {
		e, err := parseEntity(f.Entity)
		if err != nil {
			return nil, err
		}
		if err := s.current(ctx); err != nil {
			return nil, err
		}
		source = s.reader(AllReader()) // it has both files
		from = "main.entity_history h CROSS JOIN ledger.events e ON e.id = h.event_id"
		where, args = append(where, "h.entity_key = ?"), append(args, s.red.mask(e.key()))
	}
	sql := strings.Replace(selectEvent, "events e", from, 1)
	if len(where) > 0 {
		sql += " WHERE " + strings.Join(where, " AND ")
	}
	sql += " ORDER BY e.id" + map[bool]string{true: " DESC"}[f.Newest]
	var out []Event
	err := source.use(ctx, func(c *conn) error {
		err := c.each(ctx, sql, args, func(v []driver.Value) error {
			e := scanEvent(v)
			if !f.Stored {
				if err := s.fill(&e); err != nil {
					return err
				}
			}
			if shown := s.show(r, &e); shown != nil {
				out = append(out, *shown)
			}
			if len(out) == f.Limit {
				return errEnough
			}
			return nil
		})
		if errors.Is(err, errEnough) {
			err = nil
		}
		return storageError("read", c.path, err)
	})
	return out, err
}

// where turns the filter into conditions on the ledger's columns.
func (f *Filter) where() ([]string, []any) {
	var where []string
	var args []any
	add := func(condition string, values ...any) {
		where = append(where, condition)
		args = append(args, values...)
	}
	if len(f.Kinds) > 0 {
		kinds := slices.Clone(f.Kinds)
		add("e.kind IN (?"+strings.Repeat(",?", len(kinds)-1)+")", anySlice(kinds)...)
	}
	if f.Actor != "" {
		add("e.actor = ?", f.Actor)
	}
	if f.AfterID > 0 {
		add("e.id > ?", f.AfterID)
	}
	if !f.Since.IsZero() {
		add("e.ts_ms >= ?", f.Since.UnixMilli())
	}
	if !f.Until.IsZero() {
		add("e.ts_ms < ?", f.Until.UnixMilli())
	}
	return where, args
}

func anySlice(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}
