package opening

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Limits on openings in openings.
const (
	maxNesting     = 8      // openings in each other, the outermost not counted
	maxNestedNodes = 20_000 // of all openings that one uses, each as often as it is used
	maxUsesChecked = 500    // uses whose values are followed into the opening that is used
)

// ErrUnknownOpening is what [Openings] gives for a name it has no opening for.
var ErrUnknownOpening = errors.New("there is no such opening")

// Openings is what a [Catalog] has besides when it knows openings that nodes
// may use.
type Openings interface {
	// Opening gives the text of an opening, in either form, and what to call its
	// file in problems. An error that is not ErrUnknownOpening says why one that
	// was found cannot be read, and becomes a problem of the opening that uses it.
	Opening(name string) (file string, text []byte, err error)
	// OpeningNames lists the names it knows, for hints.
	OpeningNames() []string
}

// library holds the openings that an opening uses and that these use, each read
// and checked once.
type library struct {
	cat   Catalog
	shelf map[string]*volume // by name; nil while it is being read and when it cannot be used
	path  []string           // openings that are in each other at the moment, the outermost first
	// whole is false while the values of one use are followed: openings that are
	// used further in have been checked.
	whole bool
	uses  int // that were followed
	// problems are those of the openings' own files.
	problems Problems
}

// volume is one opening of a library.
type volume struct {
	name     string
	file     string
	opening  *Opening
	manifest *Manifest         // what it looks like to a node that uses it
	size     int               // nodes, with those of openings that it uses
	digests  map[string]string // of its agents, and of those of openings that it uses
	defaults *tree
	used     map[string]bool // paths of parameters in templates, joined with dots
}

// newLibrary gives the library for an opening called root.
func newLibrary(cat Catalog, root string) *library {
	return &library{cat: cat, shelf: map[string]*volume{}, path: []string{root}, whole: true}
}

// open gives the opening that is used at pos, or reports there why it cannot be
// used and gives nil. confirm says that the one which uses it demands
// confirmation.
func (l *library) open(src *source, name string, pos position, confirm bool) *volume {
	if slices.Contains(l.path, name) {
		start := slices.Index(l.path, name)
		src.add(pos, codeNested, "the openings use each other: %s",
			strings.Join(append(slices.Clone(l.path[start:]), name), " → "))
		return nil
	}
	v, read := l.shelf[name]
	if read {
		return v
	}
	if len(l.path) > maxNesting {
		src.add(pos, codeNested, "openings are in each other more than %d deep", maxNesting)
		return nil
	}
	l.shelf[name] = nil
	if v = l.read(src, name, pos, confirm); v != nil {
		l.shelf[name] = v
	}
	return v
}

// read finds an opening and checks it, whatever its parameters will be.
func (l *library) read(src *source, name string, pos position, confirm bool) *volume {
	from, o := l.find(src, name, pos)
	if o == nil {
		return nil
	}
	v := &volume{name: name, file: from.name, opening: o, size: len(o.Nodes)}
	l.path = append(l.path, name)
	p := l.check(v, from, confirm)
	l.path = l.path[:len(l.path)-1]
	if from.err() != nil {
		l.problems = append(l.problems, from.sorted()...)
		return nil
	}
	if v.size > maxNestedNodes {
		src.add(pos, codeSize, "the opening %s has %d nodes with those of the openings that it uses; %d are allowed",
			name, v.size, maxNestedNodes)
		return nil
	}
	v.manifest.Digest, v.digests = p.digest(), p.Digests
	return v
}

