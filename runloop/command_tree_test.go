package runloop

import (
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// applications are the command trees of all applets.
func applications() []*cli.App {
	io := &IO{}
	return []*cli.App{newCLI(io), newDaemon(io), newAgtop(io), newWASI(io)}
}

// eachDoc calls f for every command of every applet.
func eachDoc(f func(d *commandDoc)) {
	var walk func(d *commandDoc)
	walk = func(d *commandDoc) {
		f(d)
		for _, s := range d.subs {
			walk(s)
		}
	}
	for _, app := range applications() {
		walk(docOfApp(app))
	}
}

// TestHouseCommandsAreDescribed: help, man pages and completion are made of what
// the tree says, so the tree has to say it.
func TestHouseCommandsAreDescribed(t *testing.T) {
	n := 0
	eachDoc(func(d *commandDoc) {
		n++
		first := []rune(d.usage)
		switch {
		case d.usage == "" || strings.HasSuffix(d.usage, ".") || slices.Contains([]rune("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), first[0]):
			t.Errorf("%s: Usage %q: a few words, small letters, no period", d.path, d.usage)
		case len(d.usage) > 80:
			t.Errorf("%s: Usage is %d characters long", d.path, len(d.usage))
		case len(d.examples) == 0:
			t.Errorf("%s: no example: UsageText has them, one a line", d.path)
		case strings.Contains(d.about, "Example"):
			t.Errorf("%s: examples belong into UsageText, one a line", d.path)
		}
		for _, e := range d.examples {
			if problem := checkExample(d, e); problem != "" {
				t.Errorf("%s: example %q: %s", d.path, e, problem)
			}
		}
		for i := range d.flags {
			checkFlagDoc(t, d, &d.flags[i])
		}
	})
	if n < 50 {
		t.Errorf("only %d commands", n)
	}
}

// checkExample says what is wrong with an example, or "". One of rlp that holds
// more than a command, or a trace that is cut short, is read as far as it goes.
func checkExample(d *commandDoc, example string) string {
	if !strings.Contains(example, d.path) && len(d.subs) == 0 {
		return "it does not show " + d.path
	}
	for _, m := range docCommand.FindAllStringSubmatch(example, -1) {
		if problem := checkCommand(commands(&IO{}), strings.Fields(m[1])); problem != "" {
			return problem
		}
	}
	return ""
}

func checkFlagDoc(t *testing.T, d *commandDoc, f *flagDoc) {
	long := slices.ContainsFunc(f.names, func(n string) bool { return len(n) > 1 })
	switch {
	case !long:
		t.Errorf("%s: -%s has no long form", d.path, f.names[0])
	case len(f.names[0]) == 1:
		t.Errorf("%s: the long form of -%s goes first", d.path, f.names[0])
	case strings.TrimSpace(f.usage) == "" || f.usage == f.value:
		t.Errorf("%s: --%s is not described", d.path, f.names[0])
	case f.value == "VALUE":
		t.Errorf("%s: --%s: its usage shows no `PLACEHOLDER` for the value", d.path, f.names[0])
	}
}

// TestHouseFlagsAreOurs: the library's own answer to a missing flag is its own
// help, and its own exit code.
func TestHouseFlagsAreOurs(t *testing.T) {
	var walk func(path string, flags []cli.Flag, list []*cli.Command)
	walk = func(path string, flags []cli.Flag, list []*cli.Command) {
		for _, f := range flags {
			if r, ok := f.(cli.RequiredFlag); ok && r.IsRequired() {
				t.Errorf("%s: --%s is Required: the action has to say that it is missing", path, f.Names()[0])
			}
			for _, n := range f.Names() {
				if flagNamed(commonFlagList(), "--"+n) != nil {
					t.Errorf("%s: --%s is a flag of all commands (rlp help flags)", path, n)
				}
			}
		}
		for _, c := range list {
			walk(path+" "+c.Name, c.Flags, c.Subcommands)
		}
	}
	for _, app := range applications() {
		walk(app.Name, app.Flags, app.Commands)
	}
}

// helpLines is how long help may be, in lines of a terminal of 80 columns: a
// screen. Those that are longer say so here.
const helpLines = 24

var longHelp = map[string]string{
	"rlp":           "a line for each command",
	"rlp agent":     "a line for each command",
	"rlp run":       "a line for each flag",
	"rlp runs fork": "a line for each flag",
	"runloop wasi":  "the exit codes are not those of rlp",
}

func TestHouseHelpFitsOnAScreen(t *testing.T) {
	eachDoc(func(d *commandDoc) {
		n := strings.Count(d.help(helpWidth), "\n")
		if longHelp[d.path] == "" && n > helpLines {
			t.Errorf("%s --help has %d lines", d.path, n)
		}
		if longHelp[d.path] != "" && n <= helpLines {
			t.Errorf("%s --help has %d lines and needs no excuse", d.path, n)
		}
		for line := range strings.SplitSeq(d.help(helpWidth), "\n") {
			if len([]rune(line)) > helpMost {
				t.Errorf("%s --help: a line is too long: %s", d.path, line)
			}
		}
	})
}

func TestFlagDocs(t *testing.T) {
	for _, tt := range []struct {
		flag    cli.Flag
		spelled string
		usage   string
	}{
		{&cli.BoolFlag{Name: "json", Usage: "print JSON"}, "--json", "print JSON"},
		{&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE`"}, "-o, --output FILE", "write to FILE"},
		{&cli.StringFlag{Name: "to", Usage: "print as `yaml|brace`"}, "--to TO", "print as yaml|brace"},
		{&cli.IntFlag{Name: "n", Usage: "how many"}, "-n VALUE", "how many"},
	} {
		d := docOfFlag(tt.flag)
		if d.spelled() != tt.spelled || d.usage != tt.usage {
			t.Errorf("%q, %q", d.spelled(), d.usage)
		}
	}
}

func TestErrorChain(t *testing.T) {
	inner := &exitError{exitUsage, errShown}
	got := errorChain(exitErrorf(exitFailed, "outer: %w", inner))
	if got != "  *fmt.wrapError: outer: shown\n    *errors.errorString: shown\n" {
		t.Errorf("%s", got)
	}
}

// noJSON are the commands that print nothing, or always print one form, and why.
var noJSON = map[string]string{
	"rlp runs cancel":     "prints nothing",
	"rlp runs pause":      "prints nothing",
	"rlp runs resume":     "prints nothing",
	"rlp agent remove":    "prints nothing",
	"rlp agent grant":     "prints nothing",
	"rlp trust add":       "prints nothing",
	"rlp trust revoke":    "prints nothing",
	"rlp agent send":      "prints the reply, which is JSON",
	"rlp opening ir":      "prints JSON",
	"rlp opening convert": "prints an opening",
	"rlp opening graph":   "prints a picture; rlp opening ir is its JSON",
	"rlp shell init":      "prints a script",
	"rlp completion":      "prints a script",
	"rlp help":            "prints help",
	"runloopd":            "is a daemon",
	"runloop wasi":        "prints what its program prints",
}

func TestHouseResultsAsJSON(t *testing.T) {
	eachDoc(func(d *commandDoc) {
		has := slices.ContainsFunc(d.flags, func(f flagDoc) bool { return f.names[0] == "json" })
		switch excuse := noJSON[d.path]; {
		case len(d.subs) > 0:
		case !has && excuse == "":
			t.Errorf("%s prints a result and has no --json", d.path)
		case has && excuse != "":
			t.Errorf("%s has --json and needs no excuse", d.path)
		}
	})
}
