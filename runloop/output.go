package runloop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// printJSON writes v as indented JSON that is safe on a terminal.
func printJSON(w io.Writer, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(safeJSON(b), '\n'))
	return err
}

// printResult prints what a command did: v with --json, else a line.
func (o *IO) printResult(asJSON bool, v any, format string, args ...any) error {
	if asJSON {
		return printJSON(o.Stdout, v)
	}
	_, err := fmt.Fprintln(o.Stdout, printable(fmt.Sprintf(format, args...)))
	return err
}

// safeJSON escapes what JSON allows in a string but a terminal must not get:
// control characters beyond ASCII, and those that hide or reorder text. The
// value stays the same.
func safeJSON(doc []byte) []byte {
	unsafe := func(r rune) bool { return r > unicode.MaxASCII && !unicode.IsPrint(r) || r == 0x7f }
	if bytes.IndexFunc(doc, unsafe) < 0 {
		return doc
	}
	var b bytes.Buffer
	for _, r := range string(doc) {
		switch {
		case !unsafe(r):
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, "\\u%04x", r)
		default:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(&b, "\\u%04x\\u%04x", hi, lo)
		}
	}
	return b.Bytes()
}

// table collects rows of cells for a terminal, or for a pipe.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// showTable prints a table on stdout.
func (o *IO) showTable(t *table) error { return o.writeTable(o.Stdout, t) }

// writeTable writes a table to w, which is stdout or what goes there.
func (o *IO) writeTable(w io.Writer, t *table) error {
	columns, _ := o.size(o.Stdout)
	text := t.tabbed()
	if o.isTerminalDevice(o.Stdout) {
		text = t.aligned(columns)
	}
	_, err := io.WriteString(w, text)
	return err
}

// tabbed is the table for other programs: cells are separated by tabs, there is
// no heading, and nothing is cut off.
func (t *table) tabbed() string {
	var b strings.Builder
	for _, row := range t.rows {
		for i, c := range row {
			row[i] = printable(c)
		}
		b.WriteString(strings.Join(row, "\t") + "\n")
	}
	return b.String()
}

// lastLeast is how much of the last column is shown at least, in characters:
// where less fits, lines are left to the terminal to break.
const lastLeast = 16

// aligned is the table for a person: columns under a heading. The last one is cut
// to what fits into so many columns of a terminal, 0 for any.
func (t *table) aligned(columns int) string {
	rows := append([][]string{t.head}, t.rows...)
	wide := make([]int, len(t.head))
	for _, row := range rows {
		for i, c := range row {
			row[i] = printable(c)
			wide[i] = max(wide[i], utf8.RuneCountInString(row[i]))
		}
	}
	left := columns
	for _, n := range wide[:len(wide)-1] {
		left -= n + 2
	}
	var b strings.Builder
	for _, row := range rows {
		for i, c := range row {
			if i == len(row)-1 {
				b.WriteString(cutTo(c, left) + "\n")
				break
			}
			b.WriteString(c + strings.Repeat(" ", wide[i]-utf8.RuneCountInString(c)+2))
		}
	}
	return b.String()
}

// cutTo cuts a text to n characters and marks that, unless n is too few.
func cutTo(text string, n int) string {
	if r := []rune(text); n >= lastLeast && len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return text
}
