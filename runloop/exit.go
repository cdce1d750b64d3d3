package runloop

import (
	"errors"
	"fmt"
	"strings"

	"github.com/runloop-os/runloop/router/enter"
)

// Exit codes (spec/06).
const (
	exitOK           = 0
	exitFailed       = 1                 // the run or the check failed
	exitUsage        = 2                 // wrong usage, invalid opening, parameters or config
	exitNoDaemon     = 3                 // the daemon cannot be reached
	exitDeclined     = 4                 // denied or declined
	exitNotFound     = 5                 // no such thing
	exitRouteTimeout = enter.ExitTimeout // rlp route: no decision in time
	exitInterrupted  = 130               // by Ctrl-C
)

// exitError is an error with the exit code that it means. An empty message is
// for failures that were shown already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func exitErrorf(code int, format string, args ...any) error {
	return &exitError{code: code, err: fmt.Errorf(format, args...)}
}

func usageErrorf(format string, args ...any) error {
	return exitErrorf(exitUsage, format, args...)
}

// errShown ends a command whose failure the user has seen already.
var errShown = errors.New("shown")

func isShown(err error) bool { return errors.Is(err, errShown) }

// errorChain lists what an error is made of, from the outside in, with the types:
// a line for each. errShown and our own codes are of no interest there.
func errorChain(err error) string {
	var b strings.Builder
	var walk func(err error, depth int)
	walk = func(err error, depth int) {
		if _, ours := err.(*exitError); !ours {
			fmt.Fprintf(&b, "%s%T: %s\n", strings.Repeat("  ", depth), err, printable(err.Error()))
			depth++
		}
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			if inner := e.Unwrap(); inner != nil {
				walk(inner, depth)
			}
		case interface{ Unwrap() []error }:
			for _, inner := range e.Unwrap() {
				walk(inner, depth)
			}
		}
	}
	walk(err, 1)
	return b.String()
}

// exitCode is the code that err means; errors that name none mean failed.
func exitCode(err error) int {
	var e *exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &e):
		return e.code
	}
	return exitFailed
}
