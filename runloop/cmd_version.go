package runloop

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

func cmdVersion(io *IO) *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "print the version, and what it was built from",
		UsageText: "rlp version\nrlp version --json",
		Flags:     []cli.Flag{jsonFlag()},
		Action:    func(c *cli.Context) error { return printVersion(io, c.Bool("json")) },
	}
}

func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: "print JSON"}
}

func printVersion(io *IO, asJSON bool) error {
	v := struct {
		Version string `json:"version"`
		Go      string `json:"go"`
		System  string `json:"system"`
		Wazero  string `json:"wazero"`
		SQLite  string `json:"sqlite3"`
	}{version, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH,
		moduleVersion("github.com/tetratelabs/wazero"), moduleVersion("github.com/mattn/go-sqlite3")}
	if asJSON {
		return printJSON(io.Stdout, v)
	}
	_, err := fmt.Fprintf(io.Stdout, "runloop %s (%s, %s, wazero %s, go-sqlite3 %s)\n",
		v.Version, v.Go, v.System, v.Wazero, v.SQLite)
	return err
}

func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return "unknown"
}
