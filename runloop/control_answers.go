package runloop

import (
	"sync"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// Bounds of what is remembered of control requests. A request that comes again
// after its 30 s is none, so that only the bound on bytes can cut anything off,
// and only answers to requests that change nothing are that large.
const (
	answersKept    = 4096
	answersKeptFor = 10 * time.Minute
	answersBytes   = 16 << 20
)

// answers remembers what control requests were answered with, by trace id, so
// that the same request twice is carried out once.
type answers struct {
	mu    sync.Mutex
	given map[rmp.TraceID]*givenAnswer
	order []*givenAnswer // the oldest first
	bytes int            // of all that are given
}

// givenAnswer is what a request was answered with, once it is ready.
type givenAnswer struct {
	id    rmp.TraceID
	ready chan struct{}
	at    time.Time
	raw   []byte // MsgPack
}

func newAnswers() *answers { return &answers{given: map[rmp.TraceID]*givenAnswer{}} }

// of returns the place of the answer to a request, and whether this is the
// first time that it is asked. Whoever is first gives it.
func (a *answers) of(id rmp.TraceID) (*givenAnswer, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if g := a.given[id]; g != nil {
		return g, false
	}
	g := &givenAnswer{id: id, ready: make(chan struct{}), at: time.Now()}
	a.given[id], a.order = g, append(a.order, g)
	a.trim()
	return g, true
}

// give makes an answer known to all who wait for it, now or later.
func (a *answers) give(g *givenAnswer, raw []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	g.raw = raw
	close(g.ready)
	if a.given[g.id] == g {
		a.bytes += len(raw)
		a.trim()
	}
}

// trim forgets the oldest until the bounds hold. The caller has the lock.
func (a *answers) trim() {
	for len(a.order) > 0 {
		old := a.order[0]
		if len(a.order) <= answersKept && a.bytes <= answersBytes && time.Since(old.at) <= answersKeptFor {
			return
		}
		delete(a.given, old.id)
		a.order = a.order[1:]
		a.bytes -= len(old.raw)
	}
}
