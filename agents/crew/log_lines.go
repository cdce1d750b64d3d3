package main

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// mask puts # for every word with a digit in it: times, addresses, numbers and
// ids are what differs between lines that say the same.
func mask(line string) string {
	inWord := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_.:+-", r)
	}
	var b strings.Builder
	for len(line) > 0 {
		n := strings.IndexFunc(line, func(r rune) bool { return !inWord(r) })
		if n < 0 {
			n = len(line)
		}
		if word := line[:n]; strings.ContainsAny(word, "0123456789") {
			b.WriteByte('#')
		} else {
			b.WriteString(word)
		}
		line = line[n:]
		_, size := utf8.DecodeRuneInString(line)
		b.WriteString(line[:size])
		line = line[size:]
	}
	return b.String()
}

var levelWords = map[string]string{
	"fatal": "error", "panic": "error", "emerg": "error", "crit": "error", "critical": "error",
	"err": "error", "error": "error", "fail": "error", "failed": "error", "failure": "error",
	"warn": "warning", "warning": "warning", "info": "info", "notice": "info", "debug": "debug", "trace": "debug",
}

// levelOf is the level that the first word says which is one.
func levelOf(line string) string {
	words := strings.FieldsFuncSeq(strings.ToLower(line), func(r rune) bool { return !unicode.IsLetter(r) })
	for w := range words {
		if level := levelWords[w]; level != "" {
			return level
		}
	}
	return "other"
}
