package opening

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// position is a place in a source file. Both numbers count from 1, Column in
// characters; the zero position means the file as a whole.
type position struct {
	Line, Column int
}

// Codes of problems. They are stable, for programs that read the JSON form.
const (
	codeSize      = "yaml.size"      // larger or deeper than a limit
	codeText      = "yaml.text"      // not UTF-8 text
	codeSyntax    = "yaml.syntax"    // not YAML
	codeFeature   = "yaml.feature"   // YAML that openings do not use
	codeEmpty     = "yaml.empty"     // nothing in the file
	codeNumber    = "yaml.number"    // a number that JSON cannot keep
	codeBrace     = "brace.syntax"   // not the brace form
	codeUnknown   = "key.unknown"    //
	codeMissing   = "key.missing"    //
	codeDuplicate = "duplicate"      // a key or a node id that comes twice
	codeType      = "value.type"     // a map where a string should be
	codeValue     = "value.range"    // right type, not allowed
	codeExpr      = "expr.syntax"    // an edge, a guard or a success expression
	codeTemplate  = "template"       //
	codeParam     = "param"          // missing, unknown or of the wrong type
	codeNode      = "graph.node"     // a node that does not exist
	codePort      = "graph.port"     // a port that does not exist
	codeContent   = "graph.type"     // ports that do not fit each other
	codeCycle     = "graph.cycle"    //
	codeAgent     = "agent.unknown"  //
	codeLoad      = "agent.load"     // found, but not to be used
	codeWith      = "with.schema"    //
	codeBudget    = "policy.budget"  //
	codeConfirm   = "policy.confirm" //
	codeNested    = "nested"         //
	codeMany      = "problems.many"  //
)

// Problem is one thing that is wrong with an opening or with the parameters
// it was given.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Code    string `json:"code"`
	Message string `json:"message"`
	// Hint says what to do about it, when there is a good guess.
	Hint string `json:"hint,omitempty"`
}

// String gives the problem as file:line:col: message; hint.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": " + p.Message)
	if p.Hint != "" {
		b.WriteString("; " + p.Hint)
	}
	return b.String()
}

// hint adds what to do about the problem, once.
func (p *Problem) hint(format string, args ...any) {
	if format != "" {
		p.Hint = fmt.Sprintf(format, args...)
	}
}

// Problems is everything that is wrong with an opening, in the order of the
// file. It is the one error type of the language.
type Problems []Problem

// Error gives the first problem and the number of the others, in one line.
func (ps Problems) Error() string {
	switch len(ps) {
	case 0:
		return "no problems"
	case 1:
		return ps[0].String()
	case 2:
		return ps[0].String() + " (and 1 more problem)"
	}
	return fmt.Sprintf("%s (and %d more problems)", ps[0], len(ps)-1)
}

// Text gives every problem on a line of its own.
func (ps Problems) Text() string {
	var b strings.Builder
	for _, p := range ps {
		b.WriteString(p.String() + "\n")
	}
	return b.String()
}

// source is one file on its way to an Opening: where its parts are and what is
// wrong with them. Checks that look at an Opening find positions through the
// path of the part, for example "nodes/2/with/query", so that they do not care
// which syntax it was written in. Numbers in paths count what is in the
// Opening, which leaves out nodes and edges that could not be read.
type source struct {
	name     string
	places   map[string]place
	problems Problems
	effort   int // spent on hints, see maxEffort
	// nested are the problems of other files that this one uses, in their order.
	nested Problems
}

// place is where a value stands, and the key in front of it if it has one.
type place struct {
	key, val position
	plain    bool // a string that stands in the file just as it reads
}

// inside is the position of byte i of the string text that stands at p.
func (p place) inside(text string, i int) position {
	if !p.plain {
		return p.val
	}
	return position{p.val.Line, p.val.Column + utf8.RuneCountInString(text[:i])}
}

// newSource begins a file in which nothing is wrong yet.
func newSource(name string) *source {
	return &source{name: visible(name), places: map[string]place{}}
}

// add notes a problem; what it returns may get a hint before the next call.
func (s *source) add(pos position, code, format string, args ...any) *Problem {
	if len(s.problems) > maxProblems {
		return new(Problem)
	}
	s.problems = append(s.problems, Problem{
		File: s.name, Line: pos.Line, Column: pos.Column,
		Code: code, Message: fmt.Sprintf(format, args...),
	})
	return &s.problems[len(s.problems)-1]
}

// val is the position of the value at path, or of the nearest part around it
// that has one.
func (s *source) val(path string) position {
	return s.find(path).val
}

// key is like val for the key in front of the value.
func (s *source) key(path string) position {
	if p := s.find(path); p.key != (position{}) {
		return p.key
	}
	return s.val(path)
}

// find looks for the place of path, then of what is around it.
func (s *source) find(path string) place {
	for {
		if p, ok := s.places[path]; ok {
			return p
		}
		i := strings.LastIndexByte(path, '/')
		if i < 0 {
			return place{}
		}
		path = path[:i]
	}
}

// err gives the problems in the order of the file, then those of the files that
// it uses, or nil.
func (s *source) err() error {
	if len(s.problems)+len(s.nested) == 0 {
		return nil
	}
	return append(s.sorted(), s.nested...)
}

// sorted gives the problems of the file itself in its order.
func (s *source) sorted() Problems {
	ps := s.problems
	many := len(ps) > maxProblems
	if many {
		ps = ps[:maxProblems]
	}
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if many {
		last := ps[len(ps)-1]
		ps = append(ps, Problem{File: s.name, Line: last.Line, Column: last.Column, Code: codeMany,
			Message: fmt.Sprintf("more than %d problems; only these are shown", maxProblems)})
	}
	return ps
}
