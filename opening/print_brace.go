package opening

import (
	"encoding/json"
	"strings"
)

// braceWidth is how long a line of a node gets before its arguments stand on
// lines of their own, in bytes.
const braceWidth = 100

// Brace prints the opening in the brace form, which Parse reads back to the
// same IR.
func (o *Opening) Brace() []byte {
	p := &printer{}
	p.line("opening %s {", quoteJSON(o.Name))
	if len(o.Goals) > 0 {
		p.line("  goals: %s", braceJSON(mustJSON(o.Goals)))
	}
	if len(o.Params) > 0 {
		p.line("  params: %s", braceJSON(o.Params))
	}
	p.braceLimits(o.Policy)
	p.line("  nodes:")
	for _, n := range o.Nodes {
		p.braceNode(n)
	}
	if len(o.Edges) > 0 {
		p.line("  edges:")
	}
	for _, e := range o.Edges {
		p.line("    %s -> %s", braceTest(e.From, e.Guard), e.To)
	}
	if s := o.Success; s != nil {
		word := "all_of"
		if len(s.AnyOf) > 0 {
			word = "any_of"
		}
		var list []string
		for _, e := range o.exprs() {
			if e.Test == nil {
				list = append(list, e.String())
			} else {
				list = append(list, braceTest(e.Port, e.Test))
			}
		}
		p.line("  success: %s(%s)", word, strings.Join(list, ", "))
	}
	if saved := o.saved(); len(saved) > 0 {
		var list []string
		for _, ref := range saved {
			list = append(list, ref.String())
		}
		p.line("  artifacts: save(%s)", strings.Join(list, ", "))
	}
	p.line("}")
	return p.buf.Bytes()
}

// braceLimits prints the limits that are set.
func (p *printer) braceLimits(y Policy) {
	if y.ConfirmExternal {
		p.line("  policy: {confirm_external: true}")
	}
	var limits []string
	if y.TimeoutMS > 0 {
		limits = append(limits, braceTime(y.TimeoutMS))
	}
	if y.BudgetUSD > 0 {
		limits = append(limits, "$"+jsonNumber(y.BudgetUSD))
	}
	if y.BudgetTokens > 0 {
		limits = append(limits, jsonNumber(float64(y.BudgetTokens))+" tokens")
	}
	if len(limits) > 0 {
		p.line("  budget: %s", strings.Join(limits, ", "))
	}
}

// braceTime gives milliseconds in the largest unit that keeps them whole.
func braceTime(ms int64) string {
	for _, u := range []struct {
		name string
		ms   int64
	}{{"h", 3_600_000}, {"m", 60_000}, {"s", 1000}} {
		if ms%u.ms == 0 {
			return jsonNumber(float64(ms/u.ms)) + u.name
		}
	}
	return jsonNumber(float64(ms)) + "ms"
}

// braceTest gives a port and what it is compared with.
func braceTest(ref PortRef, t *Test) string {
	if t == nil {
		return ref.String()
	}
	return ref.String() + " " + t.Op + " " + braceJSON(t.Value)
}

// braceNode prints one node, on one line if it is not too long.
func (p *printer) braceNode(n Node) {
	kind, name, _ := strings.Cut(n.Use, ":")
	args := append([]string{quoteJSON(name)}, braceWith(n.With)...)
	if n.Retry != nil {
		args = append(args, "retry="+braceJSON(n.Retry.brief()))
	}
	if n.TimeoutMS > 0 {
		args = append(args, "timeout="+braceTime(n.TimeoutMS))
	}
	if n.BudgetTokens > 0 {
		args = append(args, "budget_tokens="+jsonNumber(float64(n.BudgetTokens)))
	}
	if len(n.Tags) > 0 {
		args = append(args, "tags="+braceJSON(mustJSON(n.Tags)))
	}
	head := "    " + n.ID + " := " + kind + "("
	if one := head + strings.Join(args, ", ") + ")"; len(one) <= braceWidth || len(args) == 1 {
		p.line("%s", one)
		return
	}
	p.line("%s%s,", head, args[0])
	for _, a := range args[1:] {
		p.line("      %s,", a)
	}
	p.line("    )")
}

// braceWith gives a with map as arguments. Keys that cannot be one stand in a
// map of their own.
func braceWith(with json.RawMessage) []string {
	if len(with) == 0 {
		return nil
	}
	var args []string
	rest := &tree{kind: kindMap}
	for _, e := range mustTree(with).pairs {
		if isName(e.key) && !arguments[e.key] {
			args = append(args, e.key+"="+string(braceStyle.append(nil, e.val)))
		} else {
			rest.pairs = append(rest.pairs, e)
		}
	}
	if len(rest.pairs) > 0 {
		args = append(args, "with="+string(braceStyle.append(nil, rest)))
	}
	return args
}

// braceJSON writes a JSON value as the brace form has it, on one line.
func braceJSON(raw json.RawMessage) string { return string(braceStyle.append(nil, mustTree(raw))) }

// braceStyle is how the brace form writes a value on one line.
var braceStyle = oneLine{quoteJSON, func(key string) string {
	if isName(key) {
		return key
	}
	return quoteJSON(key)
}}

// isName reports whether s can be a key without quotes.
func isName(s string) bool { return s != "" && isLetter(s[0]) && isSegment(s) }
