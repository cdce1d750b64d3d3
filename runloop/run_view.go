package runloop

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/tui"
)

// Ways to show a run, for --progress and RLP_PROGRESS.
const (
	progressAuto  = "auto"  // live on a terminal, NDJSON elsewhere
	progressTTY   = "tty"   // live on a terminal, even where CI is set
	progressText  = "text"  // live on a terminal, plain lines elsewhere
	progressPlain = "plain" // a line for each node that has ended, then the outputs
	progressJSON  = "json"  // NDJSON: each event when it happens
	progressNone  = "none"
)

// runView shows a run.
type runView struct {
	io     *IO
	mode   string
	run    tui.Run     // what plain lines are made of
	inline *tui.Inline // set for the live view
	err    error       // the first failure to write
}

// progress is how the flags or the environment ask for what goes on to be
// shown: one of the above, if they are right.
func (o *IO) progress(asJSON bool) string {
	if asJSON {
		return progressJSON
	}
	return cmp.Or(o.common.progress, o.getenv("RLP_PROGRESS"), progressAuto)
}

// newRunView picks the view that progress names.
func (o *IO) newRunView(progress string) (*runView, error) {
	v := &runView{io: o, mode: progress}
	switch progress {
	case progressAuto, progressText, progressTTY:
		switch {
		case o.live() || progress == progressTTY && o.isTerminal(o.Stdout):
			v.inline = tui.NewInline(o.Stdout, o.style)
		case progress == progressAuto:
			v.mode = progressJSON
		default:
			v.mode = progressPlain
		}
	case progressPlain, progressJSON, progressNone:
	default:
		return nil, usageErrorf("--progress %q: auto, tty, text, plain, json or none", progress)
	}
	return v, nil
}

// event takes one event in. The engine calls it for one after the other.
func (v *runView) event(ev opening.Event) {
	var err error
	switch {
	case v.mode == progressJSON:
		var line []byte
		if line, err = json.Marshal(ev); err == nil {
			_, err = v.io.Stdout.Write(append(safeJSON(line), '\n'))
		}
	case v.inline != nil:
		err = v.inline.Apply(viewEvent(ev))
	case v.mode == progressPlain:
		err = v.plain(viewEvent(ev))
	}
	if err != nil && v.err == nil {
		v.err = fmt.Errorf("showing the run: %w", err)
	}
}

func viewEvent(ev opening.Event) *tui.Event {
	return &tui.Event{
		TSMillis: ev.TSMillis, TraceID: ev.TraceID, OpeningID: ev.OpeningID, Kind: ev.Kind,
		Level: ev.Level, Message: ev.Message, Meta: ev.Meta,
	}
}

// plain writes a line when a node has ended.
func (v *runView) plain(ev *tui.Event) error {
	if err := v.run.Apply(ev); err != nil || ev.Kind == "run.finished" {
		return err // the summary follows
	}
	return plainEvent(v.io.Stdout, &v.run, ev, v.io.style())
}

// pause gives the terminal to f.
func (v *runView) pause(f func()) {
	if v.inline == nil {
		f()
		return
	}
	v.inline.Pause(f)
}

// close ends the view. For people, outputs and a summary follow.
func (v *runView) close(report *opening.Report) error {
	if v.inline != nil {
		v.inline.Close()
	}
	if report == nil || v.inline == nil && v.mode != progressPlain {
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
		m, ok := detailsOf(n.Outputs[port])
		if !ok {
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
