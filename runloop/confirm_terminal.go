package runloop

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/runloop-os/runloop/rmp"
)

// confirmOnTerminal shows what an agent is about to do, whole, and asks. Only
// y or yes is a yes. What was typed before the question does not answer it.
func confirmOnTerminal(ctx context.Context, io *IO, req *rmp.ActionRequest) (bool, error) {
	details, err := rmp.AppendJSON(nil, req.Details)
	if err != nil {
		return false, err
	}
	fmt.Fprint(io.Stderr, describeAction(req, details))
	answer := io.askLine(ctx, "Go ahead? [y/N] ")
	if ctx.Err() != nil {
		return false, context.Canceled
	}
	return answer == "y" || answer == "yes", nil
}

// shownFirst are the details that come first, in this order; the others follow
// by name.
var shownFirst = []string{"to", "cc", "recipient", "recipients", "subject"}

// describeAction is what the person decides on: who, what, and all of the
// details, with everything that could fool a terminal made visible.
func describeAction(req *rmp.ActionRequest, details json.RawMessage) string {
	var b strings.Builder
	rule := strings.Repeat("-", 60)
	fmt.Fprintf(&b, "\n%s\nThe agent %s (node %s) asks to %s:\n  %s\n\n", rule,
		printable(req.Agent), printable(req.Node), printable(req.Kind), printable(req.Summary))
	m, ok := detailsOf(details)
	if !ok {
		fmt.Fprintf(&b, "  %s\n", printable(string(details)))
	}
	for _, key := range detailOrder(m) {
		writeDetail(&b, key, m[key])
	}
	fmt.Fprintf(&b, "\ncontent %.16s\n%s\n", printable(req.Digest), rule)
	return b.String()
}

// detailsOf reads a JSON object. Numbers stay as they are written: what is
// shown must not be a rounded form of what will be done.
func detailsOf(raw json.RawMessage) (map[string]any, bool) {
	var m map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return m, d.Decode(&m) == nil && m != nil
}

func detailOrder(m map[string]any) []string {
	var out []string
	for _, k := range shownFirst {
		if _, ok := m[k]; ok {
			out = append(out, k)
		}
	}
	rest := make([]string, 0, len(m))
	for k := range m {
		if !slices.Contains(out, k) {
			rest = append(rest, k)
		}
	}
	slices.Sort(rest)
	return append(out, rest...)
}

// writeDetail shows one detail. Text of several lines stands below its name,
// and so does a list of more than plain values, with a line for each entry.
func writeDetail(b *strings.Builder, key string, v any) {
	list, isList := v.([]any)
	text, isText := v.(string)
	if isList {
		text, isText = joinTexts(list)
	}
	switch {
	case slices.ContainsFunc(list, isNested):
		fmt.Fprintf(b, "  %s:\n", printable(key))
		for _, e := range list {
			fmt.Fprintf(b, "    - %s\n", printable(compactJSON(e)))
		}
	case !isText:
		fmt.Fprintf(b, "  %s: %s\n", printable(key), printable(compactJSON(v)))
	case !strings.Contains(text, "\n"):
		fmt.Fprintf(b, "  %s: %s\n", printable(key), printable(text))
	default:
		fmt.Fprintf(b, "  %s:\n", printable(key))
		for line := range strings.Lines(text) {
			fmt.Fprintf(b, "    | %s\n", printable(strings.TrimRight(line, "\n")))
		}
	}
}

func isNested(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}

// compactJSON is a decoded value on one line, with < and > as they are.
func compactJSON(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "?" // cannot be: it was decoded from JSON
	}
	return strings.TrimRight(b.String(), "\n")
}

func joinTexts(list []any) (string, bool) {
	var texts []string
	for _, e := range list {
		s, ok := e.(string)
		if !ok {
			return "", false
		}
		texts = append(texts, s)
	}
	return strings.Join(texts, ", "), true
}
