package pog

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// runKinds are the kinds of events that together are the record of a run.
func runKinds() []string {
	return []string{"run.started", "run.paused", "run.resumed", "run.stopping", "run.finished", "run.trace",
		"node.started", "node.parked", "node.retry", "node.finished", "action.requested", "action.decided",
		"effect.begun", "effect.done"}
}

// RunEvents returns the record of a run, oldest first: what the host itself wrote
// down about it. A run that the ledger does not know has none.
func (s *Store) RunEvents(ctx context.Context, trace string) ([]Event, error) {
	var out []Event
	f := Filter{Entity: "trace:" + normalizeTrace(trace), Kinds: runKinds(), Actor: actorSystem}
	for {
		page, err := s.Events(ctx, AllReader(), f)
		if err != nil {
			return nil, err
		}
		out = append(out, page...)
		if len(page) < maxEvents {
			return out, nil
		}
		f.AfterID = page[len(page)-1].ID
	}
}

// PeekRun is RunEvents for a store that must stay as it is (see [Peek]). It
// looks through the ledger from the beginning of the run to its end.
//
// Errors: ErrNotFound, also when there is no ledger; *StorageError.
func PeekRun(ctx context.Context, opts Options, trace string) ([]Event, error) {
	start, err := Peek(ctx, opts, "run.started", trace)
	if err != nil {
		return nil, err
	}
	c, err := openPeek(opts)
	if err != nil {
		return nil, err
	}
	defer c.close()
	kinds := runKinds()
	args := append(append(anySlice(kinds), any(start.ID)), ofTraceArgs(trace)...)
	sql := selectEvent + ` WHERE e.kind IN (?` + strings.Repeat(",?", len(kinds)-1) + `)
		AND e.id >= ? AND ` + ofTrace + ` ORDER BY e.id`
	var out []Event
	err = c.each(ctx, sql, args, func(v []driver.Value) error {
		e := scanEvent(v)
		var err error
		if e.Payload, err = blobsBeside(c.path, opts).whole(e.Payload); err != nil {
			return err
		}
		if e.Actor == actorSystem {
			out = append(out, e)
		}
		if e.Kind == "run.trace" {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, storageError("read", c.path, err)
	}
	slices.SortFunc(out, func(a, b Event) int { return int(a.ID - b.ID) })
	return out, nil
}

// ofTrace selects the events of one run: every kind of them names the run, in
// canonical JSON. Most others are told by a look for the name; the payload may
// hold that of another run as well, deeper inside.
const ofTrace = `instr(e.payload_json, ?) > 0 AND json_extract(e.payload_json, '$.trace_id') = ?`

func ofTraceArgs(trace string) []any {
	name := "trace:" + normalizeTrace(trace)
	return []any{fmt.Sprintf(`"trace_id":%q`, name), name}
}
