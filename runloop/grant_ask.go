package runloop

import (
	"strings"

	"github.com/runloop-os/runloop/opening"
)

// agreeToAll asks for each agent of an opening that nobody granted yet, before
// anything runs. Where nobody can be asked it is refused, with the command
// that grants. An agent that cannot be found is reported by whom it is missing.
func (d *desk) agreeToAll(nodes []opening.Node) error {
	seen := map[string]bool{}
	for i := range nodes {
		ref := strings.TrimPrefix(nodes[i].Ref(), "agent:")
		b, err := d.catalog.Bundle(ref)
		if err != nil || seen[ref] {
			continue
		}
		seen[ref] = true
		if _, err := d.policy.Rule(b); err != nil {
			return agentExit(err)
		}
		err = d.policy.Granted(b)
		if err == nil {
			continue
		}
		if !d.io.interactive() {
			return agentExit(err)
		}
		if err := d.grant(b, false); err != nil {
			return err
		}
	}
	return nil
}

// agreeToRun is agreeToAll for the agents as a run will find them.
func (o *IO) agreeToRun(cfg *Loaded, opt sessionOptions, nodes []opening.Node) error {
	catalog, err := o.catalog(cfg, opt)
	if err != nil {
		return err
	}
	d := &desk{io: o, cfg: cfg, places: o.places(cfg), catalog: catalog, policy: o.policy(cfg, opt.grants...)}
	return d.agreeToAll(nodes)
}
