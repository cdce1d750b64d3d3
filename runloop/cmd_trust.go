package runloop

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/wasm"
)

func cmdTrust(io *IO) *cli.Command {
	return &cli.Command{
		Name: "trust", Usage: "say whose signatures count, and for which agents",
		UsageText: `rlp trust add acme ed25519:… --agents 'mail_*' --caps most.caps
rlp trust list
rlp trust revoke acme --reason "the key was lost"`,
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "signers, rules and revoked keys", UsageText: "rlp trust list", Flags: []cli.Flag{jsonFlag()},
				Action: func(c *cli.Context) error { return trustList(io, c.Bool("json")) },
			},
			cmdTrustAdd(io),
			{
				Name: "revoke", Usage: "never trust a key again", ArgsUsage: "NAME|KEY",
				UsageText: `rlp trust revoke acme --reason "the key was lost"`,
				Flags:     []cli.Flag{&cli.StringFlag{Name: "reason", Usage: "say `WHY`, for those who read the refusal"}},
				Action: func(c *cli.Context) error {
					if c.NArg() != 1 {
						return usageErrorf("which key? (see rlp trust revoke --help)")
					}
					return changeTrust(io, func(t *wasm.Trust) error {
						return t.Revoke(c.Args().First(), c.String("reason"), time.Now())
					})
				},
			},
		},
	}
}

func cmdTrustAdd(io *IO) *cli.Command {
	return &cli.Command{
		Name: "add", Usage: "trust what a key has signed", ArgsUsage: "NAME KEY",
		UsageText: `rlp trust add acme ed25519:… --expires 2027-12-31 --agents 'mail_*' --inline`,
		Description: `A second add with the same NAME and KEY adds a rule. The first rule that fits an
agent's name holds.`,
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "agents", Usage: "only agents whose name fits `PATTERN` (default: all)"},
			&cli.StringFlag{Name: "caps", Usage: "the most that they may have: a `FILE` like policy.caps"},
			&cli.StringFlag{Name: "expires", Usage: "trust the key only before `DATE` (2027-12-31)"},
			&cli.BoolFlag{Name: "inline", Usage: "let the agents run in the host's own process"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return usageErrorf("want a name and a public key (see rlp trust add --help)")
			}
			a := wasm.Anchor{Name: c.Args().Get(0), Key: c.Args().Get(1)}
			r := wasm.TrustRule{Signer: a.Name, Agents: c.StringSlice("agents"), Inline: c.Bool("inline")}
			var err error
			if a.Expires, err = dateFlag("expires", c.String("expires")); err != nil {
				return err
			}
			if r.Caps, err = capsTable(c.String("caps")); err != nil {
				return err
			}
			return changeTrust(io, func(t *wasm.Trust) error { return addTrust(t, a, r) })
		},
	}
}

func dateFlag(name, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return at, usageErrorf("--%s %q is not a date like 2027-12-31", name, text)
	}
	return at, nil
}

// capsTable reads a file of the form of policy.caps; "" for none.
func capsTable(file string) (map[string]any, error) {
	if file == "" {
		return nil, nil
	}
	src, err := readFileLimited(file, 1<<20)
	if err != nil {
		return nil, err
	}
	limit, err := wasm.ParseCapsLimit(wasm.LayerTrust, file, src)
	if err != nil {
		return nil, &exitError{code: exitUsage, err: err}
	}
	return limit.Table(), nil
}

// addTrust adds an anchor, if it is not there, and a rule.
func addTrust(t *wasm.Trust, a wasm.Anchor, r wasm.TrustRule) error {
	known := false
	for i := range t.Anchors {
		switch old := &t.Anchors[i]; {
		case old.Name == a.Name && old.Key != a.Key:
			return fmt.Errorf("there is another key for %s; revoke it first, or take another name", a.Name)
		case old.Name == a.Name:
			known = true
			if !a.Expires.IsZero() {
				old.Expires = a.Expires
			}
		}
	}
	if !known {
		t.Anchors = append(t.Anchors, a)
	}
	if len(r.Agents) == 0 {
		r.Agents = []string{"*"}
	}
	t.Rules = append(t.Rules, r)
	return nil
}

// changeTrust reads the trust policy, changes it and writes it back.
func changeTrust(io *IO, change func(*wasm.Trust) error) error {
	cfg, err := io.config()
	if err != nil {
		return err
	}
	p := io.places(cfg)
	if err := p.makeWork(); err != nil {
		return err
	}
	t, err := wasm.ReadTrust(p.trust)
	if err != nil {
		return err
	}
	if err := change(t); err != nil {
		return &exitError{code: exitUsage, err: err}
	}
	if err := t.Write(p.trust); err != nil {
		return &exitError{code: exitUsage, err: err}
	}
	return nil
}

func trustList(io *IO, asJSON bool) error {
	cfg, err := io.config()
	if err != nil {
		return err
	}
	t, err := wasm.ReadTrust(io.places(cfg).trust)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(io.Stdout, t)
	}
	rows := &table{head: []string{"SIGNER", "KEY", "UNTIL", "AGENTS", "MOST", "INLINE"}}
	for _, a := range t.Anchors {
		trustRows(rows, t, a)
	}
	for _, r := range t.Revocations {
		rows.add("-", r.Key, "revoked "+r.At.Format(time.DateOnly), "none", r.Reason, "no")
	}
	return io.showTable(rows)
}

// trustRows adds a row for each rule of a signer.
func trustRows(rows *table, t *wasm.Trust, a wasm.Anchor) {
	until := "always"
	if !a.Expires.IsZero() {
		until = a.Expires.UTC().Format(time.DateOnly)
	}
	for _, r := range t.Rules {
		if r.Signer != a.Name {
			continue
		}
		most, inline := "what they ask", "no"
		if limit, err := wasm.NewCapsLimit(wasm.LayerTrust, "caps", r.Caps); r.Caps != nil && err == nil {
			most = limit.Describe()
		}
		if r.Inline {
			inline = "yes"
		}
		rows.add(a.Name, a.Key, until, strings.Join(r.Agents, " "), most, inline)
	}
}

// writeNew writes a file that must not be there yet.
func writeNew(name string, content []byte, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
