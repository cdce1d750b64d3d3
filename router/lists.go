package router

import (
	"errors"
	"strconv"

	"github.com/runloop-os/runloop/router/str"
)

// ListConfig is the `router` section of the configuration, as far as it
// concerns the decision. Patterns are substrings, compared without regard to
// case, or `/regular expressions/` in Go's syntax, taken as they stand.
type ListConfig struct {
	Deny          []string // lines that match are not run at all
	Allow         []string // lines that match go to the shell
	Known         []string // names to treat as commands
	FastpathShell bool     // false sends everything else to agents
	// Compile makes a regular expression; without it there may be none.
	Compile func(expr string) (Matcher, error)
}

// Matcher is a compiled regular expression, a [regexp.Regexp]. The package is
// not used here because loading it takes time that most lines need not spend.
type Matcher interface{ MatchString(s string) bool }

// errNoCompile is what a pattern meets when there is no Compile.
var errNoCompile = errors.New("no regular expressions here")

// Limits on the lists. Every pattern is tried on every line.
const (
	maxPatterns   = 1000
	maxPatternLen = 1024
	maxKnown      = 10000
)

// Lists is a compiled ListConfig. A nil *Lists holds no patterns and has the
// fast path on. It does not change after NewLists.
type Lists struct {
	deny, allow []pattern
	known       map[string]bool
	toAgents    bool
}

type pattern struct {
	text string // as configured
	sub  string // lower case, if re is nil
	re   Matcher
}

// NewLists compiles a configuration. Its errors name the list, the entry and
// what is wrong with it: an entry is never ignored, because a denylist with a
// hole in it is worse than none.
func NewLists(cfg ListConfig) (*Lists, error) {
	l := &Lists{toAgents: !cfg.FastpathShell}
	var err error
	if l.deny, err = cfg.patterns("denylist", cfg.Deny); err != nil {
		return nil, err
	}
	if l.allow, err = cfg.patterns("allowlist", cfg.Allow); err != nil {
		return nil, err
	}
	if len(cfg.Known) > maxKnown {
		return nil, tooMany("known_commands", len(cfg.Known), "names", maxKnown)
	}
	l.known = make(map[string]bool, len(cfg.Known))
	for i, name := range cfg.Known {
		if name == "" || str.ContainsAny(name, " \t\n") {
			return nil, entryError("known_commands", i, strconv.Quote(beginning(name))+" is not one word")
		}
		l.known[name] = true
	}
	return l, nil
}

// patterns turns those of one list into what is matched with.
func (cfg *ListConfig) patterns(list string, in []string) ([]pattern, error) {
	if len(in) > maxPatterns {
		return nil, tooMany(list, len(in), "patterns", maxPatterns)
	}
	out := make([]pattern, len(in))
	for i, s := range in {
		if str.TrimSpace(s) == "" || len(s) > maxPatternLen {
			return nil, entryError(list, i, "want 1 to "+strconv.Itoa(maxPatternLen)+" bytes")
		}
		out[i].text = s
		if len(s) < 3 || s[0] != '/' || s[len(s)-1] != '/' {
			out[i].sub = str.ToLower(s)
			continue
		}
		if cfg.Compile == nil {
			return nil, errNoCompile
		}
		re, err := cfg.Compile(s[1 : len(s)-1])
		if err != nil {
			return nil, entryError(list, i, err.Error())
		}
		out[i].re = re
	}
	return out, nil
}

func tooMany(list string, n int, what string, most int) error {
	return errors.New("router: " + list + ": " + strconv.Itoa(n) + " " + what + ", limit " + strconv.Itoa(most))
}

func entryError(list string, i int, what string) error {
	return errors.New("router: " + list + "[" + strconv.Itoa(i) + "]: " + what)
}

// beginning is as much of a name as an error shows.
func beginning(name string) string {
	n := 0
	for i := range name {
		if n++; n > 40 {
			return name[:i]
		}
	}
	return name
}

// denies returns the pattern of the denylist that a line matches, or "".
func (l *Lists) denies(line *folded) string {
	if l == nil {
		return ""
	}
	return line.match(l.deny)
}

// allows is denies for the allowlist.
func (l *Lists) allows(line *folded) string {
	if l == nil {
		return ""
	}
	return line.match(l.allow)
}

// forbids reports whether there is a denylist.
func (l *Lists) forbids() bool { return l != nil && len(l.deny) > 0 }

func (l *Lists) shellOff() bool { return l != nil && l.toAgents }

func (l *Lists) knows(name string) bool { return l != nil && l.known[name] }

// folded is a line that is put into lower case when first somebody asks, and
// only once.
type folded struct{ text, lower string }

func (f *folded) contains(sub string) bool {
	if f.lower == "" {
		f.lower = lower(f.text)
	}
	return str.Contains(f.lower, sub)
}

// match tries patterns in order and returns the first that fits, as it was
// configured. Go's expressions take time linear in the line, so a hostile line
// costs no more than its length.
func (f *folded) match(patterns []pattern) string {
	for _, p := range patterns {
		if p.re != nil && p.re.MatchString(f.text) || p.re == nil && f.contains(p.sub) {
			return p.text
		}
	}
	return ""
}
