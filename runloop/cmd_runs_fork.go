package runloop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/opening"
)

func cmdRunsFork(io *IO) *cli.Command {
	return &cli.Command{
		Name: "fork", Usage: "run again from a step on, and take over the rest", ArgsUsage: "TRACE",
		Description: `Examples:
   rlp runs fork trace:0b1c… --from draft --local
   rlp runs fork trace:0b1c… -p tone=stern --local
   rlp runs fork trace:0b1c… --agent critic=./agents/critic --grant critic --local
   rlp runs fork run.rlrun --set draft.with.model=local:small --local

A step is taken over when its code, what it is told, its inputs and what it may do are
as they were; everything else runs, and --from makes a step run with all that depends on
it. The report shows what was taken over, what came out otherwise, and what it cost.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "from", Usage: "run `NODE` anew, and all that depends on it"},
			&cli.StringSliceFlag{Name: "p", Usage: "another parameter, `KEY=VALUE`"},
			&cli.StringSliceFlag{Name: "set", Usage: "tell a node something else, `NODE.with.KEY=VALUE`"},
			&cli.StringSliceFlag{Name: "agent", Usage: "use the bundle at PATH for an agent, `NAME=PATH`"},
			&cli.StringFlag{Name: "agents-dir", Usage: "look for agents in `DIR` first"},
			&cli.StringSliceFlag{Name: "grant", Usage: "let the agent `NAME` have what it asks for, in this run"},
			&cli.BoolFlag{Name: "local", Usage: "run in this process, without the daemon"},
			&cli.BoolFlag{Name: "yes", Usage: "approve external actions without asking; this is recorded"},
			&cli.StringFlag{Name: "trace-out", Usage: "write the trace to `FILE` for rlp replay"},
			&cli.StringFlag{Name: "progress", Usage: "`HOW` to show the run, as in rlp run (default: none but on a terminal)"},
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
			ref: c.Args().First(), local: c.Bool("local"), yes: c.Bool("yes"), traceOut: c.String("trace-out"),
			progress: c.String("progress"), agentsDir: c.String("agents-dir"), grants: c.StringSlice("grant"),
			params: paramFlags{pairs: c.StringSlice("p")}, errorsFormat: "table",
		},
	}
	if f.run.progress == "" && (f.json || !io.live()) {
		f.run.progress = progressNone
	}
	return f
}

func (f *forkFlags) check() error {
	if f.from == "" && len(f.run.params.pairs)+len(f.sets)+len(f.agents) == 0 && f.run.agentsDir == "" {
		return usageErrorf("nothing would be otherwise: give --from, -p, --set or --agent (see rlp runs fork --help)")
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
	changed, err := f.change(run.trace)
	if err != nil {
		return err
	}
	if !f.run.local {
		return exitErrorf(exitUsage, "a fork runs in this process for now: add --local")
	}
	return f.runLocal(ctx, io, cfg, run, changed)
}

// runLocal carries the fork out in this process.
func (f *forkFlags) runLocal(
	ctx context.Context, io *IO, cfg *Loaded, run *recorded, changed changedRun,
) error {
	overrides, err := agentOverrides(f.agents)
	if err == nil {
		err = checkOverrides(overrides, run.trace)
	}
	if err != nil {
		return err
	}
	s, err := openSession(ctx, io, cfg, sessionOptions{
		agentsDir: f.run.agentsDir, grants: f.run.grants, sources: sourcesOf(overrides),
	})
	if err != nil {
		return err
	}
	catalog := openingCatalog{planCatalog: planCatalog{s.catalog}, dirs: cfg.Openings.SearchDirs}
	var plan *opening.Plan
	if catalog.along, err = openingsOf(run.trace); err == nil {
		plan, err = opening.NewPlan(changed.opening, catalog, changed.params)
	}
	if err != nil {
		return errors.Join(io.showProblems(err, f.run.errorsFormat), s.Close())
	}
	f.run.fork = &opening.Fork{Source: run.trace, From: f.from, Caps: s.capsDigest(f.run.grants)}
	f.run.report = func(r *opening.Report) error { return io.showFork(r, f.json) }
	err = s.runPlan(ctx, plan, &f.run)
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	return err
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
func (o *IO) showFork(r *opening.Report, asJSON bool) error {
	if r.Fork == nil {
		return nil
	}
	if asJSON {
		return printJSON(o.Stdout, r.Fork)
	}
	_, err := fmt.Fprintf(o.Stdout, "%s from %s\n%s", r.TraceID, r.Fork.Source, printableText(r.Fork.Text()))
	return err
}

// changedRun is what of a recorded run is otherwise in a fork.
type changedRun struct {
	opening *opening.Opening
	params  json.RawMessage
}

// change lays the flags over the opening and the parameters of the run.
func (f *forkFlags) change(t *opening.Trace) (changedRun, error) {
	var out changedRun
	o, err := opening.ParseIR(t.OpeningIR)
	if err != nil {
		return out, err
	}
	for _, set := range f.sets {
		if err := setWith(o, set); err != nil {
			return out, err
		}
	}
	params, types := map[string]any{}, map[string]any{}
	if len(o.Params) > 0 {
		if err := mergeObject(types, o.Params, "params of the opening"); err != nil {
			return out, err
		}
	}
	if err := mergeObject(params, t.Params, "params of the run"); err != nil {
		return out, err
	}
	for _, pair := range f.run.params.pairs {
		if err := setPair(params, types, pair); err != nil {
			return out, err
		}
	}
	out.opening = o
	out.params, err = json.Marshal(params)
	return out, err
}

// setWith carries out one --set NODE.with.KEY=VALUE.
func setWith(o *opening.Opening, set string) error {
	node, rest, _ := strings.Cut(set, ".")
	pair, ok := strings.CutPrefix(rest, "with.")
	if !ok {
		return usageErrorf("--set %q: want NODE.with.KEY=VALUE", set)
	}
	var ids []string
	for i := range o.Nodes {
		n := &o.Nodes[i]
		if ids = append(ids, n.ID); n.ID != node {
			continue
		}
		with, types := map[string]any{}, map[string]any{}
		for _, m := range []map[string]any{with, types} {
			if len(n.With) == 0 {
				break
			}
			if err := mergeObject(m, n.With, "with of "+node); err != nil {
				return err
			}
		}
		if err := setPair(with, types, pair); err != nil {
			return err
		}
		raw, err := json.Marshal(with)
		n.With = raw
		return err
	}
	return usageErrorf("--set %s: the opening has no node %s%s", set, node, didYouMean(node, ids))
}
