package main

import (
	"cmp"
	"fmt"
	"strings"
)

// template is the draft that needs no model.
func template(with *writerWith, to *contact, ctx *bundle) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Hi %s,\n\n", cmp.Or(firstName(to.Name), "there"))
	if len(ctx.Snippets) == 0 {
		fmt.Fprintf(&b, "I would like to talk with you about %s. When would suit you this week?\n\n", with.Topic)
	} else {
		fmt.Fprintf(&b, "A short note on %s. This is where things stand:\n\n", with.Topic)
		for _, s := range ctx.Snippets {
			line := "- " + s.Title
			if text := prose(s.Title, s.Excerpt); text != "" {
				line += ": " + shorten(text, 160)
			}
			line += fmt.Sprintf(" [#%d]\n", s.EventID)
			if wordCount(b.String()+line)+30 > wordsMax {
				break
			}
			b.WriteString(line)
		}
		b.WriteString("\nDoes that match your view? Tell me what you would change.\n\n")
	}
	b.WriteString("Best regards")
	return b.String()
}
