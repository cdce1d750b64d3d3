package runloop

import (
	"context"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/opening"
)

func cmdTrace(io *IO) *cli.Command {
	return &cli.Command{
		Name: "trace", Usage: "show what crossed between the agents of a run",
		ArgsUsage: "TRACE",
		UsageText: `rlp trace trace:0b1c…
rlp trace trace.json --format table
rlp trace trace:0b1c… --format html > run.html
rlp trace run.rlrun --format mermaid`,
		Description: `The page of --format html holds all of the run: it opens from disk, without network
and without scripts.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Value: opening.FormatText, Usage: "print it as `" + strings.Join(opening.TraceFormats(), "|") + "`"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usageErrorf("which trace? (see rlp trace --help)")
			}
			format := c.String("format")
			if c.Bool("json") {
				format = opening.FormatJSON
			}
			return traceCommand(c.Context, io, c.Args().First(), format)
		},
	}
}

func traceCommand(ctx context.Context, io *IO, ref, format string) error {
	if !slices.Contains(opening.TraceFormats(), format) {
		return usageErrorf("--format %q: want one of %s", format, strings.Join(opening.TraceFormats(), ", "))
	}
	cfg, err := io.config()
	if err != nil {
		return err
	}
	run, err := io.readRecorded(ctx, cfg, ref)
	if err != nil {
		return err
	}
	t := run.trace
	if format == opening.FormatJSON {
		_, err = io.Stdout.Write(append(safeJSON(t.JSON()), '\n'))
		return err
	}
	return t.Render(io.Stdout, format)
}
