package runloop

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/urfave/cli/v2"
)

// waitFor are the states to wait for: done is any that a run ends in.
const waitDone = "done"

// waitEvery is how often a run that is waited for is looked at.
const waitEvery = 200 * time.Millisecond

func cmdRunsWait(io *IO) *cli.Command {
	return &cli.Command{
		Name: "wait", Usage: "wait until a run has ended", ArgsUsage: "TRACE",
		UsageText: `rlp runs wait 0684
rlp runs wait 0684 --for paused --timeout 10m`,
		Description: `It prints the state, and exits with 1 when the run ends otherwise than well, or not
as it was waited for, or when the time is over. The run goes on in any case.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "for", Value: waitDone, Usage: "wait until it is `done|paused|running`"},
			&cli.DurationFlag{Name: "timeout", Usage: "wait for no longer than `TIME`"},
			ownLedgerFlag(), jsonFlag(),
		},
		Action: withTrace(io, func(c *cli.Context, id uuid.UUID) error { return runsWait(c, io, id) }),
	}
}

func runsWait(c *cli.Context, io *IO, id uuid.UUID) error {
	want := c.String("for")
	if want != waitDone && want != "paused" && want != "running" {
		return usageErrorf("--for %q: done, paused or running", want)
	}
	ctx := c.Context
	if limit := c.Duration("timeout"); limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, errWaitedOut)
		defer cancel()
	}
	var state string
	err := io.withRuns(ctx, c.Bool("local"), func(from runsReader) error {
		return poll(ctx, waitEvery, func() (done bool, err error) {
			state, err = from.state(ctx, id)
			return err == nil && (state == want || ended(state)), err
		})
	})
	switch {
	case errors.Is(context.Cause(ctx), errWaitedOut):
		return exitErrorf(exitFailed, "the run is %s after %s; it goes on", orText(state, "unknown"), c.Duration("timeout"))
	case err != nil:
		return err
	}
	result := map[string]string{"trace_id": "trace:" + id.String(), "state": state}
	if err := io.printResult(c.Bool("json"), result, "%s", state); err != nil {
		return err
	}
	if want == waitDone && state == "ok" || state == want {
		return nil
	}
	return &exitError{exitFailed, errShown}
}

// ended reports whether a run in that state is over.
func ended(state string) bool { return state != "running" && state != "paused" && state != "" }
