package runloop

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/opening"
)

func cmdReplay(io *IO) *cli.Command {
	return &cli.Command{
		Name: "replay", Usage: "run the agents of a recorded run again, and compare",
		ArgsUsage: "TRACE",
		UsageText: `rlp replay trace:0b1c…    # a run of the knowledge base
rlp replay run.rlrun      # a file of rlp runs export
rlp replay trace.json --agent writer=./agents/writer`,
		Description: `Each agent runs in its sandbox with the inputs, clock, seed and answers that were
recorded. Nothing leaves the sandbox and nothing is written. The exit code is 1 when
anything differs.

A run is only replayed with the code that ran. Other code has to be asked for: by
--agent for one agent, or by --changed for all that are here now.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "until", Usage: "only what `NODE` depends on, and it"},
			&cli.StringFlag{Name: "node", Usage: "only `NODE`"},
			&cli.StringSliceFlag{Name: "agent", Usage: "try the bundle at PATH in place of an agent, `NAME=PATH`"},
			&cli.BoolFlag{Name: "changed", Usage: "replay with the agents that are here now, whatever they are"},
			&cli.StringFlag{Name: "agents-dir", Usage: "look for agents in `DIR` first"},
			&cli.StringFlag{Name: "opening", Usage: "check that the run was of the opening in `FILE`"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usageErrorf("which trace? (see rlp replay --help)")
			}
			return replayCommand(c.Context, io, &replayFlags{
				ref: c.Args().First(), until: c.String("until"), node: c.String("node"),
				agents: c.StringSlice("agent"), changed: c.Bool("changed"), agentsDir: c.String("agents-dir"),
				opening: c.String("opening"), json: c.Bool("json"),
			})
		},
	}
}

type replayFlags struct {
	ref, until, node   string
	agents             []string
	changed            bool
	agentsDir, opening string
	json               bool
}

func replayCommand(ctx context.Context, io *IO, f *replayFlags) error {
	if f.until != "" && f.node != "" {
		return usageErrorf("--until and --node both say what to replay; give one (see rlp replay --help)")
	}
	cfg, err := io.config()
	if err != nil {
		return err
	}
	run, err := io.readRecorded(ctx, cfg, f.ref)
	if err != nil {
		return err
	}
	if err := checkOpening(f.opening, run.trace); err != nil {
		return err
	}
	overrides, err := agentOverrides(f.agents)
	if err != nil {
		return err
	}
	if err := checkOverrides(overrides, run.trace); err != nil {
		return err
	}
	r, err := openReplayer(ctx, io, cfg, sessionOptions{
		agentsDir: f.agentsDir, sources: append(sourcesOf(overrides), run.sources(f.changed)...),
	})
	if err != nil {
		return err
	}
	done := io.busy("replaying")
	report, err := r.replay(ctx, run.trace, opening.ReplayOptions{
		Until: f.until, Node: f.node, MaxParallel: cfg.Runtime.MaxParallel,
		Changed: func(ref string) bool {
			return f.changed || slices.ContainsFunc(overrides, func(o agentOverride) bool { return o.ref == ref })
		},
	})
	done()
	if err := errors.Join(err, r.Close()); err != nil {
		return err
	}
	return showReplay(io, report, f.json)
}

// showReplay prints the report; its exit code is 1 when anything differs.
func showReplay(io *IO, report *opening.ReplayReport, asJSON bool) error {
	var err error
	if asJSON {
		err = printJSON(io.Stdout, report)
	} else {
		_, err = fmt.Fprint(io.Stdout, report.Text())
	}
	if err == nil && !report.Same() {
		err = &exitError{code: exitFailed, err: errShown}
	}
	return err
}

// replayer replays traces in one sealed session.
type replayer struct {
	*session
	exec *opening.BusExecutor
}

func openReplayer(ctx context.Context, io *IO, cfg *Loaded, opt sessionOptions) (*replayer, error) {
	opt.sealed = true
	s, err := openSession(ctx, io, cfg, opt)
	if err != nil {
		return nil, err
	}
	return &replayer{s, opening.NewBusExecutor(s.bus.Client("engine", bus.KindAgent))}, nil
}

// replay replays one trace. A refusal says what to do about it.
func (r *replayer) replay(
	ctx context.Context, t *opening.Trace, opt opening.ReplayOptions,
) (*opening.ReplayReport, error) {
	opt.Present = func(ref string) (string, error) {
		m, err := planCatalog{r.catalog}.Manifest(ref)
		if err != nil {
			return "", err
		}
		return m.Digest, nil
	}
	report, err := opening.Replay(ctx, t, r.exec, opt)
	var other *opening.OtherCode
	switch {
	case errors.As(err, &other):
		return nil, exitErrorf(exitFailed, "%w (rlp replay --changed tries what is here now, --agent %s=PATH other code)",
			err, other.Agents[0].Ref)
	case errors.Is(err, opening.ErrUnknownAgent):
		return nil, exitErrorf(exitNotFound, "%w (say where it is: --agent NAME=PATH or --agents-dir DIR)", err)
	}
	return report, err
}

// checkOverrides refuses a bundle for an agent that the run did not use.
func checkOverrides(overrides []agentOverride, t *opening.Trace) error {
	var refs []string
	for _, n := range t.Nodes {
		refs = append(refs, n.Agent)
	}
	for _, o := range overrides {
		if !slices.Contains(refs, o.ref) {
			return usageErrorf("--agent %s: the run did not use it%s", o.ref, didYouMean(o.ref, refs))
		}
	}
	return nil
}

// checkOpening refuses a trace that is not of the opening in file.
func checkOpening(file string, t *opening.Trace) error {
	if file == "" {
		return nil
	}
	src, err := readFileLimited(file, openingMax)
	if err != nil {
		return err
	}
	o, err := opening.Parse(file, src)
	if err != nil {
		return usageErrorf("%v", err)
	}
	if o.Hash() != t.OpeningIRHash {
		return exitErrorf(exitFailed, "the run was of opening %s with IR %s, but %s has %s",
			t.OpeningName, t.OpeningIRHash, file, o.Hash())
	}
	return nil
}
