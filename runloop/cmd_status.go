package runloop

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/bus"
)

func cmdStatus(io *IO) *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "is the daemon there, and how is it",
		UsageText: `rlp status
rlp status --json`,
		Description: `It exits with 3 when no daemon answers.`,
		Flags:       []cli.Flag{jsonFlag()},
		Action:      func(c *cli.Context) error { return statusCommand(c.Context, io, c.Bool("json")) },
	}
}

func statusCommand(ctx context.Context, io *IO, asJSON bool) error {
	cfg, err := io.config()
	if err != nil {
		return err
	}
	conn, err := dialDaemon(ctx, cfg, bus.KindCLI)
	if err != nil {
		return err
	}
	defer conn.Close()
	a, err := conn.ask(ctx, &ctrlRequest{Op: "status"})
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(io.Stdout, a.Status)
	}
	s := a.Status
	_, err = fmt.Fprintf(io.Stdout, "runloopd %s, pid %d, up %s\nsocket   %s, %d clients\nruns     %d active, %d started\nledger   %d events in %s\nmodels   %d providers\n",
		printable(s.Version), s.PID, (time.Duration(s.UptimeMS) * time.Millisecond).Round(time.Second),
		printable(s.Socket), s.Clients, s.RunsActive, s.RunsTotal, s.Events, printable(s.Ledger.Path), len(s.Providers))
	return err
}
