package runloop

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/pog"
)

func kbVacuumCommand(io *IO) *cli.Command {
	return &cli.Command{
		Name: "vacuum", Usage: "give back the space of what nothing refers to any more",
		UsageText: `rlp kb vacuum --dry-run
rlp kb vacuum --older-than 24h`,
		Description: `It removes large values that no event names, which a crash can leave behind,
and writes the views anew without their empty pages. No event is ever removed, and
nothing that a run needs which is going on or can be resumed: the daemon may run.`,
		Flags: []cli.Flag{
			jsonFlag(),
			&cli.BoolFlag{Name: "dry-run", Usage: "only say what would be removed"},
			&cli.DurationFlag{Name: "older-than", Value: pog.BlobGrace, Usage: "only values that are older than `DURATION`"},
		},
		Action: func(c *cli.Context) error {
			grace := c.Duration("older-than")
			switch {
			case c.NArg() > 0:
				return usageErrorf("kb vacuum takes no arguments (see rlp kb vacuum --help)")
			case grace < 0:
				return usageErrorf("--older-than %s: how long ago, so not less than 0", grace)
			}
			return io.withStore(c.Context, func(store *pog.Store) error {
				v, err := store.Vacuum(c.Context, grace, c.Bool("dry-run"))
				if err != nil {
					return err
				}
				return showVacuum(io, v, c.Bool("json"))
			})
		},
	}
}

func showVacuum(io *IO, v *pog.Vacuumed, asJSON bool) error {
	if asJSON {
		return printJSON(io.Stdout, v)
	}
	did := "removed"
	if v.DryRun {
		did = "would remove"
	}
	_, err := fmt.Fprintf(io.Stdout, "%s %d values that no event names and %d unfinished files, %d bytes; %d values stay\n",
		did, v.Blobs.Values, v.Blobs.Unfinished, v.Blobs.Bytes, v.Blobs.Named)
	if err == nil && !v.DryRun {
		_, err = fmt.Fprintf(io.Stdout, "views: %d bytes, %d before\n", v.ViewsAfter, v.ViewsBefore)
	}
	return err
}
