package runloop

import (
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"
)

func cmdConfig(io *IO) *cli.Command {
	return &cli.Command{
		Name: "config", Usage: "see, check and begin the configuration",
		UsageText: `rlp config show logging --origin
rlp config path --all
rlp config init`,
		Subcommands: []*cli.Command{
			cmdConfigShow(io), cmdConfigPath(io), cmdConfigValidate(io), cmdConfigInit(io),
		},
	}
}

func cmdConfigPath(io *IO) *cli.Command {
	return &cli.Command{
		Name: "path", Usage: "print the files that are read",
		UsageText: `rlp config path
rlp config path --all`,
		Flags: []cli.Flag{
			jsonFlag(),
			&cli.BoolFlag{Name: "all", Usage: "every layer, and every value with the layer it comes from"},
		},
		Action: func(c *cli.Context) error { return configPath(io, c.Bool("all"), c.Bool("json")) },
	}
}

func cmdConfigValidate(io *IO) *cli.Command {
	return &cli.Command{
		Name: "validate", Usage: "check all layers, or a file", ArgsUsage: "[FILE]",
		UsageText: `rlp config validate
rlp config validate new.yaml`,
		Description: `With FILE it checks what would be if RUNLOOP_CONFIG named it. The exit code is 2 for
what is not valid, 1 for warnings.`,
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() > 1 {
				return usageErrorf("one file at a time (see rlp config validate --help)")
			}
			return configValidate(io, c.Args().First(), c.Bool("json"))
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
	if err := io.showTable(layers); err != nil || !all {
		return err
	}
	fmt.Fprintln(io.Stdout)
	values := &table{head: []string{"KEY", "VALUE", "LAYER"}}
	for _, s := range l.settings() {
		values.add(s.Key, s.text(), s.Layer)
	}
	return io.showTable(values)
}

// validated is what rlp config validate --json prints.
type validated struct {
	OK       bool     `json:"ok"`
	Warnings []string `json:"warnings"`
	Error    string   `json:"error,omitempty"`
}

func configValidate(io *IO, file string, asJSON bool) error {
	src := io.configSource()
	if file != "" {
		src.environ = append([]string{"RUNLOOP_CONFIG=" + file}, src.environ...)
	}
	v := validated{Warnings: []string{}}
	l, err := src.load()
	if err != nil {
		v.Error = err.Error()
	} else if v.Warnings = append(v.Warnings, l.Warnings...); len(v.Warnings) > 0 {
		err = exitErrorf(exitFailed, "warnings: %d", len(v.Warnings))
	}
	v.OK = err == nil
	if asJSON {
		if perr := printJSON(io.Stdout, v); perr != nil || err == nil {
			return perr
		}
		return &exitError{exitCode(err), errShown}
	}
	for _, w := range v.Warnings {
		io.warnf("%s", w)
	}
	if err != nil {
		return err
	}
	return io.printResult(false, nil, "ok")
}
