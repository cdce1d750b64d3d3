package runloop

import (
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/router"
)

// routeFlags are the flags of rlp route, which reads them itself because the
// command tree costs more than the decision.
type routeFlags struct {
	line      string
	given     bool // there was a line among the arguments
	stdin     bool
	timeoutMS int
	shell     router.Shell
	firstKind router.Kind
	firstDir  bool
	json      bool
	help      bool

	was         router.Route // record a correction
	forget      bool         // take one back
	corrections bool         // list them
}

// Limits of --timeout-ms.
const (
	routeTimeoutMS    = 200
	routeTimeoutMaxMS = 60_000
)

// cmdRoute is in the tree for its help; dispatch runs it before there is a
// tree.
func cmdRoute(io *IO) *cli.Command {
	return &cli.Command{
		Name: "route", Usage: "decide whether a line is for the shell or for agents",
		UsageText: `rlp route "tidy my downloads"
printf %s "$line" | rlp route --stdin --shell zsh --first-kind alias
rlp route --was shell "deploy the new site"`,
		Description: `Prints one JSON line and exits with 10 (shell), 11 (agents) or 12 (no decision in
time). Flags go before the line. --was, --forget and --corrections decide nothing: they
keep the corrections that decisions follow.`,
		ArgsUsage: "PROMPT...", Flags: append(routeFlagList(), correctionFlagList()...), SkipFlagParsing: true,
		Action: func(c *cli.Context) error {
			return runRoute(c.Context, io, append([]string{"route"}, c.Args().Slice()...))
		},
	}
}

// routeFlagList describes the flags of a decision that parseRouteFlags reads.
func routeFlagList() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "stdin", Usage: "read the line from stdin"},
		&cli.IntFlag{Name: "timeout-ms", Value: routeTimeoutMS, Usage: "give up after `N` ms (RUNLOOP_ROUTER_TIMEOUT_MS)"},
		&cli.StringFlag{Name: "shell", Usage: "the shell at hand: `zsh|bash` (RUNLOOP_ROUTER_SHELL)"},
		&cli.StringFlag{Name: "first-kind", Usage: "of the first word: " +
			"`alias|function|builtin|keyword|command|none` (RUNLOOP_ROUTER_FIRST_KIND)"},
		&cli.BoolFlag{Name: "first-dir", Usage: "a folder to change into (RUNLOOP_ROUTER_FIRST_DIR=1)"},
	}
}

// correctionFlagList describes the flags about corrections.
func correctionFlagList() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "was", Usage: "record that lines like this one belong to `shell|agent`"},
		&cli.BoolFlag{Name: "forget", Usage: "take back what was said of the line, or the newest"},
		&cli.BoolFlag{Name: "corrections", Usage: "list what was said"},
		jsonFlag(),
	}
}

// parseRouteFlags reads the arguments after "route". Words that are no flags
// are the line, as they stand.
func parseRouteFlags(io *IO, args []string) (*routeFlags, error) {
	f := &routeFlags{timeoutMS: routeTimeoutMS}
	if err := f.fromEnvironment(io); err != nil {
		return nil, err
	}
	for i := 0; i < len(args); i++ {
		arg, value, inline := strings.Cut(args[i], "=")
		if args[i] == "--" {
			f.line, f.given = strings.Join(args[i+1:], " "), i+1 < len(args)
			break
		}
		if !strings.HasPrefix(arg, "--") && arg != "-h" {
			f.line, f.given = strings.Join(args[i:], " "), true
			break
		}
		if f.setBool(arg) {
			if inline {
				return nil, usageErrorf("%s takes no value (see rlp route --help)", arg)
			}
			continue
		}
		if !f.takesValue(arg) {
			return nil, usageErrorf("no flag %s%s (see rlp route --help; a line that begins with -- goes behind --)",
				arg, didYouMean(arg, routeFlagNames()))
		}
		if !inline {
			if i++; i >= len(args) {
				return nil, usageErrorf("%s needs a value (see rlp route --help)", arg)
			}
			value = args[i]
		}
		if err := f.set(arg, value); err != nil {
			return nil, err
		}
	}
	return f, f.check()
}

