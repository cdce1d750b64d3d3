package runloop

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/wasm"
)

func cmdAgentKeygen(io *IO) *cli.Command {
	return &cli.Command{
		Name: "keygen", Usage: "make a key to sign agents with", ArgsUsage: "FILE",
		UsageText: `rlp agent keygen ~/.runloop/keys/me`,
		Flags:     []cli.Flag{jsonFlag()},
		Description: `FILE gets the secret key and FILE.pub the public one, which is what others put
behind rlp trust add.`,
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usageErrorf("into which file? (see rlp agent keygen --help)")
			}
			return agentKeygen(io, c.Args().First(), c.Bool("json"))
		},
	}
}

func agentKeygen(io *IO, file string, asJSON bool) error {
	key, err := wasm.NewSigningKey()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	err = writeNew(file, []byte(key.Text()), 0o600)
	if errors.Is(err, fs.ErrExist) {
		return exitErrorf(exitFailed, "%s is there already; a key that signed something is not replaced", file)
	}
	if err != nil {
		return err
	}
	if err := writeNew(file+".pub", []byte(string(key.Public())+"\n"), 0o644); err != nil {
		return errors.Join(err, os.Remove(file))
	}
	made := struct {
		File string `json:"file"`
		Key  string `json:"key"` // the public one
	}{file, string(key.Public())}
	return io.printResult(asJSON, made, "%s", key.Public())
}

func cmdAgentSign(io *IO) *cli.Command {
	return &cli.Command{
		Name: "sign", Usage: "sign a bundle", ArgsUsage: "DIR",
		UsageText: `rlp agent sign ./greeter --key ~/.runloop/keys/me`,
		Description: `The signature is over the manifest, and through its digests over every file that
says what the agent does; digests that are missing or old are written first.`,
		Flags: []cli.Flag{&cli.StringFlag{Name: "key", Usage: "the secret key in `FILE`"}, jsonFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usageErrorf("which bundle? (see rlp agent sign --help)")
			}
			if c.String("key") == "" {
				return usageErrorf("--key FILE is missing: with which key? (see rlp agent sign --help)")
			}
			return agentSign(io, c.Args().First(), c.String("key"), c.Bool("json"))
		},
	}
}

func agentSign(io *IO, dir, keyFile string, asJSON bool) error {
	key, err := readKey(keyFile)
	if err != nil {
		return err
	}
	manifest, err := refreshManifest(dir)
	if err != nil {
		return err
	}
	name := filepath.Join(dir, wasm.ManifestFile)
	sig, err := wasm.SignManifest(name, manifest, key)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, wasm.SignatureFile)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file, sig, 0o644); err != nil {
		return err
	}
	b, err := bundleIn(dir)
	if err != nil {
		return err
	}
	m := b.Manifest
	return io.printResult(asJSON, agentResult{m.Name, m.Version, b.Digest, string(b.Signer), false},
		"%s %s signed by %s", m.Name, m.Version, b.Signer)
}

// readKey reads a secret key and refuses one that others can read, too.
func readKey(file string) (*wasm.SigningKey, error) {
	st, err := os.Stat(file)
	if err != nil {
		return nil, exitErrorf(exitNotFound, "no key at %s; rlp agent keygen %s makes one", file, file)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, exitErrorf(exitDeclined, "%s can be read by others (mode %04o); chmod 600 it, or make a new one",
			file, st.Mode().Perm())
	}
	src, err := readFileLimited(file, 1<<10)
	if err != nil {
		return nil, err
	}
	key, err := wasm.ParseSigningKey(string(src))
	if err != nil {
		return nil, exitErrorf(exitUsage, "%s: %v", file, err)
	}
	return key, nil
}

func cmdAgentVerify(io *IO) *cli.Command {
	return &cli.Command{
		Name: "verify", Usage: "check digests, signature and trust of agents", ArgsUsage: "[DIR|AGENT...]",
		UsageText: `rlp agent verify
rlp agent verify ./greeter`,
		Description: `Without arguments it checks every agent that can be found. The exit code is 1 when
a file is not the one named, and 4 when the signature is nobody's that counts.`,
		Flags: []cli.Flag{agentsDirFlag(), jsonFlag()},
		Action: func(c *cli.Context) error {
			d, err := io.openDesk(c.String("agents-dir"))
			if err != nil {
				return err
			}
			return d.verify(c.Args().Slice(), c.Bool("json"))
		},
	}
}

// verified is one line of rlp agent verify.
type verified struct {
	Agent  string `json:"agent"`
	Digest string `json:"digest,omitempty"`
	Signed string `json:"signed,omitempty"` // in words
	OK     bool   `json:"ok"`
	Error  string `json:"error,omitempty"`
}

func (d *desk) verify(args []string, asJSON bool) error {
	if len(args) == 0 {
		refs, err := d.catalog.Refs()
		if err != nil {
			return err
		}
		args = refs
	}
	code, rows := exitOK, []verified{}
	for _, arg := range args {
		row, err := d.verifyOne(arg)
		rows, code = append(rows, row), max(code, exitCode(err))
	}
	if err := d.showVerified(rows, asJSON); err != nil {
		return err
	}
	if code != exitOK {
		return &exitError{code: code, err: errShown}
	}
	return nil
}

func (d *desk) verifyOne(arg string) (verified, error) {
	b, err := d.bundleAt(arg)
	if err != nil {
		return verified{Agent: arg, Error: err.Error()}, agentExit(err)
	}
	e := d.explanation(b)
	row := verified{Agent: arg, Digest: b.Digest, Signed: e.Signed, OK: true}
	if _, err := d.policy.Rule(b); err != nil {
		row.OK, row.Error = false, err.Error()
		return row, agentExit(err)
	}
	return row, nil
}

func (d *desk) showVerified(rows []verified, asJSON bool) error {
	if asJSON {
		return printJSON(d.io.Stdout, rows)
	}
	t := &table{head: []string{"AGENT", "RESULT", "SIGNED", "DIGEST"}}
	for _, r := range rows {
		result := "ok"
		if !r.OK {
			result = r.Error
		}
		t.add(r.Agent, result, r.Signed, r.Digest)
	}
	return d.io.showTable(t)
}
