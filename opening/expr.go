package opening

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// PortRef names a port of a node, written node.port. The output ports of a node
// that uses an opening are the ports of the nodes in it, so that Port is itself
// node.port: letter.draft.out is the port out of the node draft in the opening
// that letter uses.
type PortRef struct {
	Node, Port string
}

// String gives node.port.
func (r PortRef) String() string { return r.Node + "." + r.Port }

// MarshalText gives node.port.
func (r PortRef) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// ops are the operators of a Test.
var ops = []string{"==", "!=", ">=", "<=", ">", "<"} // longer before shorter

// Test compares the value of a port with a literal.
type Test struct {
	// Op is one of == != > >= < <=.
	Op string
	// Value is true, false, a number or a string, in canonical JSON.
	Value json.RawMessage
}

// Edge carries the value of an output port to an input port. With a guard the
// node behind it runs only if the test holds.
type Edge struct {
	From  PortRef
	Guard *Test // nil for an edge without one
	To    PortRef
}

// Expr is one expression of success: a test of a port or, without a test, that
// the port has a value.
type Expr struct {
	Port PortRef
	Test *Test
}

// String gives the test as it is written behind a port.
func (t Test) String() string { return t.Op + " " + string(t.Value) }

// String gives the expression as it is written in a file.
func (e Expr) String() string {
	if e.Test == nil {
		return "exists(" + e.Port.String() + ")"
	}
	return e.Port.String() + " " + e.Test.String()
}

// MarshalText gives the expression as it is written in a file.
func (e Expr) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// start gives the first end of the edge as it is written in a file.
func (e Edge) start() string {
	if e.Guard == nil {
		return e.From.String()
	}
	return e.From.String() + " " + e.Guard.String()
}

// MarshalJSON gives the edge as it is written in a file.
func (e Edge) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		From string  `json:"from"`
		To   PortRef `json:"to"`
	}{e.start(), e.To})
}

// Holds reports whether value passes the test. Values of another type than the
// literal are different from it and neither more nor less.
func (t Test) Holds(value json.RawMessage) bool {
	c, ok := compareJSON(value, t.Value)
	switch t.Op {
	case "==":
		return ok && c == 0
	case "!=":
		return !ok || c != 0
	case ">":
		return ok && c > 0
	case ">=":
		return ok && c >= 0
	case "<":
		return ok && c < 0
	case "<=":
		return ok && c <= 0
	}
	return false
}

// compareJSON orders two scalars of the same type; ok is false for others.
// Booleans are only equal or not, and Test has no other operator for them.
func compareJSON(a, b json.RawMessage) (order int, ok bool) {
	ka, kb := jsontext.Value(a).Kind(), jsontext.Value(b).Kind()
	switch {
	case ka == '"' && kb == '"':
		var x, y string
		if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
			return 0, false
		}
		return strings.Compare(x, y), true
	case ka == '0' && kb == '0':
		return compareNumbers(a, b)
	case ka == kb && (ka == 't' || ka == 'f'):
		return 0, true
	}
	return 0, false
}

// compareNumbers compares as doubles, which is what canonical JSON holds.
func compareNumbers(a, b json.RawMessage) (order int, ok bool) {
	var x, y float64
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return 0, false
	}
	switch {
	case x < y:
		return -1, true
	case x > y:
		return 1, true
	}
	return 0, true
}

// exprParser reads the small language of edges and success expressions
// (spec/04 "YAML") from left to right, without recursion. The first mistake
// stops it.
//
//	from    = port [ op literal ] .
//	to      = port .
//	expr    = port op literal | "exists(" port ")" .
//	port    = id "." { id "." } name .
//	op      = "==" | "!=" | ">" | ">=" | "<" | "<=" .
//	literal = "true" | "false" | number | string .
//
// Spaces may stand between any two of them, but not inside a port. Numbers are
// those of JSON; strings are in double quotes with JSON's escapes, or in single
// quotes without any. There is no "and", no "or" and no nesting: several
// conditions are several edges, or several expressions.
type exprParser struct {
	in  string
	off int
	msg string // of the first mistake
	bad int    // its offset
}

// exprError is a mistake at a byte of an expression.
type exprError struct {
	off int
	msg string
}

// Error gives the message without a position, which the caller knows.
func (e *exprError) Error() string { return e.msg }

// err gives the first mistake, or nil.
func (p *exprParser) err() error {
	if p.msg == "" {
		return nil
	}
	return &exprError{p.bad, p.msg}
}

// fail notes a mistake; only the first counts, since what follows it is often
// its consequence.
func (p *exprParser) fail(off int, format string, args ...any) {
	if p.msg == "" {
		p.bad, p.msg = off, fmt.Sprintf(format, args...)
	}
}

// parseEdgeStart reads node.port[ op literal].
func parseEdgeStart(s string) (PortRef, *Test, error) {
	p := exprParser{in: s}
	ref := p.port()
	var test *Test
	if p.space(); p.off < len(p.in) {
		test = p.test()
	}
	p.end()
	return ref, test, p.err()
}

// parsePort reads node.port.
func parsePort(s string) (PortRef, error) {
	p := exprParser{in: s}
	ref := p.port()
	p.end()
	return ref, p.err()
}

