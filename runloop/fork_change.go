package runloop

import (
	"encoding/json"
	"strings"

	"github.com/runloop-os/runloop/opening"
)

// forkChange is what a fork is given otherwise than the run that it comes from.
type forkChange struct {
	params json.RawMessage            // laid over the parameters; a JSON map, or nothing
	set    map[string]json.RawMessage // by node: laid over its with map
}

// change reads what the flags say is otherwise. Files are read here, so that
// whoever carries the fork out gets values.
func (f *forkFlags) change(t *opening.Trace) (*forkChange, error) {
	o, err := opening.ParseIR(t.OpeningIR)
	if err != nil {
		return nil, err
	}
	types, params := map[string]any{}, map[string]any{}
	if len(o.Params) > 0 {
		if err := mergeObject(types, o.Params, "params of the opening"); err != nil {
			return nil, err
		}
	}
	for _, pair := range f.run.params.pairs {
		if err := setPair(params, types, pair); err != nil {
			return nil, err
		}
	}
	with := map[string]map[string]any{}
	for _, set := range f.sets {
		if err := readSet(with, o, set); err != nil {
			return nil, err
		}
	}
	out := &forkChange{set: map[string]json.RawMessage{}}
	for node, values := range with {
		if out.set[node], err = json.Marshal(values); err != nil {
			return nil, err
		}
	}
	out.params, err = json.Marshal(params)
	return out, err
}

// readSet adds one --set NODE.with.KEY=VALUE.
func readSet(out map[string]map[string]any, o *opening.Opening, set string) error {
	id, rest, _ := strings.Cut(set, ".")
	pair, ok := strings.CutPrefix(rest, "with.")
	if !ok {
		return usageErrorf("--set %q: want NODE.with.KEY=VALUE", set)
	}
	n, err := nodeToSet(o, id)
	if err != nil {
		return err
	}
	types := map[string]any{}
	if len(n.With) > 0 {
		if err := mergeObject(types, n.With, "with of "+id); err != nil {
			return err
		}
	}
	if out[id] == nil {
		out[id] = map[string]any{}
	}
	return setPair(out[id], types, pair)
}

func nodeToSet(o *opening.Opening, id string) (*opening.Node, error) {
	var ids []string
	for i := range o.Nodes {
		if o.Nodes[i].ID == id {
			return &o.Nodes[i], nil
		}
		ids = append(ids, o.Nodes[i].ID)
	}
	return nil, usageErrorf("--set %s: the opening has no node %s%s", id, id, didYouMean(id, ids))
}

// over lays the change over the opening and the parameters of a run.
func (c *forkChange) over(t *opening.Trace) (*opening.Opening, json.RawMessage, error) {
	o, err := opening.ParseIR(t.OpeningIR)
	if err != nil {
		return nil, nil, err
	}
	for id, values := range c.set {
		n, err := nodeToSet(o, id)
		if err != nil {
			return nil, nil, err
		}
		if n.With, err = layOver(n.With, values, "with of "+id); err != nil {
			return nil, nil, err
		}
	}
	params, err := layOver(t.Params, c.params, "params")
	return o, params, err
}

// layOver merges one JSON map into another; nothing is an empty one.
func layOver(under, values json.RawMessage, where string) (json.RawMessage, error) {
	out := map[string]any{}
	for _, src := range []json.RawMessage{under, values} {
		if len(src) == 0 || string(src) == "null" {
			continue
		}
		if err := mergeObject(out, src, where); err != nil {
			return nil, err
		}
	}
	return json.Marshal(out)
}
