package opening

import (
	"fmt"
	"strings"

	"github.com/runloop-os/runloop/rmp"
)

// maxMermaidRungs is how many crossings a diagram shows: Mermaid gives up on
// longer texts.
const maxMermaidRungs = 400

// mermaid writes the ladder as a Mermaid sequence diagram, with what became of
// each node at the end (https://mermaid.js.org/syntax/sequenceDiagram.html).
func (t *Trace) mermaid(out *errWriter) {
	out.printf("sequenceDiagram\n  participant p0 as %s\n", mermaidText(engineName))
	ids := map[string]string{engineName: "p0"}
	place := func(name string) string {
		if name == "" {
			name = "?"
		}
		id, ok := ids[name]
		if !ok {
			id = fmt.Sprintf("p%d", len(ids))
			ids[name] = id
			out.printf("  participant %s as %s\n", id, mermaidText(name))
		}
		return id
	}
	for _, n := range t.Nodes {
		place("agent:" + n.Agent)
	}
	zero := t.zero()
	for i, c := range t.Ladder {
		if i == maxMermaidRungs {
			out.printf("  Note over p0: … and %s\n", plural(len(t.Ladder)-i, "more crossing"))
			break
		}
		arrow := "->>"
		if c.SchemaID == rmp.CTExecutorAgentResponse {
			arrow = "-->>"
		}
		from, to := place(c.From), place(c.To)
		out.printf("  %s%s%s: %+d ms %s, %d bytes\n", from, arrow, to,
			c.TSMillis-zero, mermaidText(shortKind(c.Kind)), c.FrameLen)
	}
	for i := range t.Nodes {
		n := &t.Nodes[i]
		out.printf("  Note over %s: %s\n", place("agent:"+n.Agent), mermaidText(n.line()))
	}
}

// line says on a line what became of a node.
func (n *TraceNode) line() string {
	s := n.NodeID + ": " + string(n.State.State)
	if a := n.FinalAttempt; a != nil {
		s += ", " + milliseconds(a.Micros)
		if tokens := a.Usage.TokensIn + a.Usage.TokensOut; tokens > 0 {
			s += fmt.Sprintf(", %d tokens", tokens)
		}
	}
	return s
}

// shortKind is the part of a type string that tells it from others here.
func shortKind(kind string) string {
	parts := strings.Split(kind, ".")
	if len(parts) < 3 {
		return kind
	}
	return strings.Join(parts[len(parts)-3:len(parts)-1], ".")
}

// mermaidText makes text safe inside of a diagram: letters, digits, spaces and
// a few signs stand for themselves, all else is written as a character code.
func mermaidText(s string) string {
	var b strings.Builder
	for _, r := range visible(s) {
		switch {
		case r == ' ', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9',
			strings.ContainsRune("._-/,", r), r > 0xa0:
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, "#%d;", r)
		}
	}
	return b.String()
}

// zero is when the run began, as far as the trace knows, in ms since 1970.
func (t *Trace) zero() int64 {
	var zero int64
	earlier := func(ms int64) {
		if ms > 0 && (zero == 0 || ms < zero) {
			zero = ms
		}
	}
	for _, c := range t.Ladder {
		earlier(c.TSMillis)
	}
	for _, n := range t.Nodes {
		if a := n.FinalAttempt; a != nil && a.ReusedFrom == nil {
			earlier(a.TSMillis)
		}
	}
	return zero
}
