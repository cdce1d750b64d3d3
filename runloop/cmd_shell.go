package runloop

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/router"
)

// shells are those with an integration.
var shells = []string{string(router.Zsh), string(router.Bash)}

func cmdShell(io *IO) *cli.Command {
	return &cli.Command{
		Name: "shell", Usage: "let Enter in zsh or bash send requests to agents",
		UsageText: `eval "$(rlp shell init bash)"    # in ~/.bashrc`,
		Subcommands: []*cli.Command{
			{
				Name: "init", Usage: "print the integration of a shell, for eval",
				ArgsUsage: strings.Join(shells, "|"),
				UsageText: `eval "$(rlp shell init bash)"    # in ~/.bashrc`,
				Action:    func(c *cli.Context) error { return shellInit(io, c.Args().Slice()) },
			},
		},
	}
}

func shellInit(io *IO, args []string) error {
	if len(args) != 1 {
		return usageErrorf("which shell? rlp shell init %s", strings.Join(shells, "|"))
	}
	script, err := router.ShellScript(router.Shell(args[0]), version)
	if err != nil {
		return usageErrorf("%v%s; there are: %s", err, didYouMean(args[0], shells), strings.Join(shells, ", "))
	}
	_, err = fmt.Fprint(io.Stdout, script)
	return err
}
