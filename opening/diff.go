package opening

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits of what a difference shows.
const (
	diffContext = 2         // equal lines around a change
	maxDiffShow = 200       // lines
	maxDiffWork = 4_000_000 // pairs of lines compared
)

// jsonDiff compares two JSON values line by line in an indented form. Lines
// that are only in old start with -, those only in new with +.
func jsonDiff(old, new []byte) []string {
	return lineDiff(indented(old), indented(new))
}

// indented gives a JSON value on several lines, without anything that a
// terminal could take for a command.
func indented(raw []byte) []string {
	v := jsontext.Value(append([]byte(nil), raw...))
	if len(raw) == 0 {
		return nil
	}
	if err := v.Indent(jsontext.WithIndent("  ")); err != nil {
		return []string{visible(string(raw))}
	}
	lines := strings.Split(string(v), "\n")
	for i := range lines {
		lines[i] = visible(lines[i])
	}
	return lines
}

// lineDiff marks what has to go from a and what has to come from b, with a few
// equal lines around each change. What is very different is shown as replaced
// whole.
func lineDiff(a, b []string) []string {
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	var all []string
	for _, l := range a[:head] {
		all = append(all, "  "+l)
	}
	all = append(all, middle(a[head:len(a)-tail], b[head:len(b)-tail])...)
	for _, l := range a[len(a)-tail:] {
		all = append(all, "  "+l)
	}
	return trimContext(all)
}

// middle finds the longest common subsequence by the textbook's table.
func middle(a, b []string) []string {
	var out []string
	if len(a)*len(b) > maxDiffWork {
		for _, l := range a {
			out = append(out, "- "+l)
		}
		for _, l := range b {
			out = append(out, "+ "+l)
		}
		return out
	}
	width := len(b) + 1
	common := make([]int32, (len(a)+1)*width) // of a[i:] and b[j:]
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i*width+j] = common[(i+1)*width+j+1] + 1
			} else {
				common[i*width+j] = max(common[(i+1)*width+j], common[i*width+j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, "  "+a[i])
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[(i+1)*width+j] >= common[i*width+j+1]:
			out = append(out, "- "+a[i])
			i++
		default:
			out = append(out, "+ "+b[j])
			j++
		}
	}
	return out
}

// trimContext drops equal lines far from any change, and what is too much.
func trimContext(lines []string) []string {
	near := make([]bool, len(lines))
	for i, l := range lines {
		if l[0] == ' ' {
			continue
		}
		for k := max(0, i-diffContext); k <= min(len(lines)-1, i+diffContext); k++ {
			near[k] = true
		}
	}
	var out []string
	gap := false
	for i, l := range lines {
		switch {
		case near[i]:
			out, gap = append(out, l), false
		case !gap:
			out, gap = append(out, "  …"), true
		}
	}
	if len(out) > maxDiffShow {
		more := len(out) - maxDiffShow
		out = append(out[:maxDiffShow], fmt.Sprintf("  … and %s", plural(more, "more line")))
	}
	return out
}
