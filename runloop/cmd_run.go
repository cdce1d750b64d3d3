package runloop

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/router"
)

func cmdRun(io *IO) *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "run an opening",
		ArgsUsage: "[OPENING]",
		UsageText: `rlp run compose_email --local -p recipient="Ada Fern" -p topic="Q4 plan"
rlp run ./my.yaml --local --params @params.json --yes --trace-out trace.json
rlp run summarize_logs --local -p log=@/var/log/syslog > run.ndjson`,
		Description: `OPENING is a path, a name along openings.search_dirs or built in, or - for stdin.
With --prompt-env or --params-file it can be left out: router.default_opening.
On a terminal the run is shown as it goes; elsewhere its events are printed, one
JSON object a line.`,
		Flags: append(flagsOfRuns(),
			&cli.StringFlag{Name: "params", Usage: "parameters as `JSON`, or @file"},
			&cli.StringFlag{Name: "params-file", Usage: "parameters from a `FILE` of JSON, or - for stdin"},
			&cli.StringFlag{Name: "prompt-env", Usage: "take the parameter prompt out of the variable `VAR`"},
		),
		Action: func(c *cli.Context) error {
			f := runFlagsOf(io, c)
			err := f.limitBy(c)
			if err == nil && c.IsSet("prompt-env") {
				err = f.takePrompt(io, c.String("prompt-env"))
			}
			if err != nil {
				return err
			}
			return runCommand(c.Context, io, f)
		},
	}
}

// flagsOfRuns are the flags of all that runs an opening.
func flagsOfRuns() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "dry-run", Usage: "show what would run, with what it may do and cost, and run nothing"},
		&cli.BoolFlag{Name: "local", Usage: "run in this process, without the daemon"},
		&cli.StringSliceFlag{Name: "param", Aliases: []string{"p"}, Usage: "a parameter, `KEY=VALUE`; @file reads the value from a file"},
		&cli.Int64Flag{Name: "budget-tokens", Usage: "spend at most `N` tokens on models"},
		&cli.Float64Flag{Name: "budget-usd", Usage: "spend at most that many `DOLLARS` on models"},
		&cli.DurationFlag{Name: "timeout", Usage: "stop the run after a `TIME` such as 30s or 2m"},
		&cli.BoolFlag{Name: "yes", Usage: "approve external actions without asking; this is recorded"},
		&cli.BoolFlag{Name: "detach", Usage: "print the trace id and leave the run to the daemon"},
		&cli.StringFlag{Name: "trace-out", Usage: "write the trace to `FILE` for rlp replay"},
		&cli.BoolFlag{Name: "json", Usage: "short for --progress json"},
		&cli.StringFlag{Name: "errors-format", Value: "table", Usage: "show mistakes in the opening as `table|json`"},
		&cli.StringFlag{Name: "agents-dir", Usage: "look for agents in `DIR` first"},
		&cli.StringFlag{Name: "openings-dir", Usage: "look for openings in `DIR` first"},
		&cli.StringSliceFlag{Name: "grant", Usage: "let the `AGENT` have what it asks for, in this run"},
	}
}

// runFlags are the flags of rlp run.
type runFlags struct {
	command      string // that the flags are of
	ref          string
	local, yes   bool
	alone        bool // not local, but no daemon answers
	detach       bool
	dryRun       bool
	json         bool // also of a dry run
	progress     string
	traceOut     string
	errorsFormat string
	agentsDir    string
	openingsDir  string
	grants       []string
	params       paramFlags
	limits       opening.Limits   // beyond the opening's
	extra        bool             // more than one argument
	route        *router.Decision // of a prompt that was routed, or nil
	// fork takes steps over from an earlier run, and report shows how it went.
	fork   *opening.Fork
	report func(*opening.Report) error
}

