package router

import "github.com/runloop-os/runloop/router/str"

// parsed is a line on its way through the rules.
type parsed struct {
	scanned
	head
	in   *Input
	line string
	buf  [maxTokens]token
	// opaque is the number of tokens at the start that are syntax, not words
	// (for NAME in).
	opaque   int
	words    wordCount
	features []Feature
}

// head is the word that names the command, and what is known of it.
type head struct {
	at   int // its index: behind sudo, env …
	name string
	info string // its entry in commands.txt
	// known: the shell would find it. strange: it is the name of a command,
	// perhaps not installed here, and no English word. plain: it is a word of
	// some language.
	known, strange, plain, alias bool
}

// newLine looks at a line once, so that the rules only compare.
func newLine(in *Input, line string) *parsed {
	p := &parsed{in: in, line: line}
	p.scanned = scan(line, p.buf[:])
	p.resolve()
	p.dropComment()
	p.opaque = p.loopHeader()
	p.words = p.count()
	if !p.isCommand() && p.foreignAlone() {
		p.words.function -= p.words.foreign // it is the name of a program
	}
	return p
}

// dropComment takes away what stands behind a "#" of its own after a command:
// commands are pasted with remarks.
func (p *parsed) dropComment() {
	if !p.isCommand() {
		return
	}
	for i := p.at + 1; i < len(p.tokens); i++ {
		if p.tokens[i].text == "#" {
			p.tokens = p.tokens[:i]
			return
		}
	}
}

// resolve finds the head. It looks behind prefixes such as sudo or time as
// long as a command follows.
func (p *parsed) resolve() {
	p.head = p.headAt(0)
	// A command that is also a word, and not here, shows itself by the next
	// word: "pass git init".
	p.strange = p.strange || p.info != "" && p.subcommand()
	for range 2 {
		if !has(p.info, tagPrefix) || p.plain && !p.known || p.at+1 >= len(p.tokens) {
			return
		}
		next := p.headAt(p.at + 1)
		// "time flies": a word that is both proves nothing behind a prefix.
		if !next.isCommand() {
			return
		}
		p.head = next
	}
}

// headAt finds out about the word at i as a command. Only of the first word
// can the shell have said anything.
func (p *parsed) headAt(i int) head {
	kind := KindUnknown
	if i == 0 {
		kind = p.in.FirstKind
	}
	name := p.tokens[i].text
	info, core := command(name), lower(name)
	return head{
		at: i, name: name, info: info,
		known:   p.lookup(name, kind, info),
		alias:   kind == KindAlias || kind == KindFunction,
		plain:   english(core) != "" || foreign(core) != "",
		strange: info != "" && english(core) == "",
	}
}

// lookup reports whether the shell would find a name as a command.
func (p *parsed) lookup(name string, kind Kind, info string) bool {
	switch kind {
	case KindUnknown:
	case KindNone:
		return p.in.Lists.knows(name)
	default:
		return true
	}
	builtin := byte(tagBash)
	if p.in.Shell == Zsh {
		builtin = tagZsh
	}
	if has(info, builtin) || has(info, tagKeyword) || p.in.Lists.knows(name) {
		return true
	}
	if str.IndexByte(name, '/') >= 0 {
		return false
	}
	if p.in.Lookup != nil {
		return p.in.Lookup(name)
	}
	return info != ""
}

// subcommand reports whether the word after the head belongs to the command's
// own vocabulary: git stash, apt install.
func (p *parsed) subcommand() bool {
	if p.at+1 >= len(p.tokens) {
		return false
	}
	next := p.tokens[p.at+1].text
	for rest := subcommands(p.name); rest != ""; {
		word, after, _ := str.Cut(rest, " ")
		if rest = after; word == next {
			return true
		}
	}
	return false
}

// isCommand reports whether the head is to be treated as a command: found, or
// the name of one and no English word.
func (h *head) isCommand() bool { return h.known || h.strange }

// rest are the tokens after the command.
func (p *parsed) rest() []token { return p.tokens[p.at+1:] }

func (p *parsed) first() *token { return &p.tokens[0] }
func (p *parsed) last() *token  { return &p.tokens[len(p.tokens)-1] }
