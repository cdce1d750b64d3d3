package runloop

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/tui"
)

// runAgtop is the monitor: it shows runs from their events, as they come.
func runAgtop(ctx context.Context, io *IO, args []string) error {
	return runApp(ctx, io, newAgtop(io), args)
}

func newAgtop(io *IO) *cli.App {
	app := newApp(io, "agtop", "watch a run from its events")
	app.UsageText = "rlp run compose_email --local --json > run.ndjson; agtop --input run.ndjson\n" +
		"rlp run compose_email --local --json --yes | agtop"
	app.Flags = []cli.Flag{
		&cli.StringFlag{Name: "input", Aliases: []string{"i"}, Value: "-", Usage: "NDJSON events from `FILE`, or - for stdin"},
		&cli.BoolFlag{Name: "json", Usage: "print the state at the end as JSON"},
	}
	app.Action = func(c *cli.Context) error {
		if c.NArg() > 0 {
			return usageErrorf("agtop takes no arguments, only --input (see agtop --help)")
		}
		return watchEvents(c.Context, io, c.String("input"), c.Bool("json"))
	}
	return app
}

// eventLineMax bounds one line of NDJSON, in bytes.
const eventLineMax = 16 << 20

// watchEvents shows the run whose events stand in a file: live on a terminal,
// elsewhere a line for each node that has ended.
func watchEvents(ctx context.Context, o *IO, input string, asJSON bool) error {
	in := o.Stdin
	if input != "-" {
		f, err := os.Open(input)
		if errors.Is(err, os.ErrNotExist) {
			return exitErrorf(exitNotFound, "no file %s", input)
		}
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	if !asJSON && o.live() {
		view := tui.NewInline(o.Stdout, o.style)
		err := eachEvent(ctx, in, view.Apply)
		view.Close()
		return err
	}
	run := &tui.Run{}
	err := eachEvent(ctx, in, func(e *tui.Event) error {
		if err := run.Apply(e); err != nil || asJSON {
			return err
		}
		return plainEvent(o.Stdout, run, e, o.style())
	})
	if err == nil && asJSON {
		err = printJSON(o.Stdout, run)
	}
	return err
}

// plainEvent writes the line of a node that has ended, or of the run.
func plainEvent(w io.Writer, run *tui.Run, e *tui.Event, style tui.Style) error {
	var line string
	switch node := run.Ended(e); {
	case node != nil:
		line = tui.RenderNode(run, node, time.Now(), style)
	case e.Kind == "run.finished":
		line = printable(run.TraceID + "  " + e.Message)
	default:
		return nil
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

// eachEvent reads NDJSON until its end.
func eachEvent(ctx context.Context, in io.Reader, f func(*tui.Event) error) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, eventLineMax)
	for n := 1; lines.Scan() && ctx.Err() == nil; n++ {
		var e tui.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return usageErrorf("line %d is not an event: %v", n, err)
		}
		if err := f(&e); err != nil {
			return usageErrorf("line %d: %v", n, err)
		}
	}
	return lines.Err()
}
