package runloop

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/wasm"
)

func cmdCaps(io *IO) *cli.Command {
	return &cli.Command{
		Name: "caps", Usage: "see, check and tighten what agents may do",
		UsageText: `rlp caps explain mailer           what it may do, and who took what away
rlp caps lint ./agents/mine/policy.caps
rlp caps tighten mailer --write   no more than its recorded runs needed`,
		Subcommands: []*cli.Command{cmdCapsExplain(io, "explain"), cmdCapsLint(io), cmdCapsTighten(io)},
	}
}

func cmdCapsExplain(io *IO, name string) *cli.Command {
	return &cli.Command{
		Name: name, Usage: "what an agent may do, and which layer took what away", ArgsUsage: "AGENT",
		UsageText: "rlp caps explain mailer\nrlp caps explain mailer --json",
		Flags:     []cli.Flag{agentsDirFlag(), jsonFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usageErrorf("which agent? (see %s --help)", c.Command.HelpName)
			}
			d, err := io.openDesk(c.String("agents-dir"))
			if err != nil {
				return err
			}
			return d.explain(c.Args().First(), c.Bool("json"))
		},
	}
}

// explained is what rlp caps explain says of an agent.
type explained struct {
	Agent   string             `json:"agent"`
	Version string             `json:"version"`
	Origin  string             `json:"origin"`
	Digest  string             `json:"digest"`
	Signed  string             `json:"signed"` // by whom, in words
	Key     string             `json:"key,omitempty"`
	Inline  bool               `json:"inline"`
	Granted bool               `json:"granted"`
	Refused string             `json:"refused,omitempty"` // it may not run: why
	Asks    string             `json:"asks"`
	May     string             `json:"may"`
	Caps    *wasm.Caps         `json:"caps"` // that it has
	Layers  []wasm.LayerEffect `json:"layers"`
	Notes   []string           `json:"notes,omitempty"`
}

// explanation says what a bundle may do here. What it may is nothing while it
// is refused or was not granted.
func (d *desk) explanation(b *wasm.Bundle) *explained {
	e := &explained{
		Agent: b.Manifest.Name, Version: b.Manifest.Version, Origin: b.Origin, Digest: b.Digest,
		Key: string(b.Signer), Inline: d.policy.TrustedInline(b), Asks: b.Caps.Describe(),
		Caps: &wasm.Caps{}, May: "nothing", Layers: []wasm.LayerEffect{},
	}
	r, err := d.policy.Rule(b)
	if err != nil {
		e.Refused, e.Signed = err.Error(), "not by anybody who may"
		return e
	}
	e.Layers, e.Notes, e.Signed = append(e.Layers, r.Layers...), r.Warnings, "by "+r.Verdict.Signer
	if r.Verdict.Rule == nil {
		e.Signed = r.Verdict.Why
	}
	if err := d.policy.Granted(b); err != nil {
		e.Refused = err.Error()
		return e
	}
	e.Granted, e.Caps, e.May = true, r.Caps, r.Caps.Describe()
	return e
}

func (d *desk) explain(ref string, asJSON bool) error {
	b, err := d.bundle(ref)
	if err != nil {
		return err
	}
	e := d.explanation(b)
	if asJSON {
		return printJSON(d.io.Stdout, e)
	}
	return e.write(d.io.Stdout)
}

func (e *explained) write(w io.Writer) error {
	var b strings.Builder
	line := func(what, text string) { fmt.Fprintf(&b, "  %-9s%s\n", what, printable(text)) }
	fmt.Fprintf(&b, "%s %s from %s\n", printable(e.Agent), printable(e.Version), printable(e.Origin))
	line("may", e.May)
	if e.Asks != e.May {
		line("asks", e.Asks)
	}
	for _, l := range e.Layers {
		took := "nothing"
		if len(l.Took) > 0 {
			took = strings.Join(l.Took, "; ")
		}
		line(l.Layer, l.Source+" took away "+took)
	}
	line("signed", e.Signed)
	if e.Refused != "" {
		line("refused", e.Refused)
	}
	for _, n := range e.Notes {
		line("note", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
