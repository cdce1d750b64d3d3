package runloop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/wasm"
)

func cmdAgentBuild(io *IO) *cli.Command {
	return &cli.Command{
		Name: "build", Usage: "compile an agent, refresh its digests, and grant what was built", ArgsUsage: "[DIR]",
		UsageText: `rlp agent build agents/greeter`,
		Description: `What is in DIR says which compiler: go.mod, src/*.c or src/main.rs. $GO, $CC and
$RUSTC name another one. A signature that does not fit any more is removed.`,
		Flags: []cli.Flag{&cli.BoolFlag{Name: "no-grant", Usage: "do not grant what was built"}, jsonFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() > 1 {
				return usageErrorf("one agent at a time (see rlp agent build --help)")
			}
			dir := c.Args().First()
			if dir == "" {
				dir = "."
			}
			return agentBuild(c.Context, io, dir, !c.Bool("no-grant"), c.Bool("json"))
		},
	}
}

func agentBuild(ctx context.Context, io *IO, dir string, grant, asJSON bool) error {
	d, err := io.openDesk("")
	if err != nil {
		return err
	}
	b, err := newBuild(dir)
	if err != nil {
		return err
	}
	if err := b.compile(ctx, io); err != nil {
		return err
	}
	if err := b.refresh(io); err != nil {
		return err
	}
	bundle, err := bundleIn(dir)
	if err != nil {
		return err
	}
	if err := d.load(ctx, bundle); err != nil {
		return err
	}
	m := bundle.Manifest
	err = io.printResult(asJSON, agentResult{m.Name, m.Version, bundle.Digest, "", grant},
		"%s %s built, bundle %s", m.Name, m.Version, bundle.Digest)
	if err != nil || !grant {
		return err
	}
	fmt.Fprintf(io.Stderr, "granted as built: %s\n", printable(bundle.Caps.Describe()))
	return d.remember(bundle)
}

// agentResult is what a command that made, signed or installed an agent prints.
type agentResult struct {
	Agent   string `json:"agent"`
	Version string `json:"version"`
	Digest  string `json:"digest"`
	Key     string `json:"key,omitempty"` // that it was signed with
	Granted bool   `json:"granted"`
}

// load checks that the module may be run, and leaves it compiled for its first
// run.
func (d *desk) load(ctx context.Context, b *wasm.Bundle) error {
	r := wasm.NewRuntime(wasm.RuntimeConfig{CacheDir: d.places.cache, Warn: func(err error) { d.io.warnf("%v", err) }})
	return errors.Join(r.Compile(ctx, b), r.Close())
}

// build is one agent that is compiled.
type build struct {
	dir   string
	entry string // path of the module in dir
}

func newBuild(dir string) (*build, error) {
	name := filepath.Join(dir, wasm.ManifestFile)
	src, err := readFileLimited(name, 1<<20)
	if errors.Is(err, os.ErrNotExist) {
		return nil, exitErrorf(exitNotFound, "no bundle at %s: it has no %s (rlp agent scaffold begins one)",
			dir, wasm.ManifestFile)
	}
	if err != nil {
		return nil, err
	}
	_, entry, err := wasm.EntryOf(name, src)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(entry, "../") {
		return nil, exitErrorf(exitUsage, "%s: entry_wasm is outside of the bundle (%s); build it where it belongs",
			name, entry)
	}
	return &build{dir, entry}, nil
}

// compile runs the compiler that the sources ask for.
func (b *build) compile(ctx context.Context, io *IO) error {
	if err := os.MkdirAll(filepath.Dir(filepath.Join(b.dir, b.entry)), 0o755); err != nil {
		return err
	}
	cmd, hint, err := b.command(ctx, io)
	if err != nil {
		return err
	}
	cmd.Dir, cmd.Stdout, cmd.Stderr = b.dir, io.Stderr, io.Stderr
	err = cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return exitErrorf(exitNotFound, "%s was not found; %s", cmd.Args[0], hint)
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return exitErrorf(exitFailed, "%s: %v", cmd.Args[0], err)
	}
	return b.compact()
}

// compact gives the module the form that starts fastest. One that may not be
// run stays as it is; loading it says why.
func (b *build) compact() error {
	name := filepath.Join(b.dir, b.entry)
	module, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	compact, err := wasm.Compact(module)
	if err != nil || len(compact) == len(module) {
		return nil
	}
	return os.WriteFile(name, compact, 0o644)
}

// command is how to compile, and what to do where the compiler is missing.
func (b *build) command(ctx context.Context, io *IO) (cmd *exec.Cmd, hint string, err error) {
	has := func(pattern string) []string {
		found, _ := filepath.Glob(filepath.Join(b.dir, pattern)) // the patterns are ours
		for i := range found {
			found[i], _ = filepath.Rel(b.dir, found[i])
		}
		return found
	}
	program := func(variable, otherwise string) string {
		if name := io.getenv(variable); name != "" {
			return name
		}
		return otherwise
	}
	switch c := has("src/*.c"); {
	case len(has("go.mod")) > 0:
		cmd = exec.CommandContext(ctx, program("GO", "go"), "build", "-buildmode=c-shared", "-trimpath",
			"-buildvcs=false", "-ldflags=-s -w", "-o", b.entry, ".")
		cmd.Env = append(io.Environ[:len(io.Environ):len(io.Environ)],
			"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GOTOOLCHAIN=local")
		return cmd, "install Go 1.24 or newer", nil
	case len(c) > 0:
		args := append([]string{"--target=wasm32", "-O2", "-Wall", "-Wextra", "-ffreestanding", "-nostdlib",
			"-Wl,--no-entry", "-Wl,--strip-all", "-o", b.entry}, sources(c)...)
		return exec.CommandContext(ctx, program("CC", "clang"), args...), "install clang and lld", nil
	case len(has("src/main.rs")) > 0:
		cmd = exec.CommandContext(ctx, program("RUSTC", "rustc"), "--edition=2021",
			"--target="+program("RUST_TARGET", "wasm32-wasip1"), "-O", "-Cpanic=abort", "-Cstrip=symbols",
			"-o", b.entry, "src/main.rs")
		return cmd, "install Rust with its target wasm32-wasip1", nil
	}
	return nil, "", exitErrorf(exitUsage, "%s holds no go.mod, src/*.c or src/main.rs to build", b.dir)
}

// sources are the files of C that belong to the module: not the tests.
func sources(files []string) []string {
	var out []string
	for _, f := range files {
		if !strings.HasSuffix(f, "_test.c") {
			out = append(out, f)
		}
	}
	return out
}

// refresh writes the digests, and removes a signature of what was before.
func (b *build) refresh(io *IO) error {
	before, err := os.ReadFile(filepath.Join(b.dir, wasm.ManifestFile))
	if err != nil {
		return err
	}
	after, err := refreshManifest(b.dir)
	if err != nil || string(before) == string(after) {
		return err
	}
	err = os.Remove(filepath.Join(b.dir, wasm.SignatureFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		io.warnf("the signature was of another build and is gone; sign it again: rlp agent sign %s", b.dir)
	}
	return err
}
