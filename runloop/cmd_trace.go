package runloop

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/opening"
)

func cmdTrace(io *IO) *cli.Command {
	return &cli.Command{
		Name: "trace", Usage: "show what crossed between the agents of a run",
		ArgsUsage: "TRACE",
		Description: `Examples:
   rlp trace trace:0b1c…
   rlp trace trace.json --format table`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Value: opening.FormatText, Usage: "text, table or json"},
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
	switch format {
	case opening.FormatText, opening.FormatTable, opening.FormatJSON:
	default:
		return usageErrorf("--format %q: text, table or json", format)
	}
	cfg, err := io.config()
	if err != nil {
		return err
	}
	t, err := io.readTrace(ctx, cfg, ref)
	if err != nil {
		return err
	}
	if format == opening.FormatJSON {
		_, err = io.Stdout.Write(append(safeJSON(t.JSON()), '\n'))
		return err
	}
	return t.Render(io.Stdout, format)
}

// traceFileMax is the most a trace file may hold, in bytes.
const traceFileMax = 256 << 20

// readTrace reads a trace from a file or, for trace:<uuid> or a bare UUID, out
// of the knowledge base.
func (o *IO) readTrace(ctx context.Context, cfg *Loaded, ref string) (*opening.Trace, error) {
	if _, err := os.Stat(ref); err == nil || looksLikeFile(ref) {
		src, err := readFileLimited(ref, traceFileMax)
		if errors.Is(err, os.ErrNotExist) {
			return nil, exitErrorf(exitNotFound, "no trace at %s", ref)
		}
		if err != nil {
			return nil, err
		}
		return parseTrace(ref, src)
	}
	payload, err := o.storedTrace(ctx, cfg, ref)
	if err != nil {
		return nil, err
	}
	return parseTrace(ref, payload)
}

func looksLikeFile(ref string) bool {
	return strings.ContainsRune(ref, os.PathSeparator) || strings.HasSuffix(ref, ".json")
}

func parseTrace(ref string, src []byte) (*opening.Trace, error) {
	t, err := opening.ParseTrace(src)
	if err != nil {
		return nil, usageErrorf("%s: %v", ref, err)
	}
	return t, nil
}

// storedTrace finds the trace of a run, without touching the store.
func (o *IO) storedTrace(ctx context.Context, cfg *Loaded, ref string) (json.RawMessage, error) {
	id := strings.TrimPrefix(strings.TrimPrefix(ref, "run:"), "trace:")
	t, err := o.peekTrace(ctx, cfg, id)
	if err != nil {
		return nil, err
	}
	return t.JSON(), nil
}
