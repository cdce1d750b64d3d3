package router

import "github.com/runloop-os/runloop/router/str"

// The weights. They were chosen on the tuning part of the corpus and on the
// even lines of the public sets that docs/routing.md names; the other parts
// only check. What matters is their order: a command that is no word of any
// language (3) outweighs two function words and not three.
const (
	weightKnown    = 1.5
	weightNotPlain = 1.5 // known, and no word of any language
	weightAlias    = 0.5
	weightSub      = 1.5
	weightDir      = 0.5
	weightName     = 1.0 // unknown, and spelt like a program
	weightNameOnly = 0.5 // the same, before nothing but words
	weightBlock    = 3.0
	weightFlag     = 2.0
	capFlags       = 4.0
	weightMark     = 1.0 // operators, $NAME, *
	capMarks       = 3.0
	weightPath     = 0.5
	capPaths       = 1.5
	weightAssign   = 1.0
	capAssigns     = 3.0

	weightFunction    = 1.0
	weightDoubtful    = 0.5 // a function word that is also something else
	factorStrong      = 1.5 // for function words behind a name that is no word
	factorShared      = 0.5 // the same for words that command lines use as well
	weightPolite      = 2.0
	weightQuestion    = 1.5
	weightAsks        = 2.0 // a final question mark
	weightStop        = 0.5
	weightComma       = 1.0
	weightApostr      = 3.0
	weightCapital     = 1.0
	weightBare        = 1.0
	weightCommon      = 0.5
	capCommon         = 1.5
	weightVerb        = 1.0
	weightUnknown3    = 1.5 // an unknown first word before two others
	weightUnknown4    = 2.0
	weightNotFiles    = 1.0
	weightAccent      = 1.0
	weightMoreAccents = 0.5
	capAccents        = 2.0
	weightStrange     = 1.5
	weightNumber      = 1.0
	weightArticle     = 1.0
	weightParticle    = 2.0
	weightAlien       = 2.0
	capAlien          = 4.0
	leastProse        = 1.0 // less than this is no sentence
)

// add notes one piece of evidence; nothing is noted of none.
func (p *parsed) add(name string, weight float64, side Route) {
	if weight > 0 {
		p.features = append(p.features, Feature{Name: name, Weight: weight, Side: side})
	}
}

// weighed sums the evidence up. A tie goes to the shell.
func (p *parsed) weighed() (Route, Rule) {
	if p.typo() {
		return ToShell, RuleTypo
	}
	p.commandEvidence()
	p.syntaxEvidence()
	p.wordEvidence()
	p.toneEvidence()
	p.firstWord()
	shell, agent := Decision{Features: p.features}.sums()
	if agent > shell && agent >= leastProse {
		return ToAgent, RuleScore
	}
	return ToShell, RuleScore
}

// commandEvidence looks at the word that names the command.
func (p *parsed) commandEvidence() {
	if p.in.FirstIsDir {
		p.add("directory", weightDir, ToShell)
	}
	if !p.isCommand() {
		return
	}
	p.add("known command", weightKnown, ToShell)
	if !p.plain {
		p.add("not a word", weightNotPlain, ToShell)
	}
	if p.alias {
		p.add("alias or function", weightAlias, ToShell)
	}
	if p.subcommand() {
		p.add("subcommand", weightSub, ToShell)
	}
}

// syntaxEvidence looks at what only a shell would read.
func (p *parsed) syntaxEvidence() {
	if p.opaque > 0 {
		p.add("compound command", weightBlock, ToShell)
	}
	var flags, paths, assigns float64
	for _, t := range p.rest() {
		switch t.kind {
		case kindFlag:
			flags++
		case kindPath:
			paths++
		case kindAssign:
			assigns++
		}
	}
	p.add("flags", min(flags*weightFlag, capFlags), ToShell)
	p.add("paths", min(paths*weightPath, capPaths), ToShell)
	p.add("assignments", min(assigns*weightAssign, capAssigns), ToShell)
	marks := p.ops + p.dollar + p.globs
	if p.isCommand() {
		marks += p.ticks // elsewhere they are prose's way to quote
	}
	p.add("operators", min(float64(marks)*weightMark, capMarks), ToShell)
}

// wordEvidence weighs the kinds of words outside quotes.
func (p *parsed) wordEvidence() {
	n := p.words
	function := n.function + n.shared
	if p.isCommand() && !p.plain {
		// Words like "from" and "all" are as much at home in ip and ufw as in
		// a sentence; words like "my" and "is" are not.
		function = n.function*factorStrong + n.shared*factorShared
	}
	p.add("function words", function, ToAgent)
	p.add("please", n.polite, ToAgent)
	if n.flags == 0 {
		p.add("common words", min(weightCommon*float64(n.common-2), capCommon), ToAgent)
	}
	switch {
	case n.alien > 0:
		p.add("other script", min(weightAlien+float64(n.alien-1), capAlien), ToAgent)
	case n.accents > 0:
		p.add("accents", min(weightAccent+float64(n.accents-1)*weightMoreAccents, capAccents), ToAgent)
		if !p.isCommand() && p.first().accent && n.bare >= 2 {
			p.add("accent in the first word", weightAccent, ToAgent)
		}
	}
	if p.isCommand() && p.particle() {
		p.add("particle", weightParticle, ToAgent)
	}
	if p.foreignWords() {
		p.add("words of no list", weightStrange, ToAgent)
	}
}

