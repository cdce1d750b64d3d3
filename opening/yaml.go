package opening

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// parseYAML reads one YAML document as a tree, or reports why it cannot and
// gives nil. The parser trusts its input: it recurses without a bound, copies
// the keys of a map quadratically and spells out the path of every key. So the
// text is looked at first, then the tokens, and only then is it parsed.
func parseYAML(src *source, text string) *tree {
	if !fewIndicators(src, text) {
		return nil
	}
	tokens := lexer.Tokenize(text)
	g := &tokenGuard{src: src}
	if !g.check(tokens) {
		return nil
	}
	doc, err := parseTokens(tokens)
	if err != nil {
		reportSyntax(src, text, err)
		return nil
	}
	if doc == nil {
		src.add(position{1, 1}, codeEmpty, "the file is empty; an opening has version, name, nodes and edges")
		return nil
	}
	c := &converter{src: src, lines: strings.Split(text, "\n"), runes: map[int][]rune{}}
	return c.node(doc)
}

// parseTokens gives the body of the only document, or nil for an empty one.
// A panic of the parser is a syntax error: it has some left for odd input.
func parseTokens(tokens token.Tokens) (body ast.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			body, err = nil, fmt.Errorf("the file cannot be parsed as YAML (%v)", r)
		}
	}()
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, err
	}
	for _, doc := range file.Docs {
		if doc.Body != nil {
			return doc.Body, nil
		}
	}
	return nil, nil
}

// positioned is what the parser's own errors offer. Their Error method quotes
// the source at length and takes quadratic time.
type positioned interface {
	GetMessage() string
	GetToken() *token.Token
}

// reportSyntax reports what the parser said, in our words where they are
// clearer.
func reportSyntax(src *source, text string, err error) {
	var at positioned
	if !errors.As(err, &at) || at.GetToken() == nil || at.GetToken().Position == nil {
		src.add(position{1, 1}, codeSyntax, "%s", visible(err.Error()))
		return
	}
	pos := tokenPos(at.GetToken())
	if line := lineOf(text, pos.Line); strings.HasPrefix(strings.TrimLeft(line, " "), "\t") {
		src.add(pos, codeSyntax, "this line is indented with a tab").hint("YAML indents with spaces")
		return
	}
	src.add(pos, codeSyntax, "not valid YAML: %s", visible(at.GetMessage()))
}

// lineOf gives a line of text by number.
func lineOf(text string, n int) string {
	lines := strings.SplitN(text, "\n", n+1)
	if n < 1 || n > len(lines) {
		return ""
	}
	return lines[n-1]
}

// tokenPos is the position of a token. Some that the parser makes up have none.
func tokenPos(tk *token.Token) position {
	if tk == nil || tk.Position == nil {
		return position{}
	}
	return position{max(tk.Position.Line, 1), max(tk.Position.Column, 1)}
}

// converter turns the parser's nodes into a tree.
type converter struct {
	src   *source
	lines []string
	runes map[int][]rune // lines that were looked into, by number
}

// node converts any node. What it does not know cannot come past the guard, but
// is reported all the same.
func (c *converter) node(n ast.Node) *tree {
	switch n := n.(type) {
	case *ast.MappingNode:
		return c.mapping(n)
	case *ast.MappingValueNode:
		return c.mapping(&ast.MappingNode{Values: []*ast.MappingValueNode{n}})
	case *ast.SequenceNode:
		t := &tree{kind: kindList, pos: tokenPos(n.GetToken())}
		for _, v := range n.Values {
			t.items = append(t.items, c.node(v))
		}
		return t
	case *ast.LiteralNode:
		return &tree{kind: kindString, pos: tokenPos(n.Start), text: n.Value.Value}
	case ast.ScalarNode:
		return c.scalar(n)
	}
	pos := position{1, 1}
	if n != nil {
		pos = tokenPos(n.GetToken())
	}
	c.src.add(pos, codeFeature, "openings do not use this part of YAML")
	return &tree{kind: kindNull, pos: pos}
}

// mapping converts a map and reports keys that come twice; the first one counts.
func (c *converter) mapping(n *ast.MappingNode) *tree {
	t := &tree{kind: kindMap}
	if n.Start != nil {
		t.pos = tokenPos(n.Start)
	}
	seen := map[string]position{}
	for _, v := range n.Values {
		tk := v.Key.GetToken()
		key, pos := tk.Value, tokenPos(tk)
		if !n.IsFlowStyle && (t.pos == position{} || len(t.pairs) == 0) {
			t.pos = pos
		}
		if first, twice := seen[key]; twice {
			c.src.add(pos, codeDuplicate, "the key %s is already there, in line %d", quote(key), first.Line)
			continue
		}
		seen[key] = pos
		t.pairs = append(t.pairs, pair{key, pos, c.value(v.Value, pos)})
	}
	return t
}

// value is node for the value of a key: one that is not there is null and
// stands where its key does.
func (c *converter) value(n ast.Node, key position) *tree {
	if n == nil || n.GetToken() != nil && n.GetToken().Type == token.ImplicitNullType {
		return &tree{kind: kindNull, pos: key}
	}
	return c.node(n)
}

// scalar converts a scalar. The parser's own idea of its type is not used.
func (c *converter) scalar(n ast.ScalarNode) *tree {
	tk := n.GetToken()
	t := &tree{kind: kindString, pos: tokenPos(tk), text: tk.Value}
	switch tk.Type {
	case token.ImplicitNullType:
		t.kind, t.text = kindNull, ""
		return t
	case token.SingleQuoteType, token.DoubleQuoteType:
		c.locate(t, t.pos.Column)
		return t
	}
	var problem string
	if t.text != "" && strings.IndexByte(",[]{}#&*!|>'\"%@`", t.text[0]) >= 0 {
		c.src.add(t.pos, codeSyntax, "not valid YAML: text that starts with %s must be quoted",
			quote(t.text[:1]))
	}
	t.kind, t.text, problem = resolvePlain(t.text)
	if problem != "" {
		c.src.add(t.pos, codeNumber, "%s %s", visible(cut(tk.Value)), problem)
		t.text = "0"
	}
	c.locate(t, t.pos.Column-1)
	return t
}

// locate finds out whether a string stands on its line just as it reads, from
// column on, so that a mistake inside it has a position of its own.
func (c *converter) locate(t *tree, column int) {
	if t.kind != kindString || t.pos.Line > len(c.lines) {
		return
	}
	line, ok := c.runes[t.pos.Line]
	if !ok {
		line = []rune(c.lines[t.pos.Line-1])
		c.runes[t.pos.Line] = line
	}
	i := column
	for _, r := range t.text {
		if i >= len(line) || line[i] != r {
			return
		}
		i++
	}
	t.plain, t.pos.Column = true, column+1
}
