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
		if nodes[i].Nested() != "" {
			continue // its agents are among the others
		}
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

// agreeToRun is agreeToAll for the agents as a run will find them: those of the
// opening, and those of the openings that it uses, which are in along.
func (o *IO) agreeToRun(cfg *Loaded, opt sessionOptions, of *opening.Opening, along map[string]openingSource) error {
	d := &desk{io: o, cfg: cfg, places: o.places(cfg), policy: o.policy(cfg, opt.grants...)}
	if opt.code != nil {
		d.catalog = opt.code.catalog
	} else {
		var err error
		if d.catalog, err = o.catalog(cfg, opt); err != nil {
			return err
		}
	}
	return d.agreeToAll(allNodes(of, along))
}

// allNodes are the nodes of an opening and then of those that it uses, each
// opening once, in the order in which they are come across. What cannot be read
// is left to whoever plans the run.
func allNodes(o *opening.Opening, along map[string]openingSource) []opening.Node {
	var nodes []opening.Node
	seen := map[string]bool{}
	for queue := []*opening.Opening{o}; len(queue) > 0; queue = queue[1:] {
		nodes = append(nodes, queue[0].Nodes...)
		for _, n := range queue[0].Nodes {
			name := n.Nested()
			src, ok := along[name]
			if !ok || seen[name] {
				continue
			}
			seen[name] = true
			if inner, err := opening.Parse(src.name, src.text); err == nil {
				queue = append(queue, inner)
			}
		}
	}
	return nodes
}
