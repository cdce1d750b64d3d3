package pog

import (
	"context"
	"database/sql/driver"
	"fmt"
)

// maxSegment bounds the events of a Segment: 10 million would be gigabytes.
const maxSegment = 2_000_000

// Segment is a stretch of the ledger as its chain sees it: enough to prove that
// an event is part of it, without what the others say.
type Segment struct {
	Before, After Head // the heads before the first event and after the last
	Links         []Link
}

// Link is an event without what it says.
type Link struct {
	ID       int64
	TSMillis int64
	Hash     Hash
}

// Segment reads the chain from the event first to the event last. The error is
// ErrNotFound when there is no such stretch.
func (s *Store) Segment(ctx context.Context, first, last int64) (*Segment, error) {
	if last-first >= maxSegment {
		return nil, fmt.Errorf("the events %d to %d are more than the %d of one segment", first, last, maxSegment)
	}
	seg := &Segment{}
	err := s.ledger.use(ctx, func(c *conn) error {
		row, err := c.first(`SELECT event_id, chain_hash, seal FROM chain WHERE event_id < ?
			ORDER BY event_id DESC LIMIT 1`, first)
		if err == nil && len(row) > 0 {
			seg.Before = Head{EventID: integer(row[0]), Chain: toHash(row[1]), Seal: toHash(row[2])}
		}
		if err == nil {
			err = c.each(ctx, `SELECT e.id, e.ts_ms, e.hash_blake3, c.chain_hash, c.seal FROM events e
				JOIN chain c ON c.event_id = e.id WHERE e.id BETWEEN ? AND ? ORDER BY e.id`,
				[]any{first, last}, func(v []driver.Value) error {
					seg.Links = append(seg.Links, Link{ID: integer(v[0]), TSMillis: integer(v[1]), Hash: toHash(v[2])})
					seg.After = Head{EventID: integer(v[0]), Chain: toHash(v[3]), Seal: toHash(v[4])}
					return nil
				})
		}
		return storageError("read", c.path, err)
	})
	if err == nil && seg.After.EventID != last {
		err = fmt.Errorf("events %d to %d: %w", first, last, ErrNotFound)
	}
	return seg, err
}
