package runloop

import (
	"errors"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/wasm"
)

// desk is what the commands about agents work with: where agents are found,
// and what they may do.
type desk struct {
	io      *IO
	cfg     *Loaded
	places  places
	catalog *wasm.Catalog
	policy  *wasm.Policy
}

// agentsDirFlag is the flag that openDesk takes.
func agentsDirFlag() cli.Flag {
	return &cli.StringFlag{Name: "agents-dir", Usage: "look for agents in `DIR` first"}
}

// openDesk reads the configuration. Nothing is made on disk.
func (o *IO) openDesk(agentsDir string) (*desk, error) {
	cfg, err := o.config()
	if err != nil {
		return nil, err
	}
	catalog, err := o.catalog(cfg, sessionOptions{agentsDir: agentsDir})
	if err != nil {
		return nil, err
	}
	return &desk{io: o, cfg: cfg, places: o.places(cfg), catalog: catalog, policy: o.policy(cfg)}, nil
}

// bundle finds an agent by reference.
func (d *desk) bundle(ref string) (*wasm.Bundle, error) {
	b, err := d.catalog.Bundle(ref)
	if errors.Is(err, &wasm.Error{Code: wasm.CodeUnknownAgent}) {
		refs, _ := d.catalog.Refs() // what cannot be listed is not suggested
		return nil, exitErrorf(exitNotFound, "%w%s (see rlp agent list)", err, didYouMean(ref, refs))
	}
	if err != nil {
		return nil, agentExit(err)
	}
	return b, nil
}

// agentExit gives an error about a bundle its exit code.
func agentExit(err error) error {
	code := exitFailed
	switch {
	case err == nil:
		return nil
	case errors.Is(err, &wasm.Error{Code: wasm.CodeUnknownAgent}):
		code = exitNotFound
	case errors.Is(err, &wasm.Error{Code: wasm.CodeUntrusted}), errors.Is(err, &wasm.Error{Code: wasm.CodeNotGranted}):
		code = exitDeclined
	}
	return &exitError{code: code, err: err}
}
