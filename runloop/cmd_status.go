package runloop

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/bus"
)

func cmdStatus(o *IO) *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "is the daemon there, and how is it",
		UsageText: `rlp status
rlp status --watch`,
		Description: `It exits with 3 when no daemon answers.`,
		Flags:       []cli.Flag{jsonFlag(), watchFlag()},
		Action:      o.statusCommand,
	}
}

func (o *IO) statusCommand(c *cli.Context) error {
	cfg, err := o.config()
	if err != nil {
		return err
	}
	conn, err := dialDaemon(c.Context, cfg, bus.KindCLI)
	if err != nil {
		return err
	}
	defer conn.Close()
	return o.shown(c.Context, c.Bool("watch"), func(ctx context.Context, w io.Writer) error {
		a, err := conn.ask(ctx, &ctrlRequest{Op: "status"})
		switch {
		case err != nil:
			return err
		case c.Bool("json"):
			return printJSON(w, a.Status)
		}
		return writeStatus(w, a.Status)
	})
}

func writeStatus(w io.Writer, s *daemonStatus) error {
	_, err := fmt.Fprintf(w, "runloopd %s, pid %d, up %s\nsocket   %s, %d clients\nruns     %d active, %d started\n"+
		"ledger   %d events in %s\nmodels   %d providers\n",
		printable(s.Version), s.PID, (time.Duration(s.UptimeMS) * time.Millisecond).Round(time.Second),
		printable(s.Socket), s.Clients, s.RunsActive, s.RunsTotal, s.Events, printable(s.Ledger.Path), len(s.Providers))
	return err
}
