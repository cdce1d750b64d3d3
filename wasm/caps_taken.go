package wasm

import (
	"slices"
	"strings"
)

// Taken lists what after lacks of before, one capability a line in the form
// "key: value", for records and for people. after is before or narrower.
func Taken(before, after *Caps) []string {
	out := takenFS(before.FS, after.FS)
	out = append(out, missing("net", before.Net, after.Net)...)
	for _, b := range []struct {
		key     string
		had, is bool
	}{
		{"allow_http", before.AllowHTTP, after.AllowHTTP},
		{"time", before.Time, after.Time},
		{"model", before.Model, after.Model},
	} {
		if b.had && !b.is {
			out = append(out, b.key)
		}
	}
	out = append(out, takenDomains("kb_read", before.KBRead, after.KBRead)...)
	out = append(out, takenDomains("kb_write", before.KBWrite, after.KBWrite)...)
	out = append(out, missing("secrets", before.Secrets, after.Secrets)...)
	out = append(out, missing("secrets_raw", before.SecretsRaw, after.SecretsRaw)...)
	exec := Domains{before.Exec.All, before.Exec.List}
	return append(out, takenDomains("exec", exec, Domains{after.Exec.All, after.Exec.List})...)
}

func missing(key string, before, after []string) []string {
	var out []string
	for _, s := range before {
		if !slices.Contains(after, s) {
			out = append(out, key+": "+s)
		}
	}
	return out
}

// takenDomains also speaks of a set that was everything and is only some.
func takenDomains(key string, before, after Domains) []string {
	var out []string
	switch {
	case !before.All || after.All:
	case len(after.Names) == 0:
		out = append(out, key+": everything")
	default:
		out = append(out, key+": everything but "+strings.Join(after.Names, ", "))
	}
	for _, n := range before.Names {
		if !after.Has(n) && (!before.All || n == DomainContactsRaw) {
			out = append(out, key+": "+n)
		}
	}
	return out
}

func takenFS(before, after []FSGrant) []string {
	var out []string
	for _, g := range before {
		var left []string
		same, write := false, false
		for _, a := range after {
			if !within(a.Path, g.Path) {
				continue
			}
			left = append(left, a.Path)
			if a.Path == g.Path {
				same, write = true, a.Write
			}
		}
		switch {
		case same && (write || !g.Write):
		case same:
			out = append(out, "fs: writing in "+g.Path)
		case len(left) > 0:
			out = append(out, "fs: "+g.Path+" but "+strings.Join(left, ", "))
		default:
			out = append(out, "fs: "+g.Path)
		}
	}
	return out
}

// Covers reports whether c allows all that need asks for.
func (c *Caps) Covers(need *Caps) bool { return len(Taken(need, Intersect(need, c))) == 0 }