// toneEvidence looks at the punctuation of sentences.
func (p *parsed) toneEvidence() {
	if p.apostrophes > 0 {
		p.add("contraction", weightApostr, ToAgent)
	}
	if p.words.comma {
		p.add("comma", weightComma, ToAgent)
	}
	last := p.last()
	if last.kind != kindWord {
		return
	}
	switch last.end {
	case '?':
		if !p.isCommand() || p.ops == 0 { // else foo?? may be a pattern
			p.add("question mark", weightAsks, ToAgent)
		}
	case '.', '!':
		p.add("full stop", weightStop, ToAgent)
	}
}

// firstWord judges the word that would have to be the command, and the run of
// plain words behind it.
func (p *parsed) firstWord() {
	t, n := p.first(), p.words
	tags := english(t.core) + foreign(t.core)
	if has(tags, tagQuestion) {
		p.add("question word", weightQuestion, ToAgent)
	}
	if t.capital {
		p.add("capital", weightCapital, ToAgent)
	}
	bare := n.bare
	if p.isCommand() && p.plain && has(p.info, tagFiles) {
		// find, sort and the like take files or numbers; a word in their
		// place makes the command itself look like a verb.
		if bare >= 2 {
			bare++
		}
		if p.proseArgument() {
			p.add("argument is a word", weightNotFiles, ToAgent)
		}
	}
	if p.isCommand() && p.plain && p.determined() {
		p.add("article", weightArticle, ToAgent)
	}
	if bare >= 3 && n.flags == 0 && (p.isCommand() || n.prose() || dictionary(t.core) && !p.foreignAlone()) {
		p.add("bare words", weightBare, ToAgent)
	}
	if !p.isCommand() {
		p.unknownFirst(t, tags)
	}
}

// unknownFirst judges a first word that no shell would find. A name that is in
// no dictionary, with no other sign of prose, is a program that is not
// installed here.
func (p *parsed) unknownFirst(t *token, tags string) {
	if t.programName() || p.foreignAlone() {
		weight := weightName
		if p.phrase() {
			weight = weightNameOnly
		}
		p.add("unknown name", weight, ToShell)
		if !p.words.prose() && !p.foreignWords() {
			return
		}
	}
	if t.digits() && p.words.bare >= 2 {
		p.add("number first", weightNumber, ToAgent)
	}
	if has(tags, tagVerb) && (p.words.bare > 1 || p.hasPath()) {
		p.add("request", weightVerb, ToAgent)
	}
	switch n := p.words.bare; {
	case p.words.flags > 0 && !p.words.prose() && !has(tags, tagVerb):
	case n >= 4:
		p.add("unknown command", weightUnknown4, ToAgent)
	case n == 3:
		p.add("unknown command", weightUnknown3, ToAgent)
	}
}

// programName reports whether a token is spelt like the name of a program and
// like no word.
func (t *token) programName() bool {
	if t.kind == kindWord {
		return !t.capital && !t.alien && !dictionary(t.core)
	}
	return 'a' <= t.text[0] && t.text[0] <= 'z' && str.ContainsAny(t.text, "0123456789")
}

// hasPath reports whether a file is named after the first word.
func (p *parsed) hasPath() bool {
	for _, t := range p.rest() {
		if t.kind == kindPath || t.kind == kindQuoted {
			return true
		}
	}
	return false
}

// digits reports whether a token is a plain number.
func (t *token) digits() bool {
	return t.kind == kindNumber && str.Trim(t.text, "0123456789") == ""
}

// proseArgument reports whether the first of several arguments is an English
// word.
func (p *parsed) proseArgument() bool {
	if p.at+2 >= len(p.tokens) {
		return false
	}
	t := &p.tokens[p.at+1]
	return t.kind == kindWord && len(t.core) > 1 && english(t.core) != ""
}

// harmful reports whether a line that starts with a destructive command reads
// like a sentence, wherever it goes.
func (p *parsed) harmful(route Route) bool {
	if !p.isCommand() || !has(p.info, tagDestructive) {
		return false
	}
	n := p.words
	prose := n.function >= weightFunction || n.shared >= 2*weightFunction || n.polite > 0
	// "rm old backup folders" has none of these, and only dictionary words; "rm
	// alte dateien" has words of another language.
	words := n.common >= 3 && n.common == n.bare || n.other >= 2 && p.plainWords()
	return route == ToAgent || prose || n.flags == 0 && words
}
