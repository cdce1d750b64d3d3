package runloop

import (
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"
)

func cmdConfig(io *IO) *cli.Command {
	return &cli.Command{
		Name: "config", Usage: "see where the configuration comes from",
		UsageText: "rlp config path --all\nrlp config validate",
		Subcommands: []*cli.Command{
			{
				Name: "path", Usage: "print the files that are read",
				UsageText: "rlp config path\nrlp config path --all",
				Flags: []cli.Flag{
					jsonFlag(),
					&cli.BoolFlag{Name: "all", Usage: "every layer, and every value with the layer it comes from"},
				},
				Action: func(c *cli.Context) error { return configPath(io, c.Bool("all"), c.Bool("json")) },
			},
			{
				Name: "validate", Usage: "check all layers",
				UsageText: "rlp config validate",
				Action:    func(*cli.Context) error { return configValidate(io) },
			},
		},
	}
}

func (o *IO) configSource() configSource {
	return configSource{environ: o.Environ, home: o.getenv("HOME"), system: systemConfig}
}

// config loads the configuration and shows its warnings.
func (o *IO) config() (*Loaded, error) {
	l, err := o.configSource().load()
	if err != nil {
		return nil, err
	}
	for _, w := range l.Warnings {
		o.warnf("%s", w)
	}
	return l, nil
}

// setting is one value of the configuration and where it comes from.
type setting struct {
	Key   string `json:"key"`
	Value any    `json:"value"`
	Layer string `json:"layer"`
}

func (l *Loaded) settings() []setting {
	var out []setting
	flatten("", l.merged.Raw(), func(key string, value any) {
		out = append(out, setting{key, value, l.Origin[key]})
	})
	slices.SortFunc(out, func(a, b setting) int {
		if a.Key < b.Key {
			return -1
		}
		return 1
	})
	return out
}

func configPath(io *IO, all, asJSON bool) error {
	l, err := io.config()
	if err != nil {
		return err
	}
	if asJSON {
		out := map[string]any{"layers": l.Layers}
		if all {
			out["settings"] = l.settings()
		}
		return printJSON(io.Stdout, out)
	}
	layers := &table{head: []string{"LAYER", "STATE", "NOTE"}}
	for _, layer := range l.Layers {
		if all || layer.State == "loaded" && layer.Name != "defaults" && layer.Name != "environment" {
			layers.add(layer.Name, layer.State, layer.Note)
		}
	}
	if err := layers.write(io.Stdout, io.isTerminal(io.Stdout)); err != nil || !all {
		return err
	}
	fmt.Fprintln(io.Stdout)
	values := &table{head: []string{"KEY", "VALUE", "LAYER"}}
	for _, s := range l.settings() {
		values.add(s.Key, fmt.Sprint(s.Value), s.Layer)
	}
	return values.write(io.Stdout, io.isTerminal(io.Stdout))
}

func configValidate(io *IO) error {
	l, err := io.config()
	if err != nil {
		return err
	}
	if n := len(l.Warnings); n > 0 {
		return exitErrorf(exitFailed, "%d warnings", n)
	}
	_, err = fmt.Fprintln(io.Stdout, "ok")
	return err
}
