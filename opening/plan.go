package opening

import (
	"encoding/json"
	"errors"
	"slices"
)

// Any is the content type of a port that carries whatever it is given.
const Any = "any"

// Manifest is what an opening needs to know of an agent (spec/03 "Bundle").
type Manifest struct {
	// Digest is the hex BLAKE3 of the bundle's manifest.
	Digest string
	// In and Out map the names of ports to their content types. An agent that
	// declares no output has one port, out.
	In, Out map[string]string
	// With is the JSON Schema of the node's with map; empty means anything.
	With json.RawMessage
}

// ErrUnknownAgent is what a Catalog gives for a reference it has no agent for.
var ErrUnknownAgent = errors.New("there is no such agent")

// Catalog finds the manifests of agents.
type Catalog interface {
	// Manifest gives the manifest for a reference such as writer or
	// writer@v2. An error that is not ErrUnknownAgent says why an agent that
	// was found cannot be used, and becomes a problem of the opening.
	Manifest(ref string) (*Manifest, error)
	// Names lists the references it knows, for hints.
	Names() []string
}

// Plan is an opening that can be run: its templates are filled in, and it fits
// the agents it names.
type Plan struct {
	Opening *Opening
	IR      json.RawMessage // of Opening
	IRHash  string
	Params  json.RawMessage   // defaults and given values, merged
	With    []json.RawMessage // by node, templates filled in
	Digests map[string]string // by reference, of the manifests
}

// Parse reads an opening in either form and checks what can be checked without
// its agents and parameters. name stands in front of every problem; the error
// is [Problems].
func Parse(name string, data []byte) (*Opening, error) {
	src := newSource(name)
	t := parse(src, name, data)
	if t == nil {
		return nil, src.err()
	}
	o := decodeOpening(src, t)
	checkGraph(src, o)
	checkTemplates(src, withTrees(src, o))
	if err := src.err(); err != nil {
		return nil, err
	}
	return o, nil
}

// Load reads an opening in either form, fills in params (a JSON map; empty means
// none) and checks all of it against the agents of cat. The error is
// [Problems] and holds everything that is wrong.
func Load(name string, data []byte, cat Catalog, params json.RawMessage) (*Plan, error) {
	src := newSource(name)
	t := parse(src, name, data)
	if t == nil {
		return nil, src.err()
	}
	return compile(src, decodeOpening(src, t), cat, params)
}

// NewPlan is Load for an opening that is already there, for example from the
// record of a run. Problems then have no positions.
func NewPlan(o *Opening, cat Catalog, params json.RawMessage) (*Plan, error) {
	return compile(newSource(o.Name), o, cat, params)
}

// compile checks all that is left to check and puts the plan together. Every
// check runs, whatever the ones before it found.
func compile(src *source, o *Opening, cat Catalog, params json.RawMessage) (*Plan, error) {
	checkGraph(src, o)
	raw := withTrees(src, o)
	set := mergeParams(src, o.Params, params, checkTemplates(src, raw))
	f := &filler{src: src, params: set}
	filled := make([]*tree, len(raw))
	for i, t := range raw {
		filled[i] = f.fill(t, withPath(i))
	}
	p := &Plan{Opening: o, With: f.json(filled), Digests: map[string]string{}}
	checkConfirm(src, o, filled)
	(&agentCheck{src: src, o: o, with: filled, plan: p}).check(cat)
	values, err := canonical(set.values.appendJSON(nil))
	if err != nil {
		src.add(position{}, codeParam, "the parameters cannot be written as JSON: %v", err)
	}
	if err := src.err(); err != nil {
		return nil, err
	}
	p.Params = values
	p.IR = o.IR()
	p.IRHash = hashHex(p.IR)
	return p, nil
}

// Refs gives the references of the plan's agents, sorted, each once.
func (p *Plan) Refs() []string {
	var refs []string
	for _, n := range p.Opening.Nodes {
		refs = append(refs, n.Ref())
	}
	slices.Sort(refs)
	return slices.Compact(refs)
}
