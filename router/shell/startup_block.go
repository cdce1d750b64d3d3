package shell

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"

	"github.com/runloop-os/runloop/router"
)

// The lines between which a startup file of a shell is ours.
const (
	blockBegin = "# >>> runloop >>>"
	blockEnd   = "# <<< runloop <<<"
)

// StartupBlock returns what a shell's startup file needs for the integration,
// markers included. It does nothing in a shell that is not interactive, and
// nothing when rlp is gone. An opening other than the default may be named; a
// name with control characters is an error.
func StartupBlock(shell router.Shell, opening string) (string, error) {
	if strings.ContainsFunc(opening, unicode.IsControl) {
		return "", fmt.Errorf("the opening %q has control characters in its name", opening)
	}
	var b strings.Builder
	fmt.Fprintln(&b, blockBegin)
	fmt.Fprintln(&b, "# Enter sends requests to agents; `rlp shell disable` takes these lines out again.")
	if opening != "" {
		fmt.Fprintf(&b, "RUNLOOP_ROUTER_OPENING_PATH=%s\n", quoted(opening))
	}
	fmt.Fprintf(&b, "if [[ $- == *i* ]] && command -v rlp >/dev/null 2>&1; then eval \"$(command rlp shell init %s 2>/dev/null)\"; fi\n", shell)
	fmt.Fprintln(&b, blockEnd)
	return b.String(), nil
}

// quoted is a word of the shells that stands for s.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// Block is where a startup file is ours.
type Block struct {
	From, To int    // the bytes
	Lines    [2]int // the first and the last line, counted from 1
}

// FindBlock finds the block in a startup file. It returns nil if there is
// none, and an error if what is there is not one whole block: such a file
// needs a person.
func FindBlock(text []byte) (*Block, error) {
	if bytes.IndexByte(text, 0) >= 0 {
		return nil, fmt.Errorf("it is no text")
	}
	var found, open *Block
	at := 0
	for i, line := range bytes.SplitAfter(text, []byte("\n")) {
		start := at
		at += len(line)
		switch string(bytes.TrimSpace(line)) {
		case blockBegin:
			if found != nil || open != nil {
				return nil, fmt.Errorf("line %d begins a second block of runloop; remove one of them", i+1)
			}
			open = &Block{From: start, Lines: [2]int{i + 1, 0}}
		case blockEnd:
			if open == nil {
				return nil, fmt.Errorf("line %d ends a block of runloop that does not begin; remove what is left of it", i+1)
			}
			open.To, open.Lines[1] = at, i+1
			found, open = open, nil
		}
	}
	if open != nil {
		return nil, fmt.Errorf("line %d begins a block of runloop that does not end; remove what is left of it", open.Lines[0])
	}
	return found, nil
}

// WithBlock returns the text of a startup file with the block in it: in the
// place of the old one, else at the end.
func WithBlock(text []byte, block string) ([]byte, error) {
	old, err := FindBlock(text)
	if err != nil {
		return nil, err
	}
	if old != nil {
		return splice(text, old, block), nil
	}
	out := bytes.Clone(text)
	if len(out) > 0 && out[len(out)-1] != '\n' {
		out = append(out, '\n')
	}
	return append(out, block...), nil
}

// WithoutBlock returns the text of a startup file without the block.
func WithoutBlock(text []byte) ([]byte, error) {
	old, err := FindBlock(text)
	if err != nil || old == nil {
		return text, err
	}
	return splice(text, old, ""), nil
}

func splice(text []byte, b *Block, block string) []byte {
	out := append([]byte(nil), text[:b.From]...)
	out = append(out, block...)
	return append(out, text[b.To:]...)
}
