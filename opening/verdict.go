package opening

import (
	"fmt"
	"strings"
)

// verdict says whether a finished run is a success, and if not, why not in a
// sentence. Without a success section it is one when every node that ran
// succeeded.
func (m *machine) verdict() (ok bool, reason string) {
	s := m.g.o.Success
	if s == nil {
		return m.allSucceeded()
	}
	for _, e := range s.AllOf {
		if !m.holds(e) {
			return false, fmt.Sprintf("%s does not hold: %s", e, m.actual(e))
		}
	}
	var missed []string
	for _, e := range s.AnyOf {
		if m.holds(e) {
			return true, ""
		}
		missed = append(missed, fmt.Sprintf("%s (%s)", e, m.actual(e)))
	}
	if len(missed) == 0 {
		return true, ""
	}
	if len(missed) > 3 {
		missed = append(missed[:3], fmt.Sprintf("and %d more", len(s.AnyOf)-3))
	}
	return false, "none of any_of holds: " + strings.Join(missed, "; ")
}

// allSucceeded is the verdict without a success section. Skipped nodes did not
// run, so they do not count.
func (m *machine) allSucceeded() (ok bool, reason string) {
	first, more := -1, 0
	for i, n := range m.nodes {
		switch {
		case n.state == Succeeded || n.state == Skipped:
		case first < 0:
			first = i
		default:
			more++
		}
	}
	if first < 0 {
		return true, ""
	}
	reason = m.why(first)
	if more > 0 {
		reason += fmt.Sprintf(" (and %d more)", more)
	}
	return false, reason
}

// holds evaluates an expression. One about a port without a value is false,
// whatever its operator.
func (m *machine) holds(e Expr) bool {
	v, ok := m.value(e.Port)
	return ok && (e.Test == nil || e.Test.Holds(v))
}

// actual says what stands where the expression looks.
func (m *machine) actual(e Expr) string {
	i := m.g.index[e.Port.Node]
	if v, ok := m.value(e.Port); ok {
		return fmt.Sprintf("%s is %s%s", e.Port, visible(cut(string(v))), m.said(i))
	}
	if m.nodes[i].state == Succeeded {
		return fmt.Sprintf("%s succeeded without a value on %s", e.Port.Node, e.Port.Port)
	}
	return m.why(i)
}

// said repeats what the agent of a node warned of last: it knows best why its
// output is not what was hoped for.
func (m *machine) said(i int) string {
	text := m.nodes[i].warned
	if text == "" {
		return ""
	}
	if len(text) > maxErrorShown {
		text = strings.ToValidUTF8(text[:maxErrorShown], "") + "…"
	}
	return fmt.Sprintf("; %s says: %s", m.g.ids[i], visible(text))
}

// why says what became of a node that did not succeed. For a skipped one it
// goes back to where the skipping began.
func (m *machine) why(i int) string {
	n, id := &m.nodes[i], m.g.ids[i]
	switch n.state {
	case Failed:
		return fmt.Sprintf("%s failed%s: %s", id, m.attempts(i), describeError(n.err))
	case Skipped:
		return fmt.Sprintf("%s was skipped because %s", id, m.root(i))
	case Cancelled:
		return id + " was cancelled"
	}
	return fmt.Sprintf("%s is %s", id, n.state)
}

// attempts tells which attempt it was, where there could have been several.
func (m *machine) attempts(i int) string {
	r := m.g.o.Nodes[i].Retry
	if r == nil || r.MaxAttempts < 2 {
		return ""
	}
	return fmt.Sprintf(" on attempt %d of %d", m.nodes[i].attempt, r.MaxAttempts)
}

// origin follows skipped nodes back to the edge whose guard or whose node decided,
// and returns it with the node it comes from.
func (m *machine) origin(i int) (e Edge, from int) {
	for {
		e = m.g.o.Edges[m.nodes[i].cause]
		from = m.g.index[e.From.Node]
		if m.nodes[from].state != Skipped {
			return e, from
		}
		i = from
	}
}

// root says why a node was skipped.
func (m *machine) root(i int) string {
	e, from := m.origin(i)
	if m.nodes[from].state == Succeeded {
		return m.guard(e)
	}
	return m.why(from)
}

// guard says in a sentence why a guard did not hold.
func (m *machine) guard(e Edge) string {
	v, ok := m.value(e.From)
	if !ok {
		return fmt.Sprintf("%s does not hold (%s has no value)", e.start(), e.From)
	}
	return fmt.Sprintf("%s does not hold (%s is %s)", e.start(), e.From, visible(cut(string(v))))
}
