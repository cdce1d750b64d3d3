package runloop

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

func cmdDoctor(o *IO) *cli.Command {
	return &cli.Command{
		Name: "doctor", Usage: "check that all is well here, and say what to do where it is not",
		UsageText: `rlp doctor
rlp doctor --json
rlp doctor --changes          # all that is here because of runloop, and how to undo it`,
		Description: `It looks at the program, the configuration, the folders, the ledger, the kernel, a
worker, the daemon, the models that are configured and the integration of the shell,
which it starts once for that. It changes nothing. The exit code is 1 when a check
failed; a warning is no failure.`,
		Flags: []cli.Flag{
			jsonFlag(),
			&cli.BoolFlag{Name: "changes", Usage: "list what was installed, written and enabled here instead"},
			&cli.BoolFlag{Name: "no-shell", Usage: "do not start a shell to look at its integration"},
		},
		Action: func(c *cli.Context) error {
			if c.Bool("changes") {
				return o.showChanges(c.Bool("json"))
			}
			return o.doctor(c)
		},
	}
}

// Results of a check.
const (
	checkOK      = "ok"
	checkNote    = "note"    // as it may well be
	checkWarning = "warning" // it works, but
	checkFailed  = "failed"
)

// check is one thing that was looked at.
type check struct {
	Name   string `json:"check"`
	Result string `json:"result"`
	Found  string `json:"found"`
	Fix    string `json:"fix,omitempty"` // what to do
}

// examination collects checks.
type examination struct {
	io     *IO
	cfg    *Loaded // nil: it cannot be read
	checks []check
}

func (e *examination) add(name, result, fix, format string, args ...any) {
	e.checks = append(e.checks, check{name, result, fmt.Sprintf(format, args...), fix})
}

func (e *examination) ok(name, format string, args ...any) { e.add(name, checkOK, "", format, args...) }

func (e *examination) warn(name, fix, format string, args ...any) {
	e.add(name, checkWarning, fix, format, args...)
}

func (e *examination) fail(name, fix, format string, args ...any) {
	e.add(name, checkFailed, fix, format, args...)
}

func (e *examination) failed() bool {
	return slices.ContainsFunc(e.checks, func(c check) bool { return c.Result == checkFailed })
}

// examined is what rlp doctor --json prints.
type examined struct {
	OK     bool    `json:"ok"`
	Checks []check `json:"checks"`
}

func (o *IO) doctor(c *cli.Context) error {
	e := &examination{io: o}
	done := o.busy("examining")
	e.program()
	e.configuration()
	if e.cfg != nil {
		e.folders()
		e.space()
		e.ledger(c.Context)
		e.agents()
		e.daemon(c.Context)
		e.models(c.Context)
		e.kernel()
		e.worker(c.Context)
	}
	e.route(c.Context)
	e.shell(c.Context, !c.Bool("no-shell"))
	done()
	if err := o.showExamination(e, c.Bool("json")); err != nil {
		return err
	}
	if e.failed() {
		return &exitError{exitFailed, errShown}
	}
	return nil
}

func (o *IO) showExamination(e *examination, asJSON bool) error {
	if asJSON {
		return printJSON(o.Stdout, examined{!e.failed(), e.checks})
	}
	if !o.isTerminalDevice(o.Stdout) {
		t := &table{}
		for _, c := range e.checks {
			t.add(c.Result, c.Name, c.Found, c.Fix)
		}
		return o.showTable(t)
	}
	columns, _ := o.size(o.Stdout)
	_, err := io.WriteString(o.Stdout, e.text(columns, o.colour(o.Stdout)))
	return err
}

// sign is that of a result, and its colour (ECMA-48 SGR).
func sign(result string) (sign, colour string) {
	switch result {
	case checkOK:
		return "+", "32"
	case checkWarning:
		return "!", "33"
	case checkFailed:
		return "x", "31"
	}
	return ".", "2"
}

// text is the examination for a person: a line for each check, and below it what
// to do. It is broken to so many columns of a terminal, 0 for any.
func (e *examination) text(columns int, colour bool) string {
	wide := 0
	for _, c := range e.checks {
		wide = max(wide, len(c.Name))
	}
	pad := strings.Repeat(" ", wide+13)
	broken := func(text string) string {
		if columns < len(pad)+20 {
			return printable(text)
		}
		return strings.ReplaceAll(wrap(printable(text), columns-len(pad)), "\n", "\n"+pad)
	}
	var b strings.Builder
	for _, c := range e.checks {
		sign, sgr := sign(c.Result)
		mark := fmt.Sprintf("%s %-7s", sign, c.Result)
		if colour {
			mark = "\x1b[" + sgr + "m" + mark + "\x1b[0m"
		}
		fmt.Fprintf(&b, "%s  %-*s  %s\n", mark, wide, c.Name, broken(c.Found))
		if c.Fix != "" {
			fmt.Fprintf(&b, "%s%s\n", pad, broken(c.Fix))
		}
	}
	return b.String()
}
