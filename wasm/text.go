package wasm

import (
	"strconv"
	"strings"
	"unicode"
)

// errorTextMax bounds the text of a guest that is quoted in an error, in bytes.
const errorTextMax = 500

// printable makes text of a guest fit for one line of an error: what is not
// printable becomes an escape, and it ends after errorTextMax bytes.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if b.Len() >= errorTextMax {
			b.WriteString("…")
			break
		}
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		q := strconv.QuoteRuneToASCII(r)
		b.WriteString(q[1 : len(q)-1])
	}
	return b.String()
}
