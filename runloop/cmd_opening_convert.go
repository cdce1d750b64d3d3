package runloop

import (
	"errors"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/opening"
)

func cmdOpeningConvert(io *IO) *cli.Command {
	return &cli.Command{
		Name: "convert", Usage: "print an opening in its other form", ArgsUsage: "OPENING",
		UsageText: `rlp opening convert compose_email
rlp opening convert ./my.opening --to yaml -o my.yaml`,
		Description: `Both forms say the same and have the same canonical form (rlp opening ir). Comments
and the layout of the file are lost.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "to", Usage: "print it as `yaml|brace`; the other one by itself"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE`"},
			&cli.BoolFlag{Name: "force", Usage: "write over a file that is there"},
		},
		Action: func(c *cli.Context) error {
			to := opening.Syntax(c.String("to"))
			if to != "" && to != opening.YAML && to != opening.Brace {
				return usageErrorf("--to %q: yaml or brace", to)
			}
			o, src, err := parseArg(io, c)
			if err != nil {
				return err
			}
			if to == "" {
				to = otherSyntax(opening.SyntaxOf(src.name, src.text))
			}
			text, err := o.Print(to)
			if err != nil {
				return err
			}
			if err := io.writeOpening(c.String("output"), text, c.Bool("force")); err != nil {
				return err
			}
			if n := opening.Comments(src.name, src.text); n > 0 {
				io.warnf("comments are not carried over; %s has %d", printable(src.name), n)
			}
			return nil
		},
	}
}

func otherSyntax(s opening.Syntax) opening.Syntax {
	if s == opening.Brace {
		return opening.YAML
	}
	return opening.Brace
}

// writeOpening writes to a file, or to stdout if file is empty or -. One that is
// there is written over only if force is set.
func (o *IO) writeOpening(file string, text []byte, force bool) error {
	if file == "" || file == "-" {
		_, err := o.Stdout.Write(text)
		return err
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(file, flags, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return usageErrorf("%s is there already; --force writes over it", file)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}
