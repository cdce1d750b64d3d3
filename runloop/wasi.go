package runloop

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/wasm"
)

const wasiExamples = `runloop wasi hello.wasm
runloop wasi --dir ~/out::/work --ro /usr/share/dict::/dict words.wasm /dict/words
runloop wasi --caps policy.caps --isolation inline tool.wasm < input > output
go test -exec "runloop wasi --time --dir $PWD" .   # with GOOS=wasip1 GOARCH=wasm`

const wasiAbout = `The program gets what the flags and the caps file give it and nothing else: no
environment, no file, no real clock, no network. Its exit status is that of this
command; one that a shell cannot carry is 255. 124: stopped at its time limit; 126:
refused; 130: interrupted; 134: trapped; 137: stopped at another limit.`

// Defaults of runloop wasi.
const (
	wasiMemoryMB = 512
	wasiTimeout  = 10 * time.Minute
	wasiOutputMB = 64
	wasiWriteMB  = 1024
)

// Exit codes of runloop wasi beside the program's own, as timeout(1), the
// shell and abort(3) have them.
const (
	exitTimedOut  = 124
	exitRefused   = 126
	exitTrapped   = 134
	exitKilled    = 137
	exitUnnatural = 255 // the program's, which is larger
)

// runWASI is `runloop wasi`.
func runWASI(ctx context.Context, io *IO, args []string) error {
	return runApp(ctx, io, newWASI(io), args)
}

func newWASI(io *IO) *cli.App {
	app := newApp(io, "wasi", "run any WASI program in the agents' sandbox")
	app.HelpName = "runloop wasi"
	app.UsageText, app.Description = wasiExamples, wasiAbout
	app.ArgsUsage = "FILE.wasm [ARGUMENT...]"
	app.Flags = []cli.Flag{
		&cli.StringFlag{Name: "caps", Usage: "grant what the capabilities `FILE` lists (fs and time)"},
		&cli.StringSliceFlag{Name: "dir", Usage: "grant a folder or file to read and write, as `PATH[::GUEST]`"},
		&cli.StringSliceFlag{Name: "ro", Usage: "grant one to read, as `PATH[::GUEST]`"},
		&cli.StringSliceFlag{Name: "env", Usage: "set `KEY=VALUE` in the program's environment"},
		&cli.BoolFlag{Name: "time", Usage: "grant the real clock"},
		&cli.StringFlag{Name: "isolation", Usage: "run it `auto|inline|worker` (default: as configured)"},
		&cli.DurationFlag{Name: "timeout", Value: wasiTimeout, Usage: "stop it after this `TIME`"},
		&cli.IntFlag{Name: "memory", Value: wasiMemoryMB, Usage: "`MB` of memory that it may have"},
		&cli.IntFlag{Name: "output", Value: wasiOutputMB, Usage: "`MB` that it may write to stdout, and to stderr"},
		&cli.IntFlag{Name: "write", Value: wasiWriteMB, Usage: "`MB` that it may write to files"},
		&cli.BoolFlag{Name: "stats", Usage: "say at the end what it used, on stderr"},
	}
	app.Action = func(c *cli.Context) error { return wasiCommand(c, io) }
	return app
}

func wasiCommand(c *cli.Context, io *IO) error {
	if c.NArg() == 0 {
		return usageErrorf("name a program: runloop wasi FILE.wasm (see runloop wasi --help)")
	}
	cfg, err := io.config()
	if err != nil {
		return err
	}
	prog, err := wasiProgram(c, io, cfg)
	if err != nil {
		return err
	}
	p := io.places(cfg)
	runtime := wasm.NewRuntime(wasm.RuntimeConfig{
		CacheDir: p.cache, Max: prog.Limits, Files: wasm.FileLimits{Written: int64(c.Int("write")) << 20},
		Warn: func(err error) { io.warnf("%v", err) },
	})
	prog.Guarded = p.guarded(cfg)
	began := time.Now()
	ctx, interrupted, stop := cancelOnInterrupt(c.Context, io)
	defer stop()
	res, err := runtime.RunWASI(ctx, *prog)
	err = errors.Join(flush(prog.Stdout), flush(prog.Stderr), wasiExit(io, &res, err, interrupted()))
	if c.Bool("stats") {
		io.warnf("%v; %d MB of memory; %v of processor time and %d MB in its process", time.Since(began).Round(time.Millisecond),
			res.Memory>>20, res.CPU.Round(time.Millisecond), res.Resident>>20)
	}
	return errors.Join(err, runtime.Close())
}

