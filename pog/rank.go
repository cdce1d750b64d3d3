package pog

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// item is one thing that can be found: a row of a searchable table.
type item struct {
	table string
	id    int64
}

// candidate is an item on a list, with its score there.
type candidate struct {
	item
	score float64
}

// rankedList is one way of finding things, best first. A vector index will
// be one more; they are fused by rank, not by score, because scores of
// different ways do not compare.
type rankedList struct {
	name  string
	found []candidate
}

// fused is an item with what all lists together say of it.
type fused struct {
	candidate
	by []string // names of the lists it is on
}

// rrfK damps the weight of the first places in reciprocal rank fusion; 60 is
// the value of the paper (Cormack, Clarke, Büttcher, SIGIR 2009).
const rrfK = 60

// fuse makes one list of several, at most k long: each item scores
// 1/(60+rank) for every list it is on.
func fuse(lists []rankedList, k int) []fused {
	merged := map[item]*fused{}
	for _, l := range lists {
		for rank, c := range l.found {
			m, ok := merged[c.item]
			if !ok {
				m = &fused{candidate: candidate{item: c.item}}
				merged[c.item] = m
			}
			m.score += 1 / float64(rrfK+rank+1)
			m.by = append(m.by, l.name)
		}
	}
	out := make([]fused, 0, len(merged))
	for _, m := range merged {
		out = append(out, *m)
	}
	slices.SortFunc(out, func(a, b fused) int { return byScore(a.candidate, b.candidate) })
	return out[:min(k, len(out))]
}

// byScore orders best first, and equals newest first: an id is that of the
// event that made the row.
func byScore(a, b candidate) int {
	switch {
	case a.score > b.score:
		return -1
	case a.score < b.score:
		return 1
	case a.id != b.id:
		return int(max(-1, min(1, b.id-a.id)))
	}
	return strings.Compare(a.table, b.table)
}

// excerptRunes is how much of a text a hit shows.
const excerptRunes = 200

// excerpt cuts the part of text around the first place where a word of the
// search occurs, at word boundaries and on one line.
func excerpt(text string, words []string) string {
	runes := []rune(strings.Join(strings.Fields(text), " "))
	if len(runes) <= excerptRunes {
		return string(runes)
	}
	start := max(0, firstPlace(runes, words)-excerptRunes/4)
	for start > 0 && runes[start-1] != ' ' {
		start--
	}
	end := min(len(runes), start+excerptRunes)
	for end < len(runes) && end > start+excerptRunes/2 && runes[end] != ' ' {
		end--
	}
	out := strings.TrimSpace(string(runes[start:end]))
	if start > 0 {
		out = "…" + out
	}
	if end < len(runes) {
		out += "…"
	}
	return out
}

// firstPlace returns the rune at which the first of words begins in text.
func firstPlace(text []rune, words []string) int {
	folded := strings.ToLower(string(text))
	place := -1
	for _, w := range words {
		w = strings.ToLower(strings.TrimFunc(w, func(r rune) bool { return !isWordRune(r) }))
		if i := strings.Index(folded, w); len(w) > 2 && i >= 0 && (place < 0 || i < place) {
			place = i
		}
	}
	if place < 0 {
		return 0
	}
	return min(len(text), utf8.RuneCountInString(folded[:place]))
}
