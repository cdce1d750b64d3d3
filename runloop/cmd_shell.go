package runloop

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/router"
	"github.com/runloop-os/runloop/router/shell"
)

// shells are those with an integration.
var shells = []string{string(router.Zsh), string(router.Bash)}

func cmdShell(io *IO) *cli.Command {
	return &cli.Command{
		Name: "shell", Usage: "let Enter in zsh or bash send requests to agents",
		UsageText: `rlp shell enable
eval "$(rlp shell init bash)"    # in this shell only`,
		Subcommands: []*cli.Command{
			{
				Name: "enable", Usage: "load the integration in the shell's startup file",
				UsageText: `rlp shell enable
rlp shell enable --dry-run
rlp shell enable --shell zsh --opening my_assistant`,
				Description: "It adds a few marked lines to ~/.zshrc or ~/.bashrc, and keeps a copy of the file.",
				Flags: append(startupFlags(),
					&cli.StringFlag{Name: "opening", Usage: "requests go to the opening `NAME` (default router.default_opening)"}),
				Action: func(c *cli.Context) error { return shellEnable(io, startupEditOf(c), c.String("opening")) },
			},
			{
				Name: "disable", Usage: "take these lines out again",
				UsageText: `rlp shell disable`,
				Flags:     startupFlags(),
				Action:    func(c *cli.Context) error { return shellDisable(io, startupEditOf(c)) },
			},
			{
				Name: "status", Usage: "is the integration enabled, and is it loaded here",
				UsageText: `rlp shell status
rlp shell status --json`,
				Flags:  []cli.Flag{shellFlag(), rcPathFlag(), jsonFlag()},
				Action: func(c *cli.Context) error { return shellStatus(io, startupEditOf(c)) },
			},
			{
				Name: "init", Usage: "print the integration of a shell, for eval",
				ArgsUsage: strings.Join(shells, "|"),
				UsageText: `eval "$(rlp shell init bash)"    # in ~/.bashrc`,
				Action:    func(c *cli.Context) error { return shellInit(io, c.Args().Slice()) },
			},
		},
	}
}

func shellFlag() cli.Flag {
	return &cli.StringFlag{Name: "shell", Usage: "for which shell: `zsh|bash` (default: by the file's name, or $SHELL)"}
}

func rcPathFlag() cli.Flag {
	return &cli.StringFlag{Name: "rc-path", Usage: "the startup `FILE` (default ~/.zshrc or ~/.bashrc)"}
}

func startupFlags() []cli.Flag {
	return []cli.Flag{
		shellFlag(), rcPathFlag(), jsonFlag(),
		&cli.BoolFlag{Name: "dry-run", Usage: "print what would change, and change nothing"},
	}
}

func shellInit(io *IO, args []string) error {
	if len(args) != 1 {
		return usageErrorf("which shell? rlp shell init %s", strings.Join(shells, "|"))
	}
	script, err := shell.Script(router.Shell(args[0]), version)
	if err != nil {
		return usageErrorf("%v%s; there are: %s", err, didYouMean(args[0], shells), strings.Join(shells, ", "))
	}
	_, err = fmt.Fprint(io.Stdout, script)
	return err
}
