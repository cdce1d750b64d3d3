// Package str is what the router needs of package strings, under the same names
// and with the same results.
//
// `rlp route` answers before most of the program is initialised (see package
// router/enter), and Go puts package strings behind reflect and with it behind fmt,
// encoding, crypto and a library that asks the processor for each of its features,
// a trap of some microseconds on a virtual machine. Package bytes comes early.
package str

import (
	"bytes"
	"iter"
	"unicode"
	"unicode/utf8"
	"unsafe"
)

// of is s for package bytes, which does not write to what it looks at.
func of(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// Contains reports whether sub is within s.
func Contains(s, sub string) bool { return Index(s, sub) >= 0 }

// ContainsAny reports whether any character of chars is within s.
func ContainsAny(s, chars string) bool { return bytes.ContainsAny(of(s), chars) }

// ContainsRune reports whether r is within s.
func ContainsRune(s string, r rune) bool { return bytes.ContainsRune(of(s), r) }

// Count counts sub in s, without overlaps; an empty one is before and behind each
// character.
func Count(s, sub string) int { return bytes.Count(of(s), of(sub)) }

// Index is where sub begins in s, or -1.
func Index(s, sub string) int { return bytes.Index(of(s), of(sub)) }

// IndexByte is where c is in s, or -1.
func IndexByte(s string, c byte) int { return bytes.IndexByte(of(s), c) }

// IndexFunc is where the first character is that f is true of, or -1.
func IndexFunc(s string, f func(rune) bool) int { return bytes.IndexFunc(of(s), f) }

// LastIndexByte is where the last c is in s, or -1.
func LastIndexByte(s string, c byte) int { return bytes.LastIndexByte(of(s), c) }

// HasPrefix reports whether s begins with prefix.
func HasPrefix(s, prefix string) bool { return len(s) >= len(prefix) && s[:len(prefix)] == prefix }

// HasSuffix reports whether s ends with suffix.
func HasSuffix(s, suffix string) bool {
	return len(s) >= len(suffix) && s[len(s)-len(suffix):] == suffix
}

// Cut gives what is before and behind the first sep, or all of s and nothing.
func Cut(s, sep string) (before, after string, found bool) {
	if i := Index(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// CutPrefix takes prefix off s if it is there.
func CutPrefix(s, prefix string) (after string, found bool) {
	if !HasPrefix(s, prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// CutSuffix takes suffix off s if it is there.
func CutSuffix(s, suffix string) (before string, found bool) {
	if !HasSuffix(s, suffix) {
		return s, false
	}
	return s[:len(s)-len(suffix)], true
}

// TrimSuffix is CutSuffix for who does not ask.
func TrimSuffix(s, suffix string) string {
	s, _ = CutSuffix(s, suffix)
	return s
}

// Trim takes the characters of cutset off both ends.
func Trim(s, cutset string) string {
	return trimRight(TrimLeft(s, cutset), func(r rune) bool { return ContainsRune(cutset, r) })
}

// TrimLeft takes the characters of cutset off the beginning.
func TrimLeft(s, cutset string) string {
	return trimLeft(s, func(r rune) bool { return ContainsRune(cutset, r) })
}

// TrimSpace takes white space, as Unicode has it, off both ends.
func TrimSpace(s string) string { return trimRight(trimLeft(s, unicode.IsSpace), unicode.IsSpace) }

func trimLeft(s string, off func(rune) bool) string {
	for i, r := range s {
		if !off(r) {
			return s[i:]
		}
	}
	return ""
}

func trimRight(s string, off func(rune) bool) string {
	for s != "" {
		r, n := utf8.DecodeLastRuneInString(s)
		if !off(r) {
			break
		}
		s = s[:len(s)-n]
	}
	return s
}

// Fields are the words between white space.
func Fields(s string) []string {
	var out []string
	for s = TrimSpace(s); s != ""; s = trimLeft(s, unicode.IsSpace) {
		end := IndexFunc(s, unicode.IsSpace)
		if end < 0 {
			end = len(s)
		}
		out = append(out, s[:end])
		s = s[end:]
	}
	return out
}

// Split gives what is between each two sep, which is not empty.
func Split(s, sep string) []string {
	var out []string
	for part := range SplitSeq(s, sep) {
		out = append(out, part)
	}
	return out
}

// SplitSeq is Split, one part after the other.
func SplitSeq(s, sep string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for more := true; more; {
			var part string
			if part, s, more = Cut(s, sep); !yield(part) {
				return
			}
		}
	}
}

// Lines are the lines of s with their ends; the last may have none.
func Lines(s string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for s != "" {
			end := len(s)
			if i := IndexByte(s, '\n'); i >= 0 {
				end = i + 1
			}
			if !yield(s[:end]) {
				return
			}
			s = s[end:]
		}
	}
}

// Join puts parts together with sep between them.
func Join(parts []string, sep string) string {
	var b []byte
	for i, part := range parts {
		if i > 0 {
			b = append(b, sep...)
		}
		b = append(b, part...)
	}
	return string(b)
}

// ReplaceAll puts to in place of each from, which is not empty.
func ReplaceAll(s, from, to string) string {
	return string(bytes.ReplaceAll(of(s), of(from), of(to)))
}

// ToLower is s in lower case.
func ToLower(s string) string { return string(bytes.ToLower(of(s))) }

// ToUpper is s in upper case.
func ToUpper(s string) string { return string(bytes.ToUpper(of(s))) }
