package main

import "strings"

// topicMax is the longest topic that is taken out of a prompt, in runes.
const topicMax = 160

// topicOf is what a prompt is about: what follows "about" or the like, up to the
// end of the sentence or the words that say whom it is for; else the prompt
// without those. mention is the words that name the recipient, "" for none.
func topicOf(prompt, mention string) string {
	words := wordsOf(prompt)
	from, to := mentionIn(words, mention)
	lead := from
	for lead > 0 && isLead(words, lead-1) {
		lead--
	}
	_, start, ok := marker(words, about, 0)
	if !ok {
		_, start, ok = marker(words, weakAbout, to)
	}
	if !ok {
		return withoutAddressee(words, lead, to)
	}
	end := start
	for end < len(words) && !words[end].ends && end+1 != lead {
		end++
	}
	return topicText(words[start:min(end+1, len(words))])
}

// withoutAddressee is the sentence without the words that say whom it is for, and
// without what asks for a letter.
func withoutAddressee(words []promptWord, lead, to int) string {
	rest := words
	if to > 0 {
		rest = append(append([]promptWord{}, words[:lead]...), words[to:]...)
	}
	for len(rest) > 0 && (to == 0 && leads.has(rest[0].key) || opensLetter(rest)) {
		rest = rest[1:]
	}
	for i, w := range rest {
		if w.ends {
			rest = rest[:i+1]
			break
		}
	}
	return topicText(rest)
}

// opensLetter reports whether words begin with what only asks for a letter.
func opensLetter(words []promptWord) bool {
	first := words[0].key
	return linking.has(first) || isLetterWord(first) || noNames.has(first) && len(words) > 1 && isLetterWord(words[1].key)
}

// linking are words between whom a sentence is for and what it says.
const linking wordList = " that to saying please can could would you dass bitte que di che "

func isLetterWord(key string) bool {
	return strings.HasSuffix(key, "mail") || key == "message" || key == "note" || key == "letter" || key == "draft"
}

// mentionIn finds the words that name the recipient: from, and the one behind.
func mentionIn(words []promptWord, mention string) (from, to int) {
	name := wordsOf(mention)
	for i := 0; len(name) > 0 && i+len(name) <= len(words); i++ {
		if strings.EqualFold(joined(words[i:i+len(name)]), joined(name)) {
			return i, i + len(name)
		}
	}
	return 0, 0
}

func topicText(words []promptWord) string { return shorten(joined(words), topicMax) }
