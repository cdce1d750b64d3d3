package runloop

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/runloop-os/runloop/tui"
)

// IO is what a command may read and write. Commands never touch the process's
// own streams, so that a test can hold all of them.
//
// The rules for what goes where: results on Stdout, everything else on Stderr;
// an error is one line that begins with the applet's name, lower case, without
// a period, and ends with what to do next; text that came from an agent, a
// model, a file or the network goes through [printable] first.
type IO struct {
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Environ []string
	// Warn, when set, gets diagnostics in place of Stderr.
	Warn func(text string)

	common commonFlags // of the command line
	line   busyLine    // at the end of Stderr
	typed  typedLines  // answers to questions
}

// getenv is the value of a variable, "" when it is not set.
func (o *IO) getenv(key string) string {
	return configSource{environ: o.Environ}.getenv(key)
}

// isTerminal reports whether a stream of the IO is a terminal that can be
// talked to: TERM=dumb is none.
func (o *IO) isTerminal(stream any) bool {
	return o.isTerminalDevice(stream) && o.getenv("TERM") != "dumb"
}

// isTerminalDevice reports whether a stream is a terminal of any kind.
func (o *IO) isTerminalDevice(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// interactive reports whether a person can be asked something.
func (o *IO) interactive() bool {
	return !o.common.noInput && o.isTerminal(o.Stdin) && o.isTerminal(o.Stderr)
}

// live reports whether a view that redraws itself makes sense.
func (o *IO) live() bool {
	return o.isTerminal(o.Stdout) && o.isTerminal(o.Stderr) && o.getenv("CI") == ""
}

// colour reports whether a stream gets colours: as --color says, else as
// NO_COLOR (https://no-color.org), FORCE_COLOR and CLICOLOR_FORCE do, else if it
// is a terminal.
func (o *IO) colour(stream any) bool {
	switch {
	case o.common.color == colorAlways:
		return true
	case o.common.color == colorNever, o.getenv("NO_COLOR") != "":
		return false
	case isOn(o.getenv("FORCE_COLOR")), isOn(o.getenv("CLICOLOR_FORCE")):
		return true
	}
	return o.isTerminal(stream)
}

// isOn reports whether a variable that forces something does.
func isOn(value string) bool { return value != "" && value != "0" && value != "false" }

// size is the columns and rows of a terminal; 0 where there is none.
func (o *IO) size(stream any) (columns, rows int) {
	f, ok := stream.(*os.File)
	if !ok {
		return 0, 0
	}
	columns, rows, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0, 0
	}
	return columns, rows
}

// style is how runs look on stdout, as it is now.
func (o *IO) style() tui.Style {
	columns, rows := o.size(o.Stdout)
	return tui.Style{Width: columns, Height: rows, Colour: o.colour(o.Stdout), Sanitize: printable}
}

// warnf writes one diagnostic line.
func (o *IO) warnf(format string, args ...any) {
	line := printable(strings.TrimRight(fmt.Sprintf(format, args...), "\n"))
	if o.Warn != nil {
		o.Warn(line)
		return
	}
	o.line.clear(o)
	fmt.Fprintf(o.Stderr, "runloop: %s\n", line)
}
