package opening

// mapBuilder puts a map together and reports keys that come twice; as in YAML
// the first one counts.
type mapBuilder struct {
	p    *braceParser
	t    *tree
	seen map[string]position
}

// newMap begins a map at pos.
func newMap(p *braceParser, pos position) mapBuilder {
	return mapBuilder{p: p, t: &tree{kind: kindMap, pos: pos}, seen: map[string]position{}}
}

// has reports whether the map has a key.
func (m *mapBuilder) has(key string) bool {
	_, ok := m.seen[key]
	return ok
}

// put adds an entry.
func (m *mapBuilder) put(key string, pos position, val *tree) {
	if first, twice := m.seen[key]; twice {
		m.p.src.add(pos, codeDuplicate, "the key %s is already there, in line %d", quote(key), first.Line)
		return
	}
	if len(key) > maxKeyBytes {
		m.p.src.add(pos, codeSize, "a key may have %d bytes; this one has %d", maxKeyBytes, len(key))
	}
	m.seen[key] = pos
	m.t.pairs = append(m.t.pairs, pair{key, pos, val})
}

// tree gives a string, or a word that stands for one, as a value.
func (t *braceTok) tree() *tree {
	v := &tree{kind: kindString, pos: t.pos, text: t.text, plain: t.plain || t.kind == tokWord}
	if t.kind == tokString {
		v.pos.Column++
	}
	return v
}

// value reads a value that is nested depth deep, or reports why it cannot and
// gives nil.
func (p *braceParser) value(depth int) *tree {
	t := p.tok()
	if (t.is("[") || t.is("{")) && depth >= maxDepth {
		p.src.add(t.pos, codeSize, "maps and lists are nested more than %d deep", maxDepth)
		p.lost = true
		return nil
	}
	switch {
	case t.kind == tokString:
		p.i++
		return t.tree()
	case t.kind == tokNumber:
		return p.numeral()
	case t.is("["):
		return p.list(depth + 1)
	case t.is("{"):
		return p.mapping(depth + 1)
	case t.is("true"), t.is("false"):
		p.i++
		return &tree{kind: kindBool, text: t.text, pos: t.pos}
	case t.is("null"):
		p.i++
		return &tree{kind: kindNull, pos: t.pos}
	case t.kind == tokWord:
		p.src.add(t.pos, codeBrace, "text must be quoted").hint("write %s", quote(t.text))
		p.i++
		return &tree{kind: kindHole, pos: t.pos}
	}
	p.wrong("a value")
	return nil
}

// numeral reads a number as YAML does. What begins like one and is none is
// reported, and passed over.
func (p *braceParser) numeral() *tree {
	t := p.take()
	k, text, problem := resolvePlain(t.text)
	switch {
	case k != kindNumber:
		p.src.add(t.pos, codeBrace, "%s is not a number", quote(t.text)).
			hint("quote it if it is text; times with units stand only after budget: and timeout=")
	case problem != "":
		p.src.add(t.pos, codeNumber, "%s %s", visible(cut(t.text)), problem)
	default:
		return &tree{kind: kindNumber, text: text, pos: t.pos}
	}
	return &tree{kind: kindHole, pos: t.pos}
}

// list reads a list.
func (p *braceParser) list(depth int) *tree {
	t := &tree{kind: kindList, pos: p.take().pos}
	for !p.accept("]") {
		v := p.value(depth)
		if v == nil {
			return nil
		}
		t.items = append(t.items, v)
		if !p.another("]") {
			return nil
		}
	}
	return t
}

// mapping reads a map.
func (p *braceParser) mapping(depth int) *tree {
	m := newMap(p, p.take().pos)
	for !p.accept("}") {
		key := p.tok()
		if key.kind != tokString && !key.isName() {
			p.wrong("a key")
			return nil
		}
		p.i++
		if !p.expect(":", "after the key "+quote(key.text)) {
			return nil
		}
		v := p.value(depth)
		if v == nil {
			return nil
		}
		m.put(key.text, key.pos, v)
		if !p.another("}") {
			return nil
		}
	}
	return m.t
}

// another passes over what stands between two items: a comma or the end of the
// line. Before closing there may be either or nothing.
func (p *braceParser) another(closing string) bool {
	if p.accept(",") || p.tok().is(closing) || p.tok().first && p.tok().kind != tokEnd {
		return true
	}
	p.wrong(`"," or ` + quote(closing))
	return false
}
