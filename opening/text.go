package opening

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// readText checks that data is text of a size that is safe to look at, and
// gives it with one kind of line break. It reports what is wrong and gives
// ok = false otherwise.
func readText(src *source, data []byte) (text string, ok bool) {
	if len(data) > maxSource {
		src.add(position{1, 1}, codeSize, "the file has %d bytes; an opening may have %d",
			len(data), maxSource)
		return "", false
	}
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		src.add(position{1, 1}, codeText, "the file is UTF-16; openings are UTF-8")
		return "", false
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // a byte order mark, legal in front
	text = strings.ReplaceAll(string(data), "\r\n", "\n")
	text = strings.ReplaceAll(text, "\r", "\n")
	if i, what := findControl(text); i >= 0 {
		src.add(posOf(text, i), codeText, "this is not a text file: it holds %s", what)
		return "", false
	}
	return text, true
}

// fewIndicators checks that text has a shape that is safe to hand to a YAML
// parser, and reports when it has not.
func fewIndicators(src *source, text string) bool {
	n := countIndicators(text)
	if n > maxIndicators {
		src.add(position{1, 1}, codeSize, "the file is too large: "+
			"it may hold %d of YAML's special characters and line ends, and has %d", maxIndicators, n)
	}
	return n <= maxIndicators
}

// findControl gives the offset of the first character that YAML does not
// allow in a file (section 5.1), or that makes a file read otherwise than it
// is (the controls of Unicode's bidirectional algorithm that reorder what
// follows), and what it is, or -1.
func findControl(text string) (int, string) {
	for i, r := range text {
		switch {
		case r == utf8.RuneError && isBroken(text[i:]):
			return i, "bytes that are not UTF-8"
		case r == '\n' || r == '\t' || r >= ' ' && r < 0x7f:
		case r < 0xa0 && r != 0x85, r == 0xfeff, r == 0xfffe, r == 0xffff:
			return i, "the control character " + strings.Trim(quote(string(r)), `"`)
		case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			return i, "the invisible character " + strings.Trim(quote(string(r)), `"`) +
				", which reorders the text after it; write it as that escape, in double quotes"
		}
	}
	return -1, ""
}

// posOf is the position of byte i of text.
func posOf(text string, i int) position {
	before := text[:i]
	line := strings.Count(before, "\n") + 1
	return position{line, utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1}
}

// indicators are the characters that can begin or end a token in YAML
// (section 5.3). Counting them bounds what the parser may allocate.
const indicators = "\n[]{},:-?&*!|>'\"%@`#"

// countIndicators gives an upper bound for the tokens of text, but for a factor
// of two: between two indicators there is at most one scalar.
func countIndicators(text string) int {
	n := 0
	for i := range len(text) {
		if strings.IndexByte(indicators, text[i]) >= 0 {
			n++
		}
	}
	return n
}
