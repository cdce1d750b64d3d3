package router

import (
	"unicode/utf8"

	"github.com/runloop-os/runloop/router/str"
)

// This file looks for sentences without a word that says so: in languages that
// the lists know little of, and in few words.

// plainWords reports whether the line is nothing but words: no flag, path,
// operator or quote, unless as prose has them.
func (p *parsed) plainWords() bool {
	for i := range p.tokens {
		switch t := &p.tokens[i]; t.kind {
		case kindWord, kindNumber:
		case kindQuoted: // prose puts names between backquotes
			if p.isCommand() || t.text[0] != '`' {
				return false
			}
		case kindPath:
			if p.isCommand() || !lettersAndSlashes(t.text) {
				return false
			}
		default:
			return false
		}
	}
	return p.ops+p.dollar+p.globs == 0 && (p.ticks == 0 || !p.isCommand())
}

// foreignWords reports whether the line could be a sentence in a language that
// there is no list for: nothing but words, and most of them unknown. What
// follows the name of a program tends to be English.
func (p *parsed) foreignWords() bool {
	n := &p.words
	least, unknown := 3, n.strange+n.other
	if p.isCommand() {
		least = 4
		if has(foreign(p.name), tagFunction) {
			least = 2 // "w" is Polish for "in"
		}
	}
	return unknown >= least && unknown > 2*n.common && p.plainWords()
}

// foreignAlone reports whether the first word is the only one of another
// language, and no verb: "mas list", "koji build".
func (p *parsed) foreignAlone() bool {
	t, n := p.first(), &p.words
	if t.kind != kindWord || t.capital || t.accent || t.alien || english(t.core) != "" {
		return false
	}
	tags := foreign(t.core)
	return has(tags, tagFunction) && !has(tags, tagVerb) && !has(tags, tagQuestion) &&
		n.other == 0 && n.strange < 2 && n.accents+n.alien == 0
}

// phrase reports whether the line is nothing but words and one of them, between
// two others, is what only prose needs: "wipe the disk", and not "wipe it" or
// "lights on".
func (p *parsed) phrase() bool {
	if !p.plainWords() {
		return false
	}
	for i := 1; i+1 < len(p.tokens); i++ {
		if p.proseWeight(i) >= weightFunction {
			return true
		}
	}
	return false
}

// determiners are words that no command takes for its first argument.
const determiners = " the my your our their his her its this these those an every each "

// determined reports whether the command is followed by a noun of prose: make
// the, find my.
func (p *parsed) determined() bool {
	if p.at+2 >= len(p.tokens) {
		return false
	}
	t, next := &p.tokens[p.at+1], &p.tokens[p.at+2]
	return t.kind == kindWord && next.kind == kindWord && inSet(determiners, t.core)
}

// particle reports whether the command is followed by one of the particles that
// Japanese puts behind a word, as in "git を使う".
func (p *parsed) particle() bool {
	if p.at+1 >= len(p.tokens) {
		return false
	}
	r, n := utf8.DecodeRuneInString(p.tokens[p.at+1].text)
	return str.ContainsRune("をはがのにでとも", r) && len(p.tokens[p.at+1].text) > n
}