// runFlagsOf reads the flags of flagsOfRuns but for limits, those of rlp run for
// parameters, and the opening, which is the first argument.
func runFlagsOf(io *IO, c *cli.Context) *runFlags {
	return &runFlags{
		command: c.Command.HelpName, ref: c.Args().First(), extra: c.NArg() > 1,
		progress: io.progress(c.Bool("json")), json: c.Bool("json"), dryRun: c.Bool("dry-run"),
		local: c.Bool("local"), yes: c.Bool("yes"), detach: c.Bool("detach"),
		traceOut: c.String("trace-out"), errorsFormat: c.String("errors-format"),
		agentsDir: c.String("agents-dir"), openingsDir: c.String("openings-dir"),
		grants: c.StringSlice("grant"),
		params: paramFlags{
			json: c.String("params"), file: c.String("params-file"), pairs: c.StringSlice("param"),
		},
	}
}

// setPrompt takes a prompt over, and the budget that stands in it. where stands
// in front of what is wrong.
func (f *runFlags) setPrompt(where, raw string) error {
	text, budget, err := readPrompt(where, raw)
	if err == nil {
		f.params.prompt, f.limits = &text, f.limits.Tighter(budget)
	}
	return err
}

// takePrompt is setPrompt for the variable of --prompt-env.
func (f *runFlags) takePrompt(io *IO, variable string) error {
	raw, err := io.takeVariable("--prompt-env", variable)
	if err != nil {
		return err
	}
	return f.setPrompt("--prompt-env "+variable+": ", raw)
}

func (f *runFlags) check() error {
	switch {
	case f.ref == "" && f.params.prompt == nil && f.params.file == "":
		return usageErrorf("which opening? (see %s --help)", f.command)
	case f.extra:
		return usageErrorf("one opening at a time (see %s --help)", f.command)
	case f.local && f.detach:
		return usageErrorf("--detach leaves the run to the daemon; --local has none")
	case f.dryRun && f.traceOut != "":
		return usageErrorf("--trace-out needs a run; --dry-run has none")
	case f.errorsFormat != "table" && f.errorsFormat != "json":
		return usageErrorf("--errors-format %q: table or json", f.errorsFormat)
	}
	return nil
}

// orDefault takes the configured opening where none was named.
func (f *runFlags) orDefault(cfg *Loaded) error {
	if f.ref == "" {
		f.ref = cfg.Router.DefaultOpening
	}
	if f.ref == "" {
		return usageErrorf("which opening? router.default_opening (from %s) is empty", cfg.Origin["router.default_opening"])
	}
	return nil
}

func runCommand(ctx context.Context, io *IO, f *runFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	cfg, err := io.config()
	if err != nil {
		return err
	}
	if err := f.orDefault(cfg); err != nil {
		return err
	}
	if f.dryRun {
		return dryRunCommand(ctx, io, cfg, f)
	}
	if !f.local {
		conn, err := io.daemonForRun(ctx, cfg, f)
		if err != nil {
			return err
		}
		if conn != nil {
			return runInDaemon(ctx, io, cfg, f, conn)
		}
		f.alone = true
	}
	return runLocally(ctx, io, cfg, f)
}

// runLocally carries a run out in this process.
func runLocally(ctx context.Context, io *IO, cfg *Loaded, f *runFlags) error {
	o, src, err := io.readOpening(cfg, f)
	if err != nil {
		return err
	}
	params, err := f.params.read(io, o)
	if err != nil {
		return err
	}
	opt := sessionOptions{agentsDir: f.agentsDir, grants: f.grants}
	dirs := openingDirs(cfg, f, src)
	for _, n := range o.Nodes {
		opt.expect = append(opt.expect, n.Use)
	}
	if opt.code, err = io.loadAgents(ctx, cfg, opt); err != nil {
		return err
	}
	if err := io.agreeToRun(cfg, opt, o, gatherOpenings(o, dirs)); err != nil {
		return errors.Join(err, opt.code.runtime.Close())
	}
	s, err := openSession(ctx, io, cfg, opt)
	if err != nil {
		return err
	}
	plan, err := opening.Load(src.name, src.text, s.openings(dirs), params)
	if err != nil {
		return errors.Join(io.showProblems(err, f.errorsFormat), s.Close())
	}
	if err = s.announce(plan, f); err == nil {
		err = s.runPlan(ctx, plan, f)
	}
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	return err
}

