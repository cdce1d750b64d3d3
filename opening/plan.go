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

	loose bool // it is that of an opening: In are parameters, by the type of their default
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
	// Digests are those of the manifests by reference, and for openings that
	// nodes use (opening:<name>) of all their code. Those of the agents that
	// these openings use are among them.
	Digests map[string]string
	// Openings are the openings that nodes use and that these use, by name.
	Openings map[string]*Opening

	confirm bool // the opening, or one that it is in, demands confirmation
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

// newPlanIn is NewPlan for an opening that another uses; confirm says that one
// around it demands confirmation.
func newPlanIn(o *Opening, cat Catalog, params json.RawMessage, confirm bool) (*Plan, error) {
	src := newSource(o.Name)
	return (&compiler{src: src, o: o, given: parseParams(src, params), confirm: confirm}).plan(cat)
}

// compile checks all that is left to check and puts the plan together. Every
// check runs, whatever the ones before it found.
func compile(src *source, o *Opening, cat Catalog, params json.RawMessage) (*Plan, error) {
	return (&compiler{src: src, o: o, given: parseParams(src, params)}).plan(cat)
}

// compiler makes a plan of an opening and its parameters.
type compiler struct {
	src    *source
	o      *Opening
	lib    *library // nil: agents and openings are not looked at
	given  *tree    // parameters, or nil
	agents *agentCheck
	// confirm says that an opening around this one demands confirmation.
	confirm bool
}

// plan makes the whole plan, with openings and agents of cat.
func (c *compiler) plan(cat Catalog) (*Plan, error) {
	if cat != nil { // one that is not there knows no agents, so nothing is checked
		c.lib = newLibrary(cat, c.o.Name)
	}
	p := c.compile()
	if c.lib != nil {
		c.src.nested = c.lib.problems
	}
	if err := c.src.err(); err != nil {
		return nil, err
	}
	p.IR = c.o.IR()
	p.IRHash = hashHex(p.IR)
	return p, nil
}

// compile reports what is wrong. What it gives is a plan only if that is
// nothing; IR and IRHash are left to the caller.
func (c *compiler) compile() *Plan {
	src, o := c.src, c.o
	checkGraph(src, o)
	raw := withTrees(src, o)
	set := mergeParams(src, o.Params, c.given, checkTemplates(src, raw))
	f := &filler{src: src, params: set}
	filled := make([]*tree, len(raw))
	for i, t := range raw {
		filled[i] = f.fill(t, withPath(i))
	}
	p := &Plan{
		Opening: o, With: f.json(filled), Digests: map[string]string{}, Openings: map[string]*Opening{},
		confirm: c.confirm || o.Policy.ConfirmExternal,
	}
	c.checkConfirm(filled)
	c.agents = &agentCheck{src: src, o: o, with: filled, plan: p, lib: c.lib}
	c.agents.check()
	values, err := canonical(set.values.appendJSON(nil))
	if err != nil {
		src.add(position{}, codeParam, "the parameters cannot be written as JSON: %v", err)
	}
	p.Params = values
	return p
}

// Refs gives the references of the plan's agents and of those of the openings
// that it uses, sorted, each once.
func (p *Plan) Refs() []string {
	refs := p.Opening.agents()
	for _, o := range p.Openings {
		refs = append(refs, o.agents()...)
	}
	slices.Sort(refs)
	return slices.Compact(refs)
}

// agents gives the references of the agents that nodes use.
func (o *Opening) agents() []string {
	var refs []string
	for _, n := range o.Nodes {
		if n.Nested() == "" {
			refs = append(refs, n.Ref())
		}
	}
	return refs
}
