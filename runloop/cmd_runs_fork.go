package runloop

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/opening"
)

func cmdRunsFork(io *IO) *cli.Command {
	return &cli.Command{
		Name: "fork", Usage: "run again from a step on, and take over the rest", ArgsUsage: "TRACE",
		UsageText: `rlp runs fork trace:0b1c… --from draft
rlp runs fork trace:0b1c… -p tone=stern
rlp runs fork trace:0b1c… --agent critic=./agents/critic --grant critic --local
rlp runs fork run.rlrun --set draft.with.model=local:small --local
rlp runs fork trace:0b1c… --from draft --detach    # print its trace id, and leave it`,
		Description: `A step is taken over when its code, what it is told, its inputs and what it may do are
as they were; everything else runs, and --from makes a step run with all that depends on
it. The report shows what was taken over, what came out otherwise, and what it cost.

The daemon carries the fork out, with the agents that it finds; with --agent it must have
that very bundle (rlp agent install). --local needs no daemon, takes bundles from anywhere,
and forks runs out of files.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "from", Usage: "run `NODE` anew, and all that depends on it"},
			&cli.StringSliceFlag{Name: "param", Aliases: []string{"p"}, Usage: "another parameter, `KEY=VALUE`"},
			&cli.StringSliceFlag{Name: "set", Usage: "tell a node something else, `NODE.with.KEY=VALUE`"},
			&cli.StringSliceFlag{Name: "agent", Usage: "use the bundle at PATH for an agent, `NAME=PATH`"},
			&cli.StringFlag{Name: "agents-dir", Usage: "look for agents in `DIR` first"},
			&cli.StringSliceFlag{Name: "grant", Usage: "let the `AGENT` have what it asks for, in this run"},
			&cli.BoolFlag{Name: "local", Usage: "run in this process, without the daemon"},
			&cli.BoolFlag{Name: "detach", Usage: "print the trace id and leave the run to the daemon"},
			&cli.BoolFlag{Name: "yes", Usage: "approve external actions without asking; this is recorded"},
			&cli.StringFlag{Name: "trace-out", Usage: "write the trace to `FILE` for rlp replay"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usageErrorf("which run? (see rlp runs fork --help)")
			}
			return runsFork(c.Context, io, forkFlagsOf(io, c))
		},
	}
}

// forkFlags are the flags of rlp runs fork: what is otherwise, and how the run
// is carried out.
type forkFlags struct {
	run    runFlags // ref is the trace
	from   string
	sets   []string
	agents []string
	json   bool
}

func forkFlagsOf(io *IO, c *cli.Context) *forkFlags {
	f := &forkFlags{
		from: c.String("from"), sets: c.StringSlice("set"), agents: c.StringSlice("agent"), json: c.Bool("json"),
		run: runFlags{
			ref: c.Args().First(), local: c.Bool("local"), detach: c.Bool("detach"), yes: c.Bool("yes"), traceOut: c.String("trace-out"),
			progress: io.progress(false), agentsDir: c.String("agents-dir"), grants: c.StringSlice("grant"),
			params: paramFlags{pairs: c.StringSlice("param")}, errorsFormat: "table",
		},
	}
	if f.run.progress == progressAuto && (f.json || !io.live()) {
		f.run.progress = progressNone
	}
	return f
}

func (f *forkFlags) check() error {
	if f.from == "" && len(f.run.params.pairs)+len(f.sets)+len(f.agents) == 0 && f.run.agentsDir == "" {
		return usageErrorf("nothing would be otherwise: give --from, -p, --set or --agent (see rlp runs fork --help)")
	}
	if f.run.local && f.run.detach {
		return usageErrorf("--detach leaves the run to the daemon; --local has none")
	}
	return nil
}

func runsFork(ctx context.Context, io *IO, f *forkFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	cfg, err := io.config()
	if err != nil {
		return err
	}
	run, err := io.readRecorded(ctx, cfg, f.run.ref)
	if err != nil {
		return err
	}
	change, err := f.change(run.trace)
	if err != nil {
		return err
	}
	overrides, err := agentOverrides(f.agents)
	if err == nil {
		err = checkOverrides(overrides, run.trace)
	}
	if err != nil {
		return err
	}
	w := &forkWork{forkFlags: f, io: io, cfg: cfg, source: run, change: change, overrides: overrides}
	if f.run.local {
		return w.here(ctx)
	}
	return w.inDaemon(ctx)
}

// forkWork is a fork that is about to be carried out.
type forkWork struct {
	*forkFlags
	io        *IO
	cfg       *Loaded
	source    *recorded // the run that it comes from
	change    *forkChange
	overrides []agentOverride
}

// here carries the fork out in this process.
func (w *forkWork) here(ctx context.Context) error {
	flags := &w.forkFlags.run
	opt := sessionOptions{agentsDir: flags.agentsDir, grants: flags.grants, sources: sourcesOf(w.overrides)}
	if err := w.agree(opt); err != nil {
		return err
	}
	s, err := openSession(ctx, w.io, w.cfg, opt)
	if err != nil {
		return err
	}
	plan, err := s.planFork(w.source.trace, w.change)
	if err != nil {
		return errors.Join(w.io.showProblems(err, flags.errorsFormat), s.Close())
	}
	flags.fork = &opening.Fork{Source: w.source.trace, From: w.from, Caps: s.capsDigest(flags.grants)}
	flags.report = func(r *opening.Report) error { return w.io.showFork(r.Fork, w.json) }
	err = s.runPlan(ctx, plan, flags)
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	return err
}

// agree asks for agents that nobody granted yet, as they will be found.
func (w *forkWork) agree(opt sessionOptions) error {
	o, _, err := w.change.over(w.source.trace)
	if err != nil {
		return err
	}
	along, err := openingsOf(w.source.trace)
	if err != nil {
		return err
	}
	return w.io.agreeToRun(w.cfg, opt, o, along)
}

// planFork plans a run with something otherwise, and with the openings that its
// nodes used as they were.
func (s *session) planFork(t *opening.Trace, change *forkChange) (*opening.Plan, error) {
	o, params, err := change.over(t)
	if err != nil {
		return nil, err
	}
	catalog := s.openings(s.live.Load().Openings.SearchDirs)
	if catalog.along, err = openingsOf(t); err != nil {
		return nil, err
	}
	return opening.NewPlan(o, catalog, params)
}

// openingsOf are the openings that the nodes of a run used, as they were.
func openingsOf(t *opening.Trace) (map[string]openingSource, error) {
	openings, err := t.NestedOpenings()
	if err != nil {
		return nil, err
	}
	out := map[string]openingSource{}
	for name, o := range openings {
		out[name] = openingSource{name: name, text: o.YAML()}
	}
	return out, nil
}

// capsDigest tells what an agent may do here now.
func (s *session) capsDigest(granted []string) func(ref string) (string, error) {
	policy := s.policy(granted...)
	return func(ref string) (string, error) {
		b, err := s.catalog.Bundle(ref)
		if err != nil {
			return "", err
		}
		caps, _, err := policy.Effective(b)
		if err != nil {
			return "", err
		}
		return caps.Digest(), nil
	}
}

// showFork prints how the fork compares with the run that it comes from.
func (o *IO) showFork(r *opening.ForkReport, asJSON bool) error {
	if asJSON {
		return printJSON(o.Stdout, r)
	}
	_, err := fmt.Fprintf(o.Stdout, "%s from %s\n%s", r.TraceID, r.Source, printableText(r.Text()))
	return err
}
