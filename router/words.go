package router

import (
	_ "embed" // the word lists
	"unicode/utf8"

	"github.com/runloop-os/runloop/router/str"
)

// wordList is a sorted text with one entry a line, each a word and, after a
// space, what is known of it. Lines that start with # come first and are
// notes. It is searched where it lies, so that loading it costs nothing.
type wordList string

//go:embed words/english.txt
var englishText string

//go:embed words/foreign.txt
var foreignText string

//go:embed words/commands.txt
var commandText string

//go:embed words/subcommands.txt
var subcommandText string

// Letters of the entries of english.txt and foreign.txt.
const (
	tagFunction = 'f'
	tagShared   = 'c' // of a function word that command lines use as well
	tagQuestion = 'q'
	tagPolite   = 'p'
	tagGreeting = 'g'
	tagVerb     = 'v'
	tagCommon   = 'n'
)

// Letters of the entries of commands.txt.
const (
	tagBash        = 'b'
	tagZsh         = 'z'
	tagKeyword     = 'k'
	tagDestructive = 'd'
	tagFreeText    = 't'
	tagPrefix      = 'p'
	tagFiles       = 'f'
)

func english(w string) string     { return wordList(englishText).find(w) }
func foreign(w string) string     { return firstField(wordList(foreignText).find(w)) }
func command(w string) string     { return wordList(commandText).find(w) }
func subcommands(w string) string { return wordList(subcommandText).find(w) }

// dictionary reports whether a word, or what it is a regular form of, is in
// one of the lists of words.
func dictionary(w string) bool {
	return english(w) != "" || foreign(w) != "" || english(stem(w)) != ""
}

// stem takes the commonest endings off an English word; what is left may be
// no word.
func stem(w string) string {
	for _, cut := range [...]struct{ ending, repair string }{
		{"ies", "y"}, {"ing", ""}, {"ing", "e"}, {"ed", ""}, {"es", ""}, {"d", ""}, {"s", ""},
	} {
		base, ok := str.CutSuffix(w, cut.ending)
		if !ok || len(base) < 3 {
			continue
		}
		if n := len(base); n > 3 && base[n-1] == base[n-2] && english(base) == "" {
			base = base[:n-1] // running, stopped
		}
		if base += cut.repair; english(base) != "" {
			return base
		}
	}
	return ""
}

// find returns what is known of a word, or "" if it is not in the list. It is
// a binary search over bytes that steps back to the start of a line.
func (l wordList) find(w string) string {
	if w == "" || w[0] <= '#' {
		return ""
	}
	lo, hi := 0, len(l) // lo is always the start of a line
	for lo < hi {
		mid := (lo + hi) / 2
		start := lo + str.LastIndexByte(string(l[lo:mid]), '\n') + 1
		end := start + str.IndexByte(string(l[start:]), '\n')
		line := string(l[start:end])
		switch name, info, _ := str.Cut(line, " "); {
		case name == w && line[0] != '#':
			return info
		case line[0] == '#' || name < w:
			lo = end + 1
		default:
			hi = start
		}
	}
	return ""
}

// each calls f with every word of the list until it returns false.
func (l wordList) each(f func(word string) bool) {
	for rest := string(l); rest != ""; {
		line, after, _ := str.Cut(rest, "\n")
		rest = after
		if name, _, ok := str.Cut(line, " "); ok && line[0] != '#' && !f(name) {
			return
		}
	}
}

// firstField is what stands before the first blank.
func firstField(s string) string {
	head, _, _ := str.Cut(s, " ")
	return head
}

func has(tags string, tag byte) bool { return str.IndexByte(tags, tag) >= 0 }

// lower is strings.ToLower without an allocation for what is lower case.
func lower(s string) string {
	for i := range len(s) {
		if c := s[i]; c >= utf8.RuneSelf || 'A' <= c && c <= 'Z' {
			return str.ToLower(s)
		}
	}
	return s
}
