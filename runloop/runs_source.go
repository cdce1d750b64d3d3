package runloop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/google/uuid"
	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/pog"
)

// ledgerID tells one ledger from another: where it is, and which file that is,
// because two names may be one file and one name, below another root, two.
type ledgerID struct {
	Path string `json:"path"`
	File string `json:"file,omitempty"` // device and inode; "" where there is none to be seen
}

// ledgerID is that of the ledger that a configuration means.
func (o *IO) ledgerID(cfg *Loaded) ledgerID {
	path, err := o.storeOptions(cfg).LedgerPath()
	if err != nil {
		return ledgerID{}
	}
	id := ledgerID{Path: path}
	if st, err := os.Stat(path); err == nil {
		if sys, ok := st.Sys().(*syscall.Stat_t); ok {
			id.File = fmt.Sprintf("%x:%x", sys.Dev, sys.Ino)
		}
	}
	return id
}

// runsReader is where runs are looked up.
type runsReader interface {
	list(ctx context.Context, state string, n int) ([]listedRun, error)
	// nodes fails when there is no such run, or nothing of it began yet.
	nodes(ctx context.Context, id uuid.UUID) ([]shownNode, error)
	state(ctx context.Context, id uuid.UUID) (string, error)
}

// ownLedgerFlag has a command read the user's own ledger, whatever daemon there is.
func ownLedgerFlag() cli.Flag {
	return &cli.BoolFlag{Name: "local", Usage: "your own ledger, also when the daemon has another"}
}

// withRuns finds the runs that the user means: those of the daemon that would
// carry out the next one. With no daemon, with one that has the user's own
// ledger, and if local, they are read from that; a daemon with another, as the
// machine's is, is asked, and that is said.
func (o *IO) withRuns(ctx context.Context, local bool, f func(runsReader) error) error {
	cfg, err := o.config()
	if err != nil {
		return err
	}
	own := func() error {
		return o.withStore(ctx, func(store *pog.Store) error { return f(ownRuns{store}) })
	}
	if local {
		return own()
	}
	conn, ledger, err := o.otherLedger(ctx, cfg)
	switch {
	case err != nil && ctx.Err() == nil:
		o.warnf("%v; these are the runs of your own ledger, %s", err, o.ledgerID(cfg).Path)
		return own()
	case err != nil:
		return err
	case conn == nil:
		return own()
	}
	defer conn.Close()
	o.warnf("these are the runs of the daemon at %s, in its ledger %s (--local for your own)", conn.path, ledger.Path)
	return f(daemonRuns{conn})
}

// otherLedger connects to the daemon if it has another ledger than the
// configuration's. There is neither a connection nor an error when it has the
// same or is not there.
func (o *IO) otherLedger(ctx context.Context, cfg *Loaded) (*daemonConn, ledgerID, error) {
	conn, err := dialDaemon(ctx, cfg, bus.KindCLI)
	if err != nil {
		if errors.Is(err, errNoDaemon) {
			err = nil
		}
		return nil, ledgerID{}, err
	}
	a, err := conn.ask(ctx, &ctrlRequest{Op: "status"})
	if err == nil && a.Status == nil {
		err = exitErrorf(exitFailed, "the daemon at %s does not say how it is", conn.path)
	}
	if err != nil || a.Status.Ledger.File == o.ledgerID(cfg).File {
		conn.Close()
		return nil, ledgerID{}, err
	}
	return conn, a.Status.Ledger, nil
}

// ownRuns are those of an open ledger.
type ownRuns struct{ store *pog.Store }

func (r ownRuns) list(ctx context.Context, state string, n int) ([]listedRun, error) {
	return listRuns(ctx, r.store, state, n)
}

func (r ownRuns) nodes(ctx context.Context, id uuid.UUID) ([]shownNode, error) {
	nodes, err := readNodes(ctx, r.store, id)
	if err == nil && len(nodes) == 0 {
		err = exitErrorf(exitNotFound, "no run trace:%s in the knowledge base", id)
	}
	return nodes, err
}

// daemonRuns are those of a daemon, asked for over its control plane.
type daemonRuns struct{ conn *daemonConn }

func (r daemonRuns) list(ctx context.Context, state string, n int) ([]listedRun, error) {
	a, err := r.conn.ask(ctx, &ctrlRequest{Op: "run.list", State: state, Limit: n})
	if err != nil {
		return nil, err
	}
	return append([]listedRun{}, a.Runs...), nil // [] in JSON, not null
}

func (r daemonRuns) nodes(ctx context.Context, id uuid.UUID) ([]shownNode, error) {
	a, err := r.conn.ask(ctx, &ctrlRequest{Op: "run.get", TraceID: "trace:" + id.String()})
	if err != nil {
		return nil, err
	}
	if a.Run == nil {
		return nil, exitErrorf(exitFailed, "the daemon at %s does not tell of trace:%s", r.conn.path, id)
	}
	return append([]shownNode{}, a.Run.Nodes...), nil
}

func (r ownRuns) state(ctx context.Context, id uuid.UUID) (string, error) {
	run, err := readRun(ctx, r.store, id)
	switch {
	case err != nil:
		return "", err
	case run == nil:
		return "", exitErrorf(exitNotFound, "no run trace:%s in the knowledge base", id)
	}
	return run.State, nil
}

func (r daemonRuns) state(ctx context.Context, id uuid.UUID) (string, error) {
	a, err := r.conn.ask(ctx, &ctrlRequest{Op: "run.get", TraceID: "trace:" + id.String()})
	switch {
	case err != nil:
		return "", err
	case a.Run == nil:
		return "", exitErrorf(exitFailed, "the daemon at %s does not tell of trace:%s", r.conn.path, id)
	}
	return a.Run.Status, nil
}
