package runloop

import (
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/router"
)

// promptMax is the longest prompt, in bytes. A longer text is a parameter of its
// own: -p text=@FILE.
const promptMax = 64 << 10

// cleanPrompt gives a prompt as agents get it: its lines end in newlines, and
// control characters, which a paste can bring along, are spaces. where stands in
// front of what is wrong.
func cleanPrompt(where, text string) (string, error) {
	if len(text) > promptMax {
		return "", usageErrorf("%sthe prompt has %d bytes, and at most %d go; give a long text as a file: -p KEY=@FILE",
			where, len(text), promptMax)
	}
	if i := invalidUTF8(text); i >= 0 {
		return "", usageErrorf("%sthe prompt is not valid UTF-8 at byte %d", where, i+1)
	}
	text = strings.ReplaceAll(text, "\r\n", "\n")
	text = strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\r':
			return '\n'
		case unicode.IsControl(r) && r != '\n' && r != '\t':
			return ' '
		}
		return r
	}, text))
	if text == "" {
		return "", usageErrorf("%sthe prompt is empty", where)
	}
	return text, nil
}

// invalidUTF8 is where text stops to be valid, or -1.
func invalidUTF8(text string) int {
	for i, r := range text {
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(text[i:]); size == 1 {
				return i
			}
		}
	}
	return -1
}

// readPrompt gives a prompt as agents get it, and the limits that it says.
func readPrompt(where, raw string) (text string, limits opening.Limits, err error) {
	if text, err = cleanPrompt(where, raw); err != nil {
		return "", limits, err
	}
	text, b, err := router.CutBudget(text)
	switch {
	case err != nil:
		return "", limits, usageErrorf("%v", err)
	case text == "":
		return "", limits, usageErrorf("%sthe prompt is empty but for its budget", where)
	}
	return text, opening.Limits{BudgetTokens: b.Tokens, BudgetUSD: b.USD, TimeoutMS: b.Timeout.Milliseconds()}, nil
}

// takeVariable reads a variable that a flag names, and takes it out of the
// environment: what this process starts has no use for it.
func (o *IO) takeVariable(flag, variable string) (string, error) {
	is := func(kv string) bool { return strings.HasPrefix(kv, variable+"=") }
	if variable == "" || strings.ContainsAny(variable, "=\x00") {
		return "", usageErrorf("%s %q: not the name of a variable", flag, variable)
	}
	if !slices.ContainsFunc(o.Environ, is) {
		return "", usageErrorf("%s %s: the variable is not set", flag, variable)
	}
	text := o.getenv(variable)
	o.Environ = slices.DeleteFunc(slices.Clone(o.Environ), is)
	return text, os.Unsetenv(variable)
}
