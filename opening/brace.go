package opening

import (
	"slices"
	"strings"
	"time"
)

// braceParser reads the brace form (docs/openings.md) into the tree that the
// YAML form gives, so that everything behind it is the same for both.
//
// It never looks back and its nesting is bounded. After a mistake in a section,
// a node or an edge it goes on with the next, so one mistake does not hide
// another; where that would be guessing it is left out rather than reported
// twice.
type braceParser struct {
	src  *source
	text string
	toks []braceTok
	i    int
	lost bool // something could not be read at all
	col  int  // where the key of the first section stands
	// root collects the opening, policy what budget and policy say.
	root, policy mapBuilder
}

// parseBrace reads an opening in the brace form, or reports why it cannot and
// gives nil.
func parseBrace(src *source, text string) *tree {
	toks, ok := lexBrace(text)
	if !ok {
		src.add(toks[len(toks)-1].pos, codeSize, "the file is too large: it may have %d words and marks", maxTokens)
		return nil
	}
	p := &braceParser{src: src, text: text, toks: toks}
	if !p.opening() || p.lost {
		return nil // what is missing now would be reported as missing
	}
	return p.root.t
}

// tok is the next token.
func (p *braceParser) tok() *braceTok { return &p.toks[p.i] }

// after is the token n behind the next, or the end.
func (p *braceParser) after(n int) *braceTok {
	return &p.toks[min(p.i+n, len(p.toks)-1)]
}

// take passes over the next token and gives it.
func (p *braceParser) take() *braceTok {
	t := p.tok()
	if t.kind != tokEnd {
		p.i++
	}
	return t
}

// accept passes over s if it comes next.
func (p *braceParser) accept(s string) bool {
	if !p.tok().is(s) {
		return false
	}
	p.i++
	return true
}

// expect passes over s, or reports that it is not there.
func (p *braceParser) expect(s, where string) bool {
	if p.accept(s) {
		return true
	}
	p.wrong(quote(s) + " " + where)
	return false
}

// wrong reports that something else stands where want should.
func (p *braceParser) wrong(want string) *Problem {
	t := p.tok()
	p.lost = true
	switch {
	case t.bad != "":
		return p.src.add(t.pos, codeBrace, "%s", t.bad)
	case t.kind == tokEnd:
		return p.src.add(t.pos, codeBrace, "the file ends where %s should be", want)
	}
	problem := p.src.add(t.pos, codeBrace, "expected %s, got %s", want, quote(p.text[t.off:t.end]))
	if strings.HasPrefix(p.text[t.off:], "//") || strings.HasPrefix(p.text[t.off:], "/*") {
		problem.hint("comments begin with #")
	}
	return problem
}

// skip goes on from a mistake to the key of a section, or to what begins a line
// and is an entry. What was read of the faulty part began at token start.
func (p *braceParser) skip(start int, entry func() bool) {
	p.i = min(max(p.i, start+1), len(p.toks)-1)
	for ; p.tok().kind != tokEnd; p.i++ {
		t := p.tok()
		key := t.kind == tokWord && t.pos.Column == p.col && p.after(1).is(":")
		if t.first && (key || p.atSection() || t.is("}") && t.pos.Column == 1 || entry()) {
			return
		}
	}
}

// never is for sections without entries.
func never() bool { return false }

// opening reads the whole of a file, and reports whether there is a map to go
// on with.
func (p *braceParser) opening() bool {
	if p.tok().kind == tokEnd {
		p.src.add(position{1, 1}, codeEmpty, `the file is empty; an opening is opening "name" { … }`)
		return false
	}
	start := p.tok().pos
	if !p.expect("opening", "and a name, as in opening \"letter\" {") {
		return false
	}
	p.root, p.policy = newMap(p, start), newMap(p, start)
	if t := p.tok(); t.kind == tokString || t.isName() {
		p.root.put("name", p.take().pos, t.tree())
	} else {
		p.wrong("the name of the opening")
	}
	if !p.expect("{", "after the name of the opening") {
		return false
	}
	for p.col = p.tok().pos.Column; !p.tok().is("}") && p.tok().kind != tokEnd; {
		p.section()
		p.separator()
	}
	if p.expect("}", "at the end of the opening") && p.tok().kind != tokEnd {
		p.wrong("the end of the file after the closing }").hint("one file is one opening")
	}
	if len(p.policy.t.pairs) > 0 {
		p.root.put("policy", p.policy.t.pos, p.policy.t)
	}
	if !p.root.has("version") {
		p.root.put("version", start, &tree{kind: kindNumber, text: "0", pos: start})
	}
	if !p.root.has("edges") {
		p.root.put("edges", start, &tree{kind: kindList, pos: start})
	}
	return true
}

