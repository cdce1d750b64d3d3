package router

import "github.com/runloop-os/runloop/router/str"

// wordCount is what the words of a line are, quotes, flags and paths aside.
// The command itself is not counted.
type wordCount struct {
	bare   int // words of any kind
	common int // English ones, in any regular form
	flags  int
	// alien counts words in other scripts, and the length of those that do
	// not put blanks between words.
	alien int
	// function and polite are weights. shared is that of function words that
	// command lines use as well, such as from and all.
	function, shared, polite float64
	// strange counts words that are in no list, of four letters and more;
	// accents those with Latin letters beyond ASCII.
	strange, accents int
	// other counts words of languages other than English, the first aside, and
	// foreign is the weight of those among them that are function words.
	other   int
	foreign float64
	comma   bool
}

// count looks every word up once.
func (p *parsed) count() wordCount {
	var n wordCount
	for i := range p.tokens {
		t := &p.tokens[i]
		switch {
		case t.kind == kindFlag:
			n.flags++
		case t.kind != kindWord || i < p.opaque:
		case i <= p.at && p.isCommand():
			n.shape(t, i == len(p.tokens)-1)
		case len(t.core) == 1 && !p.article(i):
			n.bare++
		default:
			n.bare++
			n.shape(t, i == len(p.tokens)-1)
			n.meaning(t)
			if i > 0 && english(t.core) == "" && foreign(t.core) != "" {
				n.other++
			}
		}
	}
	n.incoherent()
	return n
}

// incoherent halves what a single word of another language weighs among words
// that are all English: "tool del entry".
func (n *wordCount) incoherent() {
	if n.other == 1 && n.foreign > 0 && n.strange+n.accents+n.alien == 0 {
		n.function -= n.foreign / 2
	}
}

// article reports whether a word of one letter stands before a longer word,
// as "a" does in prose; in a list of short names it does not.
func (p *parsed) article(i int) bool {
	if i+1 >= len(p.tokens) {
		return false
	}
	next := &p.tokens[i+1]
	return next.kind == kindWord && len(next.core) > 1
}

// shape counts what shows without a dictionary.
func (n *wordCount) shape(t *token, last bool) {
	if t.accent {
		n.accents++
	}
	if t.alien {
		n.alien += 1 + int(t.dense)/4
	}
	n.comma = n.comma || t.end == ',' && !last
}

// meaning counts what the lists say of a word.
func (n *wordCount) meaning(t *token) {
	en, other := english(t.core), foreign(t.core)
	weight := weightFunction
	if len(t.core) == 1 && t.core != "a" {
		weight = weightDoubtful
	}
	switch {
	case has(en, tagShared):
		n.shared += weightFunction
	case has(en, tagFunction):
		n.function += weight
	case has(other, tagFunction) || has(other, tagQuestion):
		if en != "" || command(t.core) != "" {
			weight = weightDoubtful
		}
		n.function += weight
		n.foreign += weight
	}
	if has(en, tagPolite) || has(other, tagPolite) {
		n.polite += weightPolite
	}
	switch {
	case en != "" || stem(t.core) != "":
		n.common++
	case other == "" && len(t.core) >= 4 && command(t.core) == "" && str.IndexByte(t.core, '-') < 0:
		n.strange++
	}
}

// total is the weight of the words that only prose needs.
func (n *wordCount) total() float64 { return n.function + n.shared + n.polite }

// prose reports whether more than one stray word says that this is a
// sentence.
func (n *wordCount) prose() bool {
	return n.function+n.shared >= 2*weightFunction || n.polite > 0 || n.accents > 0 || n.alien > 0
}