// parseExpr reads node.port op literal or exists(node.port).
func parseExpr(s string) (Expr, error) {
	p := exprParser{in: s}
	if p.space(); p.accept("exists(") {
		ref := p.port()
		if p.space(); !p.accept(")") {
			p.fail(p.off, "expected ) after the port")
		}
		p.end()
		return Expr{Port: ref}, p.err()
	}
	ref := p.port()
	if p.space(); p.off == len(p.in) && p.msg == "" {
		p.fail(p.off, "expected an operator after %s, or exists(%s)", visible(s), ref)
	}
	e := Expr{Port: ref, Test: p.test()}
	p.end()
	return e, p.err()
}

// space passes over spaces.
func (p *exprParser) space() {
	for p.off < len(p.in) && p.in[p.off] == ' ' {
		p.off++
	}
}

// accept passes over tok if it comes next.
func (p *exprParser) accept(tok string) bool {
	if !strings.HasPrefix(p.in[p.off:], tok) {
		return false
	}
	p.off += len(tok)
	return true
}

// end expects nothing more.
func (p *exprParser) end() {
	if p.space(); p.off < len(p.in) {
		p.fail(p.off, "unexpected %s", quote(p.in[p.off:]))
	}
}

// word reads letters, digits, _ and -.
func (p *exprParser) word() string {
	start := p.off
	for p.off < len(p.in) && isWordByte(p.in[p.off]) {
		p.off++
	}
	return p.in[start:p.off]
}

// port reads node.port.
func (p *exprParser) port() PortRef {
	if len(p.in) > maxExprBytes {
		p.fail(0, "an expression may have %d bytes; this one has %d", maxExprBytes, len(p.in))
		p.off = len(p.in)
		return PortRef{}
	}
	p.space()
	start := p.off
	node := p.word()
	if !p.accept(".") {
		p.fail(start, "expected <node>.<port>, got %s", quote(p.in[start:]))
		return PortRef{}
	}
	if !isIdentifier(node) {
		p.fail(start, "%s is not the id of a node; ids are %s", quote(node), identifierRule)
	}
	portAt := p.off
	for {
		part, partAt := p.word(), p.off
		inner := p.accept(".")
		switch {
		case !isPortName(part):
			p.fail(partAt-len(part), "expected the name of a port after %s", p.in[start:partAt-len(part)])
		case inner && !isIdentifier(part):
			p.fail(partAt-len(part), "%s is not the id of a node; ids are %s", quote(part), identifierRule)
		}
		if !inner || p.msg != "" {
			return PortRef{node, strings.TrimSuffix(p.in[portAt:p.off], ".")}
		}
	}
}

// test reads an operator and a literal.
func (p *exprParser) test() *Test {
	at := p.off
	for _, op := range ops {
		if !p.accept(op) {
			continue
		}
		p.space()
		t := &Test{Op: op, Value: p.literal()}
		if op != "==" && op != "!=" && (string(t.Value) == "true" || string(t.Value) == "false") {
			p.fail(at, "%s compares numbers and strings, not booleans", op)
		}
		return t
	}
	p.fail(at, "expected one of == != > >= < <=, got %s", quote(p.in[at:]))
	return nil
}

// literal reads true, false, a number or a quoted string.
func (p *exprParser) literal() json.RawMessage {
	rest := p.in[p.off:]
	switch {
	case strings.HasPrefix(rest, `"`):
		return p.doubleQuoted()
	case strings.HasPrefix(rest, "'"):
		return p.singleQuoted()
	}
	start := p.off
	for p.off < len(p.in) && p.in[p.off] != ' ' {
		p.off++
	}
	lit := p.in[start:p.off]
	if lit == "true" || lit == "false" {
		return json.RawMessage(lit)
	}
	v, err := canonical([]byte(lit))
	if errors.Is(err, errInexact) {
		p.fail(start, "the number %s is too large to be compared exactly", lit)
		return nil
	}
	if err != nil || jsontext.Value(v).Kind() != '0' {
		p.fail(start, "expected true, false, a number or a quoted string, got %s", quote(lit))
		return nil
	}
	return v
}

// doubleQuoted reads a JSON string.
func (p *exprParser) doubleQuoted() json.RawMessage {
	start := p.off
	for p.off++; p.off < len(p.in); p.off++ {
		switch p.in[p.off] {
		case '\\':
			p.off++
		case '"':
			p.off++
			v, err := canonical([]byte(p.in[start:p.off]))
			if err != nil {
				p.fail(start, "%s is not a string as JSON writes it", quote(p.in[start:p.off]))
			}
			return v
		}
	}
	p.off = len(p.in)
	p.fail(start, "the string has no closing quote")
	return nil
}

// singleQuoted reads text up to the next single quote, without escapes.
func (p *exprParser) singleQuoted() json.RawMessage {
	text, _, ok := strings.Cut(p.in[p.off+1:], "'")
	if !ok {
		p.fail(p.off, "the string has no closing quote")
		p.off = len(p.in)
		return nil
	}
	p.off += len(text) + 2
	return appendString(nil, text)
}
