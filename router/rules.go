package router

import (
	"unicode"
	"unicode/utf8"

	"github.com/runloop-os/runloop/router/str"
)

// certainlyShell finds lines that only a shell can be meant to read.
func (p *parsed) certainlyShell() (Route, Rule) {
	first := p.first()
	switch c := p.line[0]; {
	case c == '#':
		return ToShell, RuleComment
	case c == '^' && str.Count(p.line, "^") >= 2:
		return ToShell, RuleHistory
	case p.syntaxFirst():
		if p.grammarHolds() {
			return ToShell, RuleSyntax
		}
	case p.pathFirst(first):
		return ToShell, RulePath
	}
	if p.blockFirst() {
		return ToShell, RuleKeyword
	}
	if p.known && has(p.info, tagFreeText) && len(p.tokens) > 1 {
		return ToShell, RuleFreeText
	}
	if inIdioms(p.line) {
		return ToShell, RuleIdiom
	}
	return "", ""
}

// syntaxFirst reports whether the line starts with a character that begins
// shell syntax and seldom a sentence.
func (p *parsed) syntaxFirst() bool {
	text := p.first().text
	switch p.line[0] {
	case '`':
		// "`make` fails since yesterday", "`make`'i durdur"
		after := text[str.LastIndexByte(text, '`')+1:]
		return p.words.bare < 3 && p.words.alien == 0 && after == ""
	case '(', '<', '>', '$':
		// "$HOME is full, what can I delete?"
		return p.words.total() < 3 && p.words.alien == 0
	case '{', '[', ':':
		return text == "{" || text == "[" || text == "[[" || text == ":" || text == ":;"
	}
	return assignment(text)
}

// pathFirst reports whether the line starts with the path of something to
// run. A path that ends in a colon or comma is being talked about.
func (p *parsed) pathFirst(t *token) bool {
	text := t.text
	if t.end == ':' || t.end == ',' {
		return false
	}
	if first, _ := utf8.DecodeRuneInString(text); unicode.IsUpper(first) && p.in.FirstKind == KindUnknown {
		return false // Start/stop
	}
	for _, prefix := range [...]string{"./", "../", "~/", "/"} {
		if str.HasPrefix(text, prefix) {
			return true
		}
	}
	if t.kind != kindPath || str.IndexByte(text, '/') < 0 || p.in.FirstKind == KindNone {
		return false
	}
	// Nobody asked the shell: "bin/run x" and "pause/resume the job" differ
	// only in what follows.
	return p.in.FirstKind != KindUnknown || !lettersAndSlashes(text) || p.words.total() == 0
}

// lettersAndSlashes reports whether a path could also be prose: and/or.
func lettersAndSlashes(s string) bool {
	for i := range len(s) {
		if s[i] != '/' && !letterAt(s, i) {
			return false
		}
	}
	return true
}

// blockFirst recognises the compound commands by their shape. The grammar
// alone will not do: "if the server is down restart it" is an if that waits
// for its then.
func (p *parsed) blockFirst() bool {
	t := p.tokens
	if len(t) < 2 {
		return false
	}
	third := ""
	if len(t) > 2 {
		third = t[2].text
	}
	switch t[0].text {
	case "for", "select":
		return str.HasPrefix(t[1].text, "((") || p.opaque > 0 && p.ops > 0 && p.grammarHolds()
	case "case":
		return third == "in" && (str.IndexByte(t[1].text, '$') >= 0 || p.ops > 0)
	case "if", "while", "until", "elif":
		return p.condition(&t[1])
	case "function":
		body := len(t) == 2 || third == "{" || third == "()" || str.HasSuffix(t[1].text, "()")
		return body && p.grammarHolds()
	case "then", "else", "do", "done", "fi", "esac", "}":
		return p.ops > 0 && p.words.total() == 0
	}
	return false
}

// loopHeader returns the number of tokens in "for NAME in" and its like, 0 if
// the line does not start so. "for anyone in a hurry" does: what has no more
// of a loop than its first words is left to the score.
func (p *parsed) loopHeader() int {
	t := p.tokens
	if len(t) < 3 || t[0].text != "for" && t[0].text != "select" {
		return 0
	}
	if third := t[2].text; third == "in" || third == "do" || str.HasSuffix(t[1].text, ";") {
		return 3
	}
	return 0
}

// condition reports whether a token can only begin a shell's condition.
func (p *parsed) condition(t *token) bool {
	switch t.text {
	case "[", "[[", "((", "!", "{", ":":
		return p.grammarHolds()
	}
	if t.kind == kindPath || t.kind == kindAssign || t.text[0] == '$' || t.text[0] == '(' {
		return p.grammarHolds()
	}
	core := lower(t.text)
	plain := english(core) != "" || foreign(core) != ""
	return command(t.text) != "" && (!plain || p.words.total() == 0) && p.grammarHolds()
}

// grammarHolds reports whether the line is a command or the start of one. Only
// the good verdict means anything: almost all prose parses.
func (p *parsed) grammarHolds() bool {
	return p.in.Grammar != nil && p.in.Grammar(p.line, string(p.in.Shell))
}

// inIdioms knows commands that are sentences.
func inIdioms(line string) bool {
	if len(line) > 32 {
		return false
	}
	switch str.Join(str.Fields(line), " ") {
	case "who am i", "who mom likes": // POSIX who; the second is GNU's joke
		return true
	}
	return false
}

// oneWord keeps single words on this machine: a mistyped password is one.
// Only words that cannot be one go to agents.
func (p *parsed) oneWord() (Route, Rule) {
	if len(p.tokens) != 1 || p.cut {
		return "", ""
	}
	t := p.first()
	switch {
	case t.kind == kindQuoted && sentence(t.text):
		return ToAgent, RuleScript
	case p.known || t.kind != kindWord:
		return ToShell, RuleOneWord
	case t.alien && (t.dense > 0 || !str.ContainsAny(t.core, "0123456789")):
		return ToAgent, RuleScript
	case greeting(t.core):
		return ToAgent, RuleGreeting
	case t.end == '?' && dictionary(t.core):
		return ToAgent, RuleQuestion
	}
	return ToShell, RuleOneWord
}

// sentence reports whether a word with quotes in it is a sentence in a script
// that puts no blanks between words.
func sentence(text string) bool {
	dense := 0
	for _, r := range text {
		if unspaced(r) {
			dense++
		}
	}
	return dense >= 6
}

// greeting reports whether a word is a whole message in some language.
func greeting(w string) bool {
	return has(english(w), tagGreeting) || has(foreign(w), tagGreeting)
}

// certainlyAgent finds lines that only a reader of prose can be meant to
// read.
func (p *parsed) certainlyAgent() (Route, Rule) {
	t := p.first()
	switch {
	case p.isCommand() && p.at == 0 && t.end == 0:
	case t.kind == kindFlag || t.kind == kindAssign || t.kind == kindOp:
	case (t.end == ',' || t.end == ':' || t.end == '?') && addressee(t.text):
		return ToAgent, RuleAddress
	case t.alien && !p.known:
		return ToAgent, RuleScript
	}
	// A single quote left open by a contraction: the shell would wait for
	// its other half.
	if p.apostrophes%2 == 1 && !p.open {
		return ToAgent, RuleContraction
	}
	return "", ""
}

// addressee keeps host:path and the like apart from "git: why …".
func addressee(text string) bool {
	r, _ := utf8.DecodeRuneInString(text)
	return r != '-' && r != '%' && r != '=' && r != '+'
}
