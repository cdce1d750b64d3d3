package opening

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"strings"
	"sync"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

//go:embed ladder.html
var ladderPage string

//go:embed ladder.css
var ladderStyle string

// ladderTemplate is parsed when it is first used.
var ladderTemplate = sync.OnceValues(func() (*template.Template, error) {
	return template.New("ladder").Parse(ladderPage)
})

// maxHTMLValue is how much of one value a page shows, in bytes.
const maxHTMLValue = 64 << 10

// Measures of the timeline, in units of its picture.
const (
	timelineWide = 1000
	timelineRow  = 22
	timelineName = 190
)

// htmlPage is what the template is filled with. Every text in it is escaped
// twice: control characters by visible, and the rest by the template.
type htmlPage struct {
	Style            template.CSS
	Policy           string
	Trace, Opening   string
	Status, Reason   string
	Began, Took      string
	Usage            string
	Seed, Final      string
	Params           string
	Redacted, Cut    bool
	Forked           string // the run that it comes from
	Wide, High, Name int
	Marks            []htmlMark
	Bars             []htmlBar
	Ladder           []htmlRung
	Nodes            []htmlNode
}

type (
	// htmlMark is a line of the scale.
	htmlMark struct {
		X            int
		Text, Anchor string
	}
	// htmlBar is a node in the timeline.
	htmlBar struct {
		Y, TextY, DotY, X, Wide int
		Node, State, Text       string
		Dots                    []int // where messages of its agent crossed
		Reused                  bool
	}
	htmlRung struct{ At, From, To, Kind, Bytes, Topic string }
	htmlNode struct {
		Node, Agent, State, Line, Reason, Reused, Digest string
		With                                             string
		Inputs, Outputs                                  []htmlValue
		Calls                                            []htmlCall
		Cut                                              bool
	}
	htmlValue struct{ Port, Text string }
	htmlCall  struct {
		Number                int
		Op, Short, Args, Text string
		Failed                bool
	}
)

// html writes one page that holds everything: it needs no network and no
// script, and its policy allows neither.
func (t *Trace) html(out *errWriter) {
	tmpl, err := ladderTemplate()
	if err == nil && out.err == nil {
		err = tmpl.Execute(out.w, t.page())
	}
	if out.err == nil {
		out.err = err
	}
}

// page puts the trace into the form of the template.
func (t *Trace) page() *htmlPage {
	sum := sha256.Sum256([]byte(ladderStyle))
	p := &htmlPage{
		Style:  template.CSS(ladderStyle),
		Policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'",
		Trace:  visible(t.TraceID), Opening: visible(t.OpeningName),
		Status: string(t.Status), Reason: visible(t.Reason), Redacted: t.Redacted, Cut: t.LadderCut,
		Forked: visible(t.ForkedFrom), Final: visible(t.FinalHash), Params: pretty(t.Params), Wide: timelineWide, Name: timelineName,
	}
	seed, _ := t.Seed.MarshalText() // never fails
	p.Seed = string(seed)
	zero := t.zero()
	if zero > 0 {
		p.Began = time.UnixMilli(zero).UTC().Format("2006-01-02 15:04:05.000 UTC")
	}
	var usage rmp.Usage
	for i := range t.Nodes {
		n := &t.Nodes[i]
		if a := n.FinalAttempt; a != nil && a.Nested == nil {
			usage.TokensIn += a.Usage.TokensIn
			usage.TokensOut += a.Usage.TokensOut
			usage.USD += a.Usage.USD
		}
		p.Nodes = append(p.Nodes, n.html())
	}
	p.Usage = usageText(usage)
	for _, c := range t.Ladder {
		p.Ladder = append(p.Ladder, htmlRung{
			At: fmt.Sprintf("%+d ms", c.TSMillis-zero), From: cell(c.From), To: cell(c.To),
			Kind: visible(c.Kind), Bytes: fmt.Sprint(c.FrameLen), Topic: visible(c.Topic),
		})
	}
	p.timeline(t, zero)
	return p
}

// usageText puts tokens and dollars on a line, "" when there are none.
func usageText(u rmp.Usage) string {
	if u == (rmp.Usage{}) {
		return ""
	}
	return fmt.Sprintf("%d + %d tokens, $%.4f", u.TokensIn, u.TokensOut, u.USD)
}

