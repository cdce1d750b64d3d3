package tui

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Sanitizer makes text from outside fit for one line of a terminal.
type Sanitizer func(string) string

// Style is how lines look.
type Style struct {
	Width    int // columns; lines are cut to it
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

// Render makes the lines of a run: a header and a line for each node.
func Render(r *Run, now time.Time, s Style) []string {
	lines := []string{s.cut(s.header(r, now))}
	for _, n := range r.Nodes {
		lines = append(lines, RenderNode(r, n, now, s))
	}
	if r.Waiting != "" && r.Status == "" {
		lines = append(lines, s.cut("? "+s.Sanitize(r.Waiting)))
	}
	return lines
}

// RenderNode makes the line of one node of a run.
func RenderNode(r *Run, n *Node, now time.Time, s Style) string {
	wide := 0
	for _, other := range r.Nodes {
		wide = max(wide, utf8.RuneCountInString(other.ID))
	}
	return s.node(n, wide, now)
}

func (s Style) header(r *Run, now time.Time) string {
	state, took := "running", now.Sub(r.Started)
	if r.Status != "" {
		state, took = r.Status, r.Duration
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
