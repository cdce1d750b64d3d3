package runloop

import (
	"fmt"
	"sync"
	"time"
)

// Times of the line that says what goes on.
const (
	busyAfter = time.Second            // work that is done before needs none
	busyEvery = 500 * time.Millisecond // it is drawn anew
)

// busyLine is a line on a terminal that says what goes on and for how long. It
// is the last one, and goes away when the work is done or something else is to
// be said.
type busyLine struct {
	mu    sync.Mutex
	drawn bool
}

// eraseLine goes to the beginning of a terminal's line and empties it.
const eraseLine = "\r\x1b[K"

// clear takes the line away, for something else to be written.
func (l *busyLine) clear(o *IO) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.drawn {
		fmt.Fprint(o.Stderr, eraseLine)
		l.drawn = false
	}
}

func (l *busyLine) draw(o *IO, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if columns, _ := o.size(o.Stderr); columns > 1 && len(text) >= columns {
		text = text[:columns-1]
	}
	fmt.Fprint(o.Stderr, eraseLine+text)
	l.drawn = true
}

// showsProgress reports whether there is somebody on stderr who is to see what
// goes on: as --progress says, else where a view that redraws itself makes sense.
func (o *IO) showsProgress() bool {
	switch o.progress(false) {
	case progressNone, progressJSON, progressPlain:
		return false
	}
	return o.isTerminal(o.Stderr) && o.getenv("CI") == ""
}

// busy says on stderr what goes on, from when it takes long until done is called.
// what is ASCII.
func (o *IO) busy(what string) (done func()) {
	if !o.showsProgress() {
		return func() {}
	}
	end, ended := make(chan struct{}), make(chan struct{})
	began := time.Now()
	go func() {
		defer close(ended)
		for wait := time.After(busyAfter); ; wait = time.After(busyEvery) {
			select {
			case <-end:
				o.line.clear(o)
				return
			case <-wait:
				o.line.draw(o, fmt.Sprintf("%s, %s", what, time.Since(began).Round(time.Second)))
			}
		}
	}()
	var once sync.Once
	return func() {
		once.Do(func() { close(end) })
		<-ended
	}
}