// wasiProgram is the program as flags and arguments describe it.
func wasiProgram(c *cli.Context, io *IO, cfg *Loaded) (*wasm.WASIConfig, error) {
	file := c.Args().First()
	module, err := readModule(file)
	if err != nil {
		return nil, err
	}
	prog := &wasm.WASIConfig{
		Module: module, Args: append([]string{filepath.Base(file)}, c.Args().Tail()...),
		Stdin: io.Stdin, Stdout: io.guestOutput(io.Stdout), Stderr: io.guestOutput(io.Stderr),
		Limits: wasm.Limits{
			MemoryMB: c.Int("memory"), WallMS: int(c.Duration("timeout").Milliseconds()), StdoutKB: c.Int("output") << 10,
		},
	}
	for _, n := range []int{c.Int("memory"), int(c.Duration("timeout").Milliseconds()), c.Int("output"), c.Int("write")} {
		if n <= 0 || n > 1<<31 {
			return nil, usageErrorf("a limit must be positive, and less than 2^31 (see runloop wasi --help)")
		}
	}
	rand.Read(prog.Seed[:])
	if prog.Isolation, err = wasiIsolation(c.String("isolation"), cfg); err != nil {
		return nil, err
	}
	if prog.Env, err = wasiEnv(c.StringSlice("env")); err != nil {
		return nil, err
	}
	return prog, wasiGrants(c, prog)
}

// readModule reads a module of not more than the largest size that there is.
func readModule(file string) ([]byte, error) {
	st, err := os.Stat(file)
	switch {
	case err != nil:
		return nil, exitErrorf(exitNotFound, "%v", err)
	case !st.Mode().IsRegular():
		return nil, usageErrorf("%s is not a regular file", file)
	case st.Size() > wasm.ModuleMax:
		return nil, exitErrorf(exitRefused, "%s has %d bytes; a module may have %d", file, st.Size(), wasm.ModuleMax)
	}
	return os.ReadFile(file)
}

// wasiIsolation is where the program runs: a program from outside is never
// trusted to run in this process unless that is asked for.
func wasiIsolation(flag string, cfg *Loaded) (wasm.Isolation, error) {
	where, err := wasm.ParseIsolation(flag)
	if err != nil {
		return "", usageErrorf("--isolation: %v", err)
	}
	if flag == "" {
		where = cfg.isolation()
	}
	if where == wasm.IsolationInline && cfg.isolation() == wasm.IsolationWorker {
		return "", exitErrorf(exitDeclined, "the configuration has every program run in a worker")
	}
	return where, nil
}

func wasiEnv(list []string) (map[string]string, error) {
	env := map[string]string{}
	for _, kv := range list {
		key, value, ok := strings.Cut(kv, "=")
		if !ok || key == "" || strings.ContainsRune(kv, 0) {
			return nil, usageErrorf("--env %q is not KEY=VALUE", kv)
		}
		env[key] = value
	}
	return env, nil
}

// wasiGrants adds up what the caps file and the flags grant.
func wasiGrants(c *cli.Context, prog *wasm.WASIConfig) error {
	prog.Caps, prog.At = &wasm.Caps{}, map[string]string{}
	if file := c.String("caps"); file != "" {
		src, err := os.ReadFile(file)
		if err != nil {
			return exitErrorf(exitNotFound, "%v", err)
		}
		if prog.Caps, err = wasm.ParseCaps(file, src); err != nil {
			return exitErrorf(exitUsage, "%v", err)
		}
	}
	prog.Caps.Time = prog.Caps.Time || c.Bool("time")
	for flag, write := range map[string]bool{"dir": true, "ro": false} {
		for _, spec := range c.StringSlice(flag) {
			path, at, named := strings.Cut(spec, "::")
			abs, err := filepath.Abs(path)
			if err != nil {
				return err
			}
			if abs, err = filepath.EvalSymlinks(abs); err != nil {
				return exitErrorf(exitNotFound, "--%s: %v", flag, err)
			}
			if named {
				prog.At[abs] = at
			}
			prog.Caps.FS = append(prog.Caps.FS, wasm.FSGrant{Path: abs, Write: write})
		}
	}
	return nil
}

// wasiExit is the exit code of the program, or of what ended it.
func wasiExit(io *IO, res *wasm.WASIResult, err error, interrupted bool) error {
	if len(res.Tripped) > 0 {
		io.warnf("limits reached: %s", strings.Join(res.Tripped, ", "))
	}
	var e *wasm.Error
	switch {
	case err == nil && res.Exit == 0:
		return nil
	case err == nil && res.Exit > 255:
		io.warnf("the program exited with status %d, which no shell can carry", res.Exit)
		return &exitError{exitUnnatural, errShown}
	case err == nil:
		return &exitError{int(res.Exit), errShown}
	case interrupted:
		return &exitError{exitInterrupted, errShown}
	case !errors.As(err, &e):
		return err
	}
	return exitErrorf(wasiKilled(e.Code), "%v", err)
}

func wasiKilled(code string) int {
	switch {
	case code == wasm.CodeDeadline:
		return exitTimedOut
	case strings.HasPrefix(code, wasm.CodeLoadRefused):
		return exitRefused
	case strings.HasPrefix(code, wasm.CodeTrap):
		return exitTrapped
	case code == wasm.CodeOutputGone:
		return exitFailed
	case strings.HasPrefix(code, "killed:"):
		return exitKilled
	case code == wasm.CodeDenied:
		return exitDeclined
	}
	return exitFailed
}