// timeline lays the nodes out in time. What was reused took no time here.
func (p *htmlPage) timeline(t *Trace, zero int64) {
	end := zero + 1
	for _, c := range t.Ladder {
		end = max(end, c.TSMillis)
	}
	for _, n := range t.Nodes {
		if a := n.FinalAttempt; a != nil && a.TSMillis > 0 && a.ReusedFrom == nil {
			end = max(end, a.TSMillis+a.Micros/1000)
		}
	}
	p.Took = (time.Duration(end-zero) * time.Millisecond).String()
	scale := float64(timelineWide-timelineName-10) / float64(end-zero)
	x := func(ms int64) int { return timelineName + int(float64(max(ms-zero, 0))*scale) }
	for i := range 5 {
		at := (end - zero) * int64(i) / 4
		anchor := "middle"
		if i == 4 {
			anchor = "end"
		}
		p.Marks = append(p.Marks, htmlMark{x(zero + at), fmt.Sprintf("%d ms", at), anchor})
	}
	for i, n := range t.Nodes {
		b := htmlBar{Y: timelineRow*(i+1) + 4, Node: shortName(n.NodeID), State: string(n.State.State), Text: visible(n.line())}
		b.TextY, b.DotY = b.Y+11, b.Y+7
		if a := n.FinalAttempt; a != nil && a.TSMillis > 0 && a.ReusedFrom == nil {
			b.X = x(a.TSMillis)
			b.Wide = max(x(a.TSMillis+a.Micros/1000)-b.X, 3)
			b.Dots = t.dots(n.Agent, a, x)
		} else if a != nil && a.ReusedFrom != nil {
			b.X, b.Reused = timelineName, true
		}
		p.Bars = append(p.Bars, b)
	}
	p.High = timelineRow*(len(t.Nodes)+1) + 8
}

// dots are where messages to and from an agent crossed while an attempt of it
// ran.
func (t *Trace) dots(agent string, a *Attempt, x func(int64) int) []int {
	var out []int
	name, end := "agent:"+agent, a.TSMillis+a.Micros/1000+1
	for _, c := range t.Ladder {
		if (c.From == name || c.To == name) && c.TSMillis >= a.TSMillis && c.TSMillis <= end {
			out = append(out, x(c.TSMillis))
		}
	}
	return out
}

// maxNameShown is how much of a node's name the timeline has room for.
const maxNameShown = 26

func shortName(s string) string {
	r := []rune(visible(s))
	if len(r) > maxNameShown {
		return string(r[:maxNameShown-1]) + "…"
	}
	return string(r)
}

// html puts a node into the form of the template.
func (n *TraceNode) html() htmlNode {
	out := htmlNode{
		Node: visible(n.NodeID), Agent: visible(n.Agent), State: string(n.State.State), Reason: visible(n.State.Reason),
	}
	a := n.FinalAttempt
	if a == nil {
		return out
	}
	out.Line = fmt.Sprintf("attempt %d, %s", a.Attempt, milliseconds(a.Micros))
	if u := usageText(a.Usage); u != "" {
		out.Line += ", " + u
	}
	if a.ReusedFrom != nil {
		out.Reused = visible(a.ReusedFrom.Trace)
	}
	out.Digest, out.With, out.Cut = visible(a.Digest), pretty(a.With), a.TapeCut
	for _, port := range sortedKeys(a.Inputs) {
		for _, v := range a.Inputs[port] {
			out.Inputs = append(out.Inputs, htmlValue{visible(port), pretty(v)})
		}
	}
	for _, port := range sortedKeys(a.Outputs) {
		out.Outputs = append(out.Outputs, htmlValue{visible(port), pretty(a.Outputs[port])})
	}
	for i, h := range a.Hostcalls {
		out.Calls = append(out.Calls, h.html(i+1))
	}
	return out
}

// html puts a hostcall into the form of the template.
func (h *Hostcall) html(number int) htmlCall {
	c := htmlCall{
		Number: number, Op: visible(h.Op), Short: shorten(h.Args, valueShown), Args: pretty(h.Args),
		Text: pretty(h.OK), Failed: h.Err != nil,
	}
	if h.Err != nil {
		c.Text = visible(h.Err.Code) + ": " + visible(h.Err.Message)
	}
	return c
}

// pretty gives a JSON value on several lines, up to a limit.
func pretty(raw json.RawMessage) string {
	text := strings.Join(indented(raw), "\n")
	if len(text) > maxHTMLValue {
		return toWhole(text[:maxHTMLValue]) + fmt.Sprintf("\n… and %d more bytes", len(text)-maxHTMLValue)
	}
	return text
}
