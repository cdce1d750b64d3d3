package router

import (
	"errors"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/runloop-os/runloop/router/str"
)

// A prompt may say what it may cost: `:budget 30s $0.05 2000t`, at its beginning
// or at its end.

// BudgetMark is the word that begins a budget in a prompt. Behind a backslash it
// is a word like any other.
const BudgetMark = ":budget"

// Budget is what a prompt says that it may cost. Zero says nothing.
type Budget struct {
	Timeout time.Duration
	USD     float64
	Tokens  int64
}

// IsZero reports whether nothing is said.
func (b Budget) IsZero() bool { return b == Budget{} }

// Bounds of a budget, as the policy of an opening has them (spec/04).
const (
	budgetTimeMax   = 7 * 24 * time.Hour
	budgetTokensMax = 1 << 53
	budgetUSDMin    = 1e-6
	budgetUSDMax    = 1e9
)

// BudgetError says what is wrong with a budget, and where in the prompt.
type BudgetError struct {
	Char int    // in characters from 1
	Word string // that is wrong; may be empty
	Msg  string
}

// Error implements error.
func (e *BudgetError) Error() string {
	if e.Word == "" {
		return BudgetMark + " at character " + strconv.Itoa(e.Char) + ": " + e.Msg
	}
	return BudgetMark + " at character " + strconv.Itoa(e.Char) + ", " + strconv.Quote(e.Word) + ": " + e.Msg
}

// budgetWord is a word of a prompt and where it stands, in bytes.
type budgetWord struct {
	text       string
	start, end int
}

// CutBudget takes the budget out of a prompt. The error is a *BudgetError: a
// budget that cannot be read, that is there twice, or that stands in the middle.
func CutBudget(prompt string) (text string, b Budget, err error) {
	if !str.Contains(prompt, BudgetMark) {
		return prompt, b, nil
	}
	words := budgetWords(prompt)
	marks := marksOf(words)
	p := budgetReader{prompt: prompt, words: words}
	switch {
	case len(marks) > 1:
		return "", b, p.wrong(marks[1], "there is a budget already")
	case len(marks) == 0:
		return unescapeMark(prompt), b, nil
	}
	at := marks[0]
	end, err := p.read(at + 1)
	switch {
	case err != nil:
		return "", Budget{}, err
	case end == len(words):
		text = prompt[:words[at].start]
	case at == 0:
		text = prompt[words[end].start:]
	default:
		return "", Budget{}, p.wrong(end, "a budget stands at the beginning or at the end, and this is no part of it; "+budgetWants+budgetEscape)
	}
	return unescapeMark(str.TrimSpace(text)), p.budget, nil
}

// MeansBudget reports whether something in a prompt is meant as a budget, well
// formed or not: the word, and behind it what begins like a part.
func MeansBudget(prompt string) bool {
	if !str.Contains(prompt, BudgetMark) {
		return false
	}
	words := budgetWords(prompt)
	for _, i := range marksOf(words) {
		if i+1 == len(words) {
			continue
		}
		next := words[i+1].text
		if _, broken := brokenDollars(next); broken || str.ContainsRune("$0123456789", rune(next[0])) {
			return true
		}
	}
	return false
}

// brokenDollars recognises what a shell makes of $0.05 in double quotes: its own
// name and the cents.
func brokenDollars(word string) (cents string, ok bool) {
	_, cents, ok = str.Cut(str.TrimSuffix(word, ","), "sh.")
	return cents, ok && cents != "" && str.Trim(cents, "0123456789") == ""
}

// hasBudget reports whether a line is a prompt for its budget alone: one begins
// it, well formed or not, or a good one ends it.
func hasBudget(line string) bool {
	if !str.Contains(line, BudgetMark) {
		return false
	}
	first, _, _ := str.Cut(line, " ")
	if first == BudgetMark {
		return true
	}
	text, b, err := CutBudget(line)
	return err == nil && !b.IsZero() && text != ""
}

