package runloop

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

func cmdAgentScaffold(io *IO) *cli.Command {
	return &cli.Command{
		Name: "scaffold", Usage: "begin a new agent", ArgsUsage: "[NAME]",
		UsageText: `rlp agent scaffold greeter --opening
rlp agent scaffold parser --lang c --about "Reads tables"`,
		Description: `It writes a bundle with a source that works, a test that passes and, for Go, a copy
of the SDK: nothing is downloaded to build it. Without NAME it asks, on a terminal.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "lang", Value: "go", Usage: "write it in `go|c|rust`"},
			&cli.StringFlag{Name: "dir", Usage: "put it into `DIR` (default: agents/NAME)"},
			&cli.StringFlag{Name: "about", Usage: "what it does, in a `SENTENCE`"},
			&cli.BoolFlag{Name: "opening", Usage: "write openings/NAME.yaml, too"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 1 {
				return usageErrorf("one agent at a time (see rlp agent scaffold --help)")
			}
			s := &scaffold{Name: c.Args().First(), Lang: c.String("lang"), Dir: c.String("dir"), About: c.String("about")}
			return agentScaffold(c.Context, io, s, c.Bool("opening"), c.Bool("json"))
		},
	}
}

func agentScaffold(ctx context.Context, io *IO, s *scaffold, withOpening, asJSON bool) error {
	if s.Name == "" {
		if !io.interactive() {
			return usageErrorf("which name? (see rlp agent scaffold --help)")
		}
		s.Name = io.askText(ctx, "Name of the agent (small letters, digits, _): ", "")
		s.About = io.askText(ctx, "What does it do? ", s.About)
		s.Lang = io.askText(ctx, "Language: go, c or rust [go]: ", s.Lang)
		withOpening = strings.HasPrefix(io.askText(ctx, "A starter opening, too? [Y/n] ", "y"), "y")
	}
	if err := s.check(); err != nil {
		return err
	}
	if withOpening {
		s.Opening = filepath.Join("openings", s.Name+".yaml")
		if _, err := os.Lstat(s.Opening); err == nil {
			return exitErrorf(exitFailed, "%s is there already", s.Opening)
		}
	}
	if err := s.write(); err != nil {
		return err
	}
	return s.sayNext(io, asJSON)
}

// agentNameForm is the form of an agent's name (spec/03).
const agentNameForm = `[a-z][a-z0-9_]{0,63}`

func (s *scaffold) check() error {
	if !regexp.MustCompile("^" + agentNameForm + "$").MatchString(s.Name) {
		return usageErrorf("%q is not the name of an agent: %s", s.Name, agentNameForm)
	}
	if !slices.Contains(languages, s.Lang) {
		return usageErrorf("--lang %q: %s%s", s.Lang, strings.Join(languages, ", "), didYouMean(s.Lang, languages))
	}
	if s.About == "" {
		s.About = "Says hello"
	}
	if printable(s.About) != s.About {
		return usageErrorf("--about: one line of text, please")
	}
	if s.Dir == "" {
		s.Dir = filepath.Join("agents", s.Name)
	}
	return nil
}

// sayNext prints what was written and, for a person, how to go on.
func (s *scaffold) sayNext(io *IO, asJSON bool) error {
	wrote := struct {
		Dir     string `json:"dir"`
		Opening string `json:"opening,omitempty"`
	}{s.Dir, s.Opening}
	if err := io.printResult(asJSON, wrote, "%s", s.Dir); err != nil {
		return err
	}
	if s.Opening != "" && !asJSON {
		fmt.Fprintf(io.Stdout, "%s\n", s.Opening)
	}
	test := map[string]string{
		"go":   "cd " + s.Dir + " && go test ./...",
		"c":    "sh " + filepath.Join(s.Dir, "test.sh"),
		"rust": "sh " + filepath.Join(s.Dir, "test.sh"),
	}[s.Lang]
	next := fmt.Sprintf("next: %s; rlp agent build %s", test, s.Dir)
	if s.Opening != "" {
		next += "; rlp run " + s.Opening + " --local"
	}
	_, err := fmt.Fprintln(io.Stderr, next)
	return err
}
