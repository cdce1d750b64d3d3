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

// write aligns the columns under a heading on a terminal. Elsewhere cells are
// separated by tabs, without a heading, for other programs to read.
func (t *table) write(w io.Writer, terminal bool) error {
	var b strings.Builder
	if !terminal {
		for _, row := range t.rows {
			for i, c := range row {
				row[i] = printable(c)
			}
			b.WriteString(strings.Join(row, "\t") + "\n")
		}
		_, err := io.WriteString(w, b.String())
		return err
	}
	rows := append([][]string{t.head}, t.rows...)
	wide := make([]int, len(t.head))
	for _, row := range rows {
		for i, c := range row {
			row[i] = printable(c)
			wide[i] = max(wide[i], utf8.RuneCountInString(row[i]))
		}
	}
	for _, row := range rows {
		for i, c := range row {
			if i == len(row)-1 {
				b.WriteString(c + "\n")
				break
			}
			b.WriteString(c + strings.Repeat(" ", wide[i]-utf8.RuneCountInString(c)+2))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
