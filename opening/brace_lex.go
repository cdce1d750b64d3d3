package opening

import (
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// tokKind is what a token of the brace form is.
type tokKind int

// The kinds of tokens.
const (
	tokEnd    tokKind = iota // of the file
	tokWord                  // names, keys and ports: letters, digits, _ - and dots
	tokNumber                // also 30s, which is a duration
	tokString                // in double or single quotes, or in backquotes
	tokMark                  // brackets, operators and the like
	tokBad                   // nothing of these
)

// braceTok is one token of the brace form.
type braceTok struct {
	kind  tokKind
	text  string // of a string what it says, of others what is written
	off   int    // where it starts and ends in the file, in bytes
	end   int
	pos   position
	first bool   // of its line
	plain bool   // a string that stands between its quotes as it reads
	bad   string // why a tokBad is one
}

// is reports whether the token is the mark or the word s.
func (t *braceTok) is(s string) bool {
	return (t.kind == tokMark || t.kind == tokWord) && t.text == s
}

// isName reports whether the token is a word without dots.
func (t *braceTok) isName() bool { return t.kind == tokWord && !strings.Contains(t.text, ".") }

// marks are all marks; longer ones stand before those they begin with.
var marks = []string{
	"->", ":=", "==", "!=", ">=", "<=",
	"{", "}", "[", "]", "(", ")", ",", ";", ":", "=", ">", "<", "$",
}

// braceLexer cuts a text into tokens, in one pass and without looking back.
type braceLexer struct {
	text string
	off  int
	line int // of off
	// col is the column of byte at, in the line of off; what lies between the
	// two is counted when a token asks for its position.
	col, at   int
	lineBegun bool // a token of this line was there
	comments  int
}

// lexBrace gives the tokens of a text that readText has let through, with a
// tokEnd behind them. Of more than maxTokens it gives no more, and says so.
func lexBrace(text string) (toks []braceTok, ok bool) {
	l := &braceLexer{text: text, line: 1, col: 1}
	for {
		l.space()
		t := l.next()
		toks = append(toks, t)
		if t.kind == tokEnd {
			return toks, true
		}
		if len(toks) > maxTokens {
			return toks, false
		}
	}
}

// pos is the position of byte off.
func (l *braceLexer) pos() position {
	l.col += utf8.RuneCountInString(l.text[l.at:l.off])
	l.at = l.off
	return position{l.line, l.col}
}

// newline notes that the line ended before off.
func (l *braceLexer) newline() {
	l.line++
	l.col, l.at = 1, l.off
	l.lineBegun = false
}

// space passes over spaces, ends of lines and comments.
func (l *braceLexer) space() {
	for l.off < len(l.text) {
		switch l.text[l.off] {
		case ' ', '\t':
			l.off++
		case '\n':
			l.off++
			l.newline()
		case '#':
			n := strings.IndexByte(l.text[l.off:], '\n')
			if n < 0 {
				n = len(l.text) - l.off
			}
			l.off += n
			l.comments++
		default:
			return
		}
	}
}

// next gives the token at off.
func (l *braceLexer) next() braceTok {
	t := braceTok{off: l.off, pos: l.pos(), first: !l.lineBegun}
	l.lineBegun = true
	if l.off < len(l.text) {
		l.read(&t)
	}
	t.end = l.off
	if t.text == "" && t.kind != tokString {
		t.text = l.text[t.off:t.end]
	}
	return t
}

// read passes over the token at off and fills in what it is.
func (l *braceLexer) read(t *braceTok) {
	c := l.text[l.off]
	switch {
	case c == '"' || c == '\'' || c == '`':
		l.str(t, c)
	case isLetter(c):
		t.kind = tokWord
		l.word()
	case isDigit(c) || strings.IndexByte("+-.", c) >= 0 && l.startsNumber():
		t.kind = tokNumber
		l.number()
	default:
		for _, m := range marks {
			if strings.HasPrefix(l.text[l.off:], m) {
				t.kind = tokMark
				l.off += len(m)
				return
			}
		}
		_, n := utf8.DecodeRuneInString(l.text[l.off:])
		l.off += n
		t.kind = tokBad
	}
}

// isLetter is for ASCII and counts _ as one.
func isLetter(c byte) bool { return isLower(c|0x20) || c == '_' }

// word passes over a word. The - of an arrow is not part of it.
func (l *braceLexer) word() {
	for l.off < len(l.text) && (isWordByte(l.text[l.off]) || l.text[l.off] == '.') {
		if strings.HasPrefix(l.text[l.off:], "->") {
			return
		}
		l.off++
	}
}

// startsNumber reports whether a digit follows the sign or the point at off.
func (l *braceLexer) startsNumber() bool {
	rest := strings.TrimPrefix(trimSign(l.text[l.off:min(len(l.text), l.off+3)]), ".")
	return rest != "" && isDigit(rest[0])
}

// number passes over a number with whatever letters follow; the parser finds
// out what it is.
func (l *braceLexer) number() {
	for l.off++; l.off < len(l.text); l.off++ {
		c := l.text[l.off]
		sign := (c == '+' || c == '-') && l.text[l.off-1]|0x20 == 'e'
		if !sign && c != '.' && !isDigit(c) && !isLetter(c) {
			return
		}
	}
}

// str passes over a string and unquotes it. Only one in backquotes may hold the
// end of a line; one that is not closed ends with its line.
func (l *braceLexer) str(t *braceTok, quote byte) {
	rest := l.text[l.off+1:]
	n, closed := closingQuote(rest, quote)
	if !closed {
		t.kind, t.bad = tokBad, "the string has no closing quote"
		if l.off++; quote != '`' { // what follows one in backquotes may well be right
			l.off += n
		}
		return
	}
	body := rest[:n]
	l.off += n + 2
	t.kind, t.text, t.plain = tokString, body, true
	switch quote {
	case '"':
		raw, err := jsontext.AppendUnquote(nil, l.text[t.off:l.off])
		if err != nil {
			t.kind, t.bad = tokBad, "the string is not as JSON writes it"
		}
		t.text = string(raw)
		t.plain = t.text == body
	case '`':
		if last := strings.LastIndexByte(body, '\n'); last >= 0 {
			t.plain = false
			l.line += strings.Count(body, "\n")
			l.col, l.at = 1, t.off+1+last+1
		}
	}
}

// closingQuote gives the offset of the quote that ends a string, or of the end
// of the line or file that comes before it.
func closingQuote(s string, quote byte) (off int, closed bool) {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == quote:
			return i, true
		case c == '\n' && quote != '`':
			return i, false
		case c == '\\' && quote == '"' && i+1 < len(s) && s[i+1] != '\n':
			i++
		}
	}
	return len(s), false
}
