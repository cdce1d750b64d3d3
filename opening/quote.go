package opening

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxQuoted is how much of somebody else's text a message repeats, in bytes.
const maxQuoted = 80

// quote puts s into a message: in quotes, cut when long, and with everything
// escaped that a terminal could take for a command or that would not be seen.
func quote(s string) string {
	if len(s) <= maxQuoted {
		return strconv.Quote(s)
	}
	cut := maxQuoted
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strconv.Quote(s[:cut]) + "…"
}

// visible is like quote without the quotes and without a cut: the text stays
// on its line and holds nothing but printable characters.
func visible(s string) string {
	if isVisible(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && isBroken(s[i:]):
			b.WriteString(`\x` + strconv.FormatUint(uint64(s[i]), 16))
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRune(r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}

// isVisible reports whether s can be shown as it is.
func isVisible(s string) bool {
	for i, r := range s {
		if !strconv.IsPrint(r) || r == utf8.RuneError && isBroken(s[i:]) {
			return false
		}
	}
	return true
}

// isBroken tells a byte that is not UTF-8 from a genuine U+FFFD.
func isBroken(s string) bool {
	_, n := utf8.DecodeRuneInString(s)
	return n == 1
}
