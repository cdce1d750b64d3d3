package runloop

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/wasm"
)

func cmdCapsLint(io *IO) *cli.Command {
	return &cli.Command{
		Name: "lint", Usage: "check files of capabilities, and what agents ask for against what they used",
		ArgsUsage: "FILE|AGENT...",
		UsageText: `rlp caps lint agents/mine/policy.caps
rlp caps lint mailer writer`,
		Description: `A FILE is a policy.caps or an override. An AGENT is checked against its runs
in the knowledge base, too. The exit code is 1 for errors, not for warnings.`,
		Flags: []cli.Flag{agentsDirFlag(), jsonFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return usageErrorf("which file or agent? (see rlp caps lint --help)")
			}
			d, err := io.openDesk(c.String("agents-dir"))
			if err != nil {
				return err
			}
			return d.lintAll(c.Context, c.Args().Slice(), c.Bool("json"))
		},
	}
}

// finding is one thing that lint has to say.
type finding struct {
	Of    string `json:"of"`    // file or agent
	Level string `json:"level"` // error, warning
	Text  string `json:"text"`
}

func (d *desk) lintAll(ctx context.Context, args []string, asJSON bool) error {
	found := []finding{}
	for _, arg := range args {
		list, err := d.lint(ctx, arg)
		if err != nil {
			return err
		}
		found = append(found, list...)
	}
	if err := d.showFindings(found, asJSON); err != nil {
		return err
	}
	if slices.ContainsFunc(found, func(f finding) bool { return f.Level == "error" }) {
		return &exitError{code: exitFailed, err: errShown}
	}
	return nil
}

func (d *desk) showFindings(found []finding, asJSON bool) error {
	if asJSON {
		return printJSON(d.io.Stdout, found)
	}
	t := &table{head: []string{"OF", "LEVEL", "WHAT"}}
	for _, f := range found {
		t.add(f.Of, f.Level, f.Text)
	}
	return d.io.showTable(t)
}

// lint checks one file or agent. An error means that it could not be looked at.
func (d *desk) lint(ctx context.Context, arg string) ([]finding, error) {
	if st, err := os.Stat(arg); err == nil && !st.IsDir() {
		return lintFile(arg)
	}
	b, err := d.bundleAt(arg)
	if err != nil {
		if asExit := agentExit(err); exitCode(asExit) == exitNotFound {
			return nil, asExit
		}
		return []finding{{arg, "error", err.Error()}}, nil
	}
	out := findings(arg, b.Caps.Doubts())
	over, err := d.policy.Rule(b)
	if err != nil {
		return append(out, finding{arg, "error", err.Error()}), nil
	}
	out = append(out, findings(arg, over.Warnings)...)
	used, err := d.used(ctx, b)
	if err != nil || used.runs == 0 {
		return out, err
	}
	for _, more := range wasm.Taken(over.Caps, used.needs.Of(over.Caps)) {
		out = append(out, finding{arg, "warning", "no recorded run used " + more +
			" (see rlp caps tighten)"})
	}
	return out, nil
}

// bundleAt is the bundle in a folder, or that of a reference.
func (d *desk) bundleAt(arg string) (*wasm.Bundle, error) {
	if _, err := os.Stat(filepath.Join(arg, wasm.ManifestFile)); err != nil {
		return d.catalog.Bundle(arg)
	}
	return bundleIn(arg)
}

// bundleIn loads the bundle in a folder of the host. Its files may lie beside
// the folder, as a module that several bundles share does.
func bundleIn(dir string) (*wasm.Bundle, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	src, ok, err := wasm.DirSource(filepath.Dir(abs))
	if err != nil || !ok {
		return nil, exitErrorf(exitNotFound, "no bundle at %s", dir)
	}
	b, err := wasm.LoadBundle(src.FS, filepath.Base(abs))
	if err != nil {
		return nil, err
	}
	b.Origin = abs
	return b, nil
}

func lintFile(name string) ([]finding, error) {
	src, err := readFileLimited(name, 1<<20)
	if err != nil {
		return nil, err
	}
	caps, err := wasm.ParseCaps(name, src)
	if err != nil {
		return []finding{{name, "error", err.Error()}}, nil
	}
	return findings(name, caps.Doubts()), nil
}

func findings(of string, warnings []string) []finding {
	var out []finding
	for _, w := range warnings {
		out = append(out, finding{of, "warning", w})
	}
	return out
}
