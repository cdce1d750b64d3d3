package main

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/runloop-os/runloop/wasm/guest"
)

// reviewDraft looks at a draft as a careful reader would before it goes out.
func reviewDraft(c *guest.Call) error {
	var d draft
	if err := c.Need("in", &d); err != nil {
		return err
	}
	found := []string{}
	for _, check := range []func(*draft) []string{
		checkLength, checkGreeting, checkLeftovers, checkTone, checkCitations,
	} {
		found = append(found, check(&d)...)
	}
	r := review{OK: len(found) == 0, Notes: reviewNotes{Suggestions: found}}
	r.Notes.Summary = fmt.Sprintf("%d words, %d citations: fine", wordCount(d.BodyMD), len(d.Citations))
	if !r.OK {
		r.Notes.Summary = fmt.Sprintf("%d points to mend", len(found))
	}
	if err := c.Out("ok", r.OK); err != nil {
		return err
	}
	return c.Out("review", r)
}

func checkLength(d *draft) []string {
	switch n := wordCount(d.BodyMD); {
	case n == 0:
		return []string{"the draft is empty"}
	case n > wordsMax:
		return []string{fmt.Sprintf("%d words; at most %d", n, wordsMax)}
	}
	return nil
}

func checkTone(d *draft) []string {
	var out []string
	if n := strings.Count(d.BodyMD, "!"); n > 2 {
		out = append(out, fmt.Sprintf("%d exclamation marks sound excited", n))
	}
	shouted := slices.DeleteFunc(strings.Fields(d.BodyMD), func(w string) bool {
		letters := strings.TrimFunc(w, func(r rune) bool { return !unicode.IsLetter(r) })
		return len([]rune(letters)) < 6 || letters != strings.ToUpper(letters) ||
			letters == strings.ToLower(letters)
	})
	if len(shouted) > 1 {
		out = append(out, "words in capitals sound loud: "+strings.Join(shouted, " "))
	}
	return out
}

// checkCitations looks at the list items of a draft, which is where claims
// stand, and at citations of events that nobody gave to the writer.
func checkCitations(d *draft) []string {
	var out []string
	for line := range strings.SplitSeq(d.BodyMD, "\n") {
		item := strings.TrimSpace(line)
		if strings.HasPrefix(item, "- ") && len(citationsIn(item)) == 0 {
			out = append(out, fmt.Sprintf("a claim without its source: %q", shorten(item, 60)))
		}
	}
	for _, c := range citationsIn(d.BodyMD) {
		if !slices.Contains(d.Citations, c.id) {
			out = append(out, fmt.Sprintf("[#%d] is no event that the draft rests on", c.id))
		}
	}
	return out
}
