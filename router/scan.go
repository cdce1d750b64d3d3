package router

import (
	"unicode"
	"unicode/utf8"

	"github.com/runloop-os/runloop/router/str"
)

// What is looked at closely. The rest of a longer line adds nothing: by then
// both sides have shown their colours.
const (
	maxScan   = 4096
	maxTokens = 64
)

// tokenKind says what a token looks like from outside.
type tokenKind uint8

const (
	kindOther  tokenKind = iota
	kindWord             // letters, perhaps with punctuation around them
	kindFlag             // -x, --long
	kindPath             // has a slash, a leading dot or tilde, or an extension
	kindAssign           // NAME=…
	kindOp               // nothing but | & ; < >
	kindNumber           // digits and what goes with them
	kindQuoted           // holds quotes or escapes; its text counts for nothing
)

// token is a run of characters between unquoted blanks.
type token struct {
	text string // as typed
	core string // of a word: lower case, without the punctuation around it
	kind tokenKind
	end  byte // punctuation a word ends in: one of , . : ; ? ! or 0
	// alien marks a word in a script other than Latin, accent one with
	// letters beyond ASCII.
	alien, accent bool
	dense         uint16 // characters of scripts that put no blanks between words
	capital       bool
}

// scanned is a line cut into tokens, with what was seen between them.
type scanned struct {
	tokens []token
	ops    int // operators outside quotes: | & ; < >
	dollar int // $NAME, ${, $(
	ticks  int // backquotes
	globs  int // *
	// apostrophes counts letters' letters outside quotes, as in don't.
	apostrophes int
	open        bool // a quote was left open
	cut         bool // the line was longer than maxScan or maxTokens
}

// scanner walks over a line the way a shell would, except that it knows an
// apostrophe from a quote.
type scanner struct {
	line  string
	out   *scanned
	start int  // of the current token, -1 between tokens
	quote byte // the quote we are in, or 0
	seen  bool // the current token holds a quote or escape
	shell bool // the current token holds something only a shell reads
}

// scan cuts a line into tokens, which it stores in buf.
func scan(line string, buf []token) scanned {
	out := scanned{tokens: buf[:0]}
	if len(line) > maxScan {
		cut := maxScan
		for cut > 0 && !utf8.RuneStart(line[cut]) {
			cut--
		}
		line, out.cut = line[:cut], true
	}
	s := scanner{line: line, out: &out, start: -1}
	for i := 0; i < len(line) && !out.cutShort(); i++ {
		i = s.step(i)
	}
	s.flush(len(line))
	out.open = s.quote != 0
	return out
}

// cutShort reports, and notes, that there are tokens enough.
func (o *scanned) cutShort() bool {
	if len(o.tokens) < maxTokens {
		return false
	}
	o.cut = true
	return true
}

// step takes in the byte at i and returns the index of the last byte it used.
func (s *scanner) step(i int) int {
	c := s.line[i]
	if s.quote != 0 {
		if c == s.quote {
			s.quote = 0
		} else if c == '\\' && s.quote == '"' {
			i++
		}
		return i
	}
	if c == ' ' || c == '\t' || c == '\n' || c == '\r' {
		s.flush(i)
		return i
	}
	if s.start < 0 {
		s.start, s.seen, s.shell = i, false, false
	}
	switch c {
	case '\\':
		s.seen = true
		i++
	case '"', '`', '\'':
		s.quoteAt(i, c)
	case '|', '&', ';', '<', '>':
		i = s.operator(i)
	case '$':
		if expands(s.line[i+1:]) {
			s.out.dollar++
			s.shell = true
		}
	case '*':
		s.out.globs++
	}
	return i
}

// expands reports whether what follows a dollar sign makes it an expansion;
// "$5" is a price.
func expands(after string) bool {
	return after != "" && (str.IndexByte("{(_?!#@*-", after[0]) >= 0 || letterAt(after, 0))
}

// quoteAt opens a quote, unless it is an apostrophe.
func (s *scanner) quoteAt(i int, c byte) {
	if c == '\'' && s.apostrophe(i) {
		s.out.apostrophes++
		return
	}
	if c == '`' {
		s.out.ticks++
	}
	s.quote, s.seen = c, true
}

// operator counts a run of operator characters once.
func (s *scanner) operator(i int) int {
	s.out.ops++
	s.shell = true
	for i+1 < len(s.line) && str.IndexByte("|&;<>", s.line[i+1]) >= 0 {
		i++
	}
	return i
}

// endings are what English puts after an apostrophe, elisions what French,
// Italian and Catalan put before one.
const (
	endings  = " t s re ve ll d m clock em "
	elisions = " l d j m n s c t qu jusqu lorsqu puisqu quelqu aujourd presqu un dell all nell" +
		" sull dall quest quell com cos dov anch "
)

// apostrophe reports whether the quote at i stands in a contraction.
func (s *scanner) apostrophe(i int) bool {
	if i == 0 || !letterAt(s.line, i+1) {
		return false
	}
	// In Turkish and others anything may follow; the shell would be left
	// with an open quote.
	last := str.IndexByte(s.line[i+1:], '\'') < 0
	if !letterAt(s.line, i-1) {
		// They put endings behind figures and quoted names, too: `make`'i.
		return last && (s.line[i-1] == '`' || digitAt(s.line, i-1))
	}
	tail := i + 1
	for letterAt(s.line, tail) {
		tail++
	}
	return last || inSet(endings, s.line[i+1:tail]) || inSet(elisions, s.line[s.start:i])
}

