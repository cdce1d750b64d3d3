package opening

import (
	"slices"
	"strings"
)

// entries reads nodes or edges, one by one, until something else comes. isEntry
// tells what begins like one.
func (p *braceParser) entries(key *braceTok, read func() *tree, isEntry func() bool) bool {
	list := &tree{kind: kindList, pos: key.pos}
	for !p.tok().is("}") && p.tok().kind != tokEnd && !p.atSection() {
		start := p.i
		if entry := read(); entry != nil {
			list.items = append(list.items, entry)
		} else {
			p.skip(start, isEntry)
		}
		p.separator()
	}
	p.root.put(key.text, key.pos, list)
	return true
}

// node reads one node, or reports why it cannot and gives nil:
//
//	draft := agent("writer", tone="plain", retry={max_attempts: 2})
func (p *braceParser) node() *tree {
	id := p.tok()
	if !id.isName() {
		p.wrong("a node, as in draft := agent(\"writer\")")
		return nil
	}
	p.i++
	if !p.expect(":=", "after the id of the node") {
		return nil
	}
	n := newMap(p, id.pos)
	n.put("id", id.pos, id.tree())
	kind := p.tok()
	if !kind.is("agent") && !kind.is("opening") {
		p.wrong("agent(…) or opening(…)").hint("%s", p.src.didYouMean(kind.text, []string{"agent", "opening"}))
		return nil
	}
	p.i++
	if !p.expect("(", "after "+kind.text) {
		return nil
	}
	name := p.tok()
	if name.kind != tokString {
		p.wrong("the name of the " + kind.text + " in quotes")
		return nil
	}
	p.i++
	use := name.tree()
	use.text, use.plain = kind.text+":"+name.text, false
	n.put("use", kind.pos, use)
	if !p.another(")") || !p.arguments(&n, kind.pos) {
		return nil
	}
	return n.t
}

// arguments are the arguments of a node that are not for its agent.
var arguments = map[string]bool{
	"with": true, "retry": true, "timeout": true, "timeout_ms": true, "budget_tokens": true, "tags": true,
}

// arguments reads key=value up to the closing parenthesis: what arguments names
// belongs to the node, all else to its with map.
func (p *braceParser) arguments(n *mapBuilder, pos position) bool {
	with := newMap(p, pos)
	for !p.accept(")") {
		key := p.tok()
		if !key.isName() {
			p.wrong("an argument, as in tone=\"plain\"")
			return false
		}
		p.i++
		if !p.expect("=", "after "+quote(key.text)) {
			return false
		}
		if !p.argument(n, &with, key) || !p.another(")") {
			return false
		}
	}
	if len(with.t.pairs) > 0 {
		n.put("with", with.t.pos, with.t)
	}
	return true
}

// nodeDepth is how deep the keys of a node are nested in the tree: in the
// opening, its nodes and the node.
const nodeDepth = 3

// argument reads the value of one argument.
func (p *braceParser) argument(n, with *mapBuilder, key *braceTok) bool {
	if key.text == "timeout" {
		v := p.duration("a time, such as 30s")
		if v != nil {
			n.put("timeout_ms", key.pos, v)
		}
		return v != nil
	}
	depth := nodeDepth + 1 // in the with map
	if arguments[key.text] {
		depth = nodeDepth
	}
	v := p.value(depth)
	switch {
	case v == nil:
		return false
	case key.text == "with" && v.kind == kindMap:
		for _, e := range v.pairs {
			with.put(e.key, e.pos, e.val)
		}
	case arguments[key.text]:
		n.put(key.text, key.pos, v)
	default:
		with.put(key.text, key.pos, v)
	}
	return true
}

// edge reads one edge, which stands on one line, or reports why it cannot and
// gives nil:
//
//	review.ok == true -> send.in
func (p *braceParser) edge() *tree {
	start := p.tok()
	from := p.expression("->")
	if from == nil {
		return nil
	}
	if p.tok().first || !p.accept("->") {
		p.wrong("-> and the port that the edge goes to")
		return nil
	}
	to := p.tok()
	if to.kind != tokWord || to.first {
		p.wrong("the port that the edge goes to")
		return nil
	}
	p.i++
	if t := p.tok(); !t.first && !t.is(",") && !t.is(";") && !t.is("}") && t.kind != tokEnd {
		p.wrong("the end of the line after the edge")
		return nil
	}
	e := newMap(p, start.pos)
	e.put("from", start.pos, from)
	e.put("to", to.pos, to.tree())
	return e.t
}

// expression gives what stands before end, a comma or the end of the line as
// text; whether it makes sense is found out where the YAML form does.
func (p *braceParser) expression(end string) *tree {
	start := p.tok()
	if start.kind != tokWord {
		p.wrong("a port, as in review.ok")
		return nil
	}
	open := 0
	last := start
	for t := start; t == start || !t.first && t.kind != tokEnd; t = p.tok() {
		if open == 0 && (t.is(end) || t.is(",") || t.is(";") || t.is("}")) {
			break
		}
		switch {
		case t.is("("):
			open++
		case t.is(")"):
			open--
		}
		last = p.take()
	}
	text := strings.ReplaceAll(p.text[start.off:last.end], "\t", " ")
	return &tree{kind: kindString, pos: start.pos, text: text, plain: true}
}

// listSection reads one of words and its expressions, as in any_of(…) and
// save(…).
func (p *braceParser) listSection(key *braceTok, words ...string) bool {
	word := p.tok()
	if !word.isName() || !slices.Contains(words, word.text) {
		p.wrong(strings.Join(words, "(…) or ") + "(…)")
		return false
	}
	m := newMap(p, word.pos)
	items := p.expressions()
	if items == nil {
		return false
	}
	m.put(word.text, word.pos, items)
	p.root.put(key.text, key.pos, m.t)
	return true
}

// expressions reads a word and a list of expressions in parentheses.
func (p *braceParser) expressions() *tree {
	list := &tree{kind: kindList, pos: p.take().pos}
	if !p.expect("(", "and a list") {
		return nil
	}
	for !p.accept(")") {
		e := p.expression(")")
		if e == nil {
			return nil
		}
		list.items = append(list.items, e)
		if !p.another(")") {
			return nil
		}
	}
	return list
}
