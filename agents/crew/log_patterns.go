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

var (
	levelWord = pattern(`(?i)\b(fatal|panic|emerg|crit(?:ical)?|err(?:or)?|fail(?:ed|ure)?|warn(?:ing)?|info|notice|debug|trace)\b`)
	variable  = pattern(`(?i)` + strings.Join([]string{
		`\d{4}-\d\d-\d\d[t ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:z|[+-]\d\d:?\d\d)?`, // ISO times
		`\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)\s+\d+\s+\d\d:\d\d:\d\d`,
		`\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`, // UUIDs
		`\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b`,            // IPv4
		`\b(?:0x)?[0-9a-f]{8,}\b`,
		`\d+`,
	}, "|"))
)

// mask takes out what differs between lines that say the same.
func mask(line string) string { return variable().ReplaceAllString(line, "#") }

func levelOf(line string) string {
	word := strings.ToLower(levelWord().FindString(line))
	switch {
	case word == "":
		return "other"
	case strings.HasPrefix(word, "warn"):
		return "warning"
	case word == "info" || word == "notice":
		return "info"
	case word == "debug" || word == "trace":
		return "debug"
	}
	return "error"
}

func gravity(level string) int {
	return slices.Index([]string{"error", "warning", "other", "info", "debug"}, level)
}
