package opening

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// decoder reads the parts of an opening out of a tree. It goes on after a
// mistake with what can be had, so that one wrong key does not hide the next.
type decoder struct {
	src *source
}

// field is a key that a map may have and what to do with its value.
type field struct {
	name     string
	required bool
	read     func(*tree)
}

// fields reads a map key by key. what names the map in messages, for example
// "a node".
func (d *decoder) fields(t *tree, what string, fields []field) {
	if t.kind != kindMap {
		d.wants(t, what, kindMap)
		return
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	for _, p := range t.pairs {
		known := false
		for _, f := range fields {
			if f.name == p.key {
				f.read(p.val)
				known = true
			}
		}
		if !known {
			d.src.add(p.pos, codeUnknown, "unknown key %s in %s", quote(p.key), what).
				hint("%s", d.src.didYouMean(p.key, names))
		}
	}
	for _, f := range fields {
		if f.required && t.get(f.name) == nil {
			d.src.add(t.pos, codeMissing, "%s has no %s", what, quote(f.name))
		}
	}
}

// wants reports a value of the wrong type.
func (d *decoder) wants(t *tree, what string, k kind) {
	if t.kind == kindHole {
		return // it was reported where it was read
	}
	has := string(t.kind)
	switch {
	case t.kind == kindNull:
		has = "nothing"
	case t.kind == kindString:
		has += " (" + quote(t.text) + ")"
	case t.kind == kindNumber || t.kind == kindBool:
		has += " (" + t.text + ")"
	}
	d.src.add(t.pos, codeType, "%s must be %s, not %s", what, k, has).hint("%s", insteadOf(t, k))
}

// insteadOf guesses what was meant by text where something else belongs: a
// boolean as older YAML had it, or an edge as the brace form has it.
func insteadOf(t *tree, k kind) string {
	if t.kind != kindString {
		return ""
	}
	if from, to, ok := strings.Cut(t.text, "->"); ok && k == kindMap {
		from, to = visible(strings.TrimSpace(from)), visible(strings.TrimSpace(to))
		return cut("write {from: " + from + ", to: " + to + "}")
	}
	if k == kindBool {
		switch strings.ToLower(t.text) {
		case "yes", "on", "y", "true":
			return "write true"
		case "no", "off", "n", "false":
			return "write false"
		}
	}
	return ""
}

// str reads a string.
func (d *decoder) str(t *tree, what string) (string, bool) {
	if t.kind != kindString {
		d.wants(t, what, kindString)
		return "", false
	}
	return t.text, true
}

// boolean reads true or false.
func (d *decoder) boolean(t *tree, what string) bool {
	if t.kind != kindBool {
		d.wants(t, what, kindBool)
	}
	return t.text == "true"
}

// list reads a list, item by item.
func (d *decoder) list(t *tree, what string) []*tree {
	if t.kind != kindList {
		d.wants(t, what, kindList)
		return nil
	}
	return t.items
}

// stringList reads a list of strings, and leaves out what is none.
func (d *decoder) stringList(t *tree, what string) []string {
	var out []string
	for _, item := range d.list(t, what) {
		if s, ok := d.str(item, "an item of "+what); ok {
			out = append(out, s)
		}
	}
	return out
}

// number reads a number from lo to hi.
func (d *decoder) number(t *tree, what string, lo, hi float64) float64 {
	if t.kind != kindNumber {
		d.wants(t, what, kindNumber)
		return lo
	}
	f, err := strconv.ParseFloat(t.text, 64)
	if err != nil || f < lo || f > hi {
		d.src.add(t.pos, codeValue, "%s must be from %s to %s, not %s",
			what, jsonNumber(lo), jsonNumber(hi), t.text)
		return lo
	}
	return f
}

// integer reads a whole number from lo to hi.
func (d *decoder) integer(t *tree, what string, lo, hi int64) int64 {
	f := d.number(t, what, float64(lo), float64(hi))
	if f != float64(int64(f)) {
		d.src.add(t.pos, codeValue, "%s must be a whole number, not %s", what, t.text)
	}
	return int64(f)
}

// milliseconds reads a duration. Zero would not mean "no limit" to everybody,
// so it is not allowed.
func (d *decoder) milliseconds(t *tree, what string) int64 {
	return d.integer(t, what, 1, maxTimeout.Milliseconds())
}

// Bounds of budgets. The upper end of tokens is what a double counts exactly.
const (
	maxBudgetTokens = 1 << 53
	minUSD, maxUSD  = 1e-6, 1e9
)

// tokens reads a budget.
func (d *decoder) tokens(t *tree, what string) int64 {
	return d.integer(t, what, 1, maxBudgetTokens)
}

// mapJSON reads a map of anything as canonical JSON; an empty one is nil.
func (d *decoder) mapJSON(t *tree, what string) json.RawMessage {
	if t.kind != kindMap {
		if t.kind != kindNull {
			d.wants(t, what, kindMap)
		}
		return nil
	}
	if len(t.pairs) == 0 {
		return nil
	}
	raw, err := canonical(t.appendJSON(nil))
	if err != nil {
		d.src.add(t.pos, codeType, "%s cannot be written as JSON: %v", what, err)
	}
	return raw
}

// decodeOpening reads the whole of a file and leaves in src where its parts
// stand. What it gives is complete only if it reported nothing.
func decodeOpening(src *source, t *tree) *Opening {
	d, o := &decoder{src}, &Opening{}
	d.fields(t, "the opening", []field{
		{"version", true, func(t *tree) { d.version(t) }},
		{"name", true, func(t *tree) { o.Name = d.identifier(t, "the name of an opening") }},
		{"goals", false, func(t *tree) { o.Goals = d.stringList(t, "goals") }},
		{"params", false, func(t *tree) {
			o.Params = d.mapJSON(t, "params")
			t.record(src, "params", position{})
		}},
		{"policy", false, func(t *tree) { d.policy(t, &o.Policy) }},
		{"nodes", true, func(t *tree) { d.nodes(t, o) }},
		{"edges", true, func(t *tree) { d.edges(t, o) }},
		{"success", false, func(t *tree) { o.Success = d.success(t) }},
		{"artifacts", false, func(t *tree) { o.Artifacts = d.artifacts(t) }},
	})
	return o
}

// version refuses files that are written for another version of the language.
func (d *decoder) version(t *tree) {
	if t.kind != kindNumber {
		d.wants(t, "version", kindNumber)
	} else if t.text != "0" {
		d.src.add(t.pos, codeValue, "version %s is not known; this program reads version 0", t.text)
	}
}

// identifier reads a name, and gives it even when it is a bad one: what refers
// to it is then not reported as well.
func (d *decoder) identifier(t *tree, what string) string {
	s, ok := d.str(t, what)
	if ok && !isIdentifier(s) {
		d.src.add(t.pos, codeValue, "%s is not %s: it must be %s", quote(s), what, identifierRule)
	}
	return s
}

// policy reads the limits of a run.
func (d *decoder) policy(t *tree, p *Policy) {
	d.fields(t, "policy", []field{
		{"budget_tokens", false, func(t *tree) { p.BudgetTokens = d.tokens(t, "budget_tokens") }},
		{"budget_usd", false, func(t *tree) { p.BudgetUSD = d.number(t, "budget_usd", minUSD, maxUSD) }},
		{"timeout_ms", false, func(t *tree) { p.TimeoutMS = d.milliseconds(t, "timeout_ms") }},
		{"confirm_external", false, func(t *tree) {
			p.ConfirmExternal = d.boolean(t, "confirm_external")
		}},
	})
}

// edges reads the edges whose ends can be read.
func (d *decoder) edges(t *tree, o *Opening) {
	items := d.list(t, "edges")
	if len(items) > maxEdges {
		d.src.add(t.pos, codeSize, "an opening may have %d edges; this one has %d", maxEdges, len(items))
		return
	}
	for _, item := range items {
		if e, from, to := d.edge(item); from != nil && to != nil {
			path := "edges/" + strconv.Itoa(len(o.Edges))
			d.src.places[path+"/from"] = place{val: from.pos}
			d.src.places[path+"/to"] = place{val: to.pos}
			o.Edges = append(o.Edges, e)
		}
	}
}

// edge reads one edge, and gives the ends that are right.
func (d *decoder) edge(t *tree) (e Edge, from, to *tree) {
	d.fields(t, "an edge", []field{
		{"from", true, func(t *tree) {
			if d.expr(t, "from", func(s string) (err error) {
				e.From, e.Guard, err = parseEdgeStart(s)
				return err
			}) {
				from = t
			}
		}},
		{"to", true, func(t *tree) {
			if d.expr(t, "to", func(s string) (err error) {
				e.To, err = parsePort(s)
				return err
			}) {
				to = t
			}
		}},
	})
	return e, from, to
}

// expr reads a string with parse, whose errors know where in it they are.
func (d *decoder) expr(t *tree, what string, parse func(string) error) bool {
	s, ok := d.str(t, what)
	if !ok {
		return false
	}
	err := parse(s)
	if err == nil {
		return true
	}
	pos := t.pos
	if e, ok := err.(*exprError); ok {
		pos = t.at(min(e.off, len(s)))
	}
	d.src.add(pos, codeExpr, "%s", err)
	return false
}

// success reads what makes a run a success.
func (d *decoder) success(t *tree) *Success {
	s := &Success{}
	d.fields(t, "success", []field{
		{"any_of", false, func(t *tree) { s.AnyOf = d.exprs(t, "any_of") }},
		{"all_of", false, func(t *tree) { s.AllOf = d.exprs(t, "all_of") }},
	})
	if t.kind == kindMap && (t.get("any_of") == nil) == (t.get("all_of") == nil) {
		d.src.add(t.pos, codeValue, "success must have either any_of or all_of")
	}
	return s
}

// exprs reads a list of expressions, and leaves out what is none.
func (d *decoder) exprs(t *tree, what string) []Expr {
	items := d.list(t, what)
	if len(items) == 0 && t.kind == kindList || len(items) > maxExprs {
		d.src.add(t.pos, codeValue, "%s must have from 1 to %d expressions, not %d",
			what, maxExprs, len(items))
		return nil
	}
	var out []Expr
	for _, item := range items {
		var e Expr
		if d.expr(item, "an expression of "+what, func(s string) (err error) {
			e, err = parseExpr(s)
			return err
		}) {
			d.src.places[fmt.Sprintf("success/%d", len(out))] = place{val: item.pos}
			out = append(out, e)
		}
	}
	return out
}

// artifacts reads what to keep. An empty list is the same as no section.
func (d *decoder) artifacts(t *tree) *Artifacts {
	a := &Artifacts{}
	d.fields(t, "artifacts", []field{
		{"save", true, func(t *tree) { a.Save = d.ports(t) }},
	})
	if len(a.Save) == 0 {
		return nil
	}
	return a
}

// ports reads a list of ports.
func (d *decoder) ports(t *tree) []PortRef {
	var out []PortRef
	for _, item := range d.list(t, "save") {
		var ref PortRef
		if d.expr(item, "an item of save", func(s string) (err error) {
			ref, err = parsePort(s)
			return err
		}) {
			d.src.places[fmt.Sprintf("artifacts/%d", len(out))] = place{val: item.pos}
			out = append(out, ref)
		}
	}
	return out
}
