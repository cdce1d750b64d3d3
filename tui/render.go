package tui

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Sanitizer makes text from outside fit for one line of a terminal.
type Sanitizer func(string) string

// Style is how lines look.
type Style struct {
	Width    int // columns; lines are cut to it
	Height   int // rows, of which a live view leaves the last to the cursor; 0: any number
	Colour   bool
	ASCII    bool // no glyphs beyond ASCII
	Sanitize Sanitizer
}

// glyphs tell a state without colour: sign and word stand side by side.
var glyphs = map[string]string{
	"waiting": ".", "running": ">", "ok": "+", "error": "x", "skipped": "-", "cancelled": "x",
}

var colours = map[string]string{
	"running": "36", "ok": "32", "error": "31", "cancelled": "33", "skipped": "2", "waiting": "2",
}

// Render makes the lines of a run: a header and a line for each node. Of more
// nodes than fit the height those around the first that runs are shown.
func Render(r *Run, now time.Time, s Style) []string {
	lines := []string{s.cut(s.header(r, now))}
	var below []string
	if r.Waiting != "" && r.Status == "" {
		below = []string{s.cut("? " + s.Sanitize(r.Waiting))}
	}
	from, to := s.window(r, len(lines)+len(below)+1)
	wide := widest(r)
	for _, n := range r.Nodes[from:to] {
		lines = append(lines, s.node(n, wide, now))
	}
	if shown := to - from; shown < len(r.Nodes) {
		lines = append(lines, s.cut(fmt.Sprintf("  … %d of %d nodes, %d ended", shown, len(r.Nodes), r.ended())))
	}
	return append(lines, below...)
}

// RenderNode makes the line of one node of a run.
func RenderNode(r *Run, n *Node, now time.Time, s Style) string { return s.node(n, widest(r), now) }

// window is which nodes of a run are shown where so many other lines are.
func (s Style) window(r *Run, others int) (from, to int) {
	room := s.Height - others
	if s.Height <= 0 || len(r.Nodes) <= room {
		return 0, len(r.Nodes)
	}
	room = max(room-1, 0) // one line counts those that are not shown
	first := slices.IndexFunc(r.Nodes, func(n *Node) bool { return n.Status == "running" })
	if first < 0 {
		first = slices.IndexFunc(r.Nodes, func(n *Node) bool { return n.Status == "waiting" })
	}
	if first < 0 {
		first = len(r.Nodes)
	}
	from = max(0, min(first-1, len(r.Nodes)-room))
	return from, from + room
}

// widest is how wide the names of a run's nodes are, in characters.
func widest(r *Run) (wide int) {
	for _, n := range r.Nodes {
		wide = max(wide, utf8.RuneCountInString(n.ID))
	}
	return wide
}

func (s Style) header(r *Run, now time.Time) string {
	state, took := "running", now.Sub(r.Started)
	switch {
	case r.Status != "":
		state, took = r.Status, r.Duration
	case r.Paused:
		state = "paused"
	}
	return fmt.Sprintf("%s  %s  %s", s.Sanitize(r.Opening), s.Sanitize(state), Seconds(took))
}

func (s Style) node(n *Node, wide int, now time.Time) string {
	took := n.Duration
	if n.Status == "running" {
		took = now.Sub(n.Started)
	}
	state := fmt.Sprintf("%s %-9s", glyphs[n.Status], s.Sanitize(n.Status))
	rest := fmt.Sprintf(" %-*s  %8s", wide, s.Sanitize(n.ID), Seconds(took))
	if n.Attempt > 1 {
		rest += fmt.Sprintf("  attempt %d", n.Attempt)
	}
	if n.Tokens > 0 {
		rest += fmt.Sprintf("  %d tokens", n.Tokens)
	}
	if n.Detail != "" {
		rest += "  " + s.Sanitize(strings.TrimSpace(n.Detail))
	}
	line := s.cut("  " + state + rest)
	if c := colours[n.Status]; s.Colour && c != "" {
		line = strings.Replace(line, state, "\x1b["+c+"m"+state+"\x1b[0m", 1)
	}
	return line
}

// cut makes a line fit the width, which counts every rune as one column.
func (s Style) cut(line string) string {
	if s.Width <= 0 || utf8.RuneCountInString(line) <= s.Width {
		return line
	}
	end := "…"
	if s.ASCII {
		end = "~"
	}
	return string([]rune(line)[:max(s.Width-1, 0)]) + end
}

// Seconds is a duration as people read it: 12 ms, 3.4 s, 2m05s.
func Seconds(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}
