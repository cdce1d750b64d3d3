package runloop

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// printable makes text safe to show on one line of a terminal: control
// characters, format characters (which can reorder or hide what stands beside
// them) and invalid bytes become visible escapes.
func printable(s string) string { return sanitize(s, false) }

// printableText is printable for text of several lines: newlines and tabs stay.
func printableText(s string) string { return sanitize(s, true) }

func sanitize(s string, lines bool) string {
	if utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !shows(r, lines) }) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case shows(r, lines):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
		s = s[size:]
	}
	return b.String()
}

func shows(r rune, lines bool) bool {
	return unicode.IsPrint(r) || lines && (r == '\n' || r == '\t')
}
