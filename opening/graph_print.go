package opening

import (
	"fmt"
	"io"
	"strings"
)

// GraphFormats are the forms that Graph writes.
var GraphFormats = []string{"text", "mermaid", "dot"}

// Graph writes the shape of the opening: its nodes in the order of the file, and
// their edges with guards. format is one of [GraphFormats]: text to be read in a
// terminal, Mermaid, or dot for Graphviz.
func (o *Opening) Graph(w io.Writer, format string) error {
	var text string
	switch format {
	case "text":
		text = o.graphText()
	case "mermaid":
		text = o.graphMermaid()
	case "dot":
		text = o.graphDot()
	default:
		return fmt.Errorf("there is no format %s; there are %s", quote(format), strings.Join(GraphFormats, ", "))
	}
	_, err := io.WriteString(w, text)
	return err
}

// graphText lists each node with what leaves it.
//
//	letter: 3 nodes, 2 edges
//	  draft   agent:writer
//	    out → review.in
//	  review  agent:critic
//	    ok == true → send.in
//	  send    agent:mailer
//	success: all of send.ok == true
func (o *Opening) graphText() string {
	g := newGraph(o)
	width := 0
	for _, id := range g.ids {
		width = max(width, len(id))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s, %s\n", o.Name, plural(len(o.Nodes), "node"), plural(len(o.Edges), "edge"))
	for i, n := range o.Nodes {
		fmt.Fprintf(&b, "  %-*s  %s%s\n", width, n.ID, n.Use, n.retries())
		for _, e := range g.out[i] {
			edge := o.Edges[e]
			fmt.Fprintf(&b, "    %s → %s\n", edge.label(), edge.To)
		}
	}
	if s := o.Success; s != nil {
		list := "all of "
		if len(s.AnyOf) > 0 {
			list = "any of "
		}
		var exprs []string
		for _, e := range o.exprs() {
			exprs = append(exprs, visible(e.String()))
		}
		b.WriteString("success: " + list + strings.Join(exprs, ", ") + "\n")
	}
	var saved []string
	for _, ref := range o.saved() {
		saved = append(saved, ref.String())
	}
	if len(saved) > 0 {
		b.WriteString("keeps: " + strings.Join(saved, ", ") + "\n")
	}
	return b.String()
}

// retries says how often a node is tried.
func (n Node) retries() string {
	if n.Retry == nil || n.Retry.MaxAttempts < 2 {
		return ""
	}
	return fmt.Sprintf(", up to %d attempts", n.Retry.MaxAttempts)
}

// label gives the port that an edge leaves from, with its guard.
func (e Edge) label() string {
	if e.Guard == nil {
		return e.From.Port
	}
	return visible(e.From.Port + " " + e.Guard.String())
}

// graphMermaid draws a flowchart. Guarded edges are dashed, and openings that
// are used have a double side. Ids are made up: Mermaid takes some words for its
// own.
func (o *Opening) graphMermaid() string {
	g := newGraph(o)
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	for i, n := range o.Nodes {
		left, right := "[", "]"
		if n.Nested() != "" {
			left, right = "[[", "]]"
		}
		fmt.Fprintf(&b, "  n%d%s\"%s<br/>%s\"%s\n", i, left, n.ID, mermaidText(n.Ref()), right)
	}
	for _, e := range o.Edges {
		arrow := "-->"
		if e.Guard != nil {
			arrow = "-.->"
		}
		fmt.Fprintf(&b, "  n%d %s|\"%s → %s\"| n%d\n", g.index[e.From.Node], arrow,
			mermaidText(e.label()), mermaidText(e.To.Port), g.index[e.To.Node])
	}
	return b.String()
}

// graphDot draws a graph for Graphviz.
func (o *Opening) graphDot() string {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %s {\n  rankdir=LR;\n  node [shape=box];\n", dotText(o.Name))
	for _, n := range o.Nodes {
		shape := ""
		if n.Nested() != "" {
			shape = ", peripheries=2"
		}
		fmt.Fprintf(&b, "  %s [label=%s%s];\n", dotText(n.ID), dotText(n.ID+"\n"+n.Ref()), shape)
	}
	for _, e := range o.Edges {
		style := ""
		if e.Guard != nil {
			style = ", style=dashed"
		}
		fmt.Fprintf(&b, "  %s -> %s [label=%s%s];\n", dotText(e.From.Node), dotText(e.To.Node),
			dotText(e.label()+" → "+e.To.Port), style)
	}
	b.WriteString("}\n")
	return b.String()
}

// dotText quotes a text for Graphviz.
func dotText(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(visible(line))
	}
	return `"` + strings.Join(lines, `\n`) + `"`
}
