package main

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"
)

// rank gives each contact its confidence and leaves out those that do not fit.
// Among equals the one that was heard of last comes first.
func rank(query string, known []contact) []contact {
	var out []contact
	for _, k := range known {
		k.Confidence = fit(query, &k)
		if k.Confidence > stubConfidence {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b contact) int {
		return cmp.Or(cmp.Compare(b.Confidence, a.Confidence),
			cmp.Compare(b.LastEventID, a.LastEventID), cmp.Compare(a.ContactID, b.ContactID))
	})
	return out
}

// fit says how well a contact fits a query, from 0 to 1.
func fit(query string, k *contact) float64 {
	q, name := fold(query), k.folded
	if name == "" {
		name = fold(k.Name)
	}
	switch {
	case k.Email != "" && strings.EqualFold(query, k.Email):
		return 1
	case q == name:
		return 0.95
	}
	asked, has := strings.Fields(q), strings.Fields(name)
	if len(asked) == 0 || len(asked) > len(has) {
		return 0
	}
	worst := 1.0
	for _, a := range asked {
		best := 0.0
		for _, h := range has {
			best = max(best, wordFit(a, h))
		}
		worst = min(worst, best)
	}
	if len(asked) == len(has) {
		return worst * 0.95
	}
	return worst * 0.85 // part of the name
}

// wordFit compares one word of a query with one of a name.
func wordFit(asked, has string) float64 {
	switch {
	case asked == has:
		return 1
	case len(asked) < 3:
		return 0
	case strings.HasPrefix(has, asked):
		return 0.85
	case abs(utf8.RuneCountInString(asked)-utf8.RuneCountInString(has)) > 2:
		return 0 // more edits than any case below allows
	}
	switch d := distance(asked, has); {
	case d == 1:
		return 0.8
	case d == 2 && len(asked) >= 6:
		return 0.65
	}
	return 0
}

func abs(n int) int { return max(n, -n) }

// distance is the optimal string alignment distance: edits and swaps of
// neighbours.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(x)][len(y)]
}

// fold makes names comparable: lower case, letters without the accents that
// are common in names, and words apart by single spaces.
func fold(s string) string {
	s = strings.Join(strings.Fields(strings.ToLower(s)), " ")
	return accents.Replace(s)
}

var accents = strings.NewReplacer(
	"à", "a", "á", "a", "â", "a", "ã", "a", "ä", "a", "å", "a", "ą", "a", "ç", "c", "ć", "c", "č", "c",
	"è", "e", "é", "e", "ê", "e", "ë", "e", "ę", "e", "ě", "e", "ì", "i", "í", "i", "î", "i", "ï", "i",
	"ł", "l", "ñ", "n", "ń", "n", "ň", "n", "ò", "o", "ó", "o", "ô", "o", "õ", "o", "ö", "o", "ø", "o",
	"ř", "r", "ś", "s", "š", "s", "ß", "ss", "ť", "t", "ù", "u", "ú", "u", "û", "u", "ü", "u", "ů", "u",
	"ý", "y", "ÿ", "y", "ź", "z", "ż", "z", "ž", "z", "æ", "ae", "œ", "oe",
)
