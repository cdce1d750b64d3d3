package runloop

import (
	"bytes"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/opening"
)

func cmdOpeningList(io *IO) *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "openings that can be run by name",
		UsageText: `rlp opening list
rlp opening list --json`,
		Description: `Openings are looked for along openings.search_dirs, then among those that are built
in. Of two with the same name the first one found counts.`,
		Flags: []cli.Flag{
			jsonFlag(), &cli.StringFlag{Name: "openings-dir", Usage: "look for openings in `DIR` first"},
		},
		Action: func(c *cli.Context) error { return openingList(io, c.String("openings-dir"), c.Bool("json")) },
	}
}

// listedOpening is one line of the list.
type listedOpening struct {
	Name  string   `json:"name"`
	Goals []string `json:"goals"`
	File  string   `json:"file"`
	Error string   `json:"error,omitempty"` // it cannot be read
}

func openingList(io *IO, dir string, asJSON bool) error {
	cfg, err := io.config()
	if err != nil {
		return err
	}
	dirs := cfg.Openings.SearchDirs
	if dir != "" {
		dirs = append([]string{dir}, dirs...)
	}
	names := openingNames(dirs)
	slices.Sort(names)
	list := []listedOpening{}
	for _, name := range slices.Compact(names) {
		list = append(list, listOpening(name, dirs))
	}
	if asJSON {
		return printJSON(io.Stdout, list)
	}
	t := &table{head: []string{"OPENING", "FILE", "ABOUT"}}
	for _, l := range list {
		about := strings.Join(l.Goals, " ")
		if l.Error != "" {
			about = "cannot be read: " + l.Error
		}
		t.add(l.Name, l.File, orText(about, "-"))
	}
	return io.showTable(t)
}

func listOpening(name string, dirs []string) listedOpening {
	l := listedOpening{Name: name, Goals: []string{}}
	file, text, err := findOpening(name, dirs, bytes.NewReader(nil))
	l.File = file
	if err == nil {
		var o *opening.Opening
		if o, err = opening.Parse(file, text); err == nil {
			l.Goals = append(l.Goals, o.Goals...)
		}
	}
	if err != nil {
		l.Error = err.Error()
	}
	return l
}
