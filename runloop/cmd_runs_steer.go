package runloop

import (
	"context"

	"github.com/google/uuid"
	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/bus"
)

func cmdRunsPause(io *IO) *cli.Command {
	return &cli.Command{
		Name: "pause", Usage: "let what runs finish and start no other node", ArgsUsage: "TRACE",
		UsageText:   `rlp runs pause trace:0b51d2c0-9a55-4e0e-8f3a-000000000001`,
		Description: `A paused run stays paused when the daemon is restarted.`,
		Action: withTrace(io, func(c *cli.Context, id uuid.UUID) error {
			_, err := steerRun(c.Context, io, id, &ctrlRequest{Op: "run.pause"})
			return err
		}),
	}
}

func cmdRunsResume(io *IO) *cli.Command {
	return &cli.Command{
		Name: "resume", Usage: "go on with a run that is paused, or that lost its process", ArgsUsage: "TRACE",
		UsageText: `rlp runs resume trace:0b51d2c0-9a55-4e0e-8f3a-000000000001
rlp runs resume --accept-agents TRACE   # an agent was updated meanwhile`,
		Description: `Nodes that have finished do not run again.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "accept-agents", Usage: "go on with the agents as they are now, if they changed since the run began"},
		},
		Action: withTrace(io, func(c *cli.Context, id uuid.UUID) error {
			_, err := steerRun(c.Context, io, id, &ctrlRequest{Op: "run.resume", Accept: c.Bool("accept-agents")})
			return err
		}),
	}
}

func cmdRunsStep(io *IO) *cli.Command {
	return &cli.Command{
		Name: "step", Usage: "run the next node of a paused run", ArgsUsage: "TRACE",
		UsageText:   `rlp runs pause TRACE && rlp runs step TRACE`,
		Flags:       []cli.Flag{jsonFlag()},
		Description: `It starts the node that is next in the order of the file, and prints its id.`,
		Action: withTrace(io, func(c *cli.Context, id uuid.UUID) error {
			a, err := steerRun(c.Context, io, id, &ctrlRequest{Op: "run.step"})
			if err != nil {
				return err
			}
			return io.printResult(c.Bool("json"), map[string]string{"node": a.Node}, "%s", a.Node)
		}),
	}
}

// steerRun has the daemon do something to a run.
func steerRun(ctx context.Context, io *IO, id uuid.UUID, req *ctrlRequest) (*ctrlAnswer, error) {
	cfg, err := io.config()
	if err != nil {
		return nil, err
	}
	conn, err := dialDaemon(ctx, cfg, bus.KindCLI)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	req.TraceID = "trace:" + id.String()
	return conn.ask(ctx, req)
}
