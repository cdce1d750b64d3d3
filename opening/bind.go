package opening

import (
	"encoding/json"
	"strconv"
	"strings"
)

// withTrees parses the with maps of all nodes; a node without one has an empty
// map.
func withTrees(src *source, o *Opening) []*tree {
	out := make([]*tree, len(o.Nodes))
	for i, n := range o.Nodes {
		if len(n.With) > 0 {
			out[i] = parseJSON(src, n.With)
		}
		if out[i] == nil {
			out[i] = &tree{kind: kindMap}
		}
	}
	return out
}

// checkTemplates reports the mistakes in templates and gives the parameters
// that they name.
func checkTemplates(src *source, with []*tree) map[string]bool {
	c := &templateCheck{src: src, used: map[string]bool{}}
	for i, t := range with {
		c.walk(t, withPath(i))
	}
	return c.used
}

// withPath is the path of a node's with map, as places has it.
func withPath(node int) string { return "nodes/" + strconv.Itoa(node) + "/with" }

// templateCheck goes through with maps and collects what their templates name.
type templateCheck struct {
	src  *source
	used map[string]bool
}

// walk looks at every string below t, which stands at path. Keys are never
// filled in, so a template in one is a mistake.
func (c *templateCheck) walk(t *tree, path string) {
	switch t.kind {
	case kindString:
		c.str(t.text, path)
	case kindList:
		for i, item := range t.items {
			c.walk(item, path+"/"+strconv.Itoa(i))
		}
	case kindMap:
		for _, p := range t.pairs {
			below := path + "/" + escapeSegment(p.key)
			if strings.Contains(p.key, "{{") {
				c.src.add(c.src.key(below), codeTemplate, "a key cannot hold a template: %s", quote(p.key))
			}
			c.walk(p.val, below)
		}
	}
}

// str looks at one string.
func (c *templateCheck) str(s, path string) {
	parts, err := parseTemplate(s)
	if err != nil {
		pos := c.src.find(path).inside(s, err.off)
		c.src.add(pos, codeTemplate, "%s", err.msg).hint("%s", err.hint)
		return
	}
	for _, p := range parts {
		if p.path != nil {
			c.used[strings.Join(p.path, ".")] = true
		}
	}
}

// filler puts parameters into with maps. What it puts in is data: it is not
// looked at for templates again.
type filler struct {
	src    *source
	params *paramSet
	size   int // bytes put in so far
	full   bool
}

// fill gives t with its templates replaced. A template that cannot be filled
// in leaves a hole.
func (f *filler) fill(t *tree, path string) *tree {
	switch t.kind {
	case kindString:
		return f.str(t, path)
	case kindList:
		out := *t
		out.items = make([]*tree, len(t.items))
		for i, item := range t.items {
			out.items[i] = f.fill(item, path+"/"+strconv.Itoa(i))
		}
		return &out
	case kindMap:
		out := *t
		out.pairs = make([]pair, len(t.pairs))
		for i, p := range t.pairs {
			p.val = f.fill(p.val, path+"/"+escapeSegment(p.key))
			out.pairs[i] = p
		}
		return &out
	}
	return t
}

// str fills in one string. A string that is exactly one template becomes the
// parameter with its type; in a longer one only scalars make sense.
func (f *filler) str(t *tree, path string) *tree {
	parts, err := parseTemplate(t.text)
	if err != nil { // reported by checkTemplates
		return &tree{kind: kindHole}
	}
	var b strings.Builder
	for _, p := range parts {
		if p.path == nil {
			b.WriteString(p.text)
			continue
		}
		val := f.value(p, t.text, path)
		if len(parts) == 1 || val.kind == kindHole {
			return val
		}
		if val.kind != kindString && val.kind != kindNumber && val.kind != kindBool {
			f.src.add(f.src.find(path).inside(t.text, p.off), codeTemplate,
				"the parameter %s is %s and cannot be put into a longer text",
				strings.Join(p.path, "."), val.kind)
			return &tree{kind: kindHole}
		}
		b.WriteString(val.text)
	}
	return &tree{kind: kindString, text: b.String(), pos: t.pos}
}

// value looks a parameter up and counts what it adds.
func (f *filler) value(p part, text, path string) *tree {
	hole := &tree{kind: kindHole}
	if f.full {
		return hole
	}
	pos := f.src.find(path).inside(text, p.off)
	val := f.params.lookup(p.path)
	if val == nil {
		name := strings.Join(p.path, ".")
		hint := "give it with -p " + name + "=…, or a default under params"
		if near := f.src.didYouMean(name, f.params.names()); near != "" {
			hint = near + " If not, " + hint
		}
		f.src.add(pos, codeParam, "the parameter %s has no value", name).hint("%s", hint)
		return hole
	}
	if f.size += len(val.appendJSON(nil)); f.size > maxWithBytes {
		f.full = true
		f.src.add(pos, codeSize,
			"the with maps have more than %d bytes once parameters are filled in", maxWithBytes)
		return hole
	}
	return val
}

// json gives the filled trees as canonical JSON.
func (f *filler) json(trees []*tree) []json.RawMessage {
	out := make([]json.RawMessage, len(trees))
	for i, t := range trees {
		raw, err := canonical(t.appendJSON(nil))
		if err != nil {
			f.src.add(f.src.val(withPath(i)), codeType, "with cannot be written as JSON: %v", err)
		}
		out[i] = raw
	}
	return out
}
