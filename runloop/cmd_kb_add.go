package runloop

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/pog"
)

func kbAddCommand(io *IO) *cli.Command {
	return &cli.Command{
		Name: "add", Usage: "add a contact or a note",
		UsageText: `rlp kb add contact "Ada Fern" --email ada@example.com
rlp kb add note Minutes --body @minutes.md`,
		Subcommands: []*cli.Command{
			{
				Name: "contact", Usage: "add a contact, or change the one with that address", ArgsUsage: "NAME",
				UsageText: `rlp kb add contact "Ada Fern" --email ada@example.com --org Mill`,
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "email", Usage: "the `ADDRESS` of the contact"},
					&cli.StringFlag{Name: "org", Usage: "the `ORGANISATION` that the contact is of"},
					&cli.Float64Flag{Name: "trust", Usage: "how far to trust it, `0..1`"},
					jsonFlag(),
				},
				Action: func(c *cli.Context) error {
					payload := map[string]any{"name": c.Args().First()}
					setIfGiven(c, payload, "email", "org")
					if c.IsSet("trust") {
						payload["trust"] = c.Float64("trust")
					}
					return kbAdd(c, io, "contact.upserted", payload)
				},
			},
			{
				Name: "note", Usage: "add a note", ArgsUsage: "TITLE",
				UsageText: `rlp kb add note "Q4 plan" --body "The budget is fixed."
rlp kb add note Minutes --body @minutes.md --tag work`,
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "body", Usage: "the `TEXT` of the note, or @file, or - for stdin"},
					&cli.StringSliceFlag{Name: "tag", Usage: "a `TAG` of the note; may be given again"},
					jsonFlag(),
				},
				Action: func(c *cli.Context) error {
					if !c.IsSet("body") {
						return usageErrorf("--body is missing: what does the note say? (see rlp kb add note --help)")
					}
					body, err := noteBody(io, c.String("body"))
					if err != nil {
						return err
					}
					payload := map[string]any{"title": c.Args().First(), "body": body}
					if tags := c.StringSlice("tag"); len(tags) > 0 {
						payload["tags"] = tags
					}
					return kbAdd(c, io, "note.added", payload)
				},
			},
		},
	}
}

func setIfGiven(c *cli.Context, payload map[string]any, names ...string) {
	for _, n := range names {
		if c.IsSet(n) {
			payload[n] = c.String(n)
		}
	}
}

// noteBodyMax is the most that a note may hold, in bytes.
const noteBodyMax = 4 << 20

func noteBody(io *IO, flag string) (string, error) {
	switch {
	case flag == "-":
		b, err := readLimited(io.Stdin, noteBodyMax)
		return string(b), err
	case len(flag) > 1 && flag[0] == '@':
		b, err := readParamFile(flag[1:])
		return string(b), err
	}
	return flag, nil
}

func kbAdd(c *cli.Context, io *IO, kind string, payload map[string]any) error {
	if c.NArg() != 1 {
		return usageErrorf("%s: one name or title, please (see rlp kb add --help)", c.Command.Name)
	}
	return io.withStore(c.Context, func(store *pog.Store) error {
		ev, err := propose(c.Context, store, kind, payload)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return printJSON(io.Stdout, ev)
		}
		_, err = fmt.Fprintf(io.Stdout, "event:%d\n", ev.ID)
		return err
	})
}

// propose adds one event as the user. What is in the ledger already is said,
// and is no failure.
func propose(ctx context.Context, store *pog.Store, kind string, payload any) (*pog.Event, error) {
	d, err := pog.NewDelta(kind, payload)
	if err != nil {
		return nil, err
	}
	d.Provenance.Source = "rlp kb add"
	events, err := store.Propose(ctx, pog.User(), d)
	if err != nil {
		var dup *pog.DuplicateError
		if errors.As(err, &dup) {
			return nil, exitErrorf(exitFailed, "%v", err)
		}
		return nil, err
	}
	return &events[0], nil
}
