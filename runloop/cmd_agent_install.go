package runloop

import (
	"errors"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/wasm"
)

func cmdAgentInstall(io *IO) *cli.Command {
	return &cli.Command{
		Name: "install", Usage: "install an agent from a folder, a .tar or a .tar.gz", ArgsUsage: "PATH",
		UsageText: `rlp agent install greeter.tar.gz
rlp agent install ./greeter --yes`,
		Description: `Digests, signature and trust policy are checked before anything is visible; then it
shows what the agent asks for, and your yes is the grant.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "yes", Usage: "agree to what it asks for, without a question"},
			&cli.BoolFlag{Name: "allow-downgrade", Usage: "put an older version in place of a newer one"},
			&cli.BoolFlag{Name: "allow-other-signer", Usage: "replace an agent by one that its signer did not sign"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usageErrorf("install what? (see rlp agent install --help)")
			}
			d, err := io.openDesk("")
			if err != nil {
				return err
			}
			return d.install(c.Args().First(), installFlags{
				yes: c.Bool("yes"), older: c.Bool("allow-downgrade"), otherSigner: c.Bool("allow-other-signer"),
				json: c.Bool("json"),
			})
		},
	}
}

type installFlags struct{ yes, older, otherSigner, json bool }

func (d *desk) install(from string, f installFlags) (err error) {
	if err := d.places.makeWork(); err != nil {
		return err
	}
	s, err := wasm.Stage(d.places.installed, from)
	if err != nil {
		return agentExit(err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := checkReplacement(s, f); err != nil {
		return err
	}
	if err := d.agree(s.Bundle, f.yes); err != nil {
		return err
	}
	if err := s.Install(); err != nil {
		return err
	}
	if err := d.remember(s.Bundle); err != nil {
		return err
	}
	m := s.Bundle.Manifest
	return d.io.printResult(f.json, agentResult{m.Name, m.Version, s.Bundle.Digest, string(s.Bundle.Signer), true},
		"%s %s installed in %s", m.Name, m.Version, d.places.installed)
}

// checkReplacement refuses to put what is installed in danger.
func checkReplacement(s *wasm.Staged, f installFlags) error {
	switch {
	case s.Downgrade() && !f.older:
		return exitErrorf(exitDeclined, "%s %s is installed, and %s is older; --allow-downgrade if you want it",
			s.Old.Manifest.Name, s.Old.Manifest.Version, s.Bundle.Manifest.Version)
	case s.OtherSigner() && !f.otherSigner:
		return exitErrorf(exitDeclined, "the installed %s is signed with %s, and this one is not; "+
			"--allow-other-signer if you know why", s.Old.Manifest.Name, s.Old.Signer)
	}
	return nil
}

func cmdAgentRemove(io *IO) *cli.Command {
	return &cli.Command{
		Name: "remove", Usage: "remove an agent that was installed, and its grant", ArgsUsage: "AGENT...",
		UsageText: "rlp agent remove greeter",
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return usageErrorf("which agent? (see rlp agent remove --help)")
			}
			d, err := io.openDesk("")
			if err != nil {
				return err
			}
			for _, name := range c.Args().Slice() {
				if err := d.remove(name); err != nil {
					return agentExit(err)
				}
			}
			return nil
		},
	}
}

func (d *desk) remove(name string) error {
	if err := wasm.Remove(d.places.installed, name); err != nil {
		return err
	}
	return d.policy.Grants.Remove(name)
}
