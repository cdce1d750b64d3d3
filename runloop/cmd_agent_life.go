package runloop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/wasm"
)

func cmdAgentStart(io *IO) *cli.Command {
	return &cli.Command{
		Name: "start", Usage: "start a resident agent in the daemon", ArgsUsage: "AGENT",
		UsageText: `rlp agent start greeter`,
		Description: `It waits until the agent is ready. A node that needs a resident starts it as
well; residents that are to be there from the start stand in agents.residents.`,
		Flags:  []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error { return lifeCommand(c, io, "agents.start", wasm.StateStarting) },
	}
}

func cmdAgentStop(io *IO) *cli.Command {
	return &cli.Command{
		Name: "stop", Usage: "end a resident agent in the daemon", ArgsUsage: "AGENT",
		UsageText: `rlp agent stop greeter`,
		Description: `The agent is asked to end, and made to after agents.stop_grace_ms. A node that
needs it starts it again.`,
		Flags:  []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error { return lifeCommand(c, io, "agents.stop", wasm.StateStopping) },
	}
}

// lifeCommand has the daemon do something to an agent and waits while it is in
// a state that passes.
func lifeCommand(c *cli.Context, io *IO, op, passing string) error {
	if c.NArg() != 1 {
		return usageErrorf("which agent? (see rlp agent %s --help)", c.Command.Name)
	}
	ref := c.Args().First()
	cfg, err := io.config()
	if err != nil {
		return err
	}
	conn, err := dialDaemon(c.Context, cfg, bus.KindCLI)
	if err != nil {
		return err
	}
	defer conn.Close()
	a, err := conn.ask(c.Context, &ctrlRequest{Op: op, Agents: []string{ref}})
	if err != nil {
		return err
	}
	s, err := settled(c.Context, conn, a, ref, passing)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(io.Stdout, s)
	}
	if s.Error != "" && s.State != wasm.StateReady && s.State != wasm.StateStopped {
		return exitErrorf(exitFailed, "agent %s is %s: %s", printable(ref), s.State, printable(s.Error))
	}
	_, err = fmt.Fprintf(io.Stdout, "%s is %s\n", printable(ref), s.State)
	return err
}

// settled asks again until an agent has left a state that passes.
func settled(ctx context.Context, conn *daemonConn, a *ctrlAnswer, ref, passing string) (*wasm.AgentState, error) {
	for {
		if len(a.States) == 0 {
			return &wasm.AgentState{Agent: ref, State: wasm.StateStopped}, nil
		}
		if s := &a.States[0]; s.State != passing {
			return s, nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		var err error
		if a, err = conn.ask(ctx, &ctrlRequest{Op: "agents.ps", Agents: []string{ref}}); err != nil {
			return nil, err
		}
	}
}

func cmdAgentRelease(io *IO) *cli.Command {
	return &cli.Command{
		Name: "release", Usage: "take an agent out of quarantine", ArgsUsage: "AGENT",
		UsageText: `rlp agent release greeter`,
		Flags:     []cli.Flag{jsonFlag()},
		Description: `An agent that crashed again and again is not run any more, until it is released
here or its bundle changes. See its log first.`,
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usageErrorf("which agent? (see rlp agent release --help)")
			}
			return releaseAgent(c.Context, io, c.Args().First(), c.Bool("json"))
		},
	}
}

// releaseAgent has the daemon release an agent, so that it forgets the crashes,
// or does it here where there is none.
func releaseAgent(ctx context.Context, io *IO, ref string, asJSON bool) error {
	cfg, err := io.config()
	if err != nil {
		return err
	}
	conn, err := dialDaemon(ctx, cfg, bus.KindCLI)
	if err == nil {
		defer conn.Close()
		_, err = conn.ask(ctx, &ctrlRequest{Op: "agents.release", Agents: []string{ref}})
	} else if noDaemonThere(err) {
		err = releaseHere(io.quarantine(cfg), ref)
	}
	if err != nil {
		return err
	}
	return io.printResult(asJSON, map[string]string{"agent": ref, "state": "released"}, "%s is released", ref)
}

func noDaemonThere(err error) bool {
	var exit *exitError
	return errors.As(err, &exit) && exit.code == exitNoDaemon
}

func releaseHere(q *wasm.Quarantine, ref string) error {
	was, err := q.Release(ref)
	switch {
	case err != nil:
		return agentExit(err)
	case !was:
		return exitErrorf(exitNotFound, "agent %s is not in quarantine", printable(ref))
	}
	return nil
}

func cmdAgentPS(o *IO) *cli.Command {
	return &cli.Command{
		Name: "ps", Usage: "what agents do in the daemon, and what they take", ArgsUsage: "[AGENT...]",
		UsageText: `rlp agent ps
rlp agent ps --json greeter`,
		Description: `BUSY is time inside of the agent, on the wall's clock, or for one in a process of
its own the processor time of that. MEMORY is what a resident has now, or an
instance of another agent had last.`,
		Flags:  []cli.Flag{jsonFlag(), watchFlag()},
		Action: o.agentPS,
	}
}

func (o *IO) agentPS(c *cli.Context) error {
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
		a, err := conn.ask(ctx, &ctrlRequest{Op: "agents.ps", Agents: c.Args().Slice()})
		switch {
		case err != nil:
			return err
		case c.Bool("json"):
			return printJSON(w, append([]wasm.AgentState{}, a.States...)) // [], not null
		}
		return o.writeTable(w, agentTable(a.States))
	})
}

func agentTable(states []wasm.AgentState) *table {
	t := &table{head: []string{
		"AGENT", "LIFE", "STATE", "WHERE", "UP", "RESTARTS", "MEMORY", "BUSY", "CALLS", "DENIED", "MAIL", "WAITING", "WHY",
	}}
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	for _, s := range states {
		where, up := "-", "-"
		if s.PID != 0 {
			where = fmt.Sprintf("%s %d", s.Placement, s.PID)
		}
		if s.UpMillis > 0 {
			up = (time.Duration(s.UpMillis) * time.Millisecond).Round(time.Second).String()
		}
		t.add(s.Agent, s.Life, s.State, where, up, number(s.Restarts),
			fmt.Sprintf("%.1f MiB", float64(s.MemoryBytes)/(1<<20)),
			(time.Duration(s.BusyMicros) * time.Microsecond).Round(time.Millisecond).String(),
			number(s.Hostcalls), number(s.Denied), number(s.Messages), strconv.Itoa(s.Mailbox), s.Error)
	}
	return t
}
