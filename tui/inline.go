package tui

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

// redrawEvery is the most often an inline view draws itself.
const redrawEvery = 100 * time.Millisecond

// Inline keeps a few lines current at the end of a terminal's scrollback,
// without taking the screen over.
type Inline struct {
	out   io.Writer
	style func() Style
	run   *Run
	now   func() time.Time

	mu     sync.Mutex
	drawn  int // lines that stand on the screen
	paused bool
	done   chan struct{}
	ended  chan struct{}
}

// NewInline starts a view that draws at most ten times a second. Close ends it
// and leaves the last state standing.
func NewInline(out io.Writer, style func() Style) *Inline {
	v := &Inline{
		out: out, style: style, run: &Run{}, now: time.Now,
		done: make(chan struct{}), ended: make(chan struct{}),
	}
	go v.tick()
	return v
}

func (v *Inline) tick() {
	defer close(v.ended)
	t := time.NewTicker(redrawEvery)
	defer t.Stop()
	for {
		select {
		case <-v.done:
			return
		case <-t.C:
			v.mu.Lock()
			v.draw()
			v.mu.Unlock()
		}
	}
}

// Apply takes one event in; the screen follows at the next redraw.
func (v *Inline) Apply(e *Event) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.run.Apply(e)
}

// Pause takes the view off the screen, so that f has it for itself, and brings
// it back after.
func (v *Inline) Pause(f func()) {
	v.mu.Lock()
	v.erase()
	v.paused = true
	v.mu.Unlock()
	f()
	v.mu.Lock()
	v.paused = false
	v.draw()
	v.mu.Unlock()
}

// Close draws the last state and ends the view.
func (v *Inline) Close() *Run {
	close(v.done)
	<-v.ended
	v.mu.Lock()
	defer v.mu.Unlock()
	style := v.style()
	style.Height = 0 // nothing has to come back to the first line
	v.drawAs(style)
	return v.run
}

func (v *Inline) draw() { v.drawAs(v.style()) }

func (v *Inline) drawAs(style Style) {
	if v.paused || v.run.Opening == "" {
		return
	}
	var b bytes.Buffer
	v.up(&b)
	lines := Render(v.run, v.now(), style)
	for _, l := range lines {
		fmt.Fprintf(&b, "\r\x1b[K%s\n", l)
	}
	b.WriteString("\x1b[J") // what an earlier, longer view left below
	v.drawn = len(lines)
	v.out.Write(b.Bytes()) // a terminal that is gone shows in the run's own output
}

func (v *Inline) erase() {
	var b bytes.Buffer
	v.up(&b)
	b.WriteString("\r\x1b[J")
	v.drawn = 0
	v.out.Write(b.Bytes())
}

// up moves the cursor to the first line of the view.
func (v *Inline) up(b *bytes.Buffer) {
	if v.drawn > 0 {
		fmt.Fprintf(b, "\x1b[%dA", v.drawn)
	}
}
