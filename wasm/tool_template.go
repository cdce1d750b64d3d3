package wasm

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// piece is a part of a template: text as it stands, or a placeholder.
type piece struct{ text, name string }

// placeholders takes a template apart: {{name}} stands for the argument of that
// name, all else for itself.
func placeholders(template string) func(yield func(piece) bool) {
	return func(yield func(piece) bool) {
		for template != "" {
			before, rest, found := strings.Cut(template, "{{")
			name, after, closed := strings.Cut(rest, "}}")
			if !found || !closed {
				yield(piece{text: template})
				return
			}
			if before != "" && !yield(piece{text: before}) || !yield(piece{name: name}) {
				return
			}
			template = after
		}
	}
}

// fill puts arguments in the place of placeholders, each as encode makes text
// of it. missing tells of one that was not given.
func fill(template string, args map[string]any, encode func(any) string) (out string, missing bool) {
	var b strings.Builder
	for part := range placeholders(template) {
		if part.name == "" || strings.HasPrefix(part.name, "secret:") {
			b.WriteString(part.whole())
			continue
		}
		v, given := args[part.name]
		missing = missing || !given
		b.WriteString(encode(v))
	}
	return b.String(), missing
}

// whole is the piece as it stands in the template.
func (p piece) whole() string {
	if p.name != "" {
		return "{{" + p.name + "}}"
	}
	return p.text
}

// only is the name of the placeholder that a template is and nothing else.
func only(template string) (name string, ok bool) {
	inner, ok := strings.CutPrefix(template, "{{")
	if !ok {
		return "", false
	}
	name, after, ok := strings.Cut(inner, "}}")
	return name, ok && after == ""
}

// plainText is an argument as text: strings as they are, the rest as JSON.
func plainText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "" // it came out of JSON
	}
	return string(b)
}

// fillArgv makes arguments of a program from a template. What is filled in
// stays within its item; a list makes an item of each of its own; an item of
// which an argument is missing is left out. Before an item "--", text that a
// program would take for an option is refused.
func fillArgv(template []string, args map[string]any) ([]string, error) {
	out := []string{template[0]}
	options := true
	for _, item := range template[1:] {
		options = options && item != "--"
		values := []any{item}
		if name, ok := only(item); ok {
			v, given := args[name]
			if list, isList := v.([]any); isList {
				values = list
			} else {
				values = []any{v}
			}
			if !given {
				continue
			}
			for _, v := range values {
				if options && strings.HasPrefix(plainText(v), "-") {
					return nil, fmt.Errorf("%s: %q would be taken for an option", name, clipText(plainText(v), 64))
				}
				out = append(out, plainText(v))
			}
			continue
		}
		text, missing := fill(item, args, plainText)
		if missing {
			continue
		}
		if options && strings.HasPrefix(text, "-") && !strings.HasPrefix(item, "-") {
			return nil, fmt.Errorf("%q would be taken for an option", clipText(text, 64))
		}
		out = append(out, text)
	}
	return out, nil
}

// fillURL escapes each argument for the part of the URL that it stands in.
func fillURL(template string, args map[string]any) (string, error) {
	path, query, hasQuery := strings.Cut(template, "?")
	escape := func(v any) string { return url.PathEscape(plainText(v)) }
	dots := false
	for part := range placeholders(path) {
		dots = dots || part.name != "" && slices.Contains([]string{"", ".", ".."}, plainText(args[part.name]))
	}
	filled, missing := fill(path, args, escape)
	if hasQuery {
		q, noQuery := fill(query, args, func(v any) string { return url.QueryEscape(plainText(v)) })
		filled, missing = filled+"?"+q, missing || noQuery
	}
	switch {
	case missing:
		return "", fmt.Errorf("an argument that the URL needs is missing")
	case dots:
		return "", fmt.Errorf("an argument would lead to another path")
	}
	return filled, nil
}

// fillBody puts arguments into a JSON value: where a string is one placeholder
// and nothing else, the argument takes its place as it is.
func fillBody(template json.RawMessage, args map[string]any) ([]byte, error) {
	if len(template) == 0 {
		return nil, nil
	}
	var v any
	if err := unmarshalExact(template, &v); err != nil {
		return nil, err
	}
	filled, _ := fillValue(v, args)
	return json.Marshal(filled)
}

// fillValue is false for what depends on an argument that is missing.
func fillValue(v any, args map[string]any) (any, bool) {
	switch v := v.(type) {
	case string:
		if name, ok := only(v); ok {
			arg, given := args[name]
			return arg, given
		}
		text, missing := fill(v, args, plainText)
		return text, !missing
	case []any:
		out := []any{}
		for _, e := range v {
			if filled, ok := fillValue(e, args); ok {
				out = append(out, filled)
			}
		}
		return out, true
	case map[string]any:
		out := map[string]any{}
		for key, e := range v {
			if filled, ok := fillValue(e, args); ok {
				out[key] = filled
			}
		}
		return out, true
	}
	return v, true
}