// find looks an opening up and reads it.
func (l *library) find(src *source, name string, pos position) (*source, *Opening) {
	cat, ok := l.cat.(Openings)
	if !ok {
		src.add(pos, codeNested, "openings that other openings use are not known here")
		return nil, nil
	}
	file, text, err := cat.Opening(name)
	switch {
	case errors.Is(err, ErrUnknownOpening):
		src.add(pos, codeNested, "there is no opening %s", quote(name)).
			hint("%s", src.didYouMean(name, cat.OpeningNames()))
		return nil, nil
	case err != nil:
		src.add(pos, codeNested, "the opening %s cannot be used: %s", quote(name), visible(err.Error()))
		return nil, nil
	}
	from := newSource(file)
	t := parse(from, file, text)
	if t == nil {
		l.problems = append(l.problems, from.sorted()...)
		return nil, nil
	}
	o := decodeOpening(from, t)
	if o.Name != name && len(from.problems) == 0 {
		src.add(pos, codeNested, "the file %s holds the opening %s, not %s", from.name, quote(o.Name), quote(name))
		return nil, nil
	}
	return from, o
}

// check checks an opening with parameters of which nothing is known but that
// they are there, and works out what it looks like from outside.
func (l *library) check(v *volume, from *source, confirm bool) *Plan {
	o := v.opening
	quiet := newSource(v.file) // mistakes in templates are reported by compile
	v.used = checkTemplates(quiet, withTrees(quiet, o))
	v.defaults = &tree{kind: kindMap}
	if len(o.Params) > 0 {
		if t := parseJSON(quiet, o.Params); t != nil {
			v.defaults = t
		}
	}
	given := &tree{kind: kindMap}
	for _, name := range v.parameters() {
		given.pairs = append(given.pairs, pair{key: name, val: &tree{kind: kindHole}})
	}
	c := &compiler{src: from, o: o, lib: l, given: given, confirm: confirm}
	p := c.compile()
	v.manifest = &Manifest{In: v.inputs(), Out: map[string]string{}, loose: true}
	for _, n := range o.Nodes {
		v.outputs(n, c.agents.nodes[n.ID])
		if inner := l.shelf[n.Nested()]; inner != nil {
			v.size += inner.size
		}
	}
	return p
}

