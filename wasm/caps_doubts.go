package wasm

import (
	"fmt"
	"slices"
)

// Doubts lists grants that are allowed but hardly meant: wider than anybody
// needs, or without any effect.
func (c *Caps) Doubts() []string {
	var out []string
	add := func(doubt bool, format string, args ...any) {
		if doubt {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	for _, g := range c.FS {
		add(g.Path == "/", "fs: / is every file of the machine")
		add(slices.ContainsFunc([]string{"/proc", "/sys", "/dev"}, func(dir string) bool { return within(g.Path, dir) }),
			"fs: %s holds no files but the system itself", g.Path)
		for _, other := range c.FS {
			add(other.Path != g.Path && within(g.Path, other.Path) && (other.Write || !g.Write),
				"fs: %s is inside of %s, which is granted already", g.Path, other.Path)
		}
	}
	add(c.Exec.All, "exec: true lets it run any program, which is all that you may do")
	add(c.AllowHTTP && len(c.Net) == 0, "allow_http has no effect without net")
	add(c.KBRead.Has(DomainContactsRaw) && !c.KBRead.Has("contacts"),
		"kb_read: %s only lifts the masks of contacts, which is not granted", DomainContactsRaw)
	add(c.KBWrite.Has(DomainContactsRaw), "kb_write: %s means nothing; it is for reading", DomainContactsRaw)
	for _, host := range c.Net {
		_, err := parseNetGrant(host)
		add(err != nil, "%v; it grants nothing", err)
	}
	return out
}
