package runloop

import (
	"bytes"
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/router"
	"github.com/runloop-os/runloop/router/shell"
)

// startupEdit is what `rlp shell enable` and its siblings are told.
type startupEdit struct {
	shell, rcPath string
	dryRun, json  bool
	extra         string // an argument that nobody expects
}

func startupEditOf(c *cli.Context) *startupEdit {
	return &startupEdit{
		shell: c.String("shell"), rcPath: c.String("rc-path"),
		dryRun: c.Bool("dry-run"), json: c.Bool("json"), extra: c.Args().First(),
	}
}

// complete fills in what was not told.
func (e *startupEdit) complete(io *IO) error {
	if e.extra != "" {
		return usageErrorf("%q is too much (see rlp shell --help)", e.extra)
	}
	if e.shell == "" {
		e.shell = guessShell(io, e.rcPath)
	}
	if !slices.Contains(shells, e.shell) {
		return usageErrorf("--shell %q: %s", e.shell, strings.Join(shells, " or "))
	}
	if e.rcPath != "" {
		abs, err := filepath.Abs(e.rcPath)
		e.rcPath = abs
		return err
	}
	home := io.getenv("HOME")
	if e.shell == string(router.Zsh) {
		home = cmp.Or(io.getenv("ZDOTDIR"), home)
	}
	if home == "" {
		return usageErrorf("HOME is not set; name the file with --rc-path")
	}
	e.rcPath = filepath.Join(home, "."+e.shell+"rc")
	return nil
}

// guessShell is the shell that a startup file belongs to by its name, or the
// user's; "" if neither says.
func guessShell(io *IO, rcPath string) string {
	for _, name := range []string{filepath.Base(rcPath), filepath.Base(io.getenv("SHELL"))} {
		for _, s := range shells {
			if strings.Contains(name, s) {
				return s
			}
		}
	}
	return ""
}

func shellEnable(io *IO, e *startupEdit, opening string) error {
	if err := e.complete(io); err != nil {
		return err
	}
	if opening != "" {
		cfg, err := io.config()
		if err != nil {
			return err
		}
		if _, _, err := findOpening(opening, cfg.Openings.SearchDirs, io.Stdin); err != nil {
			return err
		}
		if looksLikePath(opening) {
			if opening, err = filepath.Abs(opening); err != nil {
				return err
			}
		}
	}
	block, err := shell.StartupBlock(router.Shell(e.shell), opening)
	if err != nil {
		return usageErrorf("--opening: %v", err)
	}
	changed, err := e.apply(io, "enabled", func(text []byte) ([]byte, error) { return shell.WithBlock(text, block) })
	if err != nil || !changed {
		return err
	}
	fmt.Fprintf(io.Stderr, "open a new shell, or type: eval \"$(rlp shell init %s)\"\n", e.shell)
	e.hintLogin(io)
	return nil
}

func shellDisable(io *IO, e *startupEdit) error {
	if err := e.complete(io); err != nil {
		return err
	}
	changed, err := e.apply(io, "disabled", shell.WithoutBlock)
	if changed && io.getenv(stateVariable) != "" {
		fmt.Fprintln(io.Stderr, "shells that are open keep it until they end, or until runloop_router_off")
	}
	return err
}

// startupChange is what `rlp shell enable --json` prints.
type startupChange struct {
	Shell   string `json:"shell"`
	RCPath  string `json:"rc_path"`
	Changed bool   `json:"changed"` // with --dry-run: would be
	DryRun  bool   `json:"dry_run"`
	Backup  string `json:"backup,omitempty"`
	Diff    string `json:"diff,omitempty"`
}

// apply changes the startup file, and says so. It reports whether there was
// something to change and it was done.
func (e *startupEdit) apply(io *IO, what string, edit func([]byte) ([]byte, error)) (bool, error) {
	f, err := openStartupFile(e.rcPath)
	if err != nil {
		return false, err
	}
	next, err := edit(f.text)
	if err != nil {
		return false, usageErrorf("%s: %v", e.rcPath, err)
	}
	c := startupChange{Shell: e.shell, RCPath: e.rcPath, Changed: !bytes.Equal(next, f.text), DryRun: e.dryRun}
	switch {
	case c.Changed && e.dryRun:
		c.Diff = unifiedDiff(e.rcPath, f.text, next)
	case c.Changed:
		if c.Backup, err = f.replace(next, time.Now()); err != nil {
			return false, fmt.Errorf("%s is as it was: %w", e.rcPath, err)
		}
	}
	return c.Changed && !e.dryRun, e.show(io, what, &c)
}

func (e *startupEdit) show(io *IO, what string, c *startupChange) error {
	switch {
	case e.json:
		return printJSON(io.Stdout, c)
	case !c.Changed:
		fmt.Fprintf(io.Stdout, "%s already in %s\n", what, printable(e.rcPath))
	case e.dryRun:
		fmt.Fprint(io.Stdout, printableText(c.Diff))
	default:
		fmt.Fprintf(io.Stdout, "%s in %s\n", what, printable(e.rcPath))
		if c.Backup != "" {
			fmt.Fprintf(io.Stderr, "what was there is in %s\n", printable(c.Backup))
		}
	}
	return nil
}

// hintLogin says when login shells of bash, over ssh for one, will not read the
// file.
func (e *startupEdit) hintLogin(io *IO) {
	home := io.getenv("HOME")
	if e.shell != string(router.Bash) || e.rcPath != filepath.Join(home, ".bashrc") {
		return
	}
	for _, name := range []string{".bash_profile", ".bash_login", ".profile"} { // bash(1), INVOCATION
		text, err := readRegular(filepath.Join(home, name), startupFileMax)
		if err != nil {
			continue
		}
		if !bytes.Contains(text, []byte("bashrc")) {
			io.warnf("login shells read ~/%s, which does not read ~/.bashrc; add to it: . ~/.bashrc", name)
		}
		return
	}
	io.warnf("login shells do not read ~/.bashrc; put into ~/.bash_profile: . ~/.bashrc")
}

// unifiedDiff shows the one place where two texts differ, as patch(1) reads it.
func unifiedDiff(name string, old, new []byte) string {
	a, b := lines(old), lines(new)
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	from := max(0, head-3)
	more := min(3, tail)
	toA, toB := len(a)-tail+more, len(b)-tail+more
	var out strings.Builder
	fmt.Fprintf(&out, "--- %s\n+++ %s\n@@ -%s +%s @@\n", name, name, span(from, toA), span(from, toB))
	mark := func(sign string, lines []string) {
		for _, l := range lines {
			out.WriteString(sign + l)
			if !strings.HasSuffix(l, "\n") {
				out.WriteString("\n\\ No newline at end of file\n")
			}
		}
	}
	mark(" ", a[from:head])
	mark("-", a[head:len(a)-tail])
	mark("+", b[head:len(b)-tail])
	mark(" ", a[len(a)-tail:toA])
	return out.String()
}

// span is a range of lines in the head of a hunk.
func span(from, to int) string {
	if from == to {
		return fmt.Sprintf("%d,0", from)
	}
	return fmt.Sprintf("%d,%d", from+1, to-from)
}

// lines are those of a text, each with its end.
func lines(text []byte) []string {
	all := strings.SplitAfter(string(text), "\n")
	if all[len(all)-1] == "" {
		return all[:len(all)-1]
	}
	return all
}