// parameters gives the names of all parameters: those with a default and those
// that templates use.
func (v *volume) parameters() []string {
	var names []string
	for _, p := range v.defaults.pairs {
		names = append(names, p.key)
	}
	for path := range v.used {
		first, _, _ := strings.Cut(path, ".")
		names = append(names, first)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// waitPort is a port of every opening that is used: an edge to it only makes the
// node wait, unless the opening has a parameter of that name.
const waitPort = "in"

// inputs gives the parameters as ports: what has a default takes the values of
// its type, all else takes any.
func (v *volume) inputs() map[string]string {
	in := map[string]string{waitPort: Any}
	for _, name := range v.parameters() {
		in[name] = Any
		if t := v.defaults.get(name); t != nil {
			in[name] = typeOfParam[t.kind]
		}
	}
	return in
}

// typeOfParam gives the content type of a parameter by the kind of its default.
var typeOfParam = map[kind]string{
	kindNull: Any, kindBool: "boolean", kindNumber: "number", kindString: "string",
	kindList: "array", kindMap: "object",
}

// outputs adds the ports of an inner node, which has the manifest m, to those of
// the opening: node.port.
func (v *volume) outputs(n Node, m *Manifest) {
	if m == nil {
		return
	}
	for port, typ := range m.Out {
		v.manifest.Out[n.ID+"."+port] = typ
	}
	if len(m.Out) == 0 && n.Nested() == "" {
		v.manifest.Out[n.ID+".out"] = Any
	}
}

// digest names the code that a use of the plan's opening runs: that of the
// opening, of the agents and of the openings that it uses.
func (p *Plan) digest() string {
	return hashHex(mustJSON(struct {
		Agents map[string]string `json:"agents"`
		IRHash string            `json:"opening_ir_hash"`
	}{p.Digests, hashHex(p.Opening.IR())}))
}

// take adds what an opening brings along to the plan that uses it.
func (p *Plan) take(v *volume, l *library) {
	maps.Copy(p.Digests, v.digests)
	p.Digests[nestedRef(v.name)] = v.manifest.Digest
	p.Openings[v.name] = v.opening
	for _, n := range v.opening.Nodes {
		if inner := l.shelf[n.Nested()]; inner != nil && p.Openings[inner.name] == nil {
			p.take(inner, l)
		}
	}
}

// nestedIRs gives the openings that nodes use, by name, as they are recorded.
func (p *Plan) nestedIRs() map[string]json.RawMessage {
	if len(p.Openings) == 0 {
		return nil
	}
	irs := make(map[string]json.RawMessage, len(p.Openings))
	for name, o := range p.Openings {
		irs[name] = o.IR()
	}
	return irs
}

// nestedRef is the reference of an opening that is used, see [Node.Ref].
func nestedRef(name string) string { return "opening:" + name }

// nestedParams holds the values that a node gives the opening it uses against
// the parameters of that opening.
type nestedParams struct {
	c *agentCheck
	v *volume
	i int // the node
	n Node
}

// check reports parameters that are given twice, that do not exist, that are
// missing or that have the wrong type, and then what would be wrong further in.
func (p *nestedParams) check() {
	before := len(p.c.src.problems)
	given := &tree{kind: kindMap}
	for _, e := range p.c.with[p.i].pairs {
		p.value(e)
		given.pairs = append(given.pairs, pair{key: e.key, val: e.val})
	}
	known := p.v.parameters()
	for _, port := range p.ports() {
		if given.get(port) == nil && slices.Contains(known, port) {
			given.pairs = append(given.pairs, pair{key: port, val: &tree{kind: kindHole}})
		}
	}
	p.missing(given)
	lib := p.c.lib
	if len(p.c.src.problems) > before || !lib.whole || lib.uses >= maxUsesChecked {
		return
	}
	lib.uses++
	lib.whole = false
	lib.path = append(lib.path, p.v.name)
	inner := newSource(p.v.name)
	(&compiler{src: inner, o: p.v.opening, lib: lib, given: given, confirm: p.c.plan.confirm}).compile()
	lib.path = lib.path[:len(lib.path)-1]
	lib.whole = true
	for _, problem := range inner.problems {
		p.c.src.add(p.c.src.val(withPath(p.i)), codeNested, "the opening %s cannot take this: %s",
			p.v.name, problem.Message).hint("%s", problem.Hint)
	}
}

// value checks one entry of the with map.
func (p *nestedParams) value(e pair) {
	src, path := p.c.src, withPath(p.i)+"/"+escapeSegment(e.key)
	typ, known := p.v.manifest.In[e.key]
	if !known || e.key == waitPort && !slices.Contains(p.v.parameters(), waitPort) {
		src.add(src.key(path), codeParam, "the opening %s has no parameter %s", p.v.name, visible(e.key)).
			hint("%s", src.didYouMean(e.key, p.v.parameters()))
		return
	}
	if slices.Contains(p.ports(), e.key) {
		src.add(src.key(path), codeDuplicate, "the parameter %s is given here and by an edge to %s.%s",
			visible(e.key), p.n.ID, visible(e.key))
	}
	if have := typeOfParam[e.val.kind]; typ != Any && have != typ && e.val.kind != kindHole {
		src.add(src.val(path), codeParam, "the parameter %s of the opening %s must be %s, as its default is, not %s",
			visible(e.key), p.v.name, p.v.defaults.get(e.key).kind, e.val.kind)
	}
}

// ports gives the parameters that edges deliver, each once.
func (p *nestedParams) ports() []string {
	var ports []string
	for _, e := range p.c.o.Edges {
		if e.To.Node == p.n.ID {
			ports = append(ports, e.To.Port)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// missing reports parameters without a default that are not given.
func (p *nestedParams) missing(given *tree) {
	for _, name := range p.v.parameters() {
		if p.v.defaults.get(name) != nil || given.get(name) != nil {
			continue
		}
		p.c.src.add(p.c.src.val(fmt.Sprintf("nodes/%d/use", p.i)), codeParam,
			"the opening %s needs the parameter %s", p.v.name, visible(name)).
			hint("give it under with, or by an edge to %s.%s", p.n.ID, visible(name))
	}
}
