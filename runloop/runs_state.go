package runloop

import (
	"encoding/json"
	"slices"

	"github.com/runloop-os/runloop/opening"
)

// runState is what run.get tells of a run.
type runState struct {
	TraceID     string          `json:"trace_id"`
	OpeningID   string          `json:"opening_id"`
	OpeningName string          `json:"opening_name"`
	Status      string          `json:"status"` // running, paused, or how it ended
	Here        bool            `json:"here"`   // this daemon carries it out, or did lately
	StartedMS   int64           `json:"started_ms"`
	FinishedMS  int64           `json:"finished_ms,omitempty"`
	Nodes       []shownNode     `json:"nodes"`            // each attempt that the ledger has
	Report      *opening.Report `json:"report,omitempty"` // once it has ended
	Error       string          `json:"error,omitempty"`  // it could not be carried out
	// Actions are the action requests that wait for a decision.
	Actions   []json.RawMessage `json:"actions,omitempty"`
	Events    []opening.Event   `json:"events,omitempty"`
	EventsCut bool              `json:"events_cut,omitempty"` // there were more
}

// state tells how the run is; the events that were kept come along on demand.
func (r *run) state(events bool) *runState {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &runState{
		TraceID: "trace:" + r.id.String(), OpeningID: opening.OpeningID(r.plan.IRHash),
		OpeningName: r.plan.Opening.Name, Status: "running", Here: true, StartedMS: r.started.UnixMilli(),
		Report: r.report,
	}
	if !r.ended.IsZero() {
		s.FinishedMS = r.ended.UnixMilli()
	}
	switch {
	case r.err != nil:
		s.Status, s.Error = "error", r.err.Error()
	case r.report != nil:
		s.Status = string(r.report.Status)
	case r.paused:
		s.Status = "paused"
	}
	if events {
		s.Events, s.EventsCut = slices.Clone(r.events), r.cut
	}
	return s
}
