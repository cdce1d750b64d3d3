package broker

import (
	"encoding/base64"
	"net/url"
	"strings"
	"unicode"
)

// maxErrText bounds what an error quotes of somebody else's words.
const maxErrText = 200

// printable makes foreign text fit for one line of an error: control and
// format characters (terminal escapes, bidi overrides) become spaces, runs of
// space one space, and at most limit bytes are kept.
func printable(s string, limit int) string {
	s = clip(s, 8*limit) // bounds the work below
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, s)
	return clip(strings.Join(strings.Fields(s), " "), limit)
}

// clip cuts s to at most n bytes, at a rune, and shows that it did.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// withhold returns text unless it repeats a recognisable part of the secret,
// plain, URL-escaped or in base64. Providers echo a rejected key in full or
// with its middle starred out; a window of eight bytes catches both.
func withhold(text, secret string) string {
	for _, form := range []string{
		secret,
		url.QueryEscape(secret),
		base64.StdEncoding.EncodeToString([]byte(secret)),
		base64.URLEncoding.EncodeToString([]byte(secret)),
	} {
		if sharesWindow(text, form, 8) {
			return "(message withheld: it repeats the credential)"
		}
	}
	return text
}

// sharesWindow reports whether any n bytes in a row of form occur in text.
func sharesWindow(text, form string, n int) bool {
	if form == "" {
		return false
	}
	n = min(n, len(form))
	for i := 0; i+n <= len(form); i++ {
		if strings.Contains(text, form[i:i+n]) {
			return true
		}
	}
	return false
}

// suggest returns ` (did you mean "x"?)` for the name of the list nearest to
// name, or "" when none is within two edits.
func suggest(name string, names []string) string {
	best, at := 3, ""
	for _, n := range names {
		if d := edits(clip(name, 64), n); d < best {
			best, at = d, n
		}
	}
	if at == "" {
		return ""
	}
	return ` (did you mean "` + at + `"?)`
}

// edits is the Levenshtein distance in bytes.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
