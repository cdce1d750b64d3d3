package runloop

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/router"
)

// isRouteCommand reports whether a command is one of those that run on every
// Enter: they go past the command tree.
func isRouteCommand(name string) bool { return name == "route" }

// routeFlags are the flags of rlp route, which reads them itself because the
// command tree costs more than the decision.
type routeFlags struct {
	line      string
	stdin     bool
	timeoutMS int
	shell     string
	firstKind string
	firstDir  bool
	json      bool
	help      bool
}

const routeTimeoutMS = 200

// parseRouteFlags reads the arguments after "route". Words that are no flags
// are the line, as they stand.
func parseRouteFlags(io *IO, args []string) (*routeFlags, error) {
	f := &routeFlags{timeoutMS: routeTimeoutMS, firstKind: io.getenv("RUNLOOP_ROUTER_FIRST_KIND")}
	if v := io.getenv("RUNLOOP_ROUTER_TIMEOUT_MS"); v != "" {
		if err := f.set("--timeout-ms", v); err != nil {
			return nil, err
		}
	}
	for i := 0; i < len(args); i++ {
		arg, value, inline := strings.Cut(args[i], "=")
		if args[i] == "--" {
			f.line = strings.Join(args[i+1:], " ")
			return f, nil
		}
		if !strings.HasPrefix(arg, "--") && arg != "-h" {
			f.line = strings.Join(args[i:], " ")
			return f, nil
		}
		if f.setBool(arg) {
			continue
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
	return f, nil
}

func (f *routeFlags) setBool(arg string) bool {
	switch arg {
	case "--stdin":
		f.stdin = true
	case "--first-dir":
		f.firstDir = true
	case "--json":
		f.json = true
	case "--help", "-h":
		f.help = true
	default:
		return false
	}
	return true
}

func (f *routeFlags) set(arg, value string) (err error) {
	switch arg {
	case "--timeout-ms":
		if f.timeoutMS, err = strconv.Atoi(value); err != nil || f.timeoutMS < 1 {
			return usageErrorf("%s %q: want milliseconds", arg, value)
		}
	case "--shell":
		f.shell = value
	case "--first-kind":
		f.firstKind = value
	default:
		return usageErrorf("no flag %s%s (see rlp route --help)", arg, didYouMean(arg,
			[]string{"--stdin", "--timeout-ms", "--shell", "--first-kind", "--first-dir", "--json"}))
	}
	return nil
}

// runRoute is `rlp route`. args[0] is the command's name.
func runRoute(_ context.Context, io *IO, args []string) error {
	f, err := parseRouteFlags(io, args[1:])
	if err != nil {
		return err
	}
	if f.help {
		return helpCommand(io, []string{"route"})
	}
	type outcome struct {
		d   *router.Decision
		err error
	}
	decided := make(chan outcome, 1)
	go func() { // a decision that is late is left behind with the process
		d, err := decideRoute(io, f)
		decided <- outcome{d, err}
	}()
	select {
	case <-time.After(time.Duration(f.timeoutMS) * time.Millisecond):
		return &exitError{code: exitRouteTimeout, err: errShown}
	case out := <-decided:
		if out.err != nil {
			return out.err
		}
		if _, err := io.Stdout.Write(append(out.d.JSON(), '\n')); err != nil {
			return err
		}
		return &exitError{code: out.d.Exit(), err: errShown}
	}
}

// routeLineMax is the longest line that is looked at, in bytes.
const routeLineMax = 1 << 20

func decideRoute(io *IO, f *routeFlags) (*router.Decision, error) {
	if f.stdin {
		line, err := readLimited(io.Stdin, routeLineMax)
		if err != nil {
			return nil, err
		}
		f.line = string(line)
	}
	lists, err := io.routerLists()
	if err != nil {
		return nil, err
	}
	d := router.Classify(router.Input{
		Line: f.line, Shell: router.Shell(f.shell), FirstKind: router.Kind(f.firstKind),
		FirstIsDir: f.firstDir, Lookup: io.inPath, Lists: lists,
	})
	return &d, nil
}

// routerLists reads router.* from the configuration. Without a file or a
// variable that says something there is nothing to read.
func (o *IO) routerLists() (*router.Lists, error) {
	src := o.configSource()
	if !src.configured() {
		return nil, nil
	}
	cfg, err := src.load()
	if err != nil {
		return nil, err
	}
	r := &cfg.Router
	lists, err := router.NewLists(router.ListConfig{
		Deny: r.Denylist, Allow: r.Allowlist, Known: r.KnownCommands, FastpathShell: r.FastpathShell,
	})
	if err != nil {
		return nil, usageErrorf("config: %v", err)
	}
	return lists, nil
}

// configured reports whether any layer above the defaults may exist.
func (s configSource) configured() bool {
	for _, kv := range s.environ {
		if strings.HasPrefix(kv, envPrefix) || strings.HasPrefix(kv, "RUNLOOP_CONFIG=") {
			return true
		}
	}
	for _, file := range []string{s.system, filepath.Join(s.home, ".runloop", "config.yaml")} {
		if _, err := os.Stat(file); err == nil {
			return true
		}
	}
	return false
}

// inPath reports whether a name is a program in PATH.
func (o *IO) inPath(name string) bool {
	if strings.ContainsRune(name, '/') {
		return executable(name)
	}
	for _, dir := range filepath.SplitList(o.getenv("PATH")) {
		if filepath.IsAbs(dir) && executable(filepath.Join(dir, name)) {
			return true
		}
	}
	return false
}

func executable(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o111 != 0
}

// cmdRoute is in the tree for its help; dispatch runs it before there is a
// tree.
func cmdRoute(io *IO) *cli.Command {
	return &cli.Command{
		Name: "route", Usage: "decide whether a line is for the shell or for agents",
		UsageText: `rlp route "tidy my downloads"
printf %s "$line" | rlp route --stdin --shell zsh --first-kind alias`,
		Description: `Prints one JSON line and exits with 10 (shell), 11 (agents) or 12 (no decision in
time). Flags go before the line; words that are no flags are the line, as they stand.`,
		ArgsUsage: "PROMPT...", Flags: routeFlagList(), SkipFlagParsing: true,
		Action: func(c *cli.Context) error {
			return runRoute(c.Context, io, append([]string{"route"}, c.Args().Slice()...))
		},
	}
}

// routeFlagList describes the flags that parseRouteFlags reads.
func routeFlagList() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "stdin", Usage: "read the line from stdin"},
		&cli.IntFlag{Name: "timeout-ms", Value: routeTimeoutMS, Usage: "give up after `N` ms (RUNLOOP_ROUTER_TIMEOUT_MS)"},
		&cli.StringFlag{Name: "shell", Usage: "the shell that would run the line: `zsh|bash`"},
		&cli.StringFlag{Name: "first-kind", Usage: "what the first word is there: " +
			"`alias|function|builtin|keyword|command|none` (RUNLOOP_ROUTER_FIRST_KIND)"},
		&cli.BoolFlag{Name: "first-dir", Usage: "the shell would change into the first word"},
	}
}