// inSet looks a short word up in a string of words between blanks.
func inSet(set, w string) bool {
	// Lower case can be longer: a broken byte becomes three.
	if w = lower(w); w == "" || len(w) > 12 {
		return false
	}
	var key [14]byte
	key[0] = ' '
	n := 1 + copy(key[1:], w)
	key[n] = ' '
	return str.Contains(set, string(key[:n+1]))
}

// letterAt reports whether a letter of ASCII or part of a longer character
// stands at i.
func letterAt(s string, i int) bool {
	if i < 0 || i >= len(s) {
		return false
	}
	c := s[i]
	return 'a' <= c|0x20 && c|0x20 <= 'z' || c >= utf8.RuneSelf
}

// flush ends the current token before i.
func (s *scanner) flush(i int) {
	if s.start < 0 {
		return
	}
	t := token{text: s.line[s.start:i]}
	s.start = -1
	switch {
	case s.seen:
		t.kind = kindQuoted
	case s.shell && str.Trim(t.text, "|&;<>") == "":
		t.kind = kindOp
	default:
		t.classify(s.shell)
	}
	s.out.tokens = append(s.out.tokens, t)
}

// classify finds out what a token without quotes looks like.
func (t *token) classify(shell bool) {
	text := t.text
	switch {
	case flagLike(text):
		t.kind = kindFlag
		return
	case assignment(text):
		t.kind = kindAssign
		return
	}
	core, end := trimPunctuation(text)
	if core == "" {
		return
	}
	if !shell && t.word(core) {
		t.end = end
		return
	}
	switch {
	case str.Contains(text, "://"):
	case pathLike(core):
		t.kind = kindPath
	case digitAt(core, 0):
		t.kind = kindNumber
	}
	t.end = end
}

// flagLike knows -x, -9 and --long; a lone dash begins an item of a list.
func flagLike(s string) bool {
	return len(s) > 1 && s[0] == '-' && (s[1] == '-' || letterAt(s, 1) || digitAt(s, 1))
}

// word fills in a token that consists of letters, with hyphens and
// apostrophes inside, and reports whether it does.
func (t *token) word(core string) bool {
	strange := false // something that words in Latin letters do not hold
	for i, r := range core {
		switch {
		case r < utf8.RuneSelf:
			inner := i > 0 && i < len(core)-1 && (r == '\'' || r == '-')
			strange = strange || !inner && !letterAt(core, i)
		case r == '’' || unicode.IsMark(r):
		case !unicode.IsLetter(r):
			strange = true
		case latin(r):
			t.accent = true
		default:
			t.alien = true
			if unspaced(r) {
				t.dense++
			}
		}
	}
	if strange && !t.alien {
		return false
	}
	first, _ := utf8.DecodeRuneInString(core)
	t.capital = unicode.IsUpper(first)
	t.kind, t.core = kindWord, lower(core)
	return true
}

// unspaced knows Thai, Lao, Khmer, and Chinese and Japanese letters.
func unspaced(r rune) bool {
	return 0xE00 <= r && r < 0xF00 || 0x1780 <= r && r < 0x1800 || 0x2E80 <= r && r < 0xAC00
}

// latin knows the blocks of Latin letters; everything else is another script.
func latin(r rune) bool {
	return r < 0x250 || 0x1E00 <= r && r < 0x1F00 || 0xFB00 <= r && r < 0xFB07
}

// trimPunctuation takes the punctuation of prose from both ends and returns
// the last of it, brackets aside.
func trimPunctuation(s string) (core string, end byte) {
	s = str.TrimLeft(s, "(\"¿¡“„«'")
	for s != "" {
		r, n := utf8.DecodeLastRuneInString(s)
		switch r {
		case ',', '.', ':', ';', '?', '!':
			if end == 0 || r == '?' {
				end = byte(r)
			}
		case '？', '؟':
			end = '?'
		case ')', '"', '”', '»', '\'', '…', '。', '！', '，':
		default:
			return s, end
		}
		s = s[:len(s)-n]
	}
	return "", end
}

// digitAt reports whether an ASCII digit stands at i.
func digitAt(s string, i int) bool { return i < len(s) && '0' <= s[i] && s[i] <= '9' }

// assignment reports whether a token begins like NAME=.
func assignment(s string) bool {
	name, _, ok := str.Cut(s, "=")
	name = str.TrimSuffix(name, "+")
	if !ok || name == "" || digitAt(name, 0) {
		return false
	}
	for i := range len(name) {
		if c := name[i]; !(letterAt(name, i) && c < utf8.RuneSelf || digitAt(name, i) || c == '_') {
			return false
		}
	}
	return true
}

// pathLike reports whether a token names a file: a slash, a leading dot or
// tilde, a wildcard, or a short extension.
func pathLike(s string) bool {
	if str.IndexByte(s, '/') >= 0 {
		return !bothWords(s)
	}
	if s[0] == '.' || s[0] == '~' || str.IndexByte(s, '*') >= 0 {
		return true
	}
	dot := str.LastIndexByte(s, '.')
	ext := len(s) - dot - 1
	return dot > 0 && ext >= 1 && ext <= 5 && str.IndexByte(s, '@') < 0
}

// bothWords knows "and/or" from a path.
func bothWords(s string) bool {
	left, right, _ := str.Cut(lower(s), "/")
	return english(left) != "" && english(right) != ""
}
