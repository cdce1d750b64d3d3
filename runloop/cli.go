package runloop

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"
)

// runRLP is the command line.
func runRLP(ctx context.Context, io *IO, args []string) error {
	app := newCLI(io)
	return app.RunContext(ctx, append([]string{"rlp"}, permute(app.Commands, args)...))
}

// newCLI is the tree of commands.
func newCLI(io *IO) *cli.App {
	app := newApp(io, "rlp", "run crews of sandboxed agents, and see what they did")
	app.UsageText = cliExamples
	app.Action = noCommand
	app.Commands = commands(io)
	return app
}

// newApp is what every applet has in common. Errors come back to the caller;
// nothing in it ends the process.
func newApp(io *IO, name, usage string) *cli.App {
	return &cli.App{
		Name: name, Usage: usage,
		Reader: io.Stdin, Writer: io.Stdout, ErrWriter: io.Stderr,
		HideVersion:               true,
		DisableSliceFlagSeparator: true, // a comma in a value is a comma
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              onUsageError,
	}
}

const cliExamples = `rlp run compose_email --local -p recipient=john -p topic="Q4 plan"
   rlp kb import ~/contacts.vcf ~/notes
   rlp kb search "Q4 plan"
   rlp trace trace:<uuid>
   rlp replay trace:<uuid>`

// commands are the commands of rlp in the order of the help.
func commands(io *IO) []*cli.Command {
	list := []*cli.Command{
		cmdRun(io), cmdRuns(io), cmdReplay(io), cmdTrace(io), cmdCI(io), cmdKB(io), cmdAgent(io), cmdCaps(io),
		cmdTrust(io), cmdOpening(io),
		cmdRoute(io), cmdWhy(io), cmdShell(io), cmdConfig(io), cmdStatus(io), cmdVersion(io),
	}
	for _, c := range list {
		prepare(c)
	}
	return list
}

// prepare gives a command and those below it what all have in common.
func prepare(c *cli.Command) {
	c.OnUsageError = onUsageError
	c.HideHelpCommand = true
	if c.Action == nil {
		c.Action = noSubcommand
	}
	for _, sub := range c.Subcommands {
		prepare(sub)
	}
}

func onUsageError(c *cli.Context, err error, _ bool) error {
	where := c.App.Name
	if name := c.Command.FullName(); name != "" && name != where {
		where += " " + name
	}
	return usageErrorf("%v (see %s --help)", err, where)
}

func noCommand(c *cli.Context) error {
	if name := c.Args().First(); name != "" {
		return usageErrorf("no command %q%s (see rlp --help)", name, didYouMean(name, commandNames()))
	}
	return cli.ShowAppHelp(c)
}

func noSubcommand(c *cli.Context) error {
	if name := c.Args().First(); name != "" {
		return usageErrorf("rlp %s has no command %q%s (see rlp %s --help)", c.Command.Name, name,
			didYouMean(name, namesOf(c.Command.Subcommands)), c.Command.Name)
	}
	return cli.ShowSubcommandHelp(c)
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
	return name == "help"
}

// permute moves a command's flags before its arguments, so that flags may
// stand anywhere: the library stops at the first argument. What comes after
// "--" stays as it is.
func permute(list []*cli.Command, args []string) []string {
	var path []string
	for len(args) > 0 {
		c := findCommand(list, args[0])
		if c == nil {
			break
		}
		path, args = append(path, args[0]), args[1:]
		if len(c.Subcommands) == 0 {
			return append(path, flagsFirst(c.Flags, args)...)
		}
		list = c.Subcommands
	}
	return append(path, args...)
}

func findCommand(list []*cli.Command, name string) *cli.Command {
	for _, c := range list {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

func flagsFirst(flags []cli.Flag, args []string) []string {
	var front, back []string
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			return append(append(append(front, "--"), back...), args...)
		case len(arg) < 2 || arg[0] != '-':
			back = append(back, arg)
		case takesValue(flags, arg) && len(args) == 0:
			return append(front, arg) // the value is missing, and "--" must not become it
		case takesValue(flags, arg):
			front, args = append(front, arg, args[0]), args[1:]
		default:
			front = append(front, arg)
		}
	}
	if len(back) > 0 {
		front = append(front, "--")
	}
	return append(front, back...)
}

// takesValue reports whether the next argument belongs to the flag arg.
func takesValue(flags []cli.Flag, arg string) bool {
	name := strings.TrimLeft(arg, "-")
	for _, f := range flags {
		for _, n := range f.Names() {
			if n != name {
				continue
			}
			_, isBool := f.(*cli.BoolFlag)
			return !isBool
		}
	}
	return false
}
