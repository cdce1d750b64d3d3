package wasm

import (
	"bytes"
	"context"
	"io"
	"sync"
)

// input is what a guest reads on stdin: one document, or what comes.
type input struct {
	doc  []byte
	live io.Reader // nil: doc
}

// reader is io.Reader, where something else is called input.
type reader = io.Reader

// reader reads the input until ctx ends; after that it fails with
// errGuestEnds, also while it waits.
func (in input) reader(ctx context.Context) io.Reader {
	if in.live == nil {
		return bytes.NewReader(in.doc)
	}
	return &liveInput{ctx: ctx, from: in.live, chunks: make(chan inputChunk)}
}

// liveInput reads ahead in a goroutine of its own, since a read of a terminal
// or a pipe cannot be interrupted. The goroutine is left to such a read when
// the guest ends: it belongs to the reader, and ends with it.
type liveInput struct {
	ctx    context.Context
	from   io.Reader
	start  sync.Once
	chunks chan inputChunk
	rest   []byte
	err    error
}

type inputChunk struct {
	data []byte
	err  error
}

func (l *liveInput) Read(p []byte) (int, error) {
	l.start.Do(func() { go l.pump() })
	if len(l.rest) == 0 && l.err == nil {
		select {
		case c := <-l.chunks:
			l.rest, l.err = c.data, c.err
		case <-l.ctx.Done():
			return 0, errGuestEnds
		}
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	if n == 0 && l.err != nil {
		return 0, l.err
	}
	return n, nil
}

func (l *liveInput) pump() {
	for {
		buf := make([]byte, outputChunk)
		n, err := l.from.Read(buf)
		select {
		case l.chunks <- inputChunk{buf[:n], err}:
		case <-l.ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}
