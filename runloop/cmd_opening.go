package runloop

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/opening"
)

func cmdOpening(io *IO) *cli.Command {
	return &cli.Command{
		Name: "opening", Usage: "check, see, convert and begin openings",
		UsageText: `rlp opening lint ./my.yaml ./other.opening
rlp opening graph compose_email --format mermaid
rlp opening convert ./my.yaml --to brace > my.opening
rlp opening new weekly_report contact_resolver context_gatherer writer`,
		Description: `An opening is a path, a name along openings.search_dirs or built in, or - for stdin.`,
		Subcommands: []*cli.Command{
			cmdOpeningList(io), cmdOpeningLint(io), cmdOpeningIR(io), cmdOpeningGraph(io),
			cmdOpeningConvert(io), cmdOpeningNew(io),
		},
	}
}

func cmdOpeningLint(io *IO) *cli.Command {
	return &cli.Command{
		Name: "lint", Usage: "say all that is wrong with openings", ArgsUsage: "OPENING...",
		UsageText: `rlp opening lint compose_email -p recipient="Ada Fern"
rlp opening lint openings/*.yaml --json`,
		Description: `Every mistake is one line: file:line:col: what, and what to do about it. The exit
code is 2 when anything is wrong.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "errors-format", Value: "table", Usage: "print mistakes as `table|json`"},
			jsonFlag(),
			&cli.StringFlag{Name: "agents-dir", Usage: "look for agents in `DIR` first"},
			&cli.StringFlag{Name: "openings-dir", Usage: "look for openings in `DIR` first"},
			&cli.StringSliceFlag{Name: "param", Aliases: []string{"p"}, Usage: "a parameter, `KEY=VALUE`"},
		},
		Action: func(c *cli.Context) error {
			return openingLint(io, runFlagsOf(io, c), c.Args().Slice(), c.Bool("json"))
		},
	}
}

// linted is what was found out about one opening.
type linted struct {
	File     string           `json:"file"`
	OK       bool             `json:"ok"`
	Problems opening.Problems `json:"problems"`
}

func openingLint(io *IO, f *runFlags, refs []string, asJSON bool) error {
	f.extra = false // several are welcome
	if err := f.check(); err != nil {
		return err
	}
	cfg, err := io.config()
	if err != nil {
		return err
	}
	agents, err := io.catalog(cfg, sessionOptions{agentsDir: f.agentsDir})
	if err != nil {
		return err
	}
	results := []linted{}
	for _, ref := range refs {
		g := *f
		g.ref = ref
		r, err := io.lint(cfg, &g, planCatalog{agents})
		if err != nil {
			return err
		}
		results = append(results, *r)
	}
	return io.showLinted(results, asJSON, f.errorsFormat)
}

// lint checks one opening; an error means that it could not be checked.
func (o *IO) lint(cfg *Loaded, f *runFlags, agents planCatalog) (*linted, error) {
	src, err := o.findSource(cfg, f)
	if err != nil {
		return nil, err
	}
	r := &linted{File: src.name, Problems: opening.Problems{}}
	parsed, err := opening.Parse(src.name, src.text)
	var params json.RawMessage
	if err == nil {
		if params, err = f.params.read(o, parsed); err != nil {
			return nil, err
		}
	}
	catalog := openingCatalog{planCatalog: agents, dirs: openingDirs(cfg, f, src)}
	_, err = opening.Load(src.name, src.text, catalog, params)
	if err != nil && !errors.As(err, &r.Problems) {
		return nil, err
	}
	r.OK = err == nil
	return r, nil
}

// showLinted prints what was found out, and fails when anything is wrong.
func (o *IO) showLinted(results []linted, asJSON bool, format string) error {
	wrong := false
	for _, r := range results {
		wrong = wrong || !r.OK
		switch {
		case asJSON:
		case r.OK:
			fmt.Fprintf(o.Stdout, "%s: ok\n", printable(r.File))
		case format == "json":
			if err := printJSON(o.Stdout, r.Problems); err != nil {
				return err
			}
		default:
			fmt.Fprint(o.Stderr, printableText(r.Problems.Text()))
		}
	}
	if asJSON {
		if err := printJSON(o.Stdout, results); err != nil {
			return err
		}
	}
	if wrong {
		return &exitError{code: exitUsage, err: errShown}
	}
	return nil
}

func cmdOpeningIR(io *IO) *cli.Command {
	return &cli.Command{
		Name: "ir", Usage: "print an opening's canonical form", ArgsUsage: "OPENING",
		UsageText: `rlp opening ir compose_email
rlp opening ir ./my.opening | sha256sum`,
		Description: `Both forms of an opening give the same bytes.`,
		Action: func(c *cli.Context) error {
			parsed, _, err := parseArg(io, c)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(io.Stdout, "%s\n", parsed.IR())
			return err
		},
	}
}

// parseArg reads the opening that is a command's only argument.
func parseArg(io *IO, c *cli.Context) (*opening.Opening, *openingSource, error) {
	f := runFlagsOf(io, c)
	f.errorsFormat = orText(f.errorsFormat, "table")
	if err := f.check(); err != nil {
		return nil, nil, err
	}
	cfg, err := io.config()
	if err != nil {
		return nil, nil, err
	}
	return io.readOpening(cfg, f)
}

func orText(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
