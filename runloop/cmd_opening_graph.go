package runloop

import (
	"bytes"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/opening"
)

func cmdOpeningGraph(io *IO) *cli.Command {
	return &cli.Command{
		Name: "graph", Usage: "show the nodes of an opening and what goes between them", ArgsUsage: "OPENING",
		UsageText: `rlp opening graph compose_email
rlp opening graph compose_email --format dot | dot -Tsvg > compose_email.svg`,
		Description: `Guarded edges are dashed, and nodes that use an opening have a double border.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Value: "text", Usage: "print it as `text|mermaid|dot`; dot is for Graphviz"},
		},
		Action: func(c *cli.Context) error {
			format := c.String("format")
			if !slices.Contains(opening.GraphFormats, format) {
				return usageErrorf("--format %q: %s", format, strings.Join(opening.GraphFormats, ", "))
			}
			o, _, err := parseArg(io, c)
			if err != nil {
				return err
			}
			var b bytes.Buffer
			if err := o.Graph(&b, format); err != nil {
				return err
			}
			_, err = io.Stdout.Write([]byte(printableText(b.String())))
			return err
		},
	}
}
