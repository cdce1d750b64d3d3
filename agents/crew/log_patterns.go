package main

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/runloop-os/runloop/wasm/guest"
)

const (
	lineMax         = 400 // runes of a line that are looked at
	patternsDefault = 12
)

// findPatterns groups the lines of a log that the user gave as text.
func findPatterns(c *guest.Call) error {
	with := struct {
		Log string `json:"log"`
		Top int    `json:"top"`
	}{Top: patternsDefault}
	if err := c.Bind(&with); err != nil {
		return err
	}
	if strings.TrimSpace(with.Log) == "" {
		return errors.New("with.log is empty: give the text of a log, for example -p log=@/var/log/syslog")
	}
	return c.Out("out", groupLines(with.Log, max(with.Top, 1)))
}

func groupLines(log string, top int) logReport {
	r := logReport{Levels: map[string]int{}, Patterns: []logPattern{}}
	index := map[string]int{}
	for line := range strings.Lines(log) {
		line = shorten(line, lineMax)
		if line == "" {
			continue
		}
		level := levelOf(line)
		pattern := mask(line)
		r.Lines++
		r.Levels[level]++
		i, seen := index[pattern]
		if !seen {
			i = len(r.Patterns)
			index[pattern] = i
			r.Patterns = append(r.Patterns, logPattern{Level: level, Pattern: pattern, First: line})
		}
		r.Patterns[i].Count++
	}
	r.Distinct = len(r.Patterns)
	slices.SortStableFunc(r.Patterns, func(a, b logPattern) int {
		return cmp.Or(cmp.Compare(gravity(a.Level), gravity(b.Level)), cmp.Compare(b.Count, a.Count))
	})
	r.Patterns = r.Patterns[:min(len(r.Patterns), top)]
	return r
}

func gravity(level string) int {
	return slices.Index([]string{"error", "warning", "other", "info", "debug"}, level)
}
