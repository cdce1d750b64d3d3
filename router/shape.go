package router

import (
	"errors"
	"strconv"
	"unicode/utf8"

	"github.com/runloop-os/runloop/router/str"
)

// Key names the lines that one correction is about: those with the same first
// word and of the same shape. It holds nothing else of a line.
type Key struct {
	// First is the first word, lower case; "" stands for every word that may
	// not be written down (see [KeyOf]).
	First string
	// Shape counts what follows, in coarse steps, as names between blanks:
	// "words=3-4 prose=2+ question". See [shapeOf].
	Shape string
}

// ErrNoKey says that a correction of a line cannot be kept, because its first
// word might be a secret.
var ErrNoKey = errors.New("the first word might be a secret, so it is not written down")

// maxFirst is the longest first word of a key, in bytes.
const maxFirst = 64

// aloneShape is the shape of a line of one word.
const aloneShape = "alone"

// aloneScript is the shape of a single word in another script, whatever the
// word.
const aloneScript = aloneShape + " script"

// KeyOf returns the key of a line. What it writes down of the first word must
// be no secret, so the word has to be one of these: the name of a command, a
// word of a dictionary, a path, or, at the head of other words, a run of
// letters. A single word is never written down unless it is in a list here. A
// single word in another script has a key without the word.
//
// Errors: ErrNoKey; a blank line has none either.
func KeyOf(in Input) (Key, error) {
	line := str.TrimSpace(in.Line)
	if line == "" {
		return Key{}, errors.New("nothing was typed")
	}
	p := newLine(&in, line)
	key := p.key()
	if key.First != "" && !(p.public() && storable(key.First)) {
		return Key{}, ErrNoKey
	}
	return key, nil
}

// key is the key of a line, whether or not it may be written down.
func (p *parsed) key() Key {
	t := p.first()
	first := lower(t.text)
	if t.kind == kindWord {
		first = t.core
	}
	switch {
	case !p.single():
		return Key{first, p.shapeOf()}
	case t.kind == kindWord && t.alien && !dictionary(t.core):
		return Key{"", aloneScript}
	}
	return Key{first, aloneShape}
}

// public reports whether the first word is certainly no secret.
func (p *parsed) public() bool {
	t := p.first()
	switch {
	case command(t.text) != "":
		return true
	case p.single():
		return plainWord(t) && dictionary(t.core)
	case t.kind == kindPath:
		return str.IndexByte(t.text, '/') >= 0 && str.IndexByte(t.text, '@') < 0
	}
	return plainWord(t) || p.named()
}

// single reports whether the line is one word, which might be a password.
func (p *parsed) single() bool { return len(p.tokens) == 1 && !p.cut }

// named reports whether the shell finds the first word.
func (p *parsed) named() bool {
	return p.at == 0 && p.known || p.at > 0 && p.headAt(0).known
}

// plainWord reports whether a token is letters in the usual case, as prose
// has them and passwords seldom.
func plainWord(t *token) bool {
	if t.kind != kindWord {
		return false
	}
	tail := str.Trim(t.text, `.,:;?!()"'`)
	_, n := utf8.DecodeRuneInString(tail)
	tail = tail[n:]
	return tail == lower(tail) || tail == str.ToUpper(tail)
}

// storable reports whether a first word fits into a field of a line of text.
func storable(first string) bool {
	if first == "" || len(first) > maxFirst || first == anyFirst || !utf8.ValidString(first) {
		return false
	}
	return str.IndexFunc(first, func(r rune) bool {
		return !strconv.IsPrint(r) || r == ' '
	}) < 0
}

// shapeOf describes what follows the first word. It does not depend on what
// the shell makes of the first word, so that a correction holds as well when
// that is not known.
func (p *parsed) shapeOf() string {
	var n struct{ words, flags, paths, quoted int }
	prose := 0.0
	question := false
	for i := 1; i < len(p.tokens); i++ {
		t := &p.tokens[i]
		switch t.kind {
		case kindWord:
			n.words++
			prose += p.proseWeight(i)
			question = question || t.end == '?'
		case kindFlag:
			n.flags++
		case kindPath, kindAssign, kindNumber:
			n.paths++
		case kindQuoted:
			n.quoted++
		}
	}
	b := append(make([]byte, 0, 96), "words="...)
	b = append(b, bucket(n.words)...)
	switch {
	case prose >= 2:
		b = append(b, " prose=2+"...)
	case prose > 0:
		b = append(b, " prose=1"...)
	}
	for _, f := range [...]struct {
		name string
		seen bool
	}{
		{" flags", n.flags > 0},
		{" paths", n.paths > 0},
		{" quoted", n.quoted > 0},
		{" operators", p.ops+p.dollar+p.globs > 0},
		{" apostrophe", p.apostrophes > 0},
		{" question", question || p.first().end == '?'},
		{" script", p.words.alien > 0},
	} {
		if f.seen {
			b = append(b, f.name...)
		}
	}
	return string(b)
}

// proseWeight is the weight of the word at i if only prose needs it.
func (p *parsed) proseWeight(i int) float64 {
	t := &p.tokens[i]
	if len(t.core) == 1 && !p.article(i) {
		return 0
	}
	var n wordCount
	n.meaning(t)
	return n.function + n.polite
}

// bucket is a count in coarse steps.
func bucket(n int) string {
	switch {
	case n <= 2:
		return strconv.Itoa(n)
	case n <= 4:
		return "3-4"
	case n <= 8:
		return "5-8"
	}
	return "9+"
}

// Alone reports whether the key is that of lines of one word.
func (k Key) Alone() bool { return k.Shape == aloneShape || k.Shape == aloneScript }
