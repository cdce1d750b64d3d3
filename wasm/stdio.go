package wasm

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// chunkMax is the most of a guest's output in one log chunk, in bytes (spec/02
// "Run events").
const chunkMax = 4096

// output collects what a guest writes to one stream, up to a limit, and hands
// it on in chunks as it comes.
type output struct {
	limit   int
	kept    bytes.Buffer // all of it, when keep is set
	keep    bool
	line    []byte // not yet handed on
	emit    func(chunk string)
	onLimit func() // called once, when the limit is passed; nil: drop and count
	written int
	dropped int
}

// Write implements io.Writer for wazero. It never fails: a guest that writes
// too much is stopped by onLimit, or its surplus is counted and dropped.
func (o *output) Write(p []byte) (int, error) {
	n := len(p)
	if room := o.limit - o.written; n > room {
		if o.onLimit != nil && o.dropped == 0 {
			o.onLimit()
		}
		o.dropped += n - room
		p = p[:room]
	}
	o.written += len(p)
	if o.keep {
		o.kept.Write(p)
	}
	o.chunk(p)
	return n, nil
}

// renew gives the guest its limit once more, and says what was dropped.
func (o *output) renew() {
	o.close()
	o.written, o.dropped = 0, 0
}

// room takes n bytes off the limit for what does not come as a stream, or
// counts them as dropped.
func (o *output) room(n int) bool {
	if n > o.limit-o.written {
		o.dropped += n
		return false
	}
	o.written += n
	return true
}

// chunk hands on whole lines, and longer lines in pieces of whole runes.
func (o *output) chunk(p []byte) {
	o.line = append(o.line, p...)
	for {
		i := bytes.IndexByte(o.line, '\n')
		switch {
		case i >= 0 && i < chunkMax:
			o.send(o.line[:i+1])
			o.line = o.line[i+1:]
		case len(o.line) >= chunkMax:
			n := wholeRunes(o.line[:chunkMax])
			o.send(o.line[:n])
			o.line = o.line[n:]
		default:
			return
		}
	}
}

// forget drops what is not yet handed on, because it was in an earlier run of the
// same attempt.
func (o *output) forget() { o.line = nil }

// close hands on what is left and says what was dropped.
func (o *output) close() {
	if len(o.line) > 0 {
		o.send(o.line)
		o.line = nil
	}
	if o.dropped > 0 {
		o.send(fmt.Appendf(nil, "[%d bytes more were dropped]\n", o.dropped))
	}
}

func (o *output) send(b []byte) {
	if o.emit == nil {
		return
	}
	s := strings.ToValidUTF8(string(b), "\uFFFD")
	for len(s) > chunkMax { // replacement characters are longer than what they replace
		n := wholeRunes([]byte(s[:chunkMax]))
		o.emit(s[:n])
		s = s[n:]
	}
	o.emit(s)
}

// wholeRunes is how many bytes of b to send so that no rune is cut.
func wholeRunes(b []byte) int {
	for i := len(b) - 1; i >= 0 && i >= len(b)-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if i > 0 && !utf8.FullRune(b[i:]) {
				return i
			}
			break
		}
	}
	return len(b)
}
