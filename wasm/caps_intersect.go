package wasm

import (
	"slices"
	"strings"
)

// Intersect is what both a and b allow. It can only take away: the effective
// capabilities of an agent are the intersection of every layer (spec/03).
func Intersect(a, b *Caps) *Caps {
	return &Caps{
		FS:         intersectFS(a.FS, b.FS),
		Net:        both(a.Net, b.Net),
		AllowHTTP:  a.AllowHTTP && b.AllowHTTP,
		Time:       a.Time && b.Time,
		KBRead:     intersectDomains(a.KBRead, b.KBRead),
		KBWrite:    intersectDomains(a.KBWrite, b.KBWrite),
		Secrets:    both(a.Secrets, b.Secrets),
		SecretsRaw: both(a.SecretsRaw, b.SecretsRaw),
		Model:      a.Model && b.Model,
		Exec:       intersectNames(a.Exec, b.Exec),
	}
}

func both(a, b []string) []string {
	var out []string
	for _, s := range a {
		if slices.Contains(b, s) {
			out = append(out, s)
		}
	}
	return out
}

func intersectDomains(a, b Domains) Domains {
	if a.All && b.All {
		return Domains{All: true, Names: both(a.Names, b.Names)}
	}
	var names []string
	for _, n := range append(slices.Clone(a.Names), b.Names...) {
		if a.Has(n) && b.Has(n) {
			names = append(names, n)
		}
	}
	return Domains{Names: sortedSet(names)}
}

func intersectNames(a, b Names) Names {
	switch {
	case a.All && b.All:
		return Names{All: true}
	case a.All:
		return b
	case b.All:
		return a
	}
	return Names{List: both(a.List, b.List)}
}

// intersectFS keeps, of each pair of grants where one lies inside the other,
// the inner path, writable only if both are.
func intersectFS(a, b []FSGrant) []FSGrant {
	inner := map[string]bool{}
	for _, x := range a {
		for _, y := range b {
			p, ok := innerPath(x.Path, y.Path)
			if ok {
				inner[p] = inner[p] || x.Write && y.Write
			}
		}
	}
	var out []FSGrant
	for p, w := range inner {
		out = append(out, FSGrant{Path: p, Write: w})
	}
	slices.SortFunc(out, func(x, y FSGrant) int { return strings.Compare(x.Path, y.Path) })
	return out
}

func innerPath(a, b string) (string, bool) {
	switch {
	case within(a, b):
		return a, true
	case within(b, a):
		return b, true
	}
	return "", false
}

// within reports whether path is dir or lies below it; both are clean.
func within(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}
