package runloop

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/tui"
)

// runView shows a run: as a few lines that stay current on a terminal, or as
// NDJSON, each event when it happens.
type runView struct {
	io     *IO
	inline *tui.Inline // nil: NDJSON
	err    error       // the first failure to write
}

func (o *IO) newRunView(asJSON bool) *runView {
	v := &runView{io: o}
	if !asJSON && o.live() {
		v.inline = tui.NewInline(o.Stdout, func() tui.Style {
			return tui.Style{Width: o.width(o.Stdout, 80), Colour: o.colour(o.Stdout), Sanitize: printable}
		})
	}
	return v
}

// event takes one event in. The engine calls it for one after the other.
func (v *runView) event(ev opening.Event) {
	if v.inline != nil {
		e := tui.Event{
			TSMillis: ev.TSMillis, TraceID: ev.TraceID, OpeningID: ev.OpeningID, Kind: ev.Kind,
			Level: ev.Level, Message: ev.Message, Meta: ev.Meta,
		}
		if err := v.inline.Apply(&e); err != nil && v.err == nil {
			v.err = err
		}
		return
	}
	line, err := json.Marshal(ev)
	if err == nil {
		_, err = v.io.Stdout.Write(append(line, '\n'))
	}
	if err != nil && v.err == nil {
		v.err = fmt.Errorf("writing events: %w", err)
	}
}

// pause gives the terminal to f.
func (v *runView) pause(f func()) {
	if v.inline == nil {
		f()
		return
	}
	v.inline.Pause(f)
}

// close ends the view; on a terminal, outputs and a summary follow.
func (v *runView) close(report *opening.Report) error {
	if v.inline == nil {
		return v.err
	}
	v.inline.Close()
	if report == nil {
		return v.err
	}
	w := bufio.NewWriter(v.io.Stdout)
	for i := range report.Nodes {
		writeOutputs(w, &report.Nodes[i])
	}
	writeSummary(w, report)
	if err := w.Flush(); err != nil && v.err == nil {
		v.err = err
	}
	return v.err
}

// writeOutputs shows what a node gave: texts as texts, the rest as JSON.
func writeOutputs(w *bufio.Writer, n *opening.NodeReport) {
	for _, port := range sortedPorts(n.Outputs) {
		fmt.Fprintf(w, "\n%s.%s\n", printable(n.Node), printable(port))
		var m map[string]any
		if json.Unmarshal(n.Outputs[port], &m) != nil {
			fmt.Fprintf(w, "  %s\n", printable(string(n.Outputs[port])))
			continue
		}
		var b strings.Builder
		for _, key := range detailOrder(m) {
			writeDetail(&b, key, m[key])
		}
		w.WriteString(b.String())
	}
}

func writeSummary(w *bufio.Writer, r *opening.Report) {
	verdict := "done"
	if !r.Success {
		verdict = string(r.Status)
		if r.Reason != "" {
			verdict += ": " + r.Reason
		}
	}
	fmt.Fprintf(w, "\n%s\n", printable(verdict))
	if n := r.Usage.TokensIn + r.Usage.TokensOut; n > 0 {
		fmt.Fprintf(w, "%d tokens, $%.4f\n", n, r.Usage.USD)
	}
	for _, a := range r.Artifacts {
		fmt.Fprintf(w, "kept %s as %s\n", printable(a.Port), printable(a.ID))
	}
	fmt.Fprintf(w, "%s\n", printable(r.TraceID))
}

func sortedPorts(m map[string]json.RawMessage) []string {
	any := make(map[string]any, len(m))
	for k := range m {
		any[k] = nil
	}
	return detailOrder(any)
}
