package broker

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"time"
)

// maxEventLine bounds one line of an event stream. Real events are a few
// hundred bytes; a line is buffered whole.
const maxEventLine = 1 << 20

var errDone = errors.New("end of stream")

// guardedBody is the body of an answer with a limit on its size and on silences.
// It ends when the request's context does, because that closes the
// connection under it.
type guardedBody struct {
	r     io.Reader
	left  int64
	idle  time.Duration
	timer *time.Timer
	quiet chan struct{} // closed when the silence got too long
	over  bool
}

// guard starts watching a body; stop cancels the request it belongs to, which
// is the only way to wake a Read.
func (p *httpProvider) guard(body io.Reader, stop context.CancelCauseFunc) *guardedBody {
	g := &guardedBody{r: body, left: p.cfg.MaxResponseBytes, idle: p.cfg.IdleTimeout,
		quiet: make(chan struct{})}
	g.timer = time.AfterFunc(g.idle, func() {
		close(g.quiet)
		stop(nil)
	})
	return g
}

func (g *guardedBody) Read(b []byte) (int, error) {
	if g.left <= 0 {
		g.over = true
		return 0, io.ErrUnexpectedEOF
	}
	n, err := g.r.Read(b[:min(int64(len(b)), g.left)])
	g.left -= int64(n)
	// A timer that has fired stays fired: its function must not run twice.
	if n > 0 && g.timer.Stop() {
		g.timer.Reset(g.idle)
	}
	return n, err
}

func (g *guardedBody) stop() { g.timer.Stop() }

// explain replaces a read error by its reason when the guard was the reason.
func (g *guardedBody) explain(err error) error {
	if err == nil {
		return nil
	}
	select {
	case <-g.quiet:
		return fault(true, "silent for %s in the middle of an answer", g.idle)
	default:
	}
	if g.over {
		return fault(false, "the answer is larger than the limit")
	}
	return err
}

// eventReader reads server-sent events (html.spec.whatwg.org, section 9.2)
// as far as model servers use them: data fields, ended by LF or CRLF.
type eventReader struct {
	r    *bufio.Reader
	line []byte
	data []byte
}

func newEventReader(r io.Reader) *eventReader {
	return &eventReader{r: bufio.NewReader(r)}
}

var errTooLong = errors.New("line too long")

// readLine returns the next line without its end. It looks at every byte
// once, however small the pieces it comes in. A last line that was not ended
// is an error, so that half an event cannot pass for a whole one.
func (e *eventReader) readLine() ([]byte, error) {
	e.line = e.line[:0]
	for {
		part, err := e.r.ReadSlice('\n')
		if len(e.line)+len(part) > maxEventLine {
			return nil, errTooLong
		}
		e.line = append(e.line, part...)
		switch {
		case err == nil:
			return bytes.TrimSuffix(e.line[:len(e.line)-1], []byte{'\r'}), nil
		case errors.Is(err, io.EOF) && len(e.line) > 0:
			if string(e.line) == "data: [DONE]" {
				return e.line, nil
			}
			return nil, io.ErrUnexpectedEOF
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// next returns the data of the next event; it is valid until the call after.
// errDone follows the last: either the server's "[DONE]" or its hanging up
// between two events.
func (e *eventReader) next() ([]byte, error) {
	e.data = e.data[:0]
	for {
		line, err := e.readLine()
		switch {
		case errors.Is(err, io.EOF) && len(e.data) == 0:
			return nil, errDone
		case errors.Is(err, io.EOF):
			return e.data, nil
		case err != nil:
			return nil, err
		case len(line) == 0 && len(e.data) > 0:
			return e.data, nil
		}
		value, ok := bytes.CutPrefix(line, []byte("data:"))
		if !ok {
			continue // blank, a comment, or event, id, retry: nothing we need
		}
		value = bytes.TrimPrefix(value, []byte(" "))
		if string(value) == "[DONE]" {
			return nil, errDone
		}
		if len(e.data)+len(value) > maxEventLine {
			return nil, errTooLong
		}
		if len(e.data) > 0 {
			e.data = append(e.data, '\n')
		}
		e.data = append(e.data, value...)
	}
}
