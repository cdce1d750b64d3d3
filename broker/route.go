package broker

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Route sends the models whose name fits Pattern to one provider. In a
// pattern `*` stands for any run of characters; everything else is literal.
type Route struct {
	Pattern  string
	Provider string
	// TargetModel is the name the provider knows the model by; "" keeps the
	// name that was asked for.
	TargetModel string
}

// Target is where a model name leads: a provider and its name for the model.
type Target struct {
	Provider string
	Model    string
}

// maxRoutes bounds the table; resolving walks all of it.
const maxRoutes = 1024

// kindNames are the provider kinds of the specification. A name such as
// "local:m" whose kind nobody configured is a wish for that kind: it goes where
// a route sends it, as "m", and never to a sole provider by itself.
var kindNames = []string{"exec", "http", "http_anthropic", "http_gemini", "local", "null"}

// routeTable resolves model names. It does not change after New.
type routeTable struct {
	routes    []Route
	providers []string // configured ids, in the order of the configuration
}

func newRouteTable(routes []Route, providers []string) (*routeTable, error) {
	if len(routes) > maxRoutes {
		return nil, fmt.Errorf("broker: route: %d entries, limit %d", len(routes), maxRoutes)
	}
	for i, r := range routes {
		if r.Pattern == "" {
			return nil, fmt.Errorf("broker: route[%d]: pattern is empty; use * for every model", i)
		}
		if !slices.Contains(providers, r.Provider) {
			return nil, fmt.Errorf("broker: route[%d]: no provider %q%s", i, clip(r.Provider, 64),
				suggest(r.Provider, providers))
		}
		if err := checkModel(r.TargetModel); err != nil {
			return nil, fmt.Errorf("broker: route[%d]: target_%s", i, err.Msg)
		}
	}
	return &routeTable{routes: slices.Clone(routes), providers: providers}, nil
}

// resolve lists the targets for a name in the order to try them.
//
// A name that says its provider ("openai:gpt-4o") goes there and falls back
// only to routes that name that provider in their pattern ("openai:*"): who
// picks a provider by name has not agreed to another one. A sole provider
// needs no route.
func (t *routeTable) resolve(name string) ([]Target, *Error) {
	if name == "" {
		return nil, invalidf("model: none was asked for and no default is configured")
	}
	if len(t.providers) == 0 {
		return nil, &Error{Code: CodeUnavailable, Retryable: true,
			Msg: "no model provider is configured (models.broker.providers)"}
	}
	var out []Target
	prefix, rest, named := strings.Cut(name, ":")
	known := named && slices.Contains(t.providers, prefix)
	if known {
		if rest == "" {
			return nil, invalidf("model: %q names a provider but no model", clip(name, 64))
		}
		out = append(out, Target{prefix, rest})
	}
	wish := named && !known && slices.Contains(kindNames, prefix)
	own := name // what the model is called without a target_model
	if known || wish {
		own = rest
	}
	for _, r := range t.routes {
		if known && !strings.HasPrefix(r.Pattern, prefix+":") || !matches(r.Pattern, name) {
			continue
		}
		out = appendTarget(out, Target{r.Provider, cmp.Or(r.TargetModel, own)})
	}
	switch {
	case len(out) > 0:
		return out, nil
	case wish:
		return nil, &Error{Code: CodeUnavailable, Retryable: true,
			Msg: fmt.Sprintf("no provider %q is configured, and no route takes %q",
				prefix, clip(name, 64))}
	case len(t.routes) == 0 && len(t.providers) == 1:
		return []Target{{t.providers[0], name}}, nil
	}
	return nil, invalidf("model: no route takes %q", clip(name, 64))
}

// appendTarget adds a target unless it is in the list already.
func appendTarget(out []Target, target Target) []Target {
	if slices.Contains(out, target) {
		return out
	}
	return append(out, target)
}

// matches reports whether name fits a pattern of literals and stars. It walks
// both once and backs up only to the last star, so a pattern full of stars
// costs at most len(pattern) × len(name).
func matches(pattern, name string) bool {
	p, n, star, mark := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && pattern[p] == name[n]:
			p++
			n++
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