const (
	budgetWants  = "want a time (30s, 2m), dollars ($0.05) or tokens (2000t)"
	budgetEscape = `; the word itself is \` + BudgetMark
)

func budgetWords(prompt string) []budgetWord {
	var out []budgetWord
	start := -1
	for i, r := range prompt {
		switch space := unicode.IsSpace(r); {
		case space && start >= 0:
			out = append(out, budgetWord{prompt[start:i], start, i})
			start = -1
		case !space && start < 0:
			start = i
		}
	}
	if start >= 0 {
		out = append(out, budgetWord{prompt[start:], start, len(prompt)})
	}
	return out
}

func marksOf(words []budgetWord) []int {
	var out []int
	for i, w := range words {
		if w.text == BudgetMark {
			out = append(out, i)
		}
	}
	return out
}

func unescapeMark(text string) string { return str.ReplaceAll(text, `\`+BudgetMark, BudgetMark) }

// budgetReader reads the parts of a budget.
type budgetReader struct {
	prompt string
	words  []budgetWord
	budget Budget
}

// read reads parts from a word on and gives the first word that is none. What
// begins like a part must be one.
func (p *budgetReader) read(from int) (end int, err error) {
	i := from
	for i < len(p.words) {
		n, err := p.part(i)
		if err != nil {
			return 0, p.wrong(i, err.Error())
		}
		if n == 0 {
			break
		}
		i += n
	}
	if i == from {
		return 0, p.wrong(from, budgetWants+budgetEscape)
	}
	return i, nil
}

// part reads the part at a word and gives how many words it takes, 0 if it is
// none.
func (p *budgetReader) part(i int) (int, error) {
	word := str.TrimSuffix(p.words[i].text, ",")
	if usd, ok := str.CutPrefix(word, "$"); ok {
		return 1, p.setUSD(usd)
	}
	digits := str.TrimLeft(word, "0123456789.")
	if len(digits) == len(word) {
		return 0, nil
	}
	number, unit := word[:len(word)-len(digits)], digits
	n := 1
	if unit == "" && i+1 < len(p.words) && word == p.words[i].text {
		unit = str.TrimSuffix(p.words[i+1].text, ",")
		if isTokenUnit(unit) {
			n = 2
		} else {
			unit = ""
		}
	}
	switch {
	case unit == "":
		return 0, errors.New("a number without a unit; " + budgetWants)
	case isTokenUnit(unit):
		return n, p.setTokens(number)
	}
	return 1, p.setTime(word)
}

func isTokenUnit(unit string) bool {
	switch unit {
	case "t", "tok", "token", "tokens":
		return true
	}
	return false
}

var errTwice = errors.New("that was said already")

func (p *budgetReader) setUSD(text string) error {
	usd, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil || str.Trim(text, "0123456789.") != "":
		return errors.New("not an amount of dollars, such as $0.05")
	case usd < budgetUSDMin || usd > budgetUSDMax:
		return errors.New("want $0.000001 to $1000000000")
	case p.budget.USD != 0:
		return errTwice
	}
	p.budget.USD = usd
	return nil
}

func (p *budgetReader) setTokens(text string) error {
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil || n < 1 || n > budgetTokensMax:
		return errors.New("want 1 to " + strconv.FormatInt(budgetTokensMax, 10) + " tokens, a whole number")
	case p.budget.Tokens != 0:
		return errTwice
	}
	p.budget.Tokens = n
	return nil
}

func (p *budgetReader) setTime(text string) error {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return errors.New("not a time, such as 30s or 2m; " + budgetWants)
	case d < time.Millisecond || d > budgetTimeMax:
		return errors.New("want 1ms to 168h")
	case p.budget.Timeout != 0:
		return errTwice
	}
	p.budget.Timeout = d
	return nil
}

// wrong is an error about a word, or about the end of the prompt.
func (p *budgetReader) wrong(i int, msg string) *BudgetError {
	if i >= len(p.words) {
		return &BudgetError{Char: utf8.RuneCountInString(p.prompt) + 1, Msg: msg}
	}
	w := p.words[i]
	if cents, ok := brokenDollars(w.text); ok {
		msg = "this was $0." + cents + " before your shell put its own name for $0: quote the prompt with '…'"
	}
	return &BudgetError{Char: utf8.RuneCountInString(p.prompt[:w.start]) + 1, Word: w.text, Msg: msg}
}
