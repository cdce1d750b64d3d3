package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/runloop-os/runloop/wasm/guest"
)

const (
	// surelyNamed is how well words must fit a contact to be its name: all of
	// them are a part of it as they stand.
	surelyNamed = 0.85
	// maybeNamed is enough behind a lead, with a capital letter: a typo.
	maybeNamed = 0.65

	leadsMax      = 6 // that are looked up one by one
	addressesMax  = 4
	promptLookMax = 32 // words, of those that are looked up together
)

// named is somebody whom a prompt names.
type named struct {
	from, to int // words
	led      bool
	who      contact
}

// addressee finds out whom a prompt is for. That it names nobody who is known,
// or several people, is an error that says what to do.
func addressee(c *guest.Call, prompt string) (contact, error) {
	words := wordsOf(prompt)
	words = words[:min(len(words), nameWithin)]
	found, err := peopleIn(c, words)
	if err != nil {
		return contact{}, err
	}
	if len(found) == 0 {
		return contact{}, fmt.Errorf("nobody in the prompt is a known contact%s: say who with -p recipient=NAME, "+
			"add them with `rlp kb add contact`, or pick another opening with --opening (ask answers questions)", unknownName(words))
	}
	first := found[0]
	if other := alsoNamed(words, found); other != nil {
		return contact{}, fmt.Errorf("the prompt is for %s and %s, but one letter goes to one person: "+
			"say who with -p recipient=NAME", first.who.Name, other.who.Name)
	}
	first.who.Mention = joined(words[first.from:first.to])
	return first.who, nil
}

// peopleIn lists whom the prompt names, those behind a lead first.
func peopleIn(c *guest.Call, words []promptWord) ([]named, error) {
	pool, err := poolOf(c, words)
	if err != nil {
		return nil, err
	}
	var out []named
	for i := 0; i < len(words); i++ {
		n := nameAt(words, i, pool)
		if n == nil {
			continue
		}
		out = append(out, *n)
		i = n.to - 1
	}
	topic, _, hasTopic := marker(words, about, 0)
	slices.SortStableFunc(out, func(a, b named) int { return cmp.Compare(a.order(), b.order()) })
	return slices.DeleteFunc(out, func(n named) bool { // whom it is about is not whom it is for
		return !n.led && hasTopic && n.from > topic
	}), nil
}

// order puts addresses before names, and names behind a lead before others.
func (n *named) order() int {
	switch {
	case n.who.Confidence == 1:
		return 0
	case n.led:
		return 1
	}
	return 2
}

// nameAt gives whom the words from i on name, the most words that do; nil for
// nobody.
func nameAt(words []promptWord, i int, pool []contact) *named {
	if pool = fitting(words[i].key, pool); len(pool) == 0 {
		return nil
	}
	led := isLead(words, i-1)
	most := 1
	for most < nameWordsMax && i+most < len(words) && !words[i+most-1].closes {
		most++
	}
	for n := most; n >= 1; n-- {
		phrase := words[i : i+n]
		if n == 1 && noNames.has(phrase[0].key) {
			continue
		}
		keys := make([]string, n)
		for j, w := range phrase {
			keys[j] = w.key
		}
		query, least := strings.Join(keys, " "), leastFit(words, i, n, led)
		if ranked := rank(query, pool); len(ranked) > 0 && ranked[0].Confidence >= least {
			return &named{i, i + n, led, pick(query, pool)}
		}
	}
	return nil
}

// fitting gives those of the pool whose name has a word like this one, or who
// have this address.
func fitting(key string, pool []contact) []contact {
	var out []contact
	for _, k := range pool {
		fits := k.Email != "" && strings.EqualFold(k.Email, key)
		for name := range strings.FieldsSeq(k.folded) {
			fits = fits || wordFit(key, name) > 0
		}
		if fits {
			out = append(out, k)
		}
	}
	return out
}

// leastFit is how well n words from i on must fit to be somebody's name.
func leastFit(words []promptWord, i, n int, led bool) float64 {
	capital := isCapital(words[i].text)
	opens := i == 0 || words[i-1].ends // where every word has a capital letter
	switch {
	case isAddress(words[i].text):
		return 1
	case led && capital:
		return maybeNamed
	case led, n > 1, capital && (!opens || words[i].closes):
		return surelyNamed
	}
	return 1
}

// alsoNamed gives a second person whom the prompt is for: one who is joined to
// the first, or another address.
func alsoNamed(words []promptWord, found []named) *named {
	first := &found[0]
	for i := range found[1:] {
		n := &found[1+i]
		if n.who.ContactID == first.who.ContactID {
			continue
		}
		bothAddresses := n.order() == 0 && first.order() == 0
		between := words[min(first.to, n.to):max(first.from, n.from)]
		listed := len(between) == 0 && words[min(first.to, n.to)-1].closes
		if bothAddresses || listed || len(between) == 1 && conjunctions.has(between[0].key) {
			return n
		}
	}
	return nil
}

const conjunctions wordList = " and & und et y e en och og "

// poolOf looks up everybody whom the prompt could name.
func poolOf(c *guest.Call, words []promptWord) ([]contact, error) {
	var pool []contact
	for _, text := range lookUps(words) {
		known, err := candidates(c, text)
		if err != nil {
			return nil, err
		}
		for _, k := range known {
			if !slices.ContainsFunc(pool, func(p contact) bool { return p.ContactID == k.ContactID }) {
				k.folded = fold(k.Name)
				pool = append(pool, k)
			}
		}
	}
	return pool, nil
}

// lookUps are the texts to look contacts up by: addresses, what stands behind
// leads, where a typo is forgiven, and the beginning as a whole.
func lookUps(words []promptWord) []string {
	var addresses, led []string
	for i, w := range words {
		switch {
		case isAddress(w.text) && len(addresses) < addressesMax:
			addresses = append(addresses, w.text)
		case isLead(words, i-1) && !noNames.has(w.key) && !leads.has(w.key) && len(led) < leadsMax:
			n := 1
			for n < 2 && i+n < len(words) && !words[i+n-1].closes && isCapital(words[i+n].text) {
				n++
			}
			led = append(led, joined(words[i:i+n]))
		}
	}
	return append(append(addresses, led...), joined(words[:min(len(words), promptLookMax)]))
}

// unknownName says which name of the prompt nobody has, if one looks like it.
func unknownName(words []promptWord) string {
	for i, w := range words {
		if isAddress(w.text) || isLead(words, i-1) && isCapital(w.text) && !noNames.has(w.key) {
			return fmt.Sprintf(" (%q is not)", w.text)
		}
	}
	return ""
}