// fromEnvironment reads the variables that mean the same as flags.
func (f *routeFlags) fromEnvironment(io *IO) error {
	for _, v := range [...]struct{ name, flag string }{
		{"RUNLOOP_ROUTER_TIMEOUT_MS", "--timeout-ms"},
		{"RUNLOOP_ROUTER_SHELL", "--shell"},
		{"RUNLOOP_ROUTER_FIRST_KIND", "--first-kind"},
	} {
		value := io.getenv(v.name)
		if value == "" {
			continue
		}
		if f.set(v.flag, value) != nil {
			return usageErrorf("%s=%s: %s", v.name, value, routeWants(v.flag))
		}
	}
	f.firstDir = io.getenv("RUNLOOP_ROUTER_FIRST_DIR") == "1"
	return nil
}

func routeFlagNames() []string {
	return []string{"--stdin", "--timeout-ms", "--shell", "--first-kind", "--first-dir", "--json", "--help",
		"--was", "--forget", "--corrections"}
}

func (f *routeFlags) setBool(arg string) bool {
	switch arg {
	case "--stdin":
		f.stdin = true
	case "--first-dir":
		f.firstDir = true
	case "--json":
		f.json = true
	case "--forget":
		f.forget = true
	case "--corrections":
		f.corrections = true
	case "--help", "-h":
		f.help = true
	default:
		return false
	}
	return true
}

func (f *routeFlags) takesValue(arg string) bool { return routeWants(arg) != "" }

// routeWants says what the value of a flag must be; "" for a flag without one.
func routeWants(arg string) string {
	switch arg {
	case "--timeout-ms":
		return "want milliseconds, 1 to 60000"
	case "--shell":
		return "want zsh or bash"
	case "--first-kind":
		return "want alias, function, builtin, keyword, command or none"
	case "--was":
		return "want shell or agent"
	}
	return ""
}

func (f *routeFlags) set(arg, value string) error {
	ok := false
	switch arg {
	case "--timeout-ms":
		ms, err := strconv.Atoi(value)
		f.timeoutMS, ok = ms, err == nil && ms >= 1 && ms <= routeTimeoutMaxMS
	case "--shell":
		f.shell = router.Shell(value)
		ok = f.shell == router.Zsh || f.shell == router.Bash
	case "--first-kind":
		f.firstKind, ok = firstKind(value)
	case "--was":
		f.was = router.Route(value)
		ok = f.was == router.ToShell || f.was == router.ToAgent
	}
	if !ok {
		return usageErrorf("%s %q: %s", arg, value, routeWants(arg))
	}
	return nil
}

// firstKind reads a kind in our words, in those of bash's `type -t` and in
// those of zsh's `whence -w`. Nothing means that nobody asked.
func firstKind(value string) (router.Kind, bool) {
	switch value {
	case "file", "hashed":
		return router.KindCommand, true
	case "reserved":
		return router.KindKeyword, true
	case "alias", "function", "builtin", "keyword", "command", "none", "":
		return router.Kind(value), true
	}
	return "", false
}

// check refuses flags that contradict each other.
func (f *routeFlags) check() error {
	asked := 0
	for _, on := range []bool{f.was != "", f.forget, f.corrections} {
		if on {
			asked++
		}
	}
	switch {
	case f.help:
		return nil
	case asked > 1:
		return usageErrorf("--was, --forget and --corrections are one at a time (see rlp route --help)")
	case f.stdin && f.given:
		return usageErrorf("the line comes from stdin or from the arguments, not both")
	case f.corrections && (f.stdin || f.given):
		return usageErrorf("--corrections takes no line")
	case f.forget || f.corrections || f.stdin || f.given:
		return nil
	}
	return usageErrorf("which line? rlp route PROMPT, or --stdin (see rlp route --help)")
}
