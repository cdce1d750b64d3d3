package wasm

import (
	"errors"
	"fmt"
	"strings"
)

// lastWordsMax is how much of its last line on stderr tells why an agent failed,
// in bytes.
const lastWordsMax = 300

// stderrTail is the end of what a guest wrote to stderr.
type stderrTail struct{ text string }

func (t *stderrTail) add(chunk string) {
	t.text += chunk
	if over := len(t.text) - 4*lastWordsMax; over > 0 {
		t.text = t.text[over:]
	}
}

// line is the last line that is not empty.
func (t *stderrTail) line() string {
	text := strings.TrimSpace(strings.ToValidUTF8(t.text, "\uFFFD"))
	return clipText(text[strings.LastIndexByte(text, '\n')+1:], lastWordsMax)
}

// withLastWords adds to the error of an agent that said itself that it failed
// (spec/03: exit 1, or 75 to be tried again) what it said on stderr. The code
// stays what the host found out; the words are the agent's.
func (a *attempt) withLastWords(err error, exit uint32) error {
	var e *Error
	if a.raw != nil || exit != 1 && exit != exitTempfail || !errors.As(err, &e) || e.Code != CodeExit {
		return err
	}
	words := a.door.redactor().Redact(a.tail.line())
	if words == "" {
		return err
	}
	said := *e
	said.Message = fmt.Sprintf("status %d: %s", exit, words)
	return &said
}
