package main

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// wordsMax is the longest a draft may be.
const wordsMax = 180

// citation is how a draft names the event that a claim rests on: [#12]. It and
// its neighbours look for text by hand, because a module with regexp in it is
// an eighth larger and every run loads it.
type citation struct {
	start, end int // in the text, with the space in front of it
	id         int64
}

// citationsIn finds the citations of a text.
func citationsIn(text string) []citation {
	var out []citation
	for at := 0; ; {
		i := strings.Index(text[at:], "[#")
		if i < 0 {
			return out
		}
		open := at + i
		digits := text[open+2:]
		n := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' })
		at = open + 2
		if n <= 0 || digits[n] != ']' {
			continue
		}
		if id, err := strconv.ParseInt(digits[:n], 10, 64); err == nil {
			start := len(strings.TrimRight(text[:open], " "))
			out = append(out, citation{start, open + 2 + n + 1, id})
		}
	}
}

// withoutCitations is the text as the recipient gets it.
func withoutCitations(text string) string {
	var b strings.Builder
	at := 0
	for _, c := range citationsIn(text) {
		b.WriteString(text[at:max(at, c.start)])
		at = c.end
	}
	return b.String() + text[at:]
}

// citations are the events that body names, as far as they were given.
func citations(body string, given []snippet) []int64 {
	out := []int64{}
	for _, c := range citationsIn(body) {
		known := slices.ContainsFunc(given, func(s snippet) bool { return s.EventID == c.id })
		if known && !slices.Contains(out, c.id) {
			out = append(out, c.id)
		}
	}
	return out
}

func subject(topic string) string {
	r := []rune(strings.Join(strings.Fields(topic), " "))
	if len(r) == 0 {
		return "A short note"
	}
	return strings.ToUpper(string(r[0])) + string(r[1:min(len(r), 78)])
}

func firstName(name string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(name), " ")
	return first
}

func slug(s string) string {
	s = strings.Join(strings.FieldsFunc(strings.ToLower(s), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	}), "-")
	return cmp.Or(s[:min(len(s), 40)], "note")
}

// wordCount counts words as a reader would: the citations do not count.
func wordCount(body string) int {
	return len(strings.Fields(withoutCitations(body)))
}

// limitWords cuts a model's text that is too long after its last whole line
// within the limit, or word if there is no such line.
func limitWords(text string) string {
	if wordCount(text) <= wordsMax {
		return text
	}
	lines := strings.SplitAfter(text, "\n")
	for len(lines) > 1 && wordCount(strings.Join(lines, "")) > wordsMax {
		lines = lines[:len(lines)-1]
	}
	text = strings.TrimSpace(strings.Join(lines, ""))
	if words := strings.Fields(text); len(words) > wordsMax {
		text = strings.Join(words[:wordsMax], " ") + "…"
	}
	return text
}

// shorten cuts s after a whole word.
func shorten(s string, most int) string {
	s = strings.Join(strings.Fields(s), " ")
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	cut := string(runes[:most])
	if i := strings.LastIndexByte(cut, ' '); i > 0 {
		cut = cut[:i]
	}
	return cut + "…"
}

// wholeSentences leaves out the sentences that an excerpt has only a part of,
// unless there would be none left.
func wholeSentences(excerpt string) string {
	rest, cutAhead := strings.CutPrefix(excerpt, "…")
	kept, cutBehind := strings.CutSuffix(rest, "…")
	if cutAhead {
		if i := strings.Index(kept, ". "); i >= 0 {
			kept = kept[i+2:]
		}
	}
	if cutBehind {
		if i := strings.LastIndex(kept, ". "); i >= 0 {
			kept = kept[:i+1]
		}
	}
	if strings.TrimSpace(kept) == "" {
		return excerpt
	}
	return kept
}

// prose is what an excerpt says, without the heading that repeats the title
// and without the marks of lists, which mean nothing in the middle of a line.
func prose(title, excerpt string) string {
	text := strings.TrimLeft(wholeSentences(excerpt), "# ")
	text = strings.TrimPrefix(text, title)
	var out []string
	for _, w := range strings.Fields(text) {
		if !isListMark(w) {
			out = append(out, w)
			continue
		}
		if n := len(out); n > 0 && !strings.ContainsAny(out[n-1][len(out[n-1])-1:], ".:;,!?") {
			out[n-1] += ";"
		}
	}
	return strings.TrimRight(strings.Join(out, " "), ";")
}

// isListMark reports whether a word is what Markdown puts before a heading or
// an item: #, -, *, 2.
func isListMark(w string) bool {
	if strings.Trim(w, "#") == "" || w == "-" || w == "*" {
		return true
	}
	digits, ok := strings.CutSuffix(w, ".")
	return ok && digits != "" && len(digits) < 3 && strings.Trim(digits, "0123456789") == ""
}
