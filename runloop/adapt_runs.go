package runloop

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/pog"
)

// runStore keeps the records of runs in the ledger, and reads them back.
type runStore struct{ store *pog.Store }

// Append implements opening.Store.
func (r runStore) Append(ctx context.Context, records []opening.Record) error {
	deltas := make([]pog.Delta, len(records))
	for i, rec := range records {
		var ids struct {
			TraceID   string `json:"trace_id"`
			OpeningID string `json:"opening_id"`
		}
		if err := json.Unmarshal(rec.Payload, &ids); err != nil {
			return err
		}
		deltas[i] = pog.Delta{
			Kind: rec.Kind, Payload: rec.Payload,
			Provenance: pog.Provenance{TraceID: ids.TraceID, OpeningID: ids.OpeningID},
		}
	}
	_, err := r.store.Propose(ctx, pog.System(), deltas...)
	return err
}

// Records implements opening.History.
func (r runStore) Records(ctx context.Context, trace uuid.UUID) ([]opening.Record, error) {
	events, err := r.store.RunEvents(ctx, trace.String())
	return recordsOf(events), err
}

// recordsOf gives events of the ledger as records of a run.
func recordsOf(events []pog.Event) []opening.Record {
	records := make([]opening.Record, len(events))
	for i, e := range events {
		records[i] = opening.Record{Kind: e.Kind, Payload: e.Payload, TSMillis: e.TSMillis}
	}
	return records
}

// peekHistory reads the records of runs without touching the store.
type peekHistory struct{ opts pog.Options }

// Records implements opening.History.
func (p peekHistory) Records(ctx context.Context, trace uuid.UUID) ([]opening.Record, error) {
	events, err := pog.PeekRun(ctx, p.opts, trace.String())
	if errors.Is(err, pog.ErrNotFound) {
		return nil, nil
	}
	return recordsOf(events), err
}

// peekTrace puts the trace of a finished run together out of the ledger, without
// touching the store.
func (o *IO) peekTrace(ctx context.Context, cfg *Loaded, ref string) (*opening.Trace, error) {
	none := exitErrorf(exitNotFound, "no trace of a run %s in %s", ref, o.places(cfg).pog)
	id, err := uuid.Parse(ref)
	if err != nil {
		return nil, none
	}
	t, err := opening.LoadTrace(ctx, peekHistory{o.storeOptions(cfg)}, id)
	if errors.Is(err, opening.ErrNoRun) {
		return nil, none
	}
	return t, err
}
