package runloop

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

func cmdConfigShow(io *IO) *cli.Command {
	return &cli.Command{
		Name: "show", Usage: "print the values that hold", ArgsUsage: "[KEY...]",
		UsageText: `rlp config show
rlp config show logging models.default --origin
cd "$(rlp config show runtime.workdir)"`,
		Description: `KEY is a key or a section. The value of one key alone is printed without its name.`,
		Flags: []cli.Flag{
			jsonFlag(),
			&cli.BoolFlag{Name: "origin", Usage: "say as well which layer each value comes from"},
		},
		Action: func(c *cli.Context) error {
			return configShow(io, c.Args().Slice(), c.Bool("origin"), c.Bool("json"))
		},
	}
}

func configShow(io *IO, keys []string, origin, asJSON bool) error {
	l, err := io.config()
	if err != nil {
		return err
	}
	shown, err := l.settingsOf(keys)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(io.Stdout, shown)
	}
	if len(keys) == 1 && len(shown) == 1 && shown[0].Key == keys[0] && !origin {
		return io.printResult(false, nil, "%s", shown[0].text())
	}
	t := &table{head: []string{"KEY", "VALUE"}}
	if origin {
		t.head = append(t.head, "LAYER")
	}
	for _, s := range shown {
		row := []string{s.Key, s.text()}
		if origin {
			row = append(row, s.Layer)
		}
		t.add(row...)
	}
	return io.showTable(t)
}

// settingsOf are the settings with one of these names, or below one of them; no
// names mean all.
func (l *Loaded) settingsOf(keys []string) ([]setting, error) {
	all := l.settings()
	if len(keys) == 0 {
		return all, nil
	}
	out := []setting{}
	var known []string
	for _, s := range all {
		section, _, _ := strings.Cut(s.Key, ".")
		known = append(known, section, s.Key)
	}
	for _, key := range keys {
		found := false
		for _, s := range all {
			if s.Key == key || strings.HasPrefix(s.Key, key+".") {
				out, found = append(out, s), true
			}
		}
		if !found {
			return nil, exitErrorf(exitNotFound, "the configuration has no key %q%s", key, didYouMean(key, known))
		}
	}
	return out, nil
}

// text is the value as it can be written into a file.
func (s *setting) text() string {
	if text, ok := s.Value.(string); ok {
		return text
	}
	b, err := json.Marshal(s.Value)
	if err != nil {
		return fmt.Sprint(s.Value)
	}
	return string(b)
}
