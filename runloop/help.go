package runloop

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// helpWidth is how wide help is where no terminal says otherwise, and helpMost
// how wide it is at most, in columns.
const (
	helpWidth = 80
	helpMost  = 100
)

// showHelp prints what there is to say about a command: examples first.
func (o *IO) showHelp(d *commandDoc) error {
	columns, _ := o.size(o.Stdout)
	if columns <= 0 {
		columns = helpWidth
	}
	_, err := io.WriteString(o.Stdout, d.help(min(columns, helpMost)))
	return err
}

func (d *commandDoc) help(width int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", d.path, d.usage)
	if len(d.examples) > 0 {
		b.WriteByte('\n')
		for _, e := range d.examples {
			fmt.Fprintf(&b, "  %s\n", e)
		}
	}
	if d.about != "" {
		fmt.Fprintf(&b, "\n%s\n", reflow(d.about, width))
	}
	fmt.Fprintf(&b, "\nUsage: %s\n", d.synopsis())
	if len(d.subs) > 0 {
		rows := make([][2]string, 0, len(d.subs))
		for _, s := range d.subs {
			rows = append(rows, [2]string{s.name(), s.usage})
		}
		writeList(&b, rows, width)
	}
	if len(d.flags) > 0 {
		writeList(&b, flagRows(d.flags), width)
	}
	b.WriteString(d.more())
	return b.String()
}

// more says where there is more.
func (d *commandDoc) more() string {
	switch {
	case d.path == "rlp":
		return "\nMore: rlp help COMMAND, rlp help " + strings.Join(topicNames(), "|") + "\n"
	case len(d.subs) > 0:
		return "\nMore: " + d.path + " COMMAND --help\n"
	}
	return ""
}

func flagRows(flags []flagDoc) [][2]string {
	var rows [][2]string
	for i := range flags {
		f := &flags[i]
		usage := f.usage
		if f.fallback != "" {
			usage += " (" + f.fallback + ")"
		}
		rows = append(rows, [2]string{f.spelled(), usage})
	}
	return rows
}

// listIndent is the most that the first column of a list takes, in columns.
const listIndent = 26

// writeList writes names and what they mean in two columns. A name that is too
// long has a line of its own.
func writeList(b *strings.Builder, rows [][2]string, width int) {
	first := 0
	for _, r := range rows {
		if n := utf8.RuneCountInString(r[0]); n <= listIndent {
			first = max(first, n)
		}
	}
	pad := strings.Repeat(" ", first+4)
	for _, r := range rows {
		lines := strings.Split(wrap(r[1], max(width-first-4, 20)), "\n")
		if n := utf8.RuneCountInString(r[0]); n > first {
			fmt.Fprintf(b, "  %s\n%s%s\n", r[0], pad, lines[0])
		} else {
			fmt.Fprintf(b, "  %s%s%s\n", r[0], strings.Repeat(" ", first-n+2), lines[0])
		}
		for _, l := range lines[1:] {
			fmt.Fprintf(b, "%s%s\n", pad, l)
		}
	}
}

// reflow fills paragraphs anew. Lines that begin with a space stay as they are.
func reflow(text string, width int) string {
	var out []string
	var words []string
	flush := func() {
		if len(words) > 0 {
			out = append(out, wrap(strings.Join(words, " "), width))
			words = nil
		}
	}
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" || strings.HasPrefix(line, " ") {
			flush()
			out = append(out, line)
			continue
		}
		words = append(words, line)
	}
	flush()
	return strings.Join(out, "\n")
}

// wrap breaks a line at spaces.
func wrap(text string, width int) string {
	var b strings.Builder
	n := 0
	for _, word := range strings.Fields(text) {
		size := utf8.RuneCountInString(word)
		switch {
		case n == 0:
		case n+1+size > width:
			b.WriteByte('\n')
			n = 0
		default:
			b.WriteByte(' ')
			n++
		}
		b.WriteString(word)
		n += size
	}
	return b.String()
}
