package main

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What people write to a crew is a sentence: who it is for stands behind a word
// such as "to", what it is about behind a word such as "about". This file takes
// the sentence apart; it knows nobody.

// Bounds of what is looked at: names stand near the beginning, and each word is
// held against each contact that was looked up.
const (
	promptWordsMax = 400
	nameWithin     = 80 // words
	nameWordsMax   = 4
)

// promptWord is one word of a prompt.
type promptWord struct {
	text   string // without the marks around it
	key    string // folded, and without a possessive 's
	closes bool   // a mark behind it ends a name: , ; : . ! ?
	ends   bool   // and a sentence: . ! ? or the end of a line
}

// wordsOf takes a prompt apart.
func wordsOf(prompt string) []promptWord {
	var out []promptWord
	for line := range strings.Lines(prompt) {
		fields := strings.Fields(line)
		for i, f := range fields {
			text := strings.TrimFunc(f, isMark)
			if text == "" || len(out) == promptWordsMax {
				continue
			}
			behind := f[strings.LastIndex(f, text)+len(text):]
			key := strings.ReplaceAll(fold(text), "’", "'")
			out = append(out, promptWord{
				text: text, key: strings.TrimSuffix(key, "'s"),
				closes: behind != "" || i == len(fields)-1,
				ends:   strings.ContainsAny(behind, ".!?") || i == len(fields)-1,
			})
		}
	}
	return out
}

// isMark is what may stand around a word and is no part of it.
func isMark(r rune) bool {
	return strings.ContainsRune(`,;:.!?"'()[]{}<>«»„“”‚‘’¿¡…*_`, r) || r == '`'
}

// joined is the words with single spaces between them.
func joined(words []promptWord) string {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = w.text
	}
	return strings.Join(texts, " ")
}

// isAddress reports whether a word is an address of a mailbox.
func isAddress(word string) bool {
	local, domain, ok := strings.Cut(word, "@")
	return ok && local != "" && strings.Contains(strings.Trim(domain, "."), ".") && !strings.Contains(domain, "@")
}

// isCapital reports whether a word begins with a capital letter.
func isCapital(word string) bool {
	r, _ := utf8.DecodeRuneInString(word)
	return unicode.IsUpper(r)
}

// leads are words that a person's name may follow: what one does with a letter,
// and prepositions, in English, German, French, Spanish, Italian, Portuguese and
// Dutch.
const leads wordList = " to for with write email e-mail mail message tell ask ping inform remind invite thank contact" +
	" notify answer draft send" +
	" an fur mit schreib schreibe schick schicke sende frag frage sag sage informiere erinnere bitte maile" +
	" pour avec chez ecris ecrire demande envoie previens" +
	" para con escribe escribir escribele dile pregunta preguntale envia" +
	" per scrivi chiedi manda" +
	" com escreva escreve pergunte envie" +
	" aan voor met schrijf vraag stuur "

// capitalLeads are leads only in front of a capital letter: "a" is an article,
// too.
const capitalLeads wordList = " a at bij zu "

// noNames are words that are no name though they stand where one could.
const noNames wordList = " the a an this that these those my your our his her their me you him them us it all everyone" +
	" everybody somebody someone team mail email e-mail message note letter reply draft" +
	" der die das den dem des ein eine einen einem einer mich mir dich dir ihm ihr ihnen uns alle" +
	" le la les un une des mon ma mes moi lui nous tous" +
	" el los las una mi me todos" +
	" il lo gli mio mia tutti" +
	" o os as um uma meu minha" +
	" de het een mij hem haar ons "

// about are what a topic follows; those of weakAbout only where there is none of
// these.
var (
	about = [][]string{
		{"about"}, {"regarding"}, {"concerning"}, {"re"}, {"uber"}, {"ueber"}, {"wegen"}, {"betreffend"}, {"bezuglich"},
		{"au", "sujet", "de"}, {"au", "sujet", "du"}, {"au", "sujet", "des"}, {"a", "propos", "de"}, {"a", "propos", "du"},
		{"concernant"}, {"acerca", "de"}, {"sobre"}, {"riguardo", "a"}, {"riguardo"}, {"a", "respeito", "de"}, {"betreffende"}, {"om"},
	}
	weakAbout = [][]string{{"on"}, {"over"}, {"zum"}, {"zur"}, {"sur"}, {"su"}, {"sul"}, {"sulla"}}
)

// wordList is words with a space before and behind each: a map would be filled
// at every start of every agent.
type wordList string

func (l wordList) has(word string) bool { return strings.Contains(string(l), " "+word+" ") }

// marker finds the first of some phrases that has words behind it, from a word
// on: where it stands and where what follows begins.
func marker(words []promptWord, phrases [][]string, from int) (at, behind int, ok bool) {
	for i := from; i < len(words)-1; i++ {
		for _, p := range phrases {
			if i+len(p) < len(words) && slices.EqualFunc(words[i:i+len(p)], p, func(w promptWord, s string) bool { return w.key == s }) {
				return i, i + len(p), true
			}
		}
	}
	return 0, 0, false
}

// isLead reports whether a name may follow the word at i.
func isLead(words []promptWord, i int) bool {
	if i < 0 || words[i].closes {
		return false
	}
	return leads.has(words[i].key) || capitalLeads.has(words[i].key) && i+1 < len(words) && isCapital(words[i+1].text)
}
