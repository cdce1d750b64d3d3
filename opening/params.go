package opening

import (
	"encoding/json"
	"slices"
	"strings"
)

// paramSet is the parameters of a run: the opening's defaults with what was
// given laid over them, and the paths that templates use.
type paramSet struct {
	src      *source
	defaults *tree
	used     map[string]bool // paths in templates, joined with dots
	values   *tree
	listed   []string // see names
}

// mergeParams lays given over the defaults: maps merge key by key, everything
// else replaces. A value must have the type of its default, and a parameter
// that neither has a default nor is used by a template is a mistake, because
// it is nearly always a misspelt one.
//
//	defaults  {to: {name: "", cc: []}, tone: plain, extra: null}
//	given     {to: {name: "John"}, extra: {urgent: true}}
//	merged    {to: {name: "John", cc: []}, tone: plain, extra: {urgent: true}}
//
// A default of null says that a parameter exists and may have any type.
func mergeParams(src *source, defaults json.RawMessage, given *tree, used map[string]bool) *paramSet {
	p := &paramSet{src: src, used: used,
		defaults: &tree{kind: kindMap}, values: &tree{kind: kindMap}}
	if len(defaults) > 0 {
		if t := parseJSON(src, defaults); t != nil {
			p.defaults, p.values = t, t
		}
	}
	if given == nil {
		return p
	}
	from := newSource("params")
	q := &paramSet{src: from, defaults: p.defaults, used: used}
	p.values = q.merge(p.defaults, given, "")
	src.problems = append(src.problems, from.problems...)
	return p
}

// parseParams reads the parameters of a run, a JSON map or nothing, and gives
// nil for nothing and for what it reported.
func parseParams(src *source, given json.RawMessage) *tree {
	if len(given) == 0 {
		return nil
	}
	from := newSource("params")
	t := parseJSON(from, given)
	if t != nil && t.kind != kindMap {
		from.add(position{}, codeParam, "the parameters must be a map, not %s", t.kind)
		t = nil
	}
	src.problems = append(src.problems, from.problems...)
	return t
}

// merge gives base with over laid on top. path is where both stand, ending in
// a dot unless it is empty.
func (p *paramSet) merge(base, over *tree, path string) *tree {
	out := &tree{kind: kindMap}
	for _, b := range base.pairs {
		val := b.val
		if o := over.get(b.key); o != nil {
			val = p.replace(b.val, o, path+b.key)
		}
		out.pairs = append(out.pairs, pair{key: b.key, val: val})
	}
	for _, o := range over.pairs {
		if base.get(o.key) != nil {
			continue
		}
		p.checkKnown(base, path, o.key)
		out.pairs = append(out.pairs, o)
	}
	return out
}

// replace decides about a parameter that has a default and was given as well.
func (p *paramSet) replace(base, over *tree, path string) *tree {
	switch {
	case base.kind == kindMap && over.kind == kindMap:
		return p.merge(base, over, path+".")
	case base.kind == kindNull || base.kind == over.kind || over.kind == kindHole:
		return over
	}
	p.src.add(position{}, codeParam, "the parameter %s must be %s, as its default is, not %s",
		visible(path), base.kind, over.kind)
	return base
}

// checkKnown reports a parameter without a default, unless a template uses it,
// something in it or something around it. An empty map as default is open.
func (p *paramSet) checkKnown(base *tree, path, key string) {
	if path != "" && len(base.pairs) == 0 || len(p.src.problems) > maxProblems {
		return
	}
	full := path + key
	for use := range p.used {
		if use == full || strings.HasPrefix(use, full+".") || strings.HasPrefix(full, use+".") {
			return
		}
	}
	known := make([]string, 0, len(base.pairs))
	for _, b := range base.pairs {
		known = append(known, b.key)
	}
	for use := range p.used {
		if rest, ok := strings.CutPrefix(use, path); ok {
			first, _, _ := strings.Cut(rest, ".")
			known = append(known, first)
		}
	}
	slices.Sort(known)
	p.src.add(position{}, codeParam, "the opening has no parameter %s", visible(full)).
		hint("%s", p.src.didYouMean(key, slices.Compact(known)))
}

// Parameters names the parameters that a run may be given at the top level,
// sorted: those with a default and those that only templates use.
func (o *Opening) Parameters() []string {
	src := newSource(o.Name)
	used := checkTemplates(src, withTrees(src, o))
	if t := parseParams(src, o.Params); t != nil {
		for _, d := range t.pairs {
			used[d.key] = true
		}
	}
	names := make([]string, 0, len(used))
	for path := range used {
		first, _, _ := strings.Cut(path, ".")
		names = append(names, first)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// lookup gives the value at path, or nil.
func (p *paramSet) lookup(path []string) *tree {
	t := p.values
	for _, seg := range path {
		if t = t.get(seg); t == nil || t.kind == kindHole {
			return t
		}
	}
	return t
}

// names lists the parameters that have values, with dots for those inside
// others.
func (p *paramSet) names() []string {
	if p.listed == nil {
		p.listed = append(listPaths(nil, p.values, ""), "")
	}
	return p.listed
}

// listPaths adds the paths of all entries below t.
func listPaths(dst []string, t *tree, prefix string) []string {
	for _, e := range t.pairs {
		dst = append(dst, prefix+e.key)
		dst = listPaths(dst, e.val, prefix+e.key+".")
	}
	return dst
}
