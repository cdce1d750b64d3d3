package pog

import (
	"context"
	"database/sql/driver"
)

// PeekedUsage is what one finished run spent on models.
type PeekedUsage struct {
	Tokens int64
	USD    float64
}

// PeekUsage returns what the latest runs of an opening spent, at most limit of
// them, those alone that were a success. Like [Peek] it leaves the store as it
// is.
//
// Errors: ErrNotFound when there is no ledger; *StorageError.
func PeekUsage(ctx context.Context, opts Options, openingID string, limit int) ([]PeekedUsage, error) {
	c, err := openPeek(opts)
	if err != nil {
		return nil, err
	}
	defer c.close()
	var out []PeekedUsage
	err = c.each(ctx, `SELECT coalesce(json_extract(payload_json, '$.usage.tokens_in'), 0) +
		coalesce(json_extract(payload_json, '$.usage.tokens_out'), 0),
		CAST(coalesce(json_extract(payload_json, '$.usage.usd'), 0) AS REAL)
		FROM events WHERE kind = 'run.finished' AND actor = ?
		AND json_extract(payload_json, '$.opening_id') = ? AND json_extract(payload_json, '$.success')
		ORDER BY ts_ms DESC, id DESC LIMIT ?`,
		[]any{actorSystem, openingID, limit},
		func(v []driver.Value) error {
			tokens, _ := v[0].(int64)
			usd, _ := v[1].(float64)
			out = append(out, PeekedUsage{tokens, usd})
			return ctx.Err()
		})
	if err != nil {
		return nil, storageError("read", c.path, err)
	}
	return out, nil
}
