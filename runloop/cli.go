package runloop

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"
)

// runRLP is the command line.
func runRLP(ctx context.Context, io *IO, args []string) error {
	if prompt, dashed := isPromptLine(args); prompt {
		return runApp(ctx, io, promptApp(io, dashed), args)
	}
	return runApp(ctx, io, newCLI(io), args)
}

// newCLI is the tree of commands.
func newCLI(io *IO) *cli.App {
	app := newApp(io, "rlp", "run crews of sandboxed agents, and see what they did")
	app.UsageText, app.ArgsUsage = cliExamples, "COMMAND | PROMPT"
	app.Action = func(c *cli.Context) error { return noCommand(io, c) }
	app.Commands = commands(io)
	return app
}

// newApp is what every applet has in common. Errors come back to the caller;
// nothing in it ends the process.
func newApp(io *IO, name, usage string) *cli.App {
	return &cli.App{
		Name: name, Usage: usage,
		Reader: io.Stdin, Writer: io.Stdout, ErrWriter: io.Stderr,
		HideHelp: true, HideVersion: true,
		DisableSliceFlagSeparator: true, // a comma in a value is a comma
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              onUsageError,
	}
}

const cliExamples = `rlp "write John about the Q4 plan"
rlp run compose_email --local -p recipient=john -p topic="Q4 plan"
rlp kb import ~/contacts.vcf ~/notes
rlp kb search "Q4 plan"
rlp trace trace:<uuid>`

// runApp runs an applet with the arguments after its name. Help and the flags
// that all commands have in common are seen to before the library reads the
// rest.
func runApp(ctx context.Context, io *IO, app *cli.App, args []string) error {
	l, err := io.readLine(app, args)
	switch {
	case err != nil:
		return err
	case io.common.help:
		d, _ := docOfApp(app).find(l.path)
		return io.showHelp(d)
	case io.common.version:
		return printVersion(io, false)
	}
	return app.RunContext(ctx, append([]string{app.Name}, l.args()...))
}

// commands are the commands of rlp in the order of the help.
func commands(io *IO) []*cli.Command {
	list := []*cli.Command{
		cmdRun(io), cmdRuns(io), cmdReplay(io), cmdTrace(io), cmdCI(io), cmdKB(io), cmdAgent(io), cmdCaps(io),
		cmdTrust(io), cmdOpening(io),
		cmdRoute(io), cmdWhy(io), cmdShell(io), cmdConfig(io), cmdStatus(io), cmdDoctor(io), cmdVersion(io), cmdCompletion(io), cmdHelp(io),
	}
	for _, c := range list {
		prepare(io, c)
	}
	return list
}

// prepare gives a command and those below it what all have in common.
func prepare(io *IO, c *cli.Command) {
	c.OnUsageError = onUsageError
	c.HideHelp = true
	if c.Action == nil {
		c.Action = func(c *cli.Context) error { return noSubcommand(io, c) }
	}
	if c.ArgsUsage == "" && len(c.Subcommands) == 0 {
		c.Action = withoutArguments(c.Action)
	}
	for _, sub := range c.Subcommands {
		prepare(io, sub)
	}
}

// withoutArguments is an action of a command that takes none: one that is given
// was meant to say something.
func withoutArguments(do cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.NArg() > 0 {
			return usageErrorf("%q is too much: %s takes no arguments (see %[2]s --help)", c.Args().First(), c.Command.HelpName)
		}
		return do(c)
	}
}

func noCommand(io *IO, c *cli.Context) error {
	if name := c.Args().First(); name != "" {
		var prompt string
		if c.NArg() > 1 {
			prompt = `; a prompt is one argument, or stands behind "--"`
		}
		return usageErrorf("no command %q%s%s (see rlp --help)", name, didYouMean(name, commandNames()), prompt)
	}
	return io.showHelp(docOfApp(c.App))
}

func noSubcommand(io *IO, c *cli.Context) error {
	path := c.Command.HelpName // with those above it
	if name := c.Args().First(); name != "" {
		return usageErrorf("%s has no command %q%s (see %s --help)", path, name,
			didYouMean(name, namesOf(c.Command.Subcommands)), path)
	}
	d, _ := docOfApp(c.App).find(strings.Fields(path)[1:])
	return io.showHelp(d)
}

// commandNames are the names that rlp knows.
func commandNames() []string { return namesOf(commands(&IO{})) }

func namesOf(list []*cli.Command) []string {
	var names []string
	for _, c := range list {
		names = append(names, c.Names()...)
	}
	return names
}

// isCommand reports whether rlp has a command of that name.
func isCommand(name string) bool {
	for _, n := range commandNames() {
		if n == name {
			return true
		}
	}
	return false
}

func findCommand(list []*cli.Command, name string) *cli.Command {
	for _, c := range list {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}
