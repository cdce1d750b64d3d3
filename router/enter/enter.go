// Package enter is the part of `rlp route` that a shell waits for on every press
// of Enter (spec/08).
//
// Go initialises every package of a program before main begins, and in a program
// with WebAssembly, SQL, HTTP and YAML in it that takes longer than all else that
// the command does. The order is fixed: sorted by import path, the first whose
// imports are ready is next (https://go.dev/ref/spec#Program_initialization). This
// package, and the router, import nothing that comes behind package reflect: not
// strings, for which there is package str, and not fmt. So its init function runs as
// one of the first. When it has the answer it ends the process, and the others never
// run.
//
// What it has no answer to it leaves to main, which decides in the same way with
// everything at hand: a line that needs the shell's grammar, a pattern that is a
// regular expression, a configuration that was not read since it changed, misuse.
package enter

import (
	"bytes"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/runloop-os/runloop/router"
)

// SystemConfig is the configuration file of the machine.
const SystemConfig = "/etc/runloop/config.yaml"

// ExitTimeout is the exit code of `rlp route` when time ran out (spec/08).
const ExitTimeout = 12

// stdin is what main reads: os.Stdin, behind what was read of it here.
var stdin io.Reader = os.Stdin

// Stdin is the program's standard input. Main has to take it from here, because
// the line may have been read before main began.
func Stdin() io.Reader { return stdin }

func init() {
	if args := commandArgs(os.Args); args != nil {
		answer(args, os.Environ())
	}
}

// commandArgs returns what follows "route" when a program was called by these
// arguments as `rlp route` or `runloop route`, and else nil.
func commandArgs(args []string) []string {
	if len(args) < 2 || args[1] != "route" {
		return nil
	}
	switch name := base(args[0]); name {
	case "rlp", "runloop":
		return args[2:]
	}
	return nil
}

// answer ends the process if it can.
func answer(args, environ []string) {
	getenv := Getenv(environ)
	f, err := ParseFlags(args, getenv)
	if err != nil || !f.decides() {
		return
	}
	// One of the two ends the process. A timer and not a second goroutine for
	// the work: nothing has to be woken.
	var over atomic.Bool
	end := func(d *router.Decision, code int) {
		if over.CompareAndSwap(false, true) && say(d) == nil {
			os.Exit(code)
		}
	}
	late := time.AfterFunc(time.Duration(f.TimeoutMS)*time.Millisecond, func() { end(TimedOut(), ExitTimeout) })
	if d, ok := decide(f, Sources{environ, getenv("HOME"), SystemConfig}); ok {
		end(&d, d.Exit())
	}
	late.Stop()
}

// say prints a decision as one line.
func say(d *router.Decision) error {
	_, err := os.Stdout.Write(append(d.JSON(), '\n'))
	return err
}

// TimedOut is the decision when there was no time for one.
func TimedOut() *router.Decision {
	return &router.Decision{Route: router.ToShell, Rule: router.RuleTimeout}
}

// decide returns false when it takes more than is at hand.
func decide(f *Flags, from Sources) (d router.Decision, ok bool) {
	lists, work, ok := earlyLists(from)
	if !ok {
		return d, false
	}
	if f.Stdin {
		line, err := io.ReadAll(io.LimitReader(os.Stdin, router.MaxLine+1))
		stdin = io.MultiReader(bytes.NewReader(line), os.Stdin)
		if err != nil {
			return d, false
		}
		f.Line = string(line)
	}
	in := f.Input(Getenv(from.Environ))
	in.Lists = lists
	in.Grammar = func(string, string) bool { ok = false; return false }
	// A decision can do without corrections that cannot be read.
	in.Corrections, _ = ReadCorrections(work)
	d = router.Classify(in)
	return d, ok
}

// earlyLists are the user's lists, nil for none, and the folder for state, if
// they can be had without reading the configuration.
func earlyLists(from Sources) (lists *router.Lists, work string, ok bool) {
	if !from.Configured() {
		return nil, DefaultWork(from.Home), true
	}
	settings, ok := from.Recall()
	if !ok {
		return nil, "", false
	}
	lists, err := settings.Lists(nil)
	return lists, settings.Work, err == nil
}
