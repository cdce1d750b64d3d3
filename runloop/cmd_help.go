package runloop

import (
	"strings"

	"github.com/urfave/cli/v2"
)

func cmdHelp(io *IO) *cli.Command {
	return &cli.Command{
		Name: "help", Usage: "print help for a command or a topic", ArgsUsage: "[COMMAND|TOPIC...]",
		UsageText: "rlp help kb search\nrlp help exit-codes",
		Action:    func(c *cli.Context) error { return helpCommand(io, c.Args().Slice()) },
	}
}

func helpCommand(io *IO, words []string) error {
	root := docOfApp(newCLI(io))
	if len(words) == 0 {
		return io.showHelp(root)
	}
	if len(words) == 1 {
		if found, err := io.showTopic(words[0]); found || err != nil {
			return err
		}
	}
	d, rest := root.find(words)
	if len(rest) == 0 {
		return io.showHelp(d)
	}
	known := d.subNames()
	if d == root {
		known = append(known, topicNames()...)
	}
	return usageErrorf("no help for %q%s (see rlp help)", strings.Join(words, " "), didYouMean(rest[0], known))
}

func (d *commandDoc) subNames() []string {
	var names []string
	for _, s := range d.subs {
		names = append(names, s.name())
	}
	return names
}
