package runloop

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/pog"
)

func kbImportCommand(io *IO) *cli.Command {
	return &cli.Command{
		Name: "import", Usage: "import contacts and notes", ArgsUsage: "PATH...",
		UsageText: `rlp kb import contacts.vcf ~/notes
rlp kb import ~/notes --dry-run`,
		Description: `A .vcf file or a folder of Markdown notes. Importing the same again changes nothing.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Usage: "say what would be imported, write nothing"},
			&cli.StringFlag{Name: "format", Usage: "the files are `vcard|notes`, where the path does not tell"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return usageErrorf("which files? (see rlp kb import --help)")
			}
			return io.withStore(c.Context, func(store *pog.Store) error {
				return kbImport(c, io, store)
			})
		},
	}
}

// importRow is one path of rlp kb import --json.
type importRow struct {
	Path string `json:"path"`
	*pog.ImportReport
}

func kbImport(c *cli.Context, io *IO, store *pog.Store) error {
	var rows []importRow
	skipped := 0
	for _, path := range c.Args().Slice() {
		report, err := importOne(c.Context, io, store, pog.ImportRequest{
			Path: path, Format: c.String("format"), DryRun: c.Bool("dry-run"),
		})
		if err != nil {
			return err
		}
		rows = append(rows, importRow{path, report})
		skipped += report.Skipped
	}
	if c.Bool("json") {
		return printJSON(io.Stdout, rows)
	}
	for _, r := range rows {
		fmt.Fprintf(io.Stdout, "%s: %d added, %d unchanged, %d skipped\n",
			printable(r.Path), r.Added, r.Unchanged, r.Skipped)
	}
	if skipped > 0 {
		return &exitError{code: exitFailed, err: errShown}
	}
	return nil
}

func importOne(ctx context.Context, io *IO, store *pog.Store, req pog.ImportRequest) (*pog.ImportReport, error) {
	if io.showsProgress() {
		req.Progress = func(r pog.ImportReport) {
			io.line.draw(io, fmt.Sprintf("%s: %d", printable(req.Path), r.Added+r.Unchanged+r.Skipped))
		}
		defer io.line.clear(io)
	}
	report, err := store.Import(ctx, pog.User(), req)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, exitErrorf(exitNotFound, "there is no %s", req.Path)
	}
	if err != nil {
		return nil, err
	}
	for _, p := range report.Problems {
		io.warnf("%s", p)
	}
	return report, nil
}