// separator passes over a comma or a semicolon, which may stand between
// sections, nodes and edges.
func (p *braceParser) separator() {
	if !p.accept(",") {
		p.accept(";")
	}
}

// sectionKeys are the keys of an opening.
var sectionKeys = []string{
	"version", "goals", "params", "policy", "budget", "nodes", "edges", "success", "artifacts",
}

// atSection reports whether the key of a section comes next.
func (p *braceParser) atSection() bool {
	return p.tok().kind == tokWord && p.after(1).is(":") && slices.Contains(sectionKeys, p.tok().text)
}

// section reads one key of the opening and what belongs to it.
func (p *braceParser) section() {
	key, start := p.tok(), p.i
	if !key.isName() || !p.after(1).is(":") {
		p.wrong("a section such as nodes: or edges:")
		p.skip(start, never)
		return
	}
	if !p.atSection() {
		p.src.add(key.pos, codeUnknown, "unknown key %s in the opening", quote(key.text)).
			hint("%s", p.src.didYouMean(key.text, sectionKeys))
		p.skip(start, never)
		return
	}
	p.i += 2
	if !p.read(key) {
		p.skip(start, never)
	}
}

// read reads what follows the key of a section.
func (p *braceParser) read(key *braceTok) bool {
	switch key.text {
	case "policy":
		return p.policySection(key)
	case "budget":
		return p.budgetSection()
	case "nodes":
		return p.entries(key, p.node, func() bool { return p.after(1).is(":=") })
	case "edges":
		return p.entries(key, p.edge, func() bool {
			return p.tok().kind == tokWord && !p.tok().isName()
		})
	case "success":
		return p.listSection(key, "any_of", "all_of")
	case "artifacts":
		return p.listSection(key, "save")
	}
	v := p.value(1)
	if v != nil {
		p.root.put(key.text, key.pos, v)
	}
	return v != nil
}

// policySection reads limits as a map.
func (p *braceParser) policySection(key *braceTok) bool {
	v := p.value(1)
	if v == nil {
		return false
	}
	if v.kind != kindMap {
		p.root.put(key.text, key.pos, v) // of the wrong kind, which will be said
	}
	for _, e := range v.pairs {
		p.policy.put(e.key, e.pos, e.val)
	}
	return true
}

// budgetSection reads a time, dollars and tokens, each at most once.
func (p *braceParser) budgetSection() bool {
	for {
		t := p.tok()
		switch {
		case p.accept("$"):
			if v := p.number("dollars after $, such as $0.05"); v != nil {
				p.policy.put("budget_usd", t.pos, v)
			}
		case t.kind == tokNumber && p.after(1).is("tokens"):
			if v := p.number("a number of tokens"); v != nil {
				p.policy.put("budget_tokens", t.pos, v)
			}
			p.i++
		default:
			v := p.duration("a limit, such as 30s, $0.05 or 8000 tokens")
			if v == nil {
				return false
			}
			p.policy.put("timeout_ms", t.pos, v)
		}
		if !p.tok().is(",") || p.after(1).kind == tokWord {
			return true
		}
		p.i++
	}
}

// number reads a number.
func (p *braceParser) number(want string) *tree {
	t := p.tok()
	if t.kind == tokNumber {
		return p.numeral()
	}
	p.wrong(want)
	return nil
}

// duration reads a time with its unit as milliseconds.
func (p *braceParser) duration(want string) *tree {
	t := p.tok()
	if t.kind != tokNumber {
		p.wrong(want)
		return nil
	}
	d, err := time.ParseDuration(t.text)
	if err != nil || d != d.Truncate(time.Millisecond) {
		p.wrong(want).hint("a time has the units h, m, s and ms and is whole milliseconds")
		return nil
	}
	p.i++
	return &tree{kind: kindNumber, text: jsonNumber(float64(d.Milliseconds())), pos: t.pos}
}
