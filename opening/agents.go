package opening

import (
	"errors"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// checkConfirm refuses a node that asks to skip the confirmation which the
// opening demands. An agent gets with as text too, so "false" counts as well.
func checkConfirm(src *source, o *Opening, with []*tree) {
	if !o.Policy.ConfirmExternal {
		return
	}
	for i, t := range with {
		v := t.get("require_human_confirm")
		if v == nil || v.kind == kindHole || !strings.EqualFold(v.text, "false") {
			continue
		}
		src.add(src.val(withPath(i)+"/require_human_confirm"), codeConfirm,
			"require_human_confirm: false contradicts policy.confirm_external: true").
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
	found map[string]found     // by reference
	nodes map[string]*Manifest // by node, where there is one
	names []string             // of the catalog, once they are needed
}

// found is what the catalog gave for a reference.
type found struct {
	manifest *Manifest
	schema   *withSchema
	err      error
}

// check reports what does not fit and notes the digests. A nil catalog knows
// no agents, so nothing is checked.
func (c *agentCheck) check(cat Catalog) {
	if cat == nil {
		return
	}
	c.cat, c.found, c.nodes = cat, map[string]found{}, map[string]*Manifest{}
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
	ref := n.Ref()
	if n.Nested() != "" {
		c.src.add(c.src.val("nodes/"+strconv.Itoa(i)+"/use"), codeNested,
			"nested openings (use: %s) are not supported by this version", quote(n.Use))
		return
	}
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

// edge checks that both ports of an edge exist and carry the same.
func (c *agentCheck) edge(e Edge, path string) {
	pos := c.src.val(path + "/from")
	out, okOut := c.output(e.From, pos)
	if okOut && e.Guard != nil {
		c.literal(e.From, out, *e.Guard, pos)
	}
	in, okIn := c.input(e.To, c.src.val(path+"/to"))
	if okOut && okIn && out != in && out != Any && in != Any {
		c.src.add(c.src.val(path+"/to"), codeContent, "%s gives %s, but %s takes %s",
			e.From, visible(out), e.To, visible(in))
	}
}

// output gives the content type of a port that leaves a node.
func (c *agentCheck) output(ref PortRef, pos position) (string, bool) {
	m := c.nodes[ref.Node]
	if m == nil {
		return "", false
	}
	if len(m.Out) == 0 && ref.Port == "out" {
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
