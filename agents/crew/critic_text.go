package main

import (
	"fmt"
	"strings"
)

var greetings = []string{
	"hi", "hello", "hey", "dear", "greetings", "good morning", "good afternoon", "good evening",
}

func checkGreeting(d *draft) []string {
	first, _, _ := strings.Cut(strings.TrimSpace(d.BodyMD), "\n")
	for _, g := range greetings {
		if len(first) < len(g) || !strings.EqualFold(first[:len(g)], g) {
			continue
		}
		rest := first[len(g):]
		name := strings.Trim(rest, " ,!.")
		switch {
		case rest == "" || strings.ContainsAny(rest[:1], ",!.") || name == "":
			return []string{"the greeting names nobody"}
		case rest[0] == ' ':
			return nil
		}
	}
	return []string{"it begins without a greeting"}
}

// leftovers are texts that only somebody forgot to fill in or take out.
var leftovers = []string{
	"{{", "}}", "[your", "[name", "[insert", "[recipient", "[date", "[tbd", "<name", "<recipient", "<date",
	"<topic", "todo:", "todo ", "xxx", "lorem ipsum", "as an ai ",
}

func checkLeftovers(d *draft) []string {
	var out []string
	text := strings.ToLower(d.Subject + "\n" + d.BodyMD)
	for _, l := range leftovers {
		if i := strings.Index(text, l); i >= 0 {
			out = append(out, fmt.Sprintf("left over: %q", shorten(text[i:], 30)))
		}
	}
	return out
}
