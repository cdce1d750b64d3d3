package runloop

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/wasm"
)

func cmdAgentShow(io *IO) *cli.Command {
	return &cli.Command{
		Name: "show", Usage: "ports, parameters, limits and capabilities of an agent", ArgsUsage: "AGENT",
		UsageText: "rlp agent show writer\nrlp agent show writer --json",
		Flags:     []cli.Flag{agentsDirFlag(), jsonFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usageErrorf("which agent? (see rlp agent show --help)")
			}
			d, err := io.openDesk(c.String("agents-dir"))
			if err != nil {
				return err
			}
			return d.show(c.Args().First(), c.Bool("json"))
		},
	}
}

// shownAgent is what rlp agent show tells.
type shownAgent struct {
	*explained
	Description string               `json:"description"`
	In          map[string]wasm.Port `json:"in"`
	Out         map[string]wasm.Port `json:"out"`
	With        json.RawMessage      `json:"with,omitempty"` // JSON Schema
	Limits      wasm.Limits          `json:"limits"`
	Module      string               `json:"module"` // digest
}

func (d *desk) show(ref string, asJSON bool) error {
	b, err := d.bundle(ref)
	if err != nil {
		return err
	}
	m := b.Manifest
	s := &shownAgent{
		explained: d.explanation(b), Description: m.Description, In: m.In, Out: m.Out, With: m.With,
		Limits: m.Limits, Module: b.ModuleDigest,
	}
	if asJSON {
		return printJSON(d.io.Stdout, s)
	}
	t := &table{head: []string{"WHAT", "VALUE"}}
	t.add("agent", m.Name+" "+m.Version+" from "+b.Origin)
	t.add("about", m.Description)
	addPorts(t, "in", m.In)
	addPorts(t, "out", m.Out)
	if m.With != nil {
		t.add("with", string(m.With))
	}
	t.add("may", s.May)
	t.add("asks", s.Asks)
	t.add("signed", s.Signed)
	t.add("bundle", b.Digest)
	t.add("module", b.ModuleDigest)
	return d.io.showTable(t)
}

func addPorts(t *table, label string, ports map[string]wasm.Port) {
	for _, name := range slices.Sorted(maps.Keys(ports)) {
		typ := ports[name].Type
		if ports[name].Schema != nil {
			typ = "a value of its schema"
		}
		t.add(label+" "+name, typ)
	}
}
