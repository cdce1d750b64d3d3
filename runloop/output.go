package runloop

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// printJSON writes v as indented JSON, which escapes what a terminal must not
// get.
func printJSON(w io.Writer, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", b)
	return err
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
