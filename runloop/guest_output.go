package runloop

import (
	"io"
	"unicode/utf8"
)

// guestOutput is where a program writes that is none of ours: as it is to a
// file or a pipe, made printable to a terminal.
func (o *IO) guestOutput(to io.Writer) io.Writer {
	if o.isTerminalDevice(to) {
		return &terminalWriter{to: to}
	}
	return to
}

// terminalWriter makes text of several lines safe for a terminal as it comes.
// A character that is cut waits for its rest.
type terminalWriter struct {
	to   io.Writer
	rest []byte
}

func (w *terminalWriter) Write(p []byte) (int, error) {
	b := append(w.rest, p...)
	n := len(b)
	for i := 1; i <= min(utf8.UTFMax-1, len(b)); i++ {
		if last := b[len(b)-i:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				n -= i
			}
			break
		}
	}
	w.rest = append([]byte(nil), b[n:]...)
	if _, err := io.WriteString(w.to, printableText(string(b[:n]))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush writes what is left of a cut character.
func (w *terminalWriter) Flush() error {
	_, err := io.WriteString(w.to, printableText(string(w.rest)))
	w.rest = nil
	return err
}

// flush empties a writer that holds something back.
func flush(w io.Writer) error {
	if f, ok := w.(*terminalWriter); ok {
		return f.Flush()
	}
	return nil
}
