package runloop

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/runloop-os/runloop/router"
	"github.com/runloop-os/runloop/router/enter"
	"github.com/runloop-os/runloop/router/grammar"
)

// isRouteCommand reports whether a command is one of those that run on every
// Enter: they go past the command tree. Most of them have been answered by then,
// see package enter.
func isRouteCommand(name string) bool { return name == "route" }

// runRoute is `rlp route`. args[0] is the command's name.
func runRoute(ctx context.Context, io *IO, args []string) error {
	f, err := parseRouteFlags(io, args[1:])
	if err != nil {
		return err
	}
	if f.Help {
		return helpCommand(io, []string{"route"})
	}
	if f.Was != "" || f.Forget || f.Corrections {
		return runCorrections(ctx, io, f)
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
	case <-time.After(time.Duration(f.TimeoutMS) * time.Millisecond):
		return sayRoute(io, enter.TimedOut(), exitRouteTimeout)
	case out := <-decided:
		if out.err != nil {
			return out.err
		}
		return sayRoute(io, out.d, out.d.Exit())
	}
}

// sayRoute prints a decision as one line and ends with its code.
func sayRoute(io *IO, d *router.Decision, code int) error {
	if _, err := io.Stdout.Write(append(d.JSON(), '\n')); err != nil {
		return err
	}
	return &exitError{code: code, err: errShown}
}

func decideRoute(io *IO, f *enter.Flags) (*router.Decision, error) {
	in, _, err := io.routeInput(f)
	if err != nil {
		return nil, err
	}
	d := router.Classify(*in)
	return &d, nil
}

// routeInput is the line with all that is known about it. damage is what is
// wrong with the file of corrections, which a decision can do without.
func (o *IO) routeInput(f *enter.Flags) (in *router.Input, damage, err error) {
	if f.Stdin {
		line, err := io.ReadAll(io.LimitReader(o.Stdin, router.MaxLine+1))
		if err != nil {
			return nil, nil, fmt.Errorf("reading the line: %w", err)
		}
		f.Line = string(line)
	}
	lists, work, err := o.routerLists()
	if err != nil {
		return nil, nil, err
	}
	asked := f.Input(o.getenv)
	asked.Lists, asked.Grammar = lists, grammar.Holds
	asked.Corrections, damage = enter.ReadCorrections(work)
	return &asked, damage, nil
}

// routerLists reads router.* from the configuration, and which folder holds
// the state ("" if none does). Without a file or a variable that says
// something there is nothing to read, and what was read before is remembered.
func (o *IO) routerLists() (lists *router.Lists, work string, err error) {
	src := o.configSource()
	from := enter.Sources{Environ: src.environ, Home: src.home, System: src.system}
	if !from.Configured() {
		return nil, enter.DefaultWork(src.home), nil
	}
	settings, ok := from.Recall()
	if !ok {
		if settings, err = loadSettings(src, from, time.Now()); err != nil {
			return nil, "", err
		}
	}
	lists, err = settings.Lists(func(expr string) (router.Matcher, error) { return regexp.Compile(expr) })
	if err != nil {
		return nil, "", usageErrorf("config: %v", err)
	}
	return lists, settings.Work, nil
}

// loadSettings reads the configuration and keeps what the router takes of it for
// the next time. That it could not be kept is no reason to be late.
func loadSettings(src configSource, from enter.Sources, now time.Time) (*enter.Settings, error) {
	id := from.Identity()
	cfg, err := src.load()
	if err != nil {
		return nil, err
	}
	settings := routerSettings(cfg)
	if !cfg.relative {
		_ = from.Remember(id, settings, now)
	}
	return settings, nil
}

// routerSettings is what the router takes of the configuration.
func routerSettings(cfg *Loaded) *enter.Settings {
	r := &cfg.Router
	return &enter.Settings{
		Deny: r.Denylist, Allow: r.Allowlist, Known: r.KnownCommands, FastpathShell: r.FastpathShell,
		Work: cfg.Runtime.Workdir,
	}
}
