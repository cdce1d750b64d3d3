package runloop

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/pog"
	"github.com/runloop-os/runloop/router"
)

// The kinds of events about corrections.
const (
	kindCorrected = "route.corrected"
	kindForgotten = "route.forgotten"
)

// routeEvent is the payload of both kinds.
type routeEvent struct {
	First string       `json:"first"`
	Shape string       `json:"shape"`
	Side  router.Route `json:"side,omitempty"`
	Rule  router.Rule  `json:"rule,omitempty"`
}

// heldCorrection is a correction that holds, and the event that says so.
type heldCorrection struct {
	router.Correction
	event int64
}

// correctionLedger is where corrections are the user's word: the ledger. The
// small file follows it.
type correctionLedger struct {
	store *pog.Store
	work  string // the folder of the small file
}

// withCorrections opens the ledger for f and brings the small file up to date
// after.
func (o *IO) withCorrections(ctx context.Context, f func(*correctionLedger) error) error {
	cfg, err := o.config()
	if err != nil {
		return err
	}
	return o.withStore(ctx, func(store *pog.Store) error {
		l := &correctionLedger{store, cfg.Runtime.Workdir}
		if err := f(l); err != nil {
			return err
		}
		return l.derive(ctx)
	})
}

// record appends one event by the user. The nonce makes the same word at another
// time another event.
func (l *correctionLedger) record(ctx context.Context, kind string, payload routeEvent) (int64, error) {
	d, err := pog.NewDelta(kind, payload)
	if err != nil {
		return 0, err
	}
	d.Provenance = pog.Provenance{Source: "rlp route", Nonce: uuid.NewString()}
	events, err := l.store.Propose(ctx, pog.User(), d)
	if err != nil {
		return 0, err
	}
	return events[0].ID, nil
}

// all returns the corrections that hold, the newest first: of several with one
// key the last one counts, and none that was taken back since.
func (l *correctionLedger) all(ctx context.Context) ([]heldCorrection, error) {
	list, _, err := l.fold(ctx)
	return list, err
}

// fold is all, and the last event that it took into account.
func (l *correctionLedger) fold(ctx context.Context) (list []heldCorrection, last int64, err error) {
	hold := map[router.Key]heldCorrection{}
	f := pog.Filter{Kinds: []string{kindCorrected, kindForgotten}, Actor: pog.User().Actor}
	for {
		events, err := l.store.Events(ctx, pog.AllReader(), f)
		if err != nil {
			return nil, 0, err
		}
		for i := range events {
			last = events[i].ID
			take(hold, &events[i])
		}
		if len(events) == 0 {
			break
		}
		f.AfterID = last
	}
	for _, r := range hold {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b heldCorrection) int { return cmp.Compare(b.event, a.event) })
	return list, last, nil
}

// take changes the corrections that hold by what one event says.
func take(hold map[router.Key]heldCorrection, e *pog.Event) {
	var p routeEvent
	if json.Unmarshal(e.Payload, &p) != nil {
		return // its schema was another; what is not understood is not there
	}
	key := router.Key{First: p.First, Shape: p.Shape}
	if e.Kind == kindForgotten {
		delete(hold, key)
		return
	}
	hold[key] = heldCorrection{router.Correction{Key: key, Side: p.Side, Time: time.UnixMilli(e.TSMillis)}, e.ID}
}

// derive writes the small file anew. Another process may append and write in
// between, so it looks once more when it has written: whoever writes last has
// seen all.
func (l *correctionLedger) derive(ctx context.Context) error {
	list, last, err := l.fold(ctx)
	for err == nil {
		plain := make([]router.Correction, len(list))
		for i := range list {
			plain[i] = list[i].Correction
		}
		if err := writeCorrections(l.work, plain); err != nil {
			return fmt.Errorf("the correction is in the knowledge base, but rlp route cannot see it: %w", err)
		}
		seen := last
		if list, last, err = l.fold(ctx); last == seen {
			break
		}
	}
	return err
}
