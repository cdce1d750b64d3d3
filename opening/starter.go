package opening

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// Starter makes an opening out of agents, in their order: a node for each, an
// edge to every input port from the nearest node before it that gives such a
// value, and a parameter for everything that an agent must be told. It is a
// beginning that can be checked and run, not a plan.
func Starter(name string, cat Catalog, refs []string) (*Opening, error) {
	if !isIdentifier(name) {
		return nil, fmt.Errorf("%s is not the name of an opening: it must be %s", quote(name), identifierRule)
	}
	s := &starter{o: &Opening{Name: name}, params: map[string]json.RawMessage{}}
	for _, ref := range refs {
		m, err := cat.Manifest(ref)
		if err != nil {
			return nil, fmt.Errorf("agent %s: %w", quote(ref), err)
		}
		s.add(ref, m)
	}
	if len(s.params) > 0 {
		s.o.Params = mustJSON(s.params)
	}
	return s.o, nil
}

// starter collects the parts of an opening.
type starter struct {
	o         *Opening
	manifests []*Manifest
	params    map[string]json.RawMessage
}

// add adds a node for an agent.
func (s *starter) add(ref string, m *Manifest) {
	n := Node{ID: s.id(ref), Use: "agent:" + ref, With: s.with(m)}
	for _, port := range sortedKeys(m.In) {
		if from, ok := s.source(m.In[port]); ok {
			s.o.Edges = append(s.o.Edges, Edge{From: from, To: PortRef{n.ID, port}})
		}
	}
	s.o.Nodes = append(s.o.Nodes, n)
	s.manifests = append(s.manifests, m)
}

// id makes the id of a node from the name of its agent.
func (s *starter) id(ref string) string {
	base := ref
	if i := slices.Index([]byte(ref), '@'); i >= 0 {
		base = ref[:i]
	}
	taken := func(id string) bool {
		return slices.ContainsFunc(s.o.Nodes, func(n Node) bool { return n.ID == id })
	}
	id := base
	for i := 2; taken(id); i++ {
		id = base[:min(len(base), 60)] + "_" + strconv.Itoa(i)
	}
	return id
}

// source gives the nearest port before that has values of a type. Ports of any
// type are left alone: only who writes the opening knows what they are for.
func (s *starter) source(typ string) (PortRef, bool) {
	if typ == Any {
		return PortRef{}, false
	}
	for i, m := range slices.Backward(s.manifests) {
		for _, port := range sortedKeys(m.Out) {
			if m.Out[port] == typ {
				return PortRef{s.o.Nodes[i].ID, port}, true
			}
		}
	}
	return PortRef{}, false
}

// with gives the with map of an agent: a parameter for each property that it
// requires.
func (s *starter) with(m *Manifest) json.RawMessage {
	if len(m.With) == 0 {
		return nil
	}
	schema := parseJSON(newSource("schema"), m.With)
	if schema == nil || schema.get("required") == nil {
		return nil
	}
	with := map[string]string{}
	for _, key := range schema.get("required").items {
		if !isSegment(key.text) {
			continue
		}
		with[key.text] = "{{params." + key.text + "}}"
		if s.params[key.text] == nil {
			s.params[key.text] = exampleOf(schema.get("properties"), key.text)
		}
	}
	if len(with) == 0 {
		return nil
	}
	return mustJSON(with)
}

// exampleOf gives a default for a property that its schema allows, as far as
// that is easily said.
func exampleOf(properties *tree, key string) json.RawMessage {
	var p *tree
	if properties != nil {
		p = properties.get(key)
	}
	if p == nil {
		return json.RawMessage("null")
	}
	if enum := p.get("enum"); enum != nil && len(enum.items) > 0 {
		return mustJSON(json.RawMessage(enum.items[0].appendJSON(nil)))
	}
	typ := p.get("type")
	if typ == nil {
		return json.RawMessage("null")
	}
	switch typ.text {
	case "string":
		return json.RawMessage(`"…"`)
	case "integer", "number":
		if low := p.get("minimum"); low != nil {
			return json.RawMessage(low.text)
		}
		return json.RawMessage("1")
	case "boolean":
		return json.RawMessage("false")
	case "array":
		return json.RawMessage("[]")
	case "object":
		return json.RawMessage("{}")
	}
	return json.RawMessage("null")
}
