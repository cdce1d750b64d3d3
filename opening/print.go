package opening

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
)

// YAML prints the opening as a file that Parse reads back to the same IR. One
// line says one thing: a node's with map and every edge are flow style.
func (o *Opening) YAML() []byte {
	p := &printer{}
	p.line("version: %d", o.Version)
	p.line("name: %s", o.Name)
	p.strings("goals", o.Goals)
	if len(o.Params) > 0 {
		p.line("params: %s", flow(o.Params))
	}
	p.policy(o.Policy)
	p.line("nodes:")
	for _, n := range o.Nodes {
		p.node(n)
	}
	if len(o.Edges) == 0 {
		p.line("edges: []")
	} else {
		p.line("edges:")
	}
	for _, e := range o.Edges {
		p.line("  - {from: %s, to: %s}", flowString(e.start()), e.To)
	}
	if s := o.Success; s != nil {
		p.line("success:")
		p.exprs("any_of", s.AnyOf)
		p.exprs("all_of", s.AllOf)
	}
	if a := o.Artifacts; a != nil {
		p.line("artifacts:")
		p.line("  save: %s", flow(mustJSON(a.Save)))
	}
	return p.buf.Bytes()
}

// printer collects the lines of a file.
type printer struct {
	buf bytes.Buffer
}

// line prints one line.
func (p *printer) line(format string, args ...any) {
	fmt.Fprintf(&p.buf, format+"\n", args...)
}

// number prints a key unless its value is zero.
func (p *printer) number(indent, key string, v float64) {
	if v != 0 {
		p.line("%s%s: %s", indent, key, jsonNumber(v))
	}
}

// strings prints a list of strings unless it is empty.
func (p *printer) strings(key string, list []string) {
	if len(list) > 0 {
		p.line("%s: %s", key, flow(mustJSON(list)))
	}
}

// policy prints the limits that are set.
func (p *printer) policy(y Policy) {
	if y == (Policy{}) {
		return
	}
	p.line("policy:")
	p.number("  ", "budget_tokens", float64(y.BudgetTokens))
	p.number("  ", "budget_usd", y.BudgetUSD)
	p.number("  ", "timeout_ms", float64(y.TimeoutMS))
	if y.ConfirmExternal {
		p.line("  confirm_external: true")
	}
}

// node prints one node.
func (p *printer) node(n Node) {
	p.line("  - id: %s", n.ID)
	p.line("    use: %s", n.Use)
	if len(n.With) > 0 {
		p.line("    with: %s", flow(n.With))
	}
	if n.Retry != nil {
		p.line("    retry: %s", flow(n.Retry.brief()))
	}
	p.number("    ", "timeout_ms", float64(n.TimeoutMS))
	p.number("    ", "budget_tokens", float64(n.BudgetTokens))
	if len(n.Tags) > 0 {
		p.line("    tags: %s", flow(mustJSON(n.Tags)))
	}
}

// exprs prints a list of expressions unless it is empty.
func (p *printer) exprs(key string, exprs []Expr) {
	if len(exprs) == 0 {
		return
	}
	p.line("  %s:", key)
	for _, e := range exprs {
		p.line("    - %s", flowString(e.String()))
	}
}

// flow writes canonical JSON as YAML on one line: keys and strings that need no
// quotes have none.
func flow(raw json.RawMessage) string { return string(flowStyle.append(nil, mustTree(raw))) }

// mustTree reads JSON of our own.
func mustTree(raw json.RawMessage) *tree {
	src := newSource("json")
	t := parseJSON(src, raw)
	if t == nil {
		panic("opening: internal error: " + src.problems.Error())
	}
	return t
}

// brief gives the retry with what the reader would fill in left out.
func (r *Retry) brief() json.RawMessage {
	var b struct {
		MaxAttempts int      `json:"max_attempts"`
		InitialMS   *int64   `json:"initial_ms,omitempty"`
		MaxMS       *int64   `json:"max_ms,omitempty"`
		Multiplier  *float64 `json:"multiplier,omitempty"`
		Jitter      *float64 `json:"jitter,omitempty"`
	}
	b.MaxAttempts = r.MaxAttempts
	if r.InitialMS != defaultInitialMS || r.MaxMS != defaultMaxMS {
		b.InitialMS, b.MaxMS = &r.InitialMS, &r.MaxMS
	}
	if r.Multiplier != defaultMultiplier {
		b.Multiplier = &r.Multiplier
	}
	if r.Jitter != defaultJitter {
		b.Jitter = &r.Jitter
	}
	raw, err := json.Marshal(b)
	if err != nil {
		panic("opening: internal error: " + err.Error())
	}
	return raw
}

// oneLine is how a form of the language writes a value on one line.
type oneLine struct{ text, key func(string) string }

// flowStyle is that of YAML.
var flowStyle = oneLine{flowString, flowString}

// append writes a value.
func (f oneLine) append(dst []byte, t *tree) []byte {
	switch t.kind {
	case kindString:
		return append(dst, f.text(t.text)...)
	case kindList:
		dst = append(dst, '[')
		for i, item := range t.items {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = f.append(dst, item)
		}
		return append(dst, ']')
	case kindMap:
		dst = append(dst, '{')
		for i, p := range t.pairs {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = append(dst, f.key(p.key)+": "...)
			dst = f.append(dst, p.val)
		}
		return append(dst, '}')
	}
	return t.appendJSON(dst)
}

// flowString gives s as a plain scalar where that cannot be misread, and in
// double quotes otherwise.
func flowString(s string) string {
	if k, _, _ := resolvePlain(s); k != kindString || !isPlain(s) {
		return quoteYAML(s)
	}
	return s
}

// isPlain is narrower than YAML: a letter, then what no reader takes for an
// indicator.
func isPlain(s string) bool {
	if c := s[0] | 0x20; c < 'a' || c > 'z' || strings.HasSuffix(s, " ") {
		return false
	}
	for i := range len(s) {
		if !isWordByte(s[i]) && s[i] != '.' && s[i] != ' ' {
			return false
		}
	}
	return true
}

// quoteYAML writes s in double quotes (YAML 1.2, section 7.3.1), with escapes
// for everything that is not seen.
func quoteYAML(s string) string {
	return quoted(s, func(r rune) string {
		switch {
		case r < 0x100:
			return fmt.Sprintf(`\x%02x`, r)
		case r < 0x10000:
			return fmt.Sprintf(`\u%04x`, r)
		}
		return fmt.Sprintf(`\U%08x`, r)
	})
}

// quoteJSON writes s in double quotes as JSON does, with escapes for everything
// that is not seen.
func quoteJSON(s string) string {
	return quoted(s, func(r rune) (out string) {
		for _, unit := range utf16.AppendRune(nil, r) {
			out += fmt.Sprintf(`\u%04x`, unit)
		}
		return out
	})
}

// quoted writes s in double quotes; escape is for what is not seen.
func quoted(s string, escape func(rune) string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r == '\n':
			b.WriteString(`\n`)
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(escape(r))
		}
	}
	b.WriteByte('"')
	return b.String()
}
