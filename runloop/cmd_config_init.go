package runloop

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/urfave/cli/v2"
)

func cmdConfigInit(io *IO) *cli.Command {
	return &cli.Command{
		Name: "init", Usage: "write a configuration to begin with", ArgsUsage: "[FILE]",
		UsageText: `rlp config init
rlp config init - | less`,
		Description: `The file, ~/.runloop/config.yaml by default, has every key as a comment, with the
value that holds without it. "-" prints it.`,
		Flags: []cli.Flag{
			jsonFlag(),
			&cli.BoolFlag{Name: "force", Usage: "write over a file that is there"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 1 {
				return usageErrorf("one file at a time (see rlp config init --help)")
			}
			return configInit(io, c.Args().First(), c.Bool("force"), c.Bool("json"))
		},
	}
}

func configInit(io *IO, file string, force, asJSON bool) error {
	text := starterConfig()
	if file == "-" {
		_, err := io.Stdout.Write(text)
		return err
	}
	if file == "" {
		home := io.getenv("HOME")
		if home == "" {
			return usageErrorf("HOME is not set; name a file: rlp config init FILE")
		}
		file = filepath.Join(home, ".runloop", "config.yaml")
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return fmt.Errorf("the folder of the configuration: %w", err)
		}
	}
	err := writeNew(file, text, 0o600)
	if errors.Is(err, fs.ErrExist) {
		if !force {
			return usageErrorf("%s is there already; --force writes over it", file)
		}
		err = writeSynced(file, text)
	}
	if err != nil {
		return err
	}
	return io.printResult(asJSON, map[string]string{"file": file}, "%s", file)
}

const starterHead = `# The configuration of Runloop. Every key is here as a comment, with the value that
# holds without it: take the "#" away to change one. A section may stay empty.
# rlp config validate checks this file, rlp config show --origin says what holds.
`

// starterConfig is a file in which every key stands as a comment, in the order
// of Config.
func starterConfig() []byte {
	var b strings.Builder
	b.WriteString(starterHead)
	writeStarter(&b, reflect.TypeFor[Config](), defaultConfig(), "")
	return []byte(b.String())
}

func writeStarter(b *strings.Builder, t reflect.Type, values map[string]any, indent string) {
	for f := range t.Fields() {
		key := f.Tag.Get("koanf")
		value, ok := values[key]
		if !ok {
			continue // it has no default
		}
		if section, ok := value.(map[string]any); ok {
			if indent == "" {
				b.WriteByte('\n')
			}
			fmt.Fprintf(b, "%s%s:\n", indent, key)
			writeStarter(b, f.Type, section, indent+"  ")
			continue
		}
		text, _ := json.Marshal(value) // YAML, too; a default is plain
		mark := "# "
		if key == "version" {
			mark = ""
		}
		fmt.Fprintf(b, "%s%s%s: %s\n", indent, mark, key, text)
	}
}
