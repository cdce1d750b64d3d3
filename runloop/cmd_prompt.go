package runloop

import (
	"context"
	"slices"
	"strings"
	"unicode"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/router"
	"github.com/runloop-os/runloop/router/enter"
)

// promptFlags are the flags of `rlp PROMPT`.
func promptFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "opening", Usage: "the `OPENING` for it, a name or a path, in place of router.default_opening"},
	}, flagsOfRuns()...)
}

// agentFlags speak of a run of agents: with one of them a prompt is for agents
// whatever it looks like.
var agentFlags = []string{"opening", "budget-tokens", "budget-usd", "timeout", "param", "detach", "trace-out", "agents-dir",
	"openings-dir", "grant"}

const promptAbout = `The prompt is one argument with spaces in it, or all that stands behind "--". It is
routed as rlp route does, with the same lists and corrections. What is for the shell is
run by $SHELL; what is for agents runs the opening with the parameter prompt, in the
daemon or, with --local, here. The first line on stderr says which, before anything is
sent or run.

A budget may stand in the prompt, at its beginning or its end: ':budget 30s $0.05 2000t'.
Quote it with '…': in "…" the shell puts something else for $0. Of all limits, those of
the opening and of the configuration included, the tightest counts.`

const promptExamples = `rlp "write John about the Q4 plan"
rlp --dry-run "write John about the Q4 plan"
rlp --local 'write John about the Q4 plan :budget 30s $0.05'
rlp -- list the largest files here`

// isPromptLine reports whether a command line is a prompt and not a command: its
// first argument has spaces in it, or "--" goes before it (dashed). Flags that
// are only a prompt's, before anything else, announce one, too.
func isPromptLine(args []string) (prompt, dashed bool) {
	front, rest := leadingFlags(append(commonFlagList(), promptFlags()...), args)
	switch {
	case len(rest) > 0 && rest[0] == "--":
		return true, true
	case len(rest) > 0 && strings.ContainsFunc(rest[0], unicode.IsSpace):
		return true, false
	}
	own := promptFlags()
	return slices.ContainsFunc(front, func(arg string) bool {
		name, _, _ := strings.Cut(arg, "=")
		return isFlag(arg) && flagNamed(own, name) != nil
	}), false
}

// promptApp is `rlp PROMPT`.
func promptApp(io *IO, dashed bool) *cli.App {
	app := newApp(io, "rlp", "do what a sentence asks for")
	app.ArgsUsage, app.UsageText, app.Description = "PROMPT | -- PROMPT...", promptExamples, promptAbout
	app.Flags = promptFlags()
	app.Action = func(c *cli.Context) error {
		if err := checkPromptArgs(c.Args().Slice(), dashed); err != nil {
			return err
		}
		return promptCommand(c.Context, io, c)
	}
	return app
}

// checkPromptArgs refuses arguments that are no prompt.
func checkPromptArgs(args []string, dashed bool) error {
	switch {
	case strings.TrimSpace(strings.Join(args, "")) == "":
		return usageErrorf("which prompt? (see rlp help prompt)")
	case dashed:
		return nil
	case isCommand(args[0]):
		return usageErrorf("%s is a command; its flags go behind it (see rlp %s --help)", args[0], args[0])
	case len(args) > 1:
		return usageErrorf(`a prompt is one argument: quote all of it, or put "--" before it`)
	case !strings.ContainsFunc(args[0], unicode.IsSpace):
		return usageErrorf(`no command %q%s; a prompt of one word goes behind "--"`, args[0], didYouMean(args[0], commandNames()))
	}
	return nil
}

func promptCommand(ctx context.Context, io *IO, c *cli.Context) error {
	text := strings.Join(c.Args().Slice(), " ")
	f := runFlagsOf(io, c)
	if err := f.limitBy(c); err != nil {
		return err
	}
	d, err := decideRoute(io, &enter.Flags{Line: text, Shell: router.Shell(io.shellName())})
	if err != nil {
		return err
	}
	if d.Blocked || d.Route == router.ToShell && !slices.ContainsFunc(agentFlags, c.IsSet) {
		line, err := shellLine(d, c.Args().Slice())
		if err != nil {
			return err
		}
		return io.promptToShell(d, line, f)
	}
	if err := f.setPrompt("", d.Prompt); err != nil {
		return err
	}
	f.ref, f.extra, f.route = c.String("opening"), false, d
	return runCommand(ctx, io, f)
}
