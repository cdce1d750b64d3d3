package router

// typo reports whether the first word, unknown to the shell, is one slip away
// from a command (two, if it is long) and nothing in the line is prose.
func (p *parsed) typo() bool {
	t := p.first()
	if p.isCommand() || t.kind != kindWord || t.accent || t.alien || len(t.core) < 2 {
		return false
	}
	if t.capital {
		return p.capitalised(t.core)
	}
	if p.apostrophes > 0 || p.wordFirst() {
		return false
	}
	if n := p.words; n.total() > 0 || n.alien > 0 || n.accents > 0 || n.other > 0 || p.foreignWords() {
		return false
	}
	slips := 1
	if len(t.core) >= 8 {
		slips = 2
	}
	found := false
	wordList(commandText).each(func(name string) bool {
		found = len(name) > 1 && near(t.core, name, slips)
		return !found
	})
	return found
}

// wordFirst reports whether the first word is meant as it stands. Languages have
// words for every slip of two or three letters, so of such only verbs count.
func (p *parsed) wordFirst() bool {
	core := p.first().core
	switch {
	case english(core) != "" || stem(core) != "":
		return true
	case len(core) > 3:
		return foreign(core) != ""
	}
	return len(core) == 3 && has(foreign(core), tagVerb)
}

// capitalised: "Git status" is the command with a slip of the shift key, if
// the name is no word that could begin a sentence.
func (p *parsed) capitalised(core string) bool {
	return command(core) != "" && english(core) == "" && foreign(core) == "" &&
		p.words.total() == 0 && p.words.alien+p.words.accents == 0
}

// near reports whether the Damerau-Levenshtein distance (restricted to
// adjacent swaps) of a and b is at most k, for small k.
func near(a, b string, k int) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > k {
		return false
	}
	// The common ends cost nothing, and nearly all pairs are told apart
	// within the first letters.
	for len(a) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	if len(b) == 0 {
		return true
	}
	if k == 0 {
		return false
	}
	if len(a) >= 2 && a[0] == b[1] && a[1] == b[0] && near(a[2:], b[2:], k-1) {
		return true
	}
	if len(a) == 0 {
		return len(b) <= k
	}
	return near(a[1:], b[1:], k-1) || near(a, b[1:], k-1) || near(a[1:], b, k-1)
}
