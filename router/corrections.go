package router

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/runloop-os/runloop/router/str"
)

// Correction is the user's own word that lines with a key belong to a side.
type Correction struct {
	Key
	Side Route
	Time time.Time // when the user said so, to the millisecond
}

// Corrections are the user's, as the small file holds them that the router
// reads on every Enter. A nil *Corrections is empty. It does not change after
// [ParseCorrections].
type Corrections struct{ text string }

// Limits on the small file. It is read on every Enter.
const (
	maxCorrections = 512
	// MaxCorrectionsFile is the size of the largest file that is read, in
	// bytes.
	MaxCorrectionsFile = 128 << 10
)

// The file is text: a line that says what it is and how many lines follow,
// then one correction a line, in fields between tabs: when (ms since 1970),
// the side, the shape and the first word. No two have the same shape and word.
// The count shows that a file is whole.
const (
	correctionsTitle = "runloop router corrections 1"
	anyFirst         = "*" // in place of a word that may not be written down
)

// notCorrections is what is wrong with a file that FormatCorrections did not
// make.
const notCorrections = "not a whole file of corrections"

// FormatCorrections writes the newest corrections as a small file. Of several
// with one key the newest stays; what does not fit into a line is left out.
func FormatCorrections(list []Correction) []byte {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b Correction) int { return b.Time.Compare(a.Time) })
	seen := map[Key]bool{}
	var b bytes.Buffer
	for _, c := range list {
		line := c.line()
		if seen[c.Key] || len(seen) == maxCorrections || !c.valid() {
			continue
		}
		seen[c.Key] = true
		b.WriteString(line)
	}
	return append([]byte(correctionsTitle+" "+strconv.Itoa(len(seen))+"\n"), b.Bytes()...)
}

func (c *Correction) line() string {
	return strconv.FormatInt(c.Time.UnixMilli(), 10) + "\t" + string(c.Side) + c.Key.tail()
}

// tail is the end of the line of a key.
func (k Key) tail() string {
	first := k.First
	if first == "" {
		first = anyFirst
	}
	return "\t" + k.Shape + "\t" + first + "\n"
}

// valid reports whether a correction may stand in the file and decide.
func (c *Correction) valid() bool {
	if c.Side != ToShell && c.Side != ToAgent || c.Time.UnixMilli() < 0 || !validShape(c.Shape) {
		return false
	}
	if c.First == "" {
		return c.Shape == aloneScript
	}
	return storable(c.First)
}

// validShape reports whether a shape consists of what shapes are made of.
func validShape(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789=-+ "
	return s != "" && len(s) <= 128 && str.Trim(s, letters) == ""
}

// ParseCorrections takes the content of a small file. It looks at no more
// than it needs to: the rest is read when a line asks for it.
func ParseCorrections(data []byte) (*Corrections, error) {
	title, rest, ok := str.Cut(string(data), "\n")
	count, named := str.CutPrefix(title, correctionsTitle+" ")
	n, err := strconv.Atoi(count)
	switch {
	case !ok || !named || err != nil:
		return nil, errors.New(notCorrections)
	case n < 0 || n > maxCorrections || len(data) > MaxCorrectionsFile:
		return nil, errors.New(notCorrections + ": too large")
	case str.Count(rest, "\n") != n || rest != "" && rest[len(rest)-1] != '\n':
		return nil, errors.New(notCorrections + ": " + strconv.Itoa(n) + " lines were to follow")
	}
	return &Corrections{"\n" + rest}, nil
}

// List returns all corrections, the newest first; lines that are none are
// left out.
func (c *Corrections) List() []Correction {
	if c == nil {
		return nil
	}
	var out []Correction
	for line := range str.Lines(c.text[1:]) {
		if one, ok := parseCorrection(line); ok {
			out = append(out, one)
		}
	}
	return out
}

// find returns the correction with a key.
func (c *Corrections) find(k Key) (Correction, bool) {
	if c == nil {
		return Correction{}, false
	}
	tail := k.tail()
	at := str.Index(c.text, tail)
	if at < 0 {
		return Correction{}, false
	}
	start := str.LastIndexByte(c.text[:at], '\n') + 1
	return parseCorrection(c.text[start : at+len(tail)])
}

// parseCorrection reads a line of the file, with its end.
func parseCorrection(line string) (Correction, bool) {
	f := str.Split(str.TrimSuffix(line, "\n"), "\t")
	if len(f) != 4 {
		return Correction{}, false
	}
	ms, err := strconv.ParseInt(f[0], 10, 64)
	if f[3] == anyFirst {
		f[3] = ""
	}
	c := Correction{Key: Key{f[3], f[2]}, Side: Route(f[1]), Time: time.UnixMilli(ms)}
	return c, err == nil && c.valid()
}

// corrected looks for the user's own word on a line. No correction sends a
// single word to agents: it might be a password.
func (p *parsed) corrected() *Correction {
	if p.in.Corrections == nil {
		return nil
	}
	c, ok := p.in.Corrections.find(p.key())
	if !ok || c.Side == ToAgent && p.single() {
		return nil
	}
	return &c
}
