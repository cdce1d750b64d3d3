package runloop

import (
	"context"
	"errors"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/pog"
)

func cmdKB(io *IO) *cli.Command {
	return &cli.Command{
		Name: "kb", Usage: "the knowledge base: contacts, notes, artifacts, runs",
		UsageText: `rlp kb import ~/contacts.vcf ~/notes
rlp kb search "Q4 plan"
rlp kb why note:…`,
		Subcommands: []*cli.Command{
			kbAddCommand(io), kbImportCommand(io), kbSearchCommand(io), kbQueryCommand(io),
			kbWhyCommand(io), kbVerifyCommand(io), kbStatsCommand(io), kbVacuumCommand(io),
		},
	}
}

// withStore opens the knowledge base for f and closes it after.
func (o *IO) withStore(ctx context.Context, f func(*pog.Store) error) error {
	cfg, err := o.config()
	if err != nil {
		return err
	}
	store, err := o.openStore(ctx, cfg)
	if err != nil {
		return err
	}
	return errors.Join(kbExit(f(store)), store.Close())
}

// kbExit gives errors of the knowledge base the exit code that they mean.
func kbExit(err error) error {
	switch pog.CodeOf(err) {
	case pog.ErrNotFound:
		return &exitError{code: exitNotFound, err: err}
	case pog.ErrQuery, pog.ErrRefused:
		return &exitError{code: exitUsage, err: err}
	case pog.ErrDenied:
		return &exitError{code: exitDeclined, err: err}
	}
	return err
}
