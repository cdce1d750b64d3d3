package pog

import (
	"context"
	"database/sql/driver"
	"strings"
	"time"
)

// PeekedRun is a run as the event of its beginning names it.
type PeekedRun struct {
	TraceID string // trace:<uuid>
	Opening string // name of the opening, or its id where it has none
	Started time.Time
}

// PeekRuns returns the runs, the latest first, whose trace id begins with
// prefix, with or without "trace:": at most limit of them, 0 for all. Like
// [Peek] it leaves the store as it is. It reads every beginning of a run until
// it has enough.
//
// Errors: ErrNotFound when there is no ledger; *StorageError.
func PeekRuns(ctx context.Context, opts Options, prefix string, limit int) ([]PeekedRun, error) {
	c, err := openPeek(opts)
	if err != nil {
		return nil, err
	}
	defer c.close()
	begins := strings.ToLower(strings.TrimPrefix(strings.TrimPrefix(prefix, "run:"), "trace:"))
	if limit <= 0 {
		limit = -1 // to SQLite: none
	}
	var out []PeekedRun
	err = c.each(ctx, `SELECT ts_ms, json_extract(payload_json, '$.trace_id'),
		coalesce(json_extract(payload_json, '$.opening_name'), json_extract(payload_json, '$.opening_id'), '')
		FROM events WHERE kind = 'run.started' AND actor = ? AND instr(payload_json, ?) > 0
		AND substr(json_extract(payload_json, '$.trace_id'), 1, ?) = ?
		ORDER BY ts_ms DESC, id DESC LIMIT ?`,
		[]any{actorSystem, `"trace_id":"trace:` + begins, len("trace:" + begins), "trace:" + begins, limit},
		func(v []driver.Value) error {
			out = append(out, PeekedRun{TraceID: text(v[1]), Opening: text(v[2]), Started: time.UnixMilli(v[0].(int64))})
			return ctx.Err()
		})
	if err != nil {
		return nil, storageError("read", c.path, err)
	}
	return out, nil
}
