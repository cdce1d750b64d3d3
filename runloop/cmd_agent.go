package runloop

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/wasm"
)

func cmdAgent(io *IO) *cli.Command {
	dir := &cli.StringFlag{Name: "agents-dir", Usage: "look for agents in `DIR` first"}
	return &cli.Command{
		Name: "agent", Usage: "see agents and grant what they ask for",
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "agents that can be found, and what they may do",
				Flags: []cli.Flag{dir, jsonFlag()},
				Action: func(c *cli.Context) error {
					return agentList(io, c.String("agents-dir"), c.Bool("json"))
				},
			},
			{
				Name: "grant", Usage: "let an agent have what its policy.caps asks for", ArgsUsage: "NAME",
				Flags: []cli.Flag{dir, &cli.BoolFlag{Name: "yes", Usage: "do not ask"}},
				Action: func(c *cli.Context) error {
					if c.NArg() != 1 {
						return usageErrorf("which agent? (see rlp agent grant --help)")
					}
					return agentGrant(io, c.Args().First(), c.String("agents-dir"), c.Bool("yes"))
				},
			},
		},
	}
}

// agentRow is one line of rlp agent list.
type agentRow struct {
	Ref     string `json:"ref"`
	Version string `json:"version,omitempty"`
	Origin  string `json:"origin,omitempty"`
	Granted bool   `json:"granted"`
	May     string `json:"may,omitempty"` // in words
	Digest  string `json:"digest,omitempty"`
	Error   string `json:"error,omitempty"`
	About   string `json:"description,omitempty"`
}

func agentList(io *IO, agentsDir string, asJSON bool) error {
	cfg, err := io.config()
	if err != nil {
		return err
	}
	catalog, err := io.catalog(cfg, sessionOptions{agentsDir: agentsDir})
	if err != nil {
		return err
	}
	refs, err := catalog.Refs()
	if err != nil {
		return err
	}
	p := io.places(cfg)
	policy := &wasm.Policy{OverridesDir: p.overrides, Grants: &wasm.Grants{Dir: p.grants}}
	rows := []agentRow{}
	for _, ref := range refs {
		rows = append(rows, rowOf(catalog, policy, ref))
	}
	if asJSON {
		return printJSON(io.Stdout, rows)
	}
	t := &table{head: []string{"AGENT", "VERSION", "FROM", "GRANTED", "MAY"}}
	for _, r := range rows {
		granted := "yes"
		if !r.Granted {
			granted = "no"
		}
		t.add(r.Ref, r.Version, r.Origin, granted, r.May+r.Error)
	}
	return t.write(io.Stdout, io.isTerminal(io.Stdout))
}

func rowOf(catalog *wasm.Catalog, policy *wasm.Policy, ref string) agentRow {
	b, err := catalog.Bundle(ref)
	if err != nil {
		return agentRow{Ref: ref, Error: err.Error()}
	}
	r := agentRow{
		Ref: ref, Version: b.Manifest.Version, Origin: b.Origin, Digest: b.Digest,
		About: b.Manifest.Description, May: b.Caps.Describe(),
	}
	caps, _, err := policy.Effective(b)
	if err == nil {
		r.Granted, r.May = true, caps.Describe()
	}
	return r
}

func agentGrant(io *IO, ref, agentsDir string, yes bool) error {
	cfg, err := io.config()
	if err != nil {
		return err
	}
	catalog, err := io.catalog(cfg, sessionOptions{agentsDir: agentsDir})
	if err != nil {
		return err
	}
	b, err := catalog.Bundle(ref)
	if err != nil {
		return exitErrorf(exitNotFound, "%v", err)
	}
	if b.BuiltIn {
		fmt.Fprintf(io.Stdout, "%s came with the binary and needs no grant\n", ref)
		return nil
	}
	fmt.Fprintf(io.Stderr, "agent %s %s from %s asks %s\n", printable(ref), printable(b.Manifest.Version),
		printable(b.Origin), printable(b.Caps.Describe()))
	if !yes {
		ok, err := io.askYes("Grant that?")
		if err != nil {
			return err
		}
		if !ok {
			return exitErrorf(exitDeclined, "not granted")
		}
	}
	p := io.places(cfg)
	if err := p.makeWork(); err != nil {
		return err
	}
	return (&wasm.Grants{Dir: p.grants}).Add(b, time.Now())
}
