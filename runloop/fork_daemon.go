package runloop

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/opening"
)

// inDaemon has the daemon carry the fork out, follows it, and shows how it
// compares with the run that it comes from.
func (w *forkWork) inDaemon(ctx context.Context) error {
	flags := &w.forkFlags.run
	if err := flags.checkForDaemon(); err != nil {
		return err
	}
	if w.source.file {
		return usageErrorf("the daemon forks runs of its knowledge base; to fork one out of a file: add --local")
	}
	digests, err := w.digests()
	if err != nil {
		return err
	}
	conn, err := dialDaemon(ctx, w.cfg, w.io.daemonKind(flags))
	if err != nil {
		return orLocal(err)
	}
	r := &remoteRun{io: w.io, cfg: w.cfg, conn: conn, id: uuid.New()}
	defer func() { r.conn.Close() }() // it may be another by then
	r.show = func(ctx context.Context, report *opening.Report) error { return w.show(ctx, r, report) }
	if err := w.agree(sessionOptions{daemon: true}); err != nil {
		return err
	}
	if r.view, err = w.io.newRunView(flags.progress); err != nil {
		return err
	}
	return r.carryOut(ctx, flags, &ctrlRequest{
		Op: "run.fork", TraceID: w.source.trace.TraceID, From: w.from, Params: w.change.params, Set: w.change.set,
		AgentDigests: digests, Flags: ctrlFlags{Confirm: w.io.confirmFlag(flags)},
	})
}

// digests are those of the bundles of --agent. The daemon takes no code from a
// client: it goes on if it has these.
func (w *forkWork) digests() (map[string]string, error) {
	catalog, err := w.io.catalog(w.cfg, sessionOptions{daemon: true, sources: sourcesOf(w.overrides)})
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, o := range w.overrides {
		b, err := catalog.Bundle(o.ref)
		if err != nil {
			return nil, err
		}
		out[o.ref] = b.Digest
	}
	return out, nil
}

// show prints the report of the fork, which the ledger gives as well: to a
// daemon that was started since, and of runs whose report fits no message.
func (w *forkWork) show(ctx context.Context, r *remoteRun, report *opening.Report) error {
	if report != nil && report.Fork != nil {
		return w.io.showFork(report.Fork, w.json)
	}
	t, err := w.io.peekTrace(ctx, w.cfg, r.id.String())
	if err != nil {
		return fmt.Errorf("comparing with %s: %w", w.source.trace.TraceID, err)
	}
	fork, err := opening.CompareFork(w.source.trace, t, w.from)
	if err != nil {
		return err
	}
	return w.io.showFork(fork, w.json)
}