// openingSource is an opening's file.
type openingSource struct {
	name string
	text []byte
}

// readOpening finds and parses the opening that the flags name.
func (o *IO) readOpening(cfg *Loaded, f *runFlags) (*opening.Opening, *openingSource, error) {
	src, err := o.findSource(cfg, f)
	if err != nil {
		return nil, nil, err
	}
	parsed, err := opening.Parse(src.name, src.text)
	if err != nil {
		return nil, nil, o.showProblems(err, f.errorsFormat)
	}
	return parsed, src, nil
}

// findSource finds the opening that the flags name.
func (o *IO) findSource(cfg *Loaded, f *runFlags) (*openingSource, error) {
	dirs := cfg.Openings.SearchDirs
	if f.openingsDir != "" {
		dirs = append([]string{f.openingsDir}, dirs...)
	}
	name, text, err := findOpening(f.ref, dirs, o.Stdin)
	if err != nil {
		return nil, err
	}
	return &openingSource{name, text}, nil
}

// showProblems prints all that is wrong with an opening; other errors stay as
// they are.
func (o *IO) showProblems(err error, format string) error {
	var problems opening.Problems
	if !errors.As(err, &problems) {
		return err
	}
	if format == "json" {
		if err := printJSON(o.Stdout, problems); err != nil {
			return err
		}
	} else {
		fmt.Fprint(o.Stderr, printableText(problems.Text()))
	}
	return &exitError{code: exitUsage, err: errShown}
}

// runPlan carries a plan out and shows it.
func (s *session) runPlan(ctx context.Context, plan *opening.Plan, f *runFlags) error {
	ctx, interrupted, stop := cancelOnInterrupt(ctx, s.io)
	defer stop()
	view, err := s.io.newRunView(f.progress)
	if err != nil {
		return err
	}
	client := s.bus.Client("rlp", bus.KindUI)
	defer client.Close()
	ui, err := s.io.startDecider(ctx, localPeer{client}, deciderOptions{
		policy: s.io.ruling(s.cfg, f.yes), pause: view.pause,
	})
	if err != nil {
		return err
	}
	defer ui.close()
	report, err := s.runHere(ctx, plan, view.event, opening.RunOptions{
		Flags: ui.policy.flags(), Fork: f.fork, Limits: s.cfg.askedLimits(plan.Opening.Policy, f.limits),
	})
	if cerr := view.close(report); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if f.traceOut != "" {
		if err := writeSynced(f.traceOut, append(report.Trace.JSON(), '\n')); err != nil {
			return fmt.Errorf("--trace-out: %w", err)
		}
	}
	if f.report != nil {
		if err := f.report(report); err != nil {
			return err
		}
	}
	return runExit(report, ui.declined(), interrupted())
}

// runHere carries a plan out in this process, which has the run until it ends.
func (s *session) runHere(ctx context.Context, plan *opening.Plan, sink func(opening.Event), opt opening.RunOptions) (*opening.Report, error) {
	opt.TraceID = uuid.New()
	owner, err := s.owners().take(opt.TraceID)
	if err != nil {
		return nil, err
	}
	s.host.Warm(ctx, plan.Refs())
	engine, release := s.engine(sink)
	defer release()
	report, err := engine.Run(ctx, plan, opt)
	owner.release(err == nil)
	return report, err
}

// runExit is the error that stands for how a run ended; the user has seen why.
func runExit(report *opening.Report, declined, interrupted bool) error {
	switch {
	case interrupted:
		return &exitError{code: exitInterrupted, err: errShown}
	case report.Success:
		return nil
	case declined:
		return &exitError{code: exitDeclined, err: errShown}
	}
	return &exitError{code: exitFailed, err: errShown}
}
