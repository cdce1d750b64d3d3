package pog

import (
	"strings"
	"sync"
	"unicode"
)

// accents maps Latin letters with marks to the letters a keyboard without
// them has: each line is what they become and all that become it.
var accents = sync.OnceValue(func() map[rune]string {
	return foldTable(`
	a àáâãäåāăąǎǟǡǻȁȃȧḁẚạảấầẩẫậắằẳẵặ
	ae æǣǽ
	b ḃḅḇƀɓ
	c çćĉċčḉƈ
	d ďđḋḍḏḑḓðɖɗ
	e èéêëēĕėęěȅȇȩḕḗḙḛḝẹẻẽếềểễệ
	f ḟƒ
	g ĝğġģǧǵḡɠ
	h ĥħȟḣḥḧḩḫẖ
	i ìíîïĩīĭįıǐȉȋḭḯỉị
	j ĵǰ
	k ķǩḱḳḵƙ
	l ĺļľŀłḷḹḻḽ
	m ḿṁṃ
	n ñńņňŉǹṅṇṉṋŋ
	o òóôõöøōŏőơǒǫǭǿȍȏȫȭȯȱṍṏṑṓọỏốồổỗộớờởỡợ
	oe œ
	p ṕṗƥ
	r ŕŗřȑȓṙṛṝṟ
	s śŝşšșṡṣṥṧṩſ
	ss ß
	t ţťŧțṫṭṯṱẗ
	th þ
	u ùúûüũūŭůűųưǔǖǘǚǜȕȗṳṵṷṹṻụủứừửữự
	v ṽṿ
	w ŵẁẃẅẇẉẘ
	x ẋẍ
	y ýÿŷȳẏẙỳỵỷỹ
	z źżžẑẓẕƶ
`)
})

func foldTable(lines string) map[rune]string {
	m := map[rune]string{}
	for line := range strings.Lines(lines) {
		base, letters, _ := strings.Cut(strings.TrimSpace(line), " ")
		for _, r := range letters {
			m[r] = base
		}
	}
	return m
}

// maxNameRunes bounds what is compared: names are short, and comparing two
// strings costs the product of their lengths.
const maxNameRunes = 128

// normalizeName reduces a name to what two spellings of it share: lower
// case, no accents, words of letters and digits with single spaces between.
func normalizeName(name string) string {
	var b strings.Builder
	fold, space, n := accents(), false, 0
	for _, r := range name {
		if n >= maxNameRunes {
			break
		}
		r = unicode.ToLower(r)
		switch {
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			if space && b.Len() > 0 {
				b.WriteByte(' ')
				n++
			}
			space = false
			n++
			if base, ok := fold[r]; ok {
				b.WriteString(base)
			} else {
				b.WriteRune(r)
			}
		case unicode.Is(unicode.Mn, r), r == '\'', r == '’':
			// Part of the word: a combining accent, or the mark in O'Neil.
		default:
			space = true
		}
	}
	return b.String()
}

// firstWord returns the first word of a normalized name.
func firstWord(normalized string) string {
	first, _, _ := strings.Cut(normalized, " ")
	return first
}

// similarity says how well query names the person called name, from 0 to 1.
// Both are normalized. Every word of the query counts with its best
// counterpart, so order and middle names do not matter; a query that leaves
// words of the name out scores a little less than one that does not.
func similarity(query, name string) float64 {
	asked, words := strings.Fields(query), strings.Fields(name)
	if len(asked) == 0 || len(words) == 0 {
		return 0
	}
	sum := 0.0
	for _, a := range asked {
		best := 0.0
		for _, w := range words {
			best = max(best, jaroWinkler([]rune(a), []rune(w)))
		}
		sum += best
	}
	covered := min(1, float64(len(asked))/float64(len(words)))
	return sum / float64(len(asked)) * (0.85 + 0.15*covered)
}

// jaroWinkler is the usual string similarity for names (Winkler 1990): the
// share of characters both have in nearly the same place, and a bonus for a
// common beginning of up to four.
func jaroWinkler(a, b []rune) float64 {
	j := jaro(a, b)
	prefix := 0
	for prefix < min(4, len(a), len(b)) && a[prefix] == b[prefix] {
		prefix++
	}
	return j + 0.1*float64(prefix)*(1-j)
}

func jaro(a, b []rune) float64 {
	if len(a) == 0 || len(b) == 0 {
		return 0
	}
	window := max(0, max(len(a), len(b))/2-1)
	inA, inB := make([]bool, len(a)), make([]bool, len(b))
	matches := 0
	for i := range a {
		for k := max(0, i-window); k < min(len(b), i+window+1); k++ {
			if !inB[k] && a[i] == b[k] {
				inA[i], inB[k] = true, true
				matches++
				break
			}
		}
	}
	if matches == 0 {
		return 0
	}
	m := float64(matches)
	swaps := float64(transpositions(a, b, inA, inB)) / 2
	return (m/float64(len(a)) + m/float64(len(b)) + (m-swaps)/m) / 3
}

// transpositions counts matched characters that come in another order.
func transpositions(a, b []rune, inA, inB []bool) int {
	n, k := 0, 0
	for i := range a {
		if !inA[i] {
			continue
		}
		for !inB[k] {
			k++
		}
		if a[i] != b[k] {
			n++
		}
		k++
	}
	return n
}

// trigrams returns an FTS5 expression for contacts_tri that matches a name
// sharing any three letters in a row with the given one, or "" when it has
// no three. Every trigram is quoted, so nothing in name is syntax.
func trigrams(name string) string {
	var terms []string
	seen := map[string]bool{}
	for _, word := range strings.Fields(normalizeName(name)) {
		runes := []rune(word)
		for i := 0; i+3 <= len(runes); i++ {
			t := string(runes[i : i+3])
			if !seen[t] {
				seen[t] = true
				terms = append(terms, `"`+t+`"`)
			}
		}
	}
	return strings.Join(terms, " OR ")
}