func cmdWhy(io *IO) *cli.Command {
	return &cli.Command{
		Name: "why", Usage: "show why a line goes to the shell or to agents",
		UsageText: `rlp why "tidy my downloads"
rlp why --json git status`,
		ArgsUsage: "PROMPT...", Flags: append(routeFlagList(), jsonFlag()), SkipFlagParsing: true,
		Action: func(c *cli.Context) error { return whyCommand(io, c.Args().Slice()) },
	}
}

func whyCommand(io *IO, args []string) error {
	f, err := parseRouteFlags(io, args)
	if err != nil {
		return err
	}
	if f.help || f.line == "" && !f.stdin {
		return helpCommand(io, []string{"why"})
	}
	d, err := decideRoute(io, f)
	if err != nil {
		return err
	}
	if f.json {
		b, err := d.Why()
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(io.Stdout, "%s\n", b)
		return err
	}
	t := &table{head: []string{"FEATURE", "WEIGHT", "FOR"}}
	for _, ft := range d.Features {
		t.add(ft.Name, strconv.FormatFloat(ft.Weight, 'g', 3, 64), string(ft.Side))
	}
	fmt.Fprintf(io.Stdout, "%s, by rule %s\n", d.Route, d.Rule)
	if d.Blocked {
		fmt.Fprintln(io.Stdout, "blocked by router.denylist")
	}
	if len(t.rows) == 0 {
		return nil
	}
	return t.write(io.Stdout, io.isTerminal(io.Stdout))
}
