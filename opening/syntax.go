package opening

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// Syntax is a form that openings are written in (spec/04). Both say the same
// and compile to the same IR.
type Syntax string

// The forms.
const (
	YAML  Syntax = "yaml"
	Brace Syntax = "brace"
)

// SyntaxOf tells which form a file is in: the brace form begins with the word
// opening and a name, YAML with a key. Where the text does not tell, the name
// of the file does.
func SyntaxOf(name string, data []byte) Syntax {
	first := firstLine(string(data))
	n := 0
	for n < len(first) && isWordByte(first[n]) {
		n++
	}
	switch {
	case n > 0 && strings.HasPrefix(strings.TrimLeft(first[n:], " \t"), ":"):
		return YAML
	case first[:n] == "opening" || strings.HasSuffix(name, ".opening"):
		return Brace
	}
	return YAML
}

// firstLine gives the first line that is neither empty nor a comment.
func firstLine(text string) string {
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		line = strings.TrimLeft(line, " \t\r\n")
		if line != "" && line[0] != '#' {
			return line
		}
	}
	return ""
}

// parse reads an opening in either form as a tree, or reports why it cannot and
// gives nil.
func parse(src *source, name string, data []byte) *tree {
	text, ok := readText(src, data)
	if !ok {
		return nil
	}
	if SyntaxOf(name, data) == Brace {
		return parseBrace(src, text)
	}
	return parseYAML(src, text)
}

// Print gives the opening in a form. Both forms read back to the same IR.
func (o *Opening) Print(to Syntax) ([]byte, error) {
	switch to {
	case YAML:
		return o.YAML(), nil
	case Brace:
		return o.Brace(), nil
	}
	return nil, fmt.Errorf("there is no form %s; the forms are %s and %s", quote(string(to)), YAML, Brace)
}

// Comments counts the comments of a file that Parse takes. Neither the IR nor
// what is printed from it has them.
func Comments(name string, data []byte) int {
	src := newSource(name)
	text, ok := readText(src, data)
	if !ok {
		return 0
	}
	if SyntaxOf(name, data) == Brace {
		l := &braceLexer{text: text, line: 1, col: 1}
		for l.space(); l.next().kind != tokEnd; {
			l.space()
		}
		return l.comments
	}
	n := 0
	if fewIndicators(src, text) {
		for _, tk := range lexer.Tokenize(text) {
			if tk.Type == token.CommentType {
				n++
			}
		}
	}
	return n
}
