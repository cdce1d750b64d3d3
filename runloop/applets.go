package runloop

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// verb is one thing the program can do. It writes to io, and an error decides
// the exit code (see exitCode).
type verb func(ctx context.Context, io *IO, args []string) error

// applet is a name the program can be called by.
type applet struct {
	name string
	help string
	link bool // it gets a symlink of its own
	run  verb
	tree func(*IO) *cli.App
}

// applets are all names, in the order in which they are listed.
func applets() []applet {
	return []applet{
		{"rlp", "the command line: run, replay, trace, kb, agent …", true, runRLP, newCLI},
		{"runloopd", "the daemon", true, runDaemon, newDaemon},
		{"agtop", "watch runs", true, runAgtop, newAgtop},
		{"wasi", "run any WASI program in the agents' sandbox", false, runWASI, newWASI},
	}
}

// dispatch picks the applet by the base of args[0] or, for runloop itself, by
// its first argument; a command of rlp is an applet too, so that `runloop
// trace` is `rlp trace`.
func dispatch(ctx context.Context, io *IO, args []string) int {
	name, rest := "runloop", []string(nil)
	if len(args) > 0 {
		name, rest = strings.TrimSuffix(filepath.Base(args[0]), ".exe"), args[1:]
	}
	if name == "rlp" && len(rest) > 0 && isRouteCommand(rest[0]) {
		return finish(io, name, runRoute(ctx, io, rest)) // runs on every Enter: nothing else first
	}
	if len(rest) > 0 && rest[0] == completeCommand {
		io.completeFor(rest[1:])
		return exitOK
	}
	for _, a := range applets() {
		if a.name == name {
			return finish(io, name, a.start(ctx, io, rest))
		}
	}
	if name != "runloop" {
		return finish(io, "runloop", unknownApplet(name))
	}
	return finish(io, name, guard(io, func() error { return runMulticall(ctx, io, rest) }))
}

// start runs the applet. A daemon's failure is for its log, whole.
func (a *applet) start(ctx context.Context, io *IO, args []string) error {
	if a.name == "runloopd" {
		return a.run(ctx, io, args)
	}
	return guard(io, func() error { return a.run(ctx, io, args) })
}

// finish shows an error that nobody has shown yet and returns the exit code.
func finish(io *IO, name string, err error) int {
	if err != nil && !isShown(err) {
		fmt.Fprintf(io.Stderr, "%s: %s\n", name, printable(err.Error()))
		if io.common.verbose {
			fmt.Fprint(io.Stderr, errorChain(err))
		}
	}
	return exitCode(err)
}

// debugging reports whether a failure of the program itself is to show where it
// was.
func (o *IO) debugging() bool { return o.getenv("RLP_DEBUG") != "" }

// guard runs an applet. A failure of the program itself becomes an error on one
// line; with RLP_DEBUG it shows where it was.
func guard(o *IO, run func() error) (err error) {
	if o.debugging() {
		return run()
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("this is a mistake in runloop %s: %v; RLP_DEBUG=1 shows where, for a report", version, p)
		}
	}()
	return run()
}

// runMulticall is the program under its own name.
func runMulticall(ctx context.Context, io *IO, args []string) error {
	if len(args) == 0 {
		return explain(io.Stdout)
	}
	switch args[0] {
	case "--list":
		for _, a := range applets() {
			fmt.Fprintln(io.Stdout, a.name)
		}
		return nil
	case "--install":
		return install(io, args[1:])
	case "-h", "--help", "help":
		return explain(io.Stdout)
	case "--version":
		return runRLP(ctx, io, []string{"version"})
	}
	for _, a := range applets() {
		if a.name == args[0] {
			return a.run(ctx, io, args[1:])
		}
	}
	if isCommand(args[0]) {
		return runRLP(ctx, io, args)
	}
	return unknownApplet(args[0])
}

func explain(w io.Writer) error {
	fmt.Fprint(w, `runloop is one program with several names.

  runloop <applet> [arguments]   run an applet, or a command of rlp
  runloop --list                 name the applets
  runloop --install [DIR]        make a symlink for each in DIR
                                 (default ~/.local/bin, or /usr/local/bin for root)

Applets:
`)
	for _, a := range applets() {
		fmt.Fprintf(w, "  %-9s %s\n", a.name, a.help)
	}
	_, err := fmt.Fprint(w, "\nStart with `runloop rlp help`, or read the README.\n")
	return err
}

func unknownApplet(name string) error {
	var names []string
	for _, a := range applets() {
		names = append(names, a.name)
	}
	return usageErrorf("%q is no applet%s; there are: %s (see runloop --help)", name,
		didYouMean(name, append(names, commandNames()...)), strings.Join(names, ", "))
}

// install makes a symlink to this executable for each applet. Files that are
// not symlinks are left alone.
func install(io *IO, args []string) error {
	if len(args) > 1 {
		return usageErrorf("--install takes one folder")
	}
	dir, err := installDir(io, args)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this executable: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	for _, a := range applets() {
		if !a.link {
			continue
		}
		link := filepath.Join(dir, a.name)
		if err := relink(self, link); err != nil {
			return fmt.Errorf("install: %w", err)
		}
		fmt.Fprintf(io.Stdout, "%s -> %s\n", link, self)
	}
	if !slices.Contains(filepath.SplitList(io.getenv("PATH")), dir) {
		io.warnf("%s is not on your PATH", dir)
	}
	return nil
}

func installDir(io *IO, args []string) (string, error) {
	if len(args) == 1 {
		return filepath.Abs(args[0])
	}
	if os.Geteuid() == 0 {
		return "/usr/local/bin", nil
	}
	home := io.getenv("HOME")
	if home == "" {
		return "", usageErrorf("HOME is not set; name a folder: runloop --install DIR")
	}
	return filepath.Join(home, ".local", "bin"), nil
}

func relink(target, link string) error {
	if st, err := os.Lstat(link); err == nil {
		if st.Mode()&os.ModeSymlink == 0 {
			return fmt.Errorf("%s is there and is not a symlink", link)
		}
		if err := os.Remove(link); err != nil {
			return err
		}
	}
	return os.Symlink(target, link)
}
