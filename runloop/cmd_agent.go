package runloop

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/wasm"
)

func cmdAgent(io *IO) *cli.Command {
	explain := cmdCapsExplain(io, "caps")
	explain.Usage, explain.UsageText = "the same as rlp caps explain", "rlp agent caps mailer"
	return &cli.Command{
		Name: "agent", Usage: "write, build, sign, install and see agents",
		UsageText: `rlp agent list
rlp agent scaffold greeter && rlp agent build greeter
rlp agent install greeter.tar.gz`,
		Subcommands: []*cli.Command{
			cmdAgentPS(io), cmdAgentStart(io), cmdAgentStop(io), cmdAgentSend(io), cmdAgentRelease(io),
			cmdAgentList(io), cmdAgentShow(io), cmdAgentGrant(io), explain,
			cmdAgentScaffold(io), cmdAgentBuild(io), cmdAgentInstall(io), cmdAgentRemove(io),
			cmdAgentKeygen(io), cmdAgentSign(io), cmdAgentVerify(io),
		},
	}
}

func cmdAgentList(io *IO) *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "agents that can be found, and what they may do",
		UsageText: "rlp agent list\nrlp agent list --json",
		Flags:     []cli.Flag{agentsDirFlag(), jsonFlag()},
		Action: func(c *cli.Context) error {
			d, err := io.openDesk(c.String("agents-dir"))
			if err != nil {
				return err
			}
			return d.list(c.Bool("json"))
		},
	}
}

func cmdAgentGrant(io *IO) *cli.Command {
	return &cli.Command{
		Name: "grant", Usage: "let an agent have what its policy.caps asks for", ArgsUsage: "AGENT",
		UsageText: `rlp agent grant greeter`,
		Description: `The grant is for these files and these capabilities: a version that wants more
has to be granted again.`,
		Flags: []cli.Flag{agentsDirFlag(), &cli.BoolFlag{Name: "yes", Usage: "do not ask"}},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usageErrorf("which agent? (see rlp agent grant --help)")
			}
			d, err := io.openDesk(c.String("agents-dir"))
			if err != nil {
				return err
			}
			return d.grantRef(c.Args().First(), c.Bool("yes"))
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
	Signed  string `json:"signed,omitempty"` // by whom, in words
	About   string `json:"description,omitempty"`
	// Quarantine says why it is not run any more.
	Quarantine *wasm.QuarantineRecord `json:"quarantine,omitempty"`
}

func (d *desk) list(asJSON bool) error {
	refs, err := d.catalog.Refs()
	if err != nil {
		return err
	}
	rows := []agentRow{}
	for _, ref := range refs {
		rows = append(rows, d.row(ref))
	}
	if asJSON {
		return printJSON(d.io.Stdout, rows)
	}
	t := &table{head: []string{"AGENT", "VERSION", "FROM", "GRANTED", "MAY"}}
	for _, r := range rows {
		granted := "yes"
		if !r.Granted {
			granted = "no"
		}
		if r.Quarantine != nil {
			granted += ", in quarantine"
		}
		t.add(r.Ref, r.Version, r.Origin, granted, r.May+r.Error)
	}
	return d.io.showTable(t)
}

// row is an agent's line. One that is not granted shows what it asks for.
func (d *desk) row(ref string) agentRow {
	b, err := d.catalog.Bundle(ref)
	if err != nil {
		return agentRow{Ref: ref, Error: err.Error()}
	}
	e := d.explanation(b)
	r := agentRow{
		Ref: ref, Version: b.Manifest.Version, Origin: b.Origin, Digest: b.Digest,
		About: b.Manifest.Description, May: e.May, Granted: e.Granted, Signed: e.Signed,
	}
	if !e.Granted {
		r.May = e.Asks
	}
	if r.Quarantine, err = d.io.quarantine(d.cfg).Get(ref, b.Digest); err != nil {
		r.Error = err.Error()
	}
	return r
}

func (d *desk) grantRef(ref string, yes bool) error {
	b, err := d.bundle(ref)
	if err != nil {
		return err
	}
	if b.BuiltIn {
		_, err := fmt.Fprintf(d.io.Stdout, "%s came with the binary and needs no grant\n", ref)
		return err
	}
	return d.grant(b, yes)
}

// grant remembers that a person agrees to what a bundle asks for.
func (d *desk) grant(b *wasm.Bundle, yes bool) error {
	if err := d.agree(b, yes); err != nil {
		return err
	}
	return d.remember(b)
}

// agree shows what a bundle asks for and, unless yes, asks whether it may.
func (d *desk) agree(b *wasm.Bundle, yes bool) error {
	r, err := d.policy.Rule(b)
	if err != nil {
		return agentExit(err)
	}
	d.showAsk(b, r)
	if !yes {
		ok, err := d.io.askYes("Grant that?")
		if err != nil {
			return err
		}
		if !ok {
			return exitErrorf(exitDeclined, "not granted")
		}
	}
	return nil
}

// showAsk says what a person is about to agree to.
func (d *desk) showAsk(b *wasm.Bundle, r *wasm.Ruling) {
	signed := "by " + r.Verdict.Signer
	if r.Verdict.Rule == nil {
		signed = r.Verdict.Why
	}
	fmt.Fprintf(d.io.Stderr, "agent %s %s from %s (signed: %s) asks %s\n", printable(b.Manifest.Name),
		printable(b.Manifest.Version), printable(b.Origin), printable(signed), printable(b.Caps.Describe()))
	if d.catalog.Shadows(b) {
		fmt.Fprintf(d.io.Stderr, "it takes the place of the agent %s that came with the binary\n", printable(b.Manifest.Name))
	}
	if left := r.Caps.Describe(); left != b.Caps.Describe() {
		fmt.Fprintf(d.io.Stderr, "policies leave it %s\n", printable(left))
	}
}

func (d *desk) remember(b *wasm.Bundle) error {
	if err := d.places.makeWork(); err != nil {
		return err
	}
	return d.policy.Grants.Add(b, time.Now())
}
