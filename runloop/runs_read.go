package runloop

import (
	"context"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/pog"
)

// How many runs a list has: by default and at most.
const (
	listDefault = 50
	listMax     = 500
)

// listedRun is one run of the knowledge base, which has those of all
// processes.
type listedRun struct {
	TraceID     string `json:"trace_id"`
	OpeningID   string `json:"opening_id,omitempty"`
	OpeningName string `json:"opening_name"`
	State       string `json:"state"`
	StartedMS   int64  `json:"started_ms"`
	FinishedMS  int64  `json:"finished_ms,omitempty"`
	Error       string `json:"error,omitempty"`
}

// shownNode is one attempt of a node in the knowledge base.
type shownNode struct {
	Node       string `json:"node"`
	Attempt    int64  `json:"attempt"`
	Agent      string `json:"agent"`
	State      string `json:"state"`
	StartedMS  int64  `json:"started_ms"`
	FinishedMS int64  `json:"finished_ms,omitempty"`
	Error      string `json:"error,omitempty"`
}

const selectRuns = `SELECT trace_id, coalesce(opening_id, ''), coalesce(opening_name, ''), coalesce(state, ''),
	coalesce(started_ms, 0), coalesce(finished_ms, 0), coalesce(error, '') FROM runs `

// listRuns reads runs, the latest first; state "" is any.
func listRuns(ctx context.Context, store *pog.Store, state string, limit int) ([]listedRun, error) {
	if limit <= 0 {
		limit = listDefault
	}
	return queryRuns(ctx, store, selectRuns+`WHERE ? = '' OR state = ? ORDER BY started_ms DESC, id DESC LIMIT ?`,
		state, state, min(limit, listMax))
}

// readRun reads one run; nil means that there is none.
func readRun(ctx context.Context, store *pog.Store, id uuid.UUID) (*listedRun, error) {
	runs, err := queryRuns(ctx, store, selectRuns+`WHERE trace_id = ?`, id.String())
	if err != nil || len(runs) == 0 {
		return nil, err
	}
	return &runs[0], nil
}

func queryRuns(ctx context.Context, store *pog.Store, query string, args ...any) ([]listedRun, error) {
	res, err := store.Query(ctx, pog.AllReader(), query, args, pog.Limits{})
	if err != nil {
		return nil, err
	}
	runs := []listedRun{}
	for _, r := range res.Rows {
		runs = append(runs, listedRun{
			TraceID: "trace:" + textOf(r[0]), OpeningID: textOf(r[1]), OpeningName: textOf(r[2]), State: textOf(r[3]),
			StartedMS: intOf(r[4]), FinishedMS: intOf(r[5]), Error: reason(textOf(r[6])),
		})
	}
	return runs, nil
}

// readNodes reads every attempt of a run's nodes, in the order in which they
// began.
func readNodes(ctx context.Context, store *pog.Store, id uuid.UUID) ([]shownNode, error) {
	res, err := store.Query(ctx, pog.AllReader(), `SELECT node, attempt, coalesce(agent, ''), coalesce(state, ''),
		coalesce(started_ms, 0), coalesce(finished_ms, 0), coalesce(error, '') FROM nodes
		WHERE trace_id = ? ORDER BY id`, []any{id.String()}, pog.Limits{})
	if err != nil {
		return nil, err
	}
	nodes := []shownNode{}
	for _, r := range res.Rows {
		nodes = append(nodes, shownNode{
			Node: textOf(r[0]), Attempt: intOf(r[1]), Agent: textOf(r[2]), State: textOf(r[3]),
			StartedMS: intOf(r[4]), FinishedMS: intOf(r[5]), Error: reason(textOf(r[6])),
		})
	}
	return nodes, nil
}

func textOf(v any) string {
	s, _ := v.(string)
	return s
}

func intOf(v any) int64 {
	n, _ := v.(int64)
	return n
}
