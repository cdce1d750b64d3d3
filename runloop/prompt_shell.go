package runloop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	"mvdan.cc/sh/v3/syntax"

	"github.com/runloop-os/runloop/router"
)

// shellPath is the user's shell, as login(1) sets it.
func (o *IO) shellPath() string {
	if sh := o.getenv("SHELL"); filepath.IsAbs(sh) && unix.Access(sh, unix.X_OK) == nil {
		return sh
	}
	return "/bin/sh"
}

// shellName is its name, which tells the dialect.
func (o *IO) shellName() string { return filepath.Base(o.shellPath()) }

// promptToShell runs a line that is for the shell, after it said so. What the
// user forbids is not run, and what may destroy something if it was not meant as
// a command is asked about first.
func (o *IO) promptToShell(d *router.Decision, line string, f *runFlags) error {
	if f.dryRun {
		return o.showDryRun(&dryRun{dryRoute: dryRouteOf(d), Shell: &dryShell{o.shellPath(), line}}, f.json)
	}
	if d.Blocked {
		return exitErrorf(exitDeclined, "router.denylist forbids this (%s): %s", d.Pattern, line)
	}
	if err := o.say(shellSays(o, d, line)); err != nil {
		return err
	}
	if d.Confirm && !f.yes {
		if err := o.agreeToLine(line); err != nil {
			return err
		}
	}
	return o.becomeShell(line)
}

// shellLine is the line that the shell gets of a prompt. Of several arguments
// each stays one word, as in the shell that they come from. A budget that cannot
// be read is an error: it was not meant for the shell.
func shellLine(d *router.Decision, args []string) (string, error) {
	text := strings.TrimSpace(strings.Join(args, " "))
	if d.Rule == router.RuleForced {
		args = append([]string{withoutBang(strings.TrimSpace(args[0]))}, args[1:]...)
	} else if router.MeansBudget(text) {
		if _, _, err := router.CutBudget(text); err != nil {
			return "", usageErrorf("%v", err)
		}
	}
	if len(args) < 2 {
		return strings.TrimSpace(args[0]), nil
	}
	quoted := make([]string, len(args))
	for i, arg := range args {
		var err error
		if quoted[i], err = syntax.Quote(arg, syntax.LangPOSIX); err != nil {
			quoted[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'" // bytes that POSIX has no escape for
		}
	}
	return strings.Join(quoted, " "), nil
}

// withoutBang is a line without a "!" right before a command, which only says
// that it is one. Behind "! " it is the shell's own word for "not".
func withoutBang(text string) string {
	rest, ok := strings.CutPrefix(text, "!")
	if !ok || rest == "" || strings.ContainsRune(" \t\n!", rune(rest[0])) {
		return text
	}
	return rest
}

// shellSays is the line that says what is run, by what, and why there.
func shellSays(o *IO, d *router.Decision, line string) string {
	return fmt.Sprintf("shell: %s · %s · by rule %s", line, o.shellPath(), d.Rule)
}

// agreeToLine asks whether a line that reads like a request is to be run.
func (o *IO) agreeToLine(line string) error {
	const what = "it may destroy something, and reads like a request"
	if !o.interactive() {
		return exitErrorf(exitDeclined, "%s, and there is no terminal to ask on: add --yes to run it, "+
			"or put \", \" before it for agents: %s", what, line)
	}
	yes, err := o.askYes("Run this in the shell? " + strings.ToUpper(what[:1]) + what[1:] + ".")
	if err == nil && !yes {
		err = &exitError{code: exitDeclined, err: errShown}
	}
	return err
}

// becomeShell runs a line in place of this process: terminal, signals, jobs and
// exit code are the line's own. It returns only if that cannot be done.
func (o *IO) becomeShell(line string) error {
	sh := o.shellPath()
	if strings.HasPrefix(line, "-") || strings.HasPrefix(line, "+") {
		line = " " + line // or it would be an option of the shell
	}
	err := unix.Exec(sh, []string{sh, "-c", line}, o.Environ)
	return fmt.Errorf("running %s: %w", sh, &os.PathError{Op: "exec", Path: sh, Err: err})
}
