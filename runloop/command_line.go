package runloop

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"
)

// commandLine is a command line taken apart, before the library reads it.
type commandLine struct {
	front []string // flags of the applet itself
	path  []string // names of commands
	rest  []string // flags and arguments of the last of them
}

// args is the line in the order that the library needs.
func (l *commandLine) args() []string { return append(append(l.front, l.path...), l.rest...) }

// readLine takes a command line apart and takes out of it the flags that all
// commands have in common. `rlp kb help search` is read as `rlp kb search --help`.
func (o *IO) readLine(app *cli.App, args []string) (*commandLine, error) {
	ofProgram := app.Name == "wasi" // what follows its first argument is not for us
	args, err := o.takeCommon(app.Flags, args, ofProgram || len(app.Commands) > 0)
	if err != nil {
		return nil, err
	}
	l := &commandLine{}
	list, flags, plain := app.Commands, app.Flags, ofProgram
	if len(list) > 0 {
		l.front, args = leadingFlags(flags, args)
	}
	for len(args) > 0 && len(list) > 0 {
		c := findCommand(list, args[0])
		if c == nil && len(l.path) > 0 && args[0] == "help" {
			o.common.help, args = true, args[1:]
			continue
		}
		if c == nil {
			l.rest = args
			return l, nil // the action says what is wrong
		}
		l.path, args = append(l.path, c.Name), args[1:]
		list, flags, plain = c.Subcommands, c.Flags, c.SkipFlagParsing
		if args, err = o.takeCommon(flags, args, plain || len(list) > 0); err != nil {
			return nil, err
		}
	}
	if plain || len(list) > 0 {
		l.rest = args
	} else {
		l.rest = flagsFirst(flags, args)
	}
	return l, nil
}

// leadingFlags splits off the flags, with their values, before the first
// argument.
func leadingFlags(flags []cli.Flag, args []string) (front, rest []string) {
	i := 0
	for i < len(args) && isFlag(args[i]) && args[i] != "--" {
		if takesValue(flags, args[i]) {
			i++
		}
		i++
	}
	i = min(i, len(args))
	return args[:i:i], args[i:]
}

// flagsFirst moves flags before arguments, so that they may stand anywhere: the
// library stops at the first argument. What comes after "--" stays as it is.
func flagsFirst(flags []cli.Flag, args []string) []string {
	var front, back []string
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			return append(append(append(front, "--"), back...), args...)
		case !isFlag(arg):
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
	f := flagNamed(flags, arg)
	if f == nil {
		return false
	}
	_, isBool := f.(*cli.BoolFlag)
	return !isBool
}

// Errors of package flag, which the library passes on as text.
const (
	flagUnknown = "flag provided but not defined: -"
	flagNoValue = "flag needs an argument: -"
	flagInvalid = `^invalid (?:boolean )?value "(.*)" for (?:flag )?-([^:]*): (?:parse error|(.*))$`
)

// onUsageError says in our words what is wrong with a flag.
func onUsageError(c *cli.Context, err error, _ bool) error {
	known := append(commonFlagList(), c.Command.Flags...)
	return usageErrorf("%v (see %s --help)", flagError(known, err), c.Command.HelpName)
}

func flagError(flags []cli.Flag, err error) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, flagUnknown); ok {
		return fmt.Errorf("no flag %s%s", dashed(name), nearestFlag(name, flags))
	}
	if name, ok := strings.CutPrefix(text, flagNoValue); ok {
		return fmt.Errorf("%s needs a value", dashed(name))
	}
	if m := regexp.MustCompile(flagInvalid).FindStringSubmatch(text); m != nil {
		want := m[3]
		if want == "" {
			want = "that is not what it takes"
		}
		return fmt.Errorf("%s %q: %s", dashed(m[2]), m[1], want)
	}
	return errors.New(firstLine(text))
}

// dashed is a flag's name as it is written.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

func nearestFlag(name string, flags []cli.Flag) string {
	var known []string
	for _, f := range flags {
		for _, n := range f.Names() {
			if len(n) > 1 {
				known = append(known, n)
			}
		}
	}
	return strings.Replace(didYouMean(name, known), "mean ", "mean --", 1)
}
