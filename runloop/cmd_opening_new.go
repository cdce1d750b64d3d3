package runloop

import (
	"errors"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/opening"
)

func cmdOpeningNew(io *IO) *cli.Command {
	return &cli.Command{
		Name: "new", Usage: "begin an opening with installed agents", ArgsUsage: "NAME [AGENT...]",
		UsageText: `rlp opening new weekly_report contact_resolver context_gatherer writer
rlp opening new my_logs log_patterns log_summarizer --form brace`,
		Description: `Writes NAME.yaml (or NAME.opening) into the current folder: a node for each agent,
edges between ports of the same type, and a parameter for all that an agent must be
told. Without an AGENT it begins with one and lists the others.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "form", Value: "yaml", Usage: "write it as `yaml|brace`"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE`, - is stdout"},
			&cli.BoolFlag{Name: "force", Usage: "write over a file that is there"},
			&cli.StringFlag{Name: "agents-dir", Usage: "look for agents in `DIR` first"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			return openingNew(io, &newFlags{
				name: c.Args().First(), agents: c.Args().Tail(), form: opening.Syntax(c.String("form")),
				out: c.String("output"), force: c.Bool("force"), agentsDir: c.String("agents-dir"), json: c.Bool("json"),
			})
		},
	}
}

type newFlags struct {
	name           string
	agents         []string
	form           opening.Syntax
	out, agentsDir string
	force, json    bool
}

func openingNew(io *IO, f *newFlags) error {
	switch {
	case f.name == "":
		return usageErrorf("what is it to be called? (see rlp opening new --help)")
	case f.form != opening.YAML && f.form != opening.Brace:
		return usageErrorf("--form %q: yaml or brace", f.form)
	}
	cfg, err := io.config()
	if err != nil {
		return err
	}
	agents, err := io.catalog(cfg, sessionOptions{agentsDir: f.agentsDir})
	if err != nil {
		return err
	}
	text, err := starterText(planCatalog{agents}, f)
	if err != nil {
		return err
	}
	file := orText(f.out, f.name+map[opening.Syntax]string{opening.YAML: ".yaml", opening.Brace: ".opening"}[f.form])
	if err := io.writeOpening(file, text, f.force); err != nil || file == "-" {
		return err
	}
	return io.printResult(f.json, map[string]string{"file": file}, "%s", file)
}

// starterText is the file of a new opening.
func starterText(cat planCatalog, f *newFlags) ([]byte, error) {
	known := cat.Names()
	slices.Sort(known)
	refs := f.agents
	if len(refs) == 0 {
		if len(known) == 0 {
			return nil, exitErrorf(exitNotFound, "no agents are installed")
		}
		refs = known[:1]
	}
	o, err := opening.Starter(f.name, cat, refs)
	if errors.Is(err, opening.ErrUnknownAgent) {
		unknown := slices.IndexFunc(refs, func(ref string) bool { return !slices.Contains(known, ref) })
		return nil, exitErrorf(exitNotFound, "there is no agent %q%s", refs[unknown], didYouMean(refs[unknown], known))
	}
	if err != nil {
		return nil, usageErrorf("%v", err)
	}
	o.Goals = []string{"What is there when this has run."}
	text, err := o.Print(f.form)
	if err != nil {
		return nil, err
	}
	head := "# " + f.name + ": check it with rlp opening lint, run it with rlp run.\n"
	if len(f.agents) == 0 {
		head += "# Agents that are installed: " + strings.Join(known, ", ") + "\n"
	}
	return append([]byte(printableText(head)), text...), nil
}
