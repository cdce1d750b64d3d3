package runloop

import (
	"errors"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/router/enter"
)

// cmdRoute is in the tree for its help; dispatch runs it before there is a
// tree.
func cmdRoute(io *IO) *cli.Command {
	return &cli.Command{
		Name: "route", Usage: "decide whether a line is for the shell or for agents",
		UsageText: `rlp route "tidy my downloads"
printf %s "$line" | rlp route --stdin --shell zsh --first-kind alias
rlp route --was shell "deploy the new site"`,
		Description: `Prints one JSON line and exits with 10 (shell), 11 (agents) or 12 (no decision in
time). Flags go before the line. --was, --forget and --corrections decide nothing: they
keep the corrections that decisions follow.`,
		ArgsUsage: "PROMPT...", Flags: append(routeFlagList(), correctionFlagList()...), SkipFlagParsing: true,
		Action: func(c *cli.Context) error {
			return runRoute(c.Context, io, append([]string{"route"}, c.Args().Slice()...))
		},
	}
}

// routeFlagList describes the flags of a decision that parseRouteFlags reads.
func routeFlagList() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "stdin", Usage: "read the line from stdin"},
		&cli.IntFlag{Name: "timeout-ms", Value: enter.TimeoutMS, Usage: "give up after `N` ms (RUNLOOP_ROUTER_TIMEOUT_MS)"},
		&cli.StringFlag{Name: "shell", Usage: "the shell at hand: `zsh|bash` (RUNLOOP_ROUTER_SHELL)"},
		&cli.StringFlag{Name: "first-kind", Usage: "of the first word: " +
			"`alias|function|builtin|keyword|command|none` (RUNLOOP_ROUTER_FIRST_KIND)"},
		&cli.BoolFlag{Name: "first-dir", Usage: "a folder to change into (RUNLOOP_ROUTER_FIRST_DIR=1)"},
	}
}

// correctionFlagList describes the flags about corrections.
func correctionFlagList() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "was", Usage: "record that lines like this one belong to `shell|agent`"},
		&cli.BoolFlag{Name: "forget", Usage: "take back what was said of the line, or the newest"},
		&cli.BoolFlag{Name: "corrections", Usage: "list what was said"},
		jsonFlag(),
	}
}

// parseRouteFlags reads the arguments after "route": the command reads them
// itself, because the command tree costs more than the decision.
func parseRouteFlags(io *IO, args []string) (*enter.Flags, error) {
	f, err := enter.ParseFlags(args, io.getenv)
	var none enter.NoFlagError
	switch {
	case errors.As(err, &none):
		return nil, usageErrorf("%w%s (see rlp route --help; a line that begins with -- goes behind --)",
			err, didYouMean(string(none), routeFlagNames()))
	case err != nil:
		return nil, usageErrorf("%w", err)
	}
	return f, nil
}

func routeFlagNames() []string {
	return []string{"--stdin", "--timeout-ms", "--shell", "--first-kind", "--first-dir", "--json", "--help",
		"--was", "--forget", "--corrections"}
}
