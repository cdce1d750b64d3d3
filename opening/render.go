package opening

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/runloop-os/runloop/rmp"
)

// Forms in which a trace can be shown.
const (
	FormatText    = "text"    // the ladder, then the nodes with their hostcalls
	FormatTable   = "table"   // the ladder alone, in columns
	FormatJSON    = "json"    // the trace itself, in canonical JSON
	FormatMermaid = "mermaid" // a sequence diagram
	FormatHTML    = "html"    // one page that needs nothing else
)

// TraceFormats lists the forms.
func TraceFormats() []string {
	return []string{FormatText, FormatTable, FormatJSON, FormatMermaid, FormatHTML}
}

// Render writes a trace in one of the formats. In text and in tables, whatever
// came from an agent has its control characters escaped; JSON is for programs,
// and escapes only what JSON must.
func (t *Trace) Render(w io.Writer, format string) error {
	out := &errWriter{w: w}
	switch format {
	case FormatText:
		t.flat().text(out)
	case FormatTable:
		t.flat().table(out)
	case FormatJSON:
		out.printf("%s\n", t.JSON())
	case FormatMermaid:
		t.flat().mermaid(out)
	case FormatHTML:
		t.flat().html(out)
	default:
		return fmt.Errorf("there is no trace format %s; use one of %s",
			quote(format), strings.Join(TraceFormats(), ", "))
	}
	return out.err
}

// errWriter remembers the first error.
type errWriter struct {
	w   io.Writer
	err error
}

// printf writes unless something went wrong before.
func (w *errWriter) printf(format string, args ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.w, format, args...)
	}
}

// text writes what the run was, its ladder and its nodes.
func (t *Trace) text(out *errWriter) {
	out.printf("%s  %s  %s\n", visible(t.TraceID), visible(t.OpeningName), t.Status)
	if t.Reason != "" {
		out.printf("  %s\n", visible(t.Reason))
	}
	if len(t.Ladder) > 0 {
		out.printf("\n")
		t.table(out)
	}
	out.printf("\n")
	for i := range t.Nodes {
		t.Nodes[i].text(out)
	}
}

// table writes the ladder, a line for each crossing.
func (t *Trace) table(out *errWriter) {
	if out.err != nil {
		return
	}
	tw := tabwriter.NewWriter(out.w, 0, 0, 2, ' ', 0)
	rows := &errWriter{w: tw}
	rows.printf("ms\tfrom\t\tto\ttype\tbytes\ttopic\n")
	var zero int64
	for i, c := range t.Ladder {
		if i == 0 {
			zero = c.TSMillis
		}
		rows.printf("%+d\t%s\t→\t%s\t%s\t%d\t%s\n", c.TSMillis-zero, cell(c.From), cell(c.To),
			cell(c.Kind), c.FrameLen, cell(c.Topic))
	}
	if rows.err == nil {
		rows.err = tw.Flush()
	}
	out.err = rows.err
	if t.LadderCut {
		out.printf("… and more than the trace keeps\n")
	}
}

// cell makes text safe for a column.
func cell(s string) string {
	if s == "" {
		return "?"
	}
	return visible(s)
}

// Sizes of what text shows of values.
const (
	valueShown  = 100
	callsShown  = 50
	indentValue = "    "
)

// text writes a node: what went in, what it asked for, what came out.
func (n *TraceNode) text(out *errWriter) {
	out.printf("%s  agent:%s  %s", visible(n.NodeID), visible(n.Agent), n.State.State)
	a := n.FinalAttempt
	if a == nil {
		out.printf("\n")
		return
	}
	out.printf("  attempt %d  %s", a.Attempt, milliseconds(a.Micros))
	if a.Usage != (rmp.Usage{}) {
		out.printf("  %d+%d tokens  $%.4f", a.Usage.TokensIn, a.Usage.TokensOut, a.Usage.USD)
	}
	out.printf("\n")
	if n.State.State == Failed {
		out.printf("%s%s\n", indentValue, visible(n.State.Reason))
	}
	for _, port := range sortedKeys(a.Inputs) {
		for _, v := range a.Inputs[port] {
			out.printf("%s→ %s  %s\n", indentValue, visible(port), shorten(v, valueShown))
		}
	}
	for i, h := range a.Hostcalls {
		if i == callsShown {
			out.printf("%s… and %s\n", indentValue, plural(len(a.Hostcalls)-i, "more call"))
			break
		}
		out.printf("%s· %s  %s\n", indentValue, shortCall(h), h.answer())
	}
	for _, port := range sortedKeys(a.Outputs) {
		out.printf("%s← %s  %s\n", indentValue, visible(port), shorten(a.Outputs[port], valueShown))
	}
}

// shortCall gives what was asked, on one line.
func shortCall(h Hostcall) string { return visible(h.Op) + " " + shorten(h.Args, valueShown) }

// answer gives what a hostcall was told, on one line.
func (h *Hostcall) answer() string {
	if h.Err != nil {
		return "✗ " + visible(h.Err.Code) + ": " + shorten(json.RawMessage(h.Err.Message), valueShown)
	}
	return "= " + shorten(h.OK, valueShown)
}

// milliseconds gives a duration with one decimal.
func milliseconds(us int64) string { return fmt.Sprintf("%d.%d ms", us/1000, us%1000/100) }

// Text gives the report of a replay for people: a line for each node, and what
// differs below it.
func (r *ReplayReport) Text() string {
	var b strings.Builder
	for _, n := range r.Nodes {
		fmt.Fprintf(&b, "%-15s %s (agent:%s)", n.Verdict, visible(n.Node), visible(n.Agent))
		if n.Why != "" {
			b.WriteString(": " + n.Why)
		}
		if n.Changed != nil {
			fmt.Fprintf(&b, ", as %s in place of %s", shortHash(n.Changed.Present), shortHash(n.Changed.Recorded))
		}
		b.WriteString("\n")
		if len(n.Opening) > 0 {
			b.WriteString("  the opening tells it something else now:\n")
		}
		for _, l := range n.Opening {
			b.WriteString("    " + l + "\n")
		}
		for _, d := range n.Differences {
			fmt.Fprintf(&b, "  %s: %s\n", d.Kind, d.Summary)
			for _, l := range d.Lines {
				b.WriteString("    " + l + "\n")
			}
		}
	}
	if r.First != nil {
		fmt.Fprintf(&b, "first: %s\n", r.First)
	}
	fmt.Fprintf(&b, "%s: %d identical, %d different, %d not replayable\n",
		visible(r.OpeningName), r.Identical, r.Different, r.NotReplayable)
	return b.String()
}

// toWhole drops a character that a cut left incomplete at the end.
func toWhole(s string) string {
	for i := 0; i < utf8.UTFMax && i < len(s); i++ {
		if r, n := utf8.DecodeLastRuneInString(s); r != utf8.RuneError || n != 1 {
			break
		}
		s = s[:len(s)-1]
	}
	return s
}
