package opening

import (
	"errors"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// checkConfirm refuses a node that asks to skip the confirmation which the
// opening, or one that it is in, demands. An agent gets with as text too, so
// "false" counts as well.
func (c *compiler) checkConfirm(with []*tree) {
	src, whose := c.src, "policy.confirm_external: true"
	switch {
	case c.o.Policy.ConfirmExternal:
	case c.confirm:
		whose += " of an opening that uses this one"
	default:
		return
	}
	for i, t := range with {
		v := t.get("require_human_confirm")
		if v == nil || v.kind == kindHole || !strings.EqualFold(v.text, "false") {
			continue
		}
		src.add(src.val(withPath(i)+"/require_human_confirm"), codeConfirm,
			"require_human_confirm: false contradicts %s", whose).
			hint("remove one of the two")
	}
}

// agentCheck holds an opening against the manifests of its agents.
type agentCheck struct {
	src  *source
	o    *Opening
	with []*tree // by node, templates filled in
	plan *Plan

	cat   Catalog
	lib   *library
	found map[string]found     // by reference
	nodes map[string]*Manifest // by node, where there is one
	names []string             // of the catalog, once they are needed
	edges map[PortRef]int      // how many reach a port
}

// found is what the catalog gave for a reference.
type found struct {
	manifest *Manifest
	schema   *withSchema
	err      error
}

// check reports what does not fit and notes the digests. Without a library
// nothing is checked.
func (c *agentCheck) check() {
	if c.lib == nil {
		return
	}
	c.cat, c.found, c.nodes = c.lib.cat, map[string]found{}, map[string]*Manifest{}
	c.edges = map[PortRef]int{}
	for _, e := range c.o.Edges {
		c.edges[e.To]++
	}
	for i, n := range c.o.Nodes {
		if n.Use != "" { // otherwise it was reported
			c.node(i, n)
		}
	}
	for i, e := range c.o.Edges {
		c.edge(e, "edges/"+strconv.Itoa(i))
	}
	for i, e := range c.o.exprs() {
		pos := c.src.val("success/" + strconv.Itoa(i))
		if typ, ok := c.output(e.Port, pos); ok && e.Test != nil {
			c.literal(e.Port, typ, *e.Test, pos)
		}
	}
	for i, ref := range c.o.saved() {
		c.output(ref, c.src.val("artifacts/"+strconv.Itoa(i)))
	}
}

// node looks up a node's agent, and holds its with map against the schema.
func (c *agentCheck) node(i int, n Node) {
	if n.Nested() != "" {
		c.nested(i, n)
		return
	}
	ref := n.Ref()
	f, seen := c.found[ref]
	if !seen {
		if f.manifest, f.err = c.cat.Manifest(ref); f.err == nil {
			f.schema = newWithSchema(f.manifest.With)
			c.plan.Digests[ref] = f.manifest.Digest
		}
		c.found[ref] = f
	}
	if f.err == nil {
		c.nodes[n.ID] = f.manifest
		f.schema.check(c.src, ref, c.with[i], withPath(i))
		return
	}
	pos := c.src.val("nodes/" + strconv.Itoa(i) + "/use")
	if !errors.Is(f.err, ErrUnknownAgent) {
		c.src.add(pos, codeLoad, "the agent %s cannot be used: %s", quote(ref), visible(f.err.Error()))
		return
	}
	if c.names == nil {
		c.names = c.cat.Names()
	}
	c.src.add(pos, codeAgent, "there is no agent %s", quote(ref)).
		hint("%s", c.src.didYouMean(ref, c.names))
}

// nested looks up the opening that a node uses, and holds what it is given
// against its parameters.
func (c *agentCheck) nested(i int, n Node) {
	v := c.lib.open(c.src, n.Nested(), c.src.val("nodes/"+strconv.Itoa(i)+"/use"), c.plan.confirm)
	if v == nil {
		return
	}
	c.nodes[n.ID] = v.manifest
	c.plan.take(v, c.lib)
	(&nestedParams{c: c, v: v, i: i, n: n}).check()
}

// edge checks that both ports of an edge exist and carry the same.
func (c *agentCheck) edge(e Edge, path string) {
	pos := c.src.val(path + "/from")
	out, okOut := c.output(e.From, pos)
	if okOut && e.Guard != nil {
		c.literal(e.From, out, *e.Guard, pos)
	}
	in, okIn := c.input(e.To, c.src.val(path+"/to"))
	if !okOut || !okIn || c.fits(e, out, in) {
		return
	}
	at := c.src.val(path + "/to")
	switch n := c.edges[e.To]; {
	case !c.nodes[e.To.Node].loose || n == 1:
		c.src.add(at, codeContent, "%s gives %s, but %s takes %s", e.From, visible(out), e.To, visible(in))
	case n > 1:
		c.src.add(at, codeContent, "%d edges give %s a list, but it takes %s", n, e.To, visible(in))
		c.edges[e.To] = -n // once is enough
	}
}

// fits reports whether a port of type in takes what comes from one of type out.
// An agent says exactly what it takes. A parameter of an opening takes what is
// of its type or of one that JSON does not know, and several values as a list.
func (c *agentCheck) fits(e Edge, out, in string) bool {
	if m := c.nodes[e.To.Node]; m.loose {
		if n := c.edges[e.To]; n > 1 || n < 0 {
			out = "array"
		}
		return jsonKinds(out) == "" || jsonKinds(in) == "" || jsonKinds(out) == jsonKinds(in)
	}
	return out == in || out == Any || in == Any
}

// output gives the content type of a port that leaves a node.
func (c *agentCheck) output(ref PortRef, pos position) (string, bool) {
	m := c.nodes[ref.Node]
	if m == nil {
		return "", false
	}
	if len(m.Out) == 0 && ref.Port == "out" && !m.loose {
		return Any, true
	}
	return c.port(ref, pos, "output", m.Out)
}

// input gives the content type of a port that enters a node.
func (c *agentCheck) input(ref PortRef, pos position) (string, bool) {
	m := c.nodes[ref.Node]
	if m == nil {
		return "", false
	}
	return c.port(ref, pos, "input", m.In)
}

// port looks a port up among those of a manifest and reports one that is not
// there.
func (c *agentCheck) port(
	ref PortRef, pos position, dir string, ports map[string]string,
) (contentType string, ok bool) {
	typ, ok := ports[ref.Port]
	if ok {
		return typ, true
	}
	names := sortedKeys(ports)
	hint := c.src.didYouMean(ref.Port, names)
	if hint == "" && len(names) > 0 {
		hint = "it has " + cut(visible(strings.Join(names, ", ")))
	}
	c.src.add(pos, codePort, "the node %s has no %s port %s", ref.Node, dir, quote(ref.Port)).
		hint("%s", hint)
	return "", false
}

// literal checks that a port of a JSON type is compared with such a value.
func (c *agentCheck) literal(ref PortRef, typ string, t Test, pos position) {
	if kinds := jsonKinds(typ); kinds != "" &&
		!strings.ContainsRune(kinds, rune(jsontext.Value(t.Value).Kind())) {
		c.src.add(pos, codeContent, "%s is %s and is never equal to %s",
			ref, typ, visible(string(t.Value)))
	}
}

// jsonKinds gives the kinds (see jsontext.Kind) of the values that a port can
// carry whose content type is plain JSON, or "" for other content types.
func jsonKinds(typ string) string {
	switch typ {
	case "bool", "boolean":
		return "tf"
	case "number", "integer":
		return "0"
	case "string":
		return `"`
	case "object":
		return "{"
	case "array":
		return "["
	}
	return ""
}
