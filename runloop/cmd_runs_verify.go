package runloop

import (
	"errors"
	"io/fs"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/opening"
)

func cmdRunsVerify(io *IO) *cli.Command {
	return &cli.Command{
		Name: "verify", Usage: "check every byte of a run bundle", ArgsUsage: "FILE",
		UsageText: `rlp runs verify run.rlrun
rlp runs verify run.rlrun --head 3b9f…
rlp runs verify public.rlrun --original run.rlrun --key salt`,
		Description: `A bundle is whole in itself when its parts fit its head. That nobody made another of
it, only a head from elsewhere can tell: --head compares with one that was written
down. --original shows that a redacted bundle says the same as the one it was made of.
The exit code is 1 when anything is wrong.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "head", Usage: "the `HASH` that the bundle must have"},
			&cli.StringFlag{Name: "original", Usage: "the `FILE` that this one was redacted from"},
			&cli.StringFlag{Name: "key", Usage: "the `FILE` with the salt of the redaction"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usageErrorf("which file? (see rlp runs verify --help)")
			}
			if (c.String("original") == "") != (c.String("key") == "") {
				return usageErrorf("--original and --key go together (see rlp runs verify --help)")
			}
			return runsVerify(io, &verifyFlags{
				file: c.Args().First(), head: c.String("head"), original: c.String("original"), key: c.String("key"),
				json: c.Bool("json"),
			})
		},
	}
}

type verifyFlags struct {
	file, head, original, key string
	json                      bool
}

func runsVerify(io *IO, f *verifyFlags) error {
	b, size, err := io.readRunBundle(f.file)
	if err != nil {
		return err
	}
	if f.head != "" && f.head != b.Head {
		return exitErrorf(exitFailed, "%s: its head is %s, not %s", f.file, b.Head, f.head)
	}
	if f.original != "" {
		if err := verifyOriginal(io, f, b); err != nil {
			return err
		}
	}
	return io.showRunBundle(f.file, size, b, f.json)
}

// readRunBundle reads and checks a run bundle.
func (o *IO) readRunBundle(name string) (*opening.RunBundle, int, error) {
	src, err := o.readInput(name, opening.RunBundleMax)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, exitErrorf(exitNotFound, "no run bundle at %s", name)
	}
	if err != nil {
		return nil, 0, err
	}
	b, err := opening.ParseRunBundle(src)
	if err == nil {
		err = checkBundledAgents(b)
	}
	if err != nil {
		return nil, 0, exitErrorf(exitFailed, "%s: %w", name, err)
	}
	return b, len(src), nil
}

// verifyOriginal redacts the original anew and compares.
func verifyOriginal(io *IO, f *verifyFlags, b *opening.RunBundle) error {
	original, _, err := io.readRunBundle(f.original)
	if err != nil {
		return err
	}
	text, err := readFileLimited(f.key, 1024)
	if errors.Is(err, fs.ErrNotExist) {
		return exitErrorf(exitNotFound, "no key at %s", f.key)
	}
	if err != nil {
		return err
	}
	var key opening.RedactKey
	if err := parseRedactKey(&key, f.key, text); err != nil {
		return err
	}
	again := original.Redact(key)
	again.Agents = b.Agents
	if _, err := again.Encode(); err != nil {
		return err
	}
	if again.Head != b.Head {
		return exitErrorf(exitFailed, "%s is not %s redacted with this key", f.file, f.original)
	}
	return nil
}
