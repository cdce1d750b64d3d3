package runloop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/bus"
)

func cmdRuns(o *IO) *cli.Command {
	return &cli.Command{
		Name: "runs", Usage: "see and steer runs",
		UsageText: `rlp runs list --state running
rlp runs show trace:0684fb4c-07ec-4457-b35d-6d643e2e8f3e
rlp runs follow trace:0684fb4c-07ec-4457-b35d-6d643e2e8f3e
rlp runs cancel trace:0684fb4c-07ec-4457-b35d-6d643e2e8f3e`,
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "the latest runs",
				UsageText: "rlp runs list --state running\nrlp runs list --limit 5 --watch",
				Flags: []cli.Flag{
					jsonFlag(), ownLedgerFlag(),
					&cli.StringFlag{Name: "state", Usage: "only runs that are `" + strings.Join(runStates, "|") + "`"},
					&cli.IntFlag{Name: "limit", Aliases: []string{"n"}, Value: 20, Usage: "at most `N`"},
					watchFlag(),
				},
				Action: o.runsList,
			},
			{
				Name: "show", Usage: "the nodes of a run", ArgsUsage: "TRACE", Flags: []cli.Flag{jsonFlag(), ownLedgerFlag()},
				UsageText: "rlp runs show 0684\nrlp runs show 0684 --json",
				Action: withTrace(o, func(c *cli.Context, id uuid.UUID) error {
					return runsShow(c, o, id)
				}),
			},
			{
				Name: "follow", Usage: "watch a run of the daemon until it ends", ArgsUsage: "TRACE",
				UsageText: "rlp runs follow 0684\nrlp runs follow 0684 --json",
				Flags:     []cli.Flag{jsonFlag()},
				Action: withTrace(o, func(c *cli.Context, id uuid.UUID) error {
					return runsFollow(c.Context, o, id, o.progress(c.Bool("json")))
				}),
			},
			{
				Name: "cancel", Usage: "stop a run of the daemon", ArgsUsage: "TRACE",
				UsageText: "rlp runs cancel 0684",
				Action: withTrace(o, func(c *cli.Context, id uuid.UUID) error {
					_, err := steerRun(c.Context, o, id, &ctrlRequest{Op: "run.cancel"})
					return err
				}),
			},
			cmdRunsWait(o),
			cmdRunsPause(o),
			cmdRunsResume(o),
			cmdRunsStep(o),
			cmdRunsFork(o),
			cmdRunsExport(o),
			cmdRunsVerify(o),
		},
	}
}

// withTrace is an action on the run that the one argument names.
func withTrace(io *IO, f func(c *cli.Context, id uuid.UUID) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.NArg() != 1 {
			return usageErrorf("which run? (see rlp runs %s --help)", c.Command.Name)
		}
		cfg, err := io.configSource().load() // f shows the warnings
		if err != nil {
			return err
		}
		id, err := io.runRef(c.Context, cfg, c.Args().First())
		if err != nil {
			return err
		}
		return f(c, id)
	}
}

// runStates are the states that a run can be in.
var runStates = []string{"running", "paused", "ok", "error", "cancelled", "timeout"}

// runsList shows the latest runs, of all processes that have the ledger.
func (o *IO) runsList(c *cli.Context) error {
	state := c.String("state")
	if state != "" && !slices.Contains(runStates, state) {
		return usageErrorf("--state %q%s: one of %s", state, didYouMean(state, runStates), strings.Join(runStates, ", "))
	}
	return o.withRuns(c.Context, c.Bool("local"), func(from runsReader) error {
		return o.shown(c.Context, c.Bool("watch"), func(ctx context.Context, w io.Writer) error {
			runs, err := from.list(ctx, state, c.Int("limit"))
			switch {
			case err != nil:
				return err
			case c.Bool("json"):
				return printJSON(w, runs)
			}
			return o.writeTable(w, runsTable(runs))
		})
	})
}

func runsTable(runs []listedRun) *table {
	t := &table{head: []string{"TRACE", "OPENING", "STATE", "STARTED", "TOOK", "WHY"}}
	for _, r := range runs {
		took := ""
		if r.FinishedMS > 0 {
			took = (time.Duration(r.FinishedMS-r.StartedMS) * time.Millisecond).String()
		}
		t.add(r.TraceID, r.OpeningName, r.State, time.UnixMilli(r.StartedMS).Format("2006-01-02 15:04:05"), took, r.Error)
	}
	return t
}

// reason is an error of the knowledge base in words.
func reason(recorded string) string {
	var e struct{ Code, Message string }
	if json.Unmarshal([]byte(recorded), &e) != nil || e.Code == "" {
		return recorded
	}
	return e.Code + ": " + e.Message
}

func runsShow(c *cli.Context, io *IO, id uuid.UUID) error {
	return io.withRuns(c.Context, c.Bool("local"), func(from runsReader) error {
		nodes, err := from.nodes(c.Context, id)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return printJSON(io.Stdout, nodes)
		}
		t := &table{head: []string{"NODE", "ATTEMPT", "AGENT", "STATE", "TOOK", "WHY"}}
		for _, n := range nodes {
			took := ""
			if n.FinishedMS > 0 && n.StartedMS > 0 {
				took = (time.Duration(n.FinishedMS-n.StartedMS) * time.Millisecond).String()
			}
			t.add(n.Node, fmt.Sprint(n.Attempt), n.Agent, n.State, took, n.Error)
		}
		return io.showTable(t)
	})
}

// runsFollow shows a run from its first event on, as far as the daemon kept
// them, and ends with its exit code.
func runsFollow(ctx context.Context, io *IO, id uuid.UUID, progress string) error {
	cfg, err := io.config()
	if err != nil {
		return err
	}
	kind := bus.KindCLI
	if io.interactive() {
		kind = bus.KindUI
	}
	conn, err := dialDaemon(ctx, cfg, kind)
	if err != nil {
		return err
	}
	view, err := io.newRunView(progress)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	r := &remoteRun{io: io, cfg: cfg, conn: conn, id: id, view: view, watch: true}
	defer func() { r.conn.Close() }() // it may be another by then
	events, err := r.join(ctx)
	if err != nil {
		return errors.Join(err, view.close(nil))
	}
	return r.follow(ctx, events)
}
