package runloop

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/runloop-os/runloop/router"
)

// isRouteCommand reports whether a command is one of those that run on every
// Enter: they go past the command tree.
func isRouteCommand(name string) bool { return name == "route" }

// runRoute is `rlp route`. args[0] is the command's name.
func runRoute(ctx context.Context, io *IO, args []string) error {
	f, err := parseRouteFlags(io, args[1:])
	if err != nil {
		return err
	}
	if f.help {
		return helpCommand(io, []string{"route"})
	}
	if f.was != "" || f.forget || f.corrections {
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
	case <-time.After(time.Duration(f.timeoutMS) * time.Millisecond):
		return sayRoute(io, &router.Decision{Route: router.ToShell, Rule: router.RuleTimeout}, exitRouteTimeout)
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

func decideRoute(io *IO, f *routeFlags) (*router.Decision, error) {
	in, _, err := io.routeInput(f)
	if err != nil {
		return nil, err
	}
	d := router.Classify(*in)
	return &d, nil
}

// routeInput is the line with all that is known about it. damage is what is
// wrong with the file of corrections, which a decision can do without.
func (o *IO) routeInput(f *routeFlags) (in *router.Input, damage, err error) {
	if f.stdin {
		line, err := io.ReadAll(io.LimitReader(o.Stdin, router.MaxLine+1))
		if err != nil {
			return nil, nil, fmt.Errorf("reading the line: %w", err)
		}
		f.line = string(line)
	}
	lists, work, err := o.routerLists()
	if err != nil {
		return nil, nil, err
	}
	corrections, damage := readCorrections(work)
	return &router.Input{
		Line: f.line, Shell: f.shell, FirstKind: f.firstKind, FirstIsDir: f.firstDir,
		Lookup: o.inPath, Lists: lists, Corrections: corrections,
	}, damage, nil
}

// routerLists reads router.* from the configuration, and which folder holds
// the state ("" if none does). Without a file or a variable that says
// something there is nothing to read.
func (o *IO) routerLists() (lists *router.Lists, work string, err error) {
	src := o.configSource()
	if !src.configured() {
		if src.home == "" {
			return nil, "", nil
		}
		return nil, filepath.Join(src.home, ".runloop"), nil
	}
	cfg, err := src.load()
	if err != nil {
		return nil, "", err
	}
	r := &cfg.Router
	lists, err = router.NewLists(router.ListConfig{
		Deny: r.Denylist, Allow: r.Allowlist, Known: r.KnownCommands, FastpathShell: r.FastpathShell,
	})
	if err != nil {
		return nil, "", usageErrorf("config: %v", err)
	}
	return lists, cfg.Runtime.Workdir, nil
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
