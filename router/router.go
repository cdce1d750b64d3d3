package router

import "github.com/runloop-os/runloop/router/str"

// Shell is the dialect that would run the line.
type Shell string

// The shells that are known. Any other value is read as Bash.
const (
	Bash Shell = "bash"
	Zsh  Shell = "zsh"
)

// Kind is how the shell itself resolves the first word of a line: what
// `type -t` says in bash and `whence -w` in zsh.
type Kind string

// The kinds. With KindUnknown nobody asked the shell, and the router looks
// the word up itself as well as it can.
const (
	KindUnknown  Kind = ""
	KindAlias    Kind = "alias"
	KindFunction Kind = "function"
	KindBuiltin  Kind = "builtin"
	KindKeyword  Kind = "keyword"
	KindCommand  Kind = "command"
	KindNone     Kind = "none"
)

// Input is one line and what is known about its surroundings. Only Line is
// required.
type Input struct {
	Line      string
	Shell     Shell
	FirstKind Kind
	// FirstIsDir says that the shell would change into the first word.
	FirstIsDir bool
	// Lookup reports whether a name is a program in PATH. It is called for at
	// most three words of the line. Nil means that nobody can say.
	Lookup func(name string) bool
	// Lists are the user's own, or nil.
	Lists *Lists
	// Corrections are the user's own, or nil.
	Corrections *Corrections
	// Grammar reports whether a line is a command of a shell or the start of
	// one (see package grammar). It is called for lines that begin like shell
	// syntax. Nil means that nobody can say: such a line is weighed like others.
	Grammar func(line, shell string) bool
}

// Route is one of the two sides.
type Route string

// The sides.
const (
	ToShell Route = "shell"
	ToAgent Route = "agent"
)

// Rule names what decided. The spelling is part of the output of `rlp route`.
type Rule string

// The rules, in the order in which they are tried (see the package doc).
const (
	RuleBlank       Rule = "blank"
	RuleDeny        Rule = "denylist"
	RuleForced      Rule = "forced"
	RuleTooLong     Rule = "too_long"
	RuleAllow       Rule = "allowlist"
	RuleOpening     Rule = "fallback:opening"
	RuleCorrection  Rule = "correction"
	RuleHistory     Rule = "history"
	RuleComment     Rule = "comment"
	RuleSyntax      Rule = "syntax"
	RulePath        Rule = "path"
	RuleKeyword     Rule = "keyword"
	RuleFreeText    Rule = "freetext"
	RuleIdiom       Rule = "idiom"
	RuleGreeting    Rule = "greeting"
	RuleQuestion    Rule = "question"
	RuleScript      Rule = "script"
	RuleOneWord     Rule = "one_word"
	RuleAddress     Rule = "address"
	RuleContraction Rule = "contraction"
	RuleTypo        Rule = "typo"
	RuleScore       Rule = "score"
	RuleTimeout     Rule = "timeout" // the caller's: no decision in time
)

// Feature is one piece of evidence. Weight is positive and counts for Side.
type Feature struct {
	Name   string  `json:"name"`
	Weight float64 `json:"weight"`
	Side   Route   `json:"side"`
}

// Decision says where a line goes and why.
type Decision struct {
	Route   Route
	Rule    Rule
	Blocked bool // the user's denylist forbids to run it
	// Confirm says that the line may destroy something if it was not meant
	// as a command, so that the caller should ask first.
	Confirm bool
	// Pattern is the entry of the user's list that decided, or "".
	Pattern string
	// Prompt is the line without a prefix that forced it to agents.
	Prompt string
	// Features is the evidence that was weighed; empty when a rule decided
	// before anything was.
	Features []Feature
	// Correction is what decided under RuleCorrection, Otherwise the rule
	// that would have; else nil and "".
	Correction *Correction
	Otherwise  Rule
}

// MaxLine is the longest line that is looked at, in bytes. A longer one is left
// to the shell, which nobody else has to trust with it, but is blocked where there
// is a denylist.
const MaxLine = 1 << 20

// Classify decides. It is total: any bytes give a decision, the same bytes
// the same one, and only the first few kilobytes of a line are looked at
// closely.
func Classify(in Input) Decision {
	line := str.TrimSpace(in.Line)
	d := Decision{Route: ToShell, Rule: RuleBlank, Prompt: line}
	if line == "" {
		return d
	}
	fold := &folded{text: line}
	if d.Pattern = in.Lists.denies(fold); d.Pattern != "" {
		d.Rule, d.Blocked = RuleDeny, true
		return d
	}
	// What the denylist would say of the rest of a longer line is not known.
	unseen := len(in.Line) > MaxLine && in.Lists.forbids()
	if d.forced(line) {
		d.Blocked = unseen && d.Route == ToShell
		return d
	}
	if len(in.Line) > MaxLine {
		d.Rule, d.Blocked = RuleTooLong, unseen
		return d
	}
	if d.Pattern = in.Lists.allows(fold); d.Pattern != "" {
		d.Rule = RuleAllow
		return d
	}
	if in.Lists.shellOff() {
		d.Route, d.Rule = ToAgent, RuleOpening
		return d
	}
	l := newLine(&in, line)
	for _, rule := range [...]func(*parsed) (Route, Rule){
		(*parsed).certainlyShell, (*parsed).oneWord, (*parsed).certainlyAgent, (*parsed).weighed,
	} {
		if route, name := rule(l); name != "" {
			d.Route, d.Rule = route, name
			break
		}
	}
	d.Confirm = l.harmful(d.Route)
	d.Features = l.features
	if c := l.corrected(); c != nil {
		// A correction can add a reason to ask first, and never take one away.
		d.Confirm = d.Confirm || l.harmful(c.Side)
		d.Correction, d.Otherwise = c, d.Rule
		d.Route, d.Rule = c.Side, RuleCorrection
	}
	return d
}

// forced obeys the prefixes by which a line is sent to one side, and a budget,
// which only agents have.
func (d *Decision) forced(line string) bool {
	switch {
	case line[0] == '!':
		d.Rule = RuleForced
	case str.HasPrefix(line, ", "), str.HasPrefix(line, "@ "):
		d.Route, d.Rule, d.Prompt = ToAgent, RuleForced, str.TrimSpace(line[2:])
	case hasBudget(line):
		d.Route, d.Rule = ToAgent, RuleForced
	default:
		return false
	}
	return true
}
