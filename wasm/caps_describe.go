package wasm

import (
	"fmt"
	"strings"
)

// Describe says in a few plain words what the capabilities allow.
func (c *Caps) Describe() string {
	var parts []string
	add := func(on bool, format string, args ...any) {
		if on {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	for _, g := range c.FS {
		verb := "read"
		if g.Write {
			verb = "read and write"
		}
		add(true, "%s %s", verb, g.Path)
	}
	add(len(c.Net) > 0, "reach %s", strings.Join(c.Net, ", "))
	add(c.Time, "tell the time")
	add(!c.KBRead.IsZero(), "read %s from the knowledge base", c.KBRead)
	add(!c.KBWrite.IsZero(), "add %s to the knowledge base", c.KBWrite)
	add(len(c.Secrets) > 0, "use the secrets %s", strings.Join(c.Secrets, ", "))
	add(len(c.SecretsRaw) > 0, "see the plain text of %s", strings.Join(c.SecretsRaw, ", "))
	add(c.Model, "ask a model")
	add(!c.Exec.IsZero(), "run %s", c.Exec)
	if len(parts) == 0 {
		return "nothing"
	}
	return "to " + strings.Join(parts, "; ")
}

// String lists the domains for people.
func (d Domains) String() string { return listOrAll(d.All, d.Names, "everything") }

// String lists the names for people.
func (n Names) String() string { return listOrAll(n.All, n.List, "any program") }

func listOrAll(all bool, names []string, everything string) string {
	if all {
		names = append([]string{everything}, names...)
	}
	return strings.Join(names, ", ")
}
