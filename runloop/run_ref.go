package runloop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/pog"
	"github.com/runloop-os/runloop/rmp"
)

// candidatesMax is how many runs an error lists that a short id could mean.
const candidatesMax = 5

// runRef finds the run that a person means: by its trace id, with or without
// "trace:", or by the beginning of one, if no other run begins so. Runs are
// looked up in the user's own ledger and, when it has none like that, in that
// of the daemon.
func (o *IO) runRef(ctx context.Context, cfg *Loaded, ref string) (uuid.UUID, error) {
	short := strings.ToLower(strings.TrimPrefix(strings.TrimPrefix(ref, "run:"), "trace:"))
	if id, err := rmp.ParseTraceID(short); err == nil {
		return uuid.UUID(id), nil
	}
	if short == "" || strings.Trim(short, "0123456789abcdef-") != "" {
		return uuid.Nil, usageErrorf("%q is no trace id, nor the beginning of one (see rlp runs list)", ref)
	}
	runs, err := pog.PeekRuns(ctx, o.storeOptions(cfg), short, candidatesMax+1)
	if errors.Is(err, pog.ErrNotFound) {
		err = nil // there is no ledger yet
	}
	if err == nil && len(runs) == 0 {
		runs, err = o.daemonRunsLike(ctx, cfg, short)
	}
	if err != nil {
		return uuid.Nil, err
	}
	switch len(runs) {
	case 0:
		return uuid.Nil, exitErrorf(exitNotFound, "no run begins with %q (see rlp runs list)", ref)
	case 1:
		id, err := rmp.ParseTraceID(runs[0].TraceID)
		return uuid.UUID(id), err
	}
	return uuid.Nil, usageErrorf("%q could be %s", ref, candidates(runs))
}

// entityRef is an entity of the knowledge base, with the id of a run in full.
func (o *IO) entityRef(ctx context.Context, entity string) (string, error) {
	kind, _, _ := strings.Cut(entity, ":")
	if kind != "trace" && kind != "run" {
		return entity, nil
	}
	cfg, err := o.configSource().load()
	if err != nil {
		return "", err
	}
	id, err := o.runRef(ctx, cfg, entity)
	return kind + ":" + id.String(), err
}

// daemonRunsLike looks among the latest runs of a daemon that has another
// ledger.
func (o *IO) daemonRunsLike(ctx context.Context, cfg *Loaded, short string) ([]pog.PeekedRun, error) {
	conn, _, err := o.otherLedger(ctx, cfg)
	if err != nil || conn == nil {
		return nil, nil // whoever needs the daemon says so
	}
	defer conn.Close()
	list, err := daemonRuns{conn}.list(ctx, "", listMax)
	if err != nil {
		return nil, err
	}
	var out []pog.PeekedRun
	for _, r := range list {
		if strings.HasPrefix(r.TraceID, "trace:"+short) {
			out = append(out, pog.PeekedRun{TraceID: r.TraceID, Opening: r.OpeningName, Started: time.UnixMilli(r.StartedMS)})
		}
	}
	return out, nil
}

// candidates lists runs on one line.
func candidates(runs []pog.PeekedRun) string {
	var b strings.Builder
	for i, r := range runs {
		if i == candidatesMax {
			b.WriteString(", and more")
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s (%s, %s)", r.TraceID, orText(r.Opening, "unknown"), r.Started.Format("2006-01-02 15:04:05"))
	}
	return b.String()
}
