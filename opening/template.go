package opening

import (
	"fmt"
	"strings"
)

// part is a piece of a string with templates: text, or the path of a
// parameter.
type part struct {
	text string
	path []string // nil for text
	off  int      // in the string
}

// templateError is a mistake at a byte of a string.
type templateError struct {
	off  int
	msg  string
	hint string
}

// parseTemplate cuts s at its templates. Only {{params.a.b}} is one; the same
// without a parameter, with spaces or with anything else in it is a mistake,
// so that a typing error never reaches an agent as text. There is no way to
// write {{ as text; braces that are not doubled are text, and so is a }} with
// nothing before it.
func parseTemplate(s string) (parts []part, err *templateError) {
	off := 0
	for {
		i := strings.Index(s[off:], "{{")
		if i < 0 {
			break
		}
		if i > 0 {
			parts = append(parts, part{text: s[off : off+i], off: off})
		}
		off += i
		end := strings.Index(s[off:], "}}")
		if end < 0 {
			return nil, &templateError{off, "{{ without }} after it", ""}
		}
		path, err := templatePath(s[off+2:off+end], off)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part{path: path, off: off})
		off += end + 2
	}
	if off < len(s) {
		parts = append(parts, part{text: s[off:], off: off})
	}
	return parts, nil
}

// templatePath reads params.a.b and gives [a b].
func templatePath(inner string, off int) ([]string, *templateError) {
	bad := &templateError{off: off,
		msg: fmt.Sprintf("{{%s}} is not a template: only {{params.<name>}} is", visible(cut(inner)))}
	trimmed := strings.TrimSpace(inner)
	rest, ok := strings.CutPrefix(trimmed, "params.")
	if !ok {
		return nil, bad
	}
	path := strings.Split(rest, ".")
	for _, seg := range path {
		if !isSegment(seg) {
			return nil, bad
		}
	}
	if trimmed != inner {
		bad.hint = "write {{" + trimmed + "}}, without spaces"
		return nil, bad
	}
	return path, nil
}

// isSegment tells whether s can be a key on the path of a template.
func isSegment(s string) bool {
	for i := range len(s) {
		if !isWordByte(s[i]) {
			return false
		}
	}
	return s != "" && len(s) <= maxKeyBytes
}

// cut shortens text that a message repeats.
func cut(s string) string {
	if len(s) <= maxQuoted {
		return s
	}
	return strings.ToValidUTF8(s[:maxQuoted], "") + "…"
}
