// Package grammar asks the shells' own grammar about a line, for package router.
// It is apart from it because the parser takes longer to load than most lines
// take to decide.
package grammar

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
	wrong verdict = iota
	fine
	incomplete // more lines would make it fine
)

// Holds reports whether a line is a command of a shell, "zsh" or else Bash, or
// the start of one. Only a yes means anything: some commands that zsh accepts
// are refused. It is total, and bounded by the first few kilobytes.
func Holds(line, shell string) bool { return parse(line, shell) != wrong }

func parse(line, shell string) (v verdict) {
	if len(line) > maxParse {
		return fine
	}
	// The parser is not ours and this is the path of every Enter: should it
	// ever panic, that is no evidence and nothing more.
	defer func() {
		if recover() != nil {
			v = wrong
		}
	}()
	lang := syntax.LangBash
	if shell == "zsh" {
		lang = syntax.LangZsh
	}
	_, err := syntax.NewParser(syntax.Variant(lang)).Parse(strings.NewReader(line), "")
	switch {
	case err == nil:
		return fine
	case syntax.IsIncomplete(err), errors.Is(err, io.EOF):
		return incomplete
	}
	return wrong
}
