package runloop

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/wasm"
)

func cmdReplay(io *IO) *cli.Command {
	return &cli.Command{
		Name: "replay", Usage: "run the agents of a recorded run again, and compare",
		ArgsUsage: "TRACE",
		Description: `Examples:
   rlp replay trace:0b1c…          a run of the knowledge base
   rlp replay trace.json           a file of rlp run --trace-out
   rlp replay trace.json --agent writer=./agents/writer

Each agent runs in its sandbox with the inputs, clock, seed and answers that were
recorded. Nothing leaves the sandbox and nothing is written. The exit code is 1 when
anything differs.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "until", Usage: "only what `NODE` depends on, and it"},
			&cli.StringFlag{Name: "node", Usage: "only `NODE`"},
			&cli.StringSliceFlag{Name: "agent", Usage: "try the bundle at PATH in place of an agent, `NAME=PATH`"},
			&cli.StringFlag{Name: "agents-dir", Usage: "look for agents in `DIR` first"},
			&cli.StringFlag{Name: "opening", Usage: "check that the run was of the opening in `FILE`"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usageErrorf("which trace? (see rlp replay --help)")
			}
			return replayCommand(c.Context, io, &replayFlags{
				ref: c.Args().First(), until: c.String("until"), node: c.String("node"),
				agents: c.StringSlice("agent"), agentsDir: c.String("agents-dir"),
				opening: c.String("opening"), json: c.Bool("json"),
			})
		},
	}
}

type replayFlags struct {
	ref, until, node   string
	agents             []string
	agentsDir, opening string
	json               bool
}

func replayCommand(ctx context.Context, io *IO, f *replayFlags) error {
	cfg, err := io.config()
	if err != nil {
		return err
	}
	trace, err := io.readTrace(ctx, cfg, f.ref)
	if err != nil {
		return err
	}
	if err := checkOpening(f.opening, trace); err != nil {
		return err
	}
	sources, err := agentOverrides(f.agents)
	if err != nil {
		return err
	}
	s, err := openSession(ctx, io, cfg, sessionOptions{agentsDir: f.agentsDir, sealed: true, sources: sources})
	if err != nil {
		return err
	}
	exec := opening.NewBusExecutor(s.bus.Client("engine", bus.KindAgent))
	report, err := opening.Replay(ctx, trace, exec, opening.ReplayOptions{
		Until: f.until, Node: f.node, MaxParallel: cfg.Runtime.MaxParallel,
	})
	if err := errors.Join(err, s.Close()); err != nil {
		return err
	}
	if f.json {
		err = printJSON(io.Stdout, report)
	} else {
		_, err = fmt.Fprint(io.Stdout, report.Text())
	}
	if err == nil && !report.Same() {
		err = &exitError{code: exitFailed, err: errShown}
	}
	return err
}

// checkOpening refuses a trace that is not of the opening in file.
func checkOpening(file string, t *opening.Trace) error {
	if file == "" {
		return nil
	}
	src, err := readFileLimited(file, openingMax)
	if err != nil {
		return err
	}
	o, err := opening.Parse(file, src)
	if err != nil {
		return usageErrorf("%v", err)
	}
	if o.Hash() != t.OpeningIRHash {
		return exitErrorf(exitFailed, "the run was of opening %s with IR %s, but %s has %s",
			t.OpeningName, t.OpeningIRHash, file, o.Hash())
	}
	return nil
}

// agentOverrides makes a source of each NAME=PATH, where the path is a bundle.
func agentOverrides(pairs []string) ([]wasm.Source, error) {
	var out []wasm.Source
	for _, pair := range pairs {
		name, dir, ok := strings.Cut(pair, "=")
		if !ok || name == "" || dir == "" {
			return nil, usageErrorf("--agent %q: want NAME=PATH", pair)
		}
		dir, err := filepath.Abs(dir)
		if err != nil {
			return nil, usageErrorf("--agent %s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(dir, wasm.ManifestFile)); err != nil {
			return nil, exitErrorf(exitNotFound, "--agent %s: no bundle at %s", name, dir)
		}
		src, _, err := wasm.DirSource(filepath.Dir(dir))
		if err != nil {
			return nil, err
		}
		out = append(out, wasm.Source{Name: dir, FS: renamedDir{src.FS, name, filepath.Base(dir)}})
	}
	return out, nil
}

// renamedDir shows the folder called real as name, and hides its other
// neighbours that are bundles.
type renamedDir struct {
	fs.FS
	name, real string
}

// Open implements fs.FS.
func (d renamedDir) Open(name string) (fs.File, error) {
	first, rest, _ := strings.Cut(name, "/")
	switch {
	case first == d.name:
		return d.FS.Open(path.Join(d.real, rest))
	case path.Base(name) == wasm.ManifestFile:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return d.FS.Open(name)
}
