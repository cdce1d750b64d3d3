package runloop

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

func cmdCI(io *IO) *cli.Command {
	return &cli.Command{
		Name: "ci", Usage: "replay recorded runs with the agents and openings of now",
		ArgsUsage: "DIR",
		UsageText: `rlp ci testdata/runs
rlp ci testdata/runs --junit report.xml --agents-dir ./agents --openings-dir ./openings`,
		Description: `Every trace (*.json) and run bundle (*.rlrun) below DIR is replayed, offline and
sealed: each agent runs again with the answers that were recorded. Code and openings
are those of today; that they changed is noted, and what they do otherwise fails the
run: the first step that differs is named. The exit code is 0 when nothing differs, 1
when something does, and 2 when there was nothing to check or a file cannot be read.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "junit", Usage: "write a JUnit XML report to `FILE`"},
			&cli.StringFlag{Name: "agents-dir", Usage: "look for agents in `DIR` first"},
			&cli.StringFlag{Name: "openings-dir", Usage: "look for openings in `DIR` first"},
			&cli.IntFlag{Name: "parallel", Usage: "replay `N` runs at a time (default: the number of processors)"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usageErrorf("which folder? (see rlp ci --help)")
			}
			return ciCommand(c.Context, io, &ciFlags{
				dir: c.Args().First(), junit: c.String("junit"), agentsDir: c.String("agents-dir"),
				openingsDir: c.String("openings-dir"), parallel: c.Int("parallel"), json: c.Bool("json"),
			})
		},
	}
}

type ciFlags struct {
	dir, junit, agentsDir, openingsDir string
	parallel                           int
	json                               bool
}

func ciCommand(ctx context.Context, io *IO, f *ciFlags) error {
	cfg, err := io.config()
	if err != nil {
		return err
	}
	files, err := runFiles(f.dir)
	if err != nil {
		return err
	}
	r, err := openReplayer(ctx, io, cfg, sessionOptions{agentsDir: f.agentsDir})
	if err != nil {
		return err
	}
	dirs := cfg.Openings.SearchDirs
	if f.openingsDir != "" {
		dirs = append([]string{f.openingsDir}, dirs...)
	}
	started := time.Now()
	c := &ciRun{replayer: r, dir: f.dir, openings: dirs}
	done := io.busy(fmt.Sprintf("replaying %d runs", len(files)))
	report := c.all(ctx, files, f.parallel)
	done()
	report.DurationMS = time.Since(started).Milliseconds()
	if err := errors.Join(context.Cause(ctx), r.Close()); err != nil {
		return err
	}
	if f.junit != "" {
		doc, err := report.junit()
		if err == nil {
			err = writeSynced(f.junit, doc)
		}
		if err != nil {
			return fmt.Errorf("--junit: %w", err)
		}
	}
	if f.json {
		err = printJSON(io.Stdout, report)
	} else {
		_, err = fmt.Fprint(io.Stdout, report.text())
	}
	if err != nil {
		return err
	}
	return report.exit(f.dir)
}

// runFiles lists what may be a recorded run below a folder, or the one file that
// dir is, in the order of their names.
func runFiles(dir string) ([]string, error) {
	st, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, exitErrorf(exitNotFound, "no folder %s", dir)
	}
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return []string{dir}, nil
	}
	var files []string
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		ext := strings.ToLower(filepath.Ext(name))
		if d.Type().IsRegular() && (ext == ".json" || ext == runBundleExt) {
			files = append(files, name)
		}
		return nil
	})
	slices.Sort(files)
	return files, err
}
