package runloop

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/opening"
)

func cmdOpening(io *IO) *cli.Command {
	return &cli.Command{
		Name: "opening", Usage: "check and see openings",
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "openings that can be run by name",
				Action: func(*cli.Context) error { return openingList(io) },
			},
			{
				Name: "lint", Usage: "say all that is wrong with an opening", ArgsUsage: "OPENING",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "errors-format", Value: "table", Usage: "table or json"},
					&cli.StringFlag{Name: "agents-dir", Usage: "look for agents in `DIR` first"},
					&cli.StringSliceFlag{Name: "p", Usage: "a parameter, `KEY=VALUE`"},
				},
				Action: func(c *cli.Context) error { return openingLint(io, runFlagsOf(c)) },
			},
			{
				Name: "ir", Usage: "print an opening's canonical form", ArgsUsage: "OPENING",
				Action: func(c *cli.Context) error { return openingIR(io, runFlagsOf(c)) },
			},
		},
	}
}

func openingList(io *IO) error {
	cfg, err := io.config()
	if err != nil {
		return err
	}
	for _, name := range openingNames(cfg.Openings.SearchDirs) {
		fmt.Fprintln(io.Stdout, printable(name))
	}
	return nil
}

func openingLint(io *IO, f *runFlags) error {
	f.errorsFormat = orText(f.errorsFormat, "table")
	if err := f.check(); err != nil {
		return err
	}
	cfg, err := io.config()
	if err != nil {
		return err
	}
	o, src, err := io.readOpening(cfg, f)
	if err != nil {
		return err
	}
	params, err := f.params.read(io, o.Params)
	if err != nil {
		return err
	}
	catalog, err := io.catalog(cfg, sessionOptions{agentsDir: f.agentsDir})
	if err != nil {
		return err
	}
	if _, err := opening.Load(src.name, src.text, planCatalog{catalog}, params); err != nil {
		return io.showProblems(err, f.errorsFormat)
	}
	fmt.Fprintf(io.Stdout, "%s: ok\n", printable(src.name))
	return nil
}

func openingIR(io *IO, f *runFlags) error {
	f.errorsFormat = orText(f.errorsFormat, "table")
	if err := f.check(); err != nil {
		return err
	}
	cfg, err := io.config()
	if err != nil {
		return err
	}
	o, _, err := io.readOpening(cfg, f)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(io.Stdout, "%s\n", o.IR())
	return err
}

func orText(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
