package router

import (
	"errors"
	"io"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// maxParse bounds what is given to the parser; a longer line that starts like
// shell syntax is taken for it.
const maxParse = 4096

// verdict is what the shell's grammar makes of a line.
type verdict int

const (
	grammarWrong verdict = iota
	grammarFine
	grammarIncomplete // more lines would make it fine
)

// parse asks the grammar of the shell in question. Only the two good verdicts
// mean anything: almost all prose parses, and some commands that zsh accepts
// do not.
func parse(line string, shell Shell) (v verdict) {
	if len(line) > maxParse {
		return grammarFine
	}
	// The parser is not ours and this is the path of every Enter: should it
	// ever panic, that is no evidence and nothing more.
	defer func() {
		if recover() != nil {
			v = grammarWrong
		}
	}()
	lang := syntax.LangBash
	if shell == Zsh {
		lang = syntax.LangZsh
	}
	_, err := syntax.NewParser(syntax.Variant(lang)).Parse(strings.NewReader(line), "")
	switch {
	case err == nil:
		return grammarFine
	case syntax.IsIncomplete(err), errors.Is(err, io.EOF):
		return grammarIncomplete
	}
	return grammarWrong
}
