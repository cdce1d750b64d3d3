package pog

import (
	"context"
	"database/sql/driver"
)

// PeekCheck is the quick part of [Store.Verify] on a store that stays as it is:
// the ledger's schema with its triggers, and of its latest events the canonical
// form, hash, place in the chain and references. Events in the report are all
// that there are.
//
// Errors: ErrNotFound when there is no ledger; *StorageError when it cannot be
// looked at.
func PeekCheck(ctx context.Context, opts Options, latest int) (*Report, error) {
	c, err := openPeek(opts)
	if err != nil {
		return nil, err
	}
	defer c.close()
	r := &Report{Damages: []Damage{}}
	v := verification{c: c, report: r, blobs: blobsBeside(c.path, opts)}
	if err := v.schema(ctx); err != nil {
		return nil, storageError("check", c.path, err)
	}
	if err := v.latest(ctx, latest); err != nil {
		return nil, storageError("check", c.path, err)
	}
	return r, ctx.Err()
}

// latest checks the last n events, each against the one before it.
func (v *verification) latest(ctx context.Context, n int) error {
	end, err := v.c.int(`SELECT coalesce(max(id), 0) FROM events`)
	if err != nil {
		return err
	}
	var last link
	if from := end - int64(n); from > 0 {
		row, err := v.c.first(`SELECT event_id, chain_hash, seal FROM chain WHERE event_id = ?`, from)
		if err != nil {
			return err
		}
		if len(row) == 0 {
			v.report.add("chain", from, "the chain has no event %d", from)
			return nil
		}
		last = link{from, toHash(row[1]), toHash(row[2])}
	}
	const since = `SELECT ` + eventFields + `, c.chain_hash, c.seal
		FROM events e LEFT JOIN chain c ON c.event_id = e.id WHERE e.id > ? ORDER BY e.id`
	err = v.c.each(ctx, since, []any{last.EventID}, func(row []driver.Value) error {
		e := scanEvent(row)
		stored := link{e.ID, toHash(row[eventWidth]), toHash(row[eventWidth+1])}
		v.row(&e, last, stored)
		last = stored
		return nil
	})
	v.report.Events, v.report.Head = end, Head(last)
	return err
}
