package opening

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
)

// topicActions is where agents ask and people decide (spec/02 "Topics").
const topicActions = "rlp/actions"

// maxUndrained is how many messages a watch holds for a run that does not look.
const maxUndrained = 10_000

// busWatch is the ActionWatch of a BusExecutor. One goroutine takes messages
// off the subscription; Drain asks it to stand still for a moment, so that no
// message is between the two when Drain looks.
type busWatch struct {
	sub   *bus.Subscription
	trace rmp.TraceID
	news  chan struct{}
	ctx   context.Context // of the goroutine
	end   context.CancelFunc
	done  chan struct{}

	wanted    atomic.Bool                        // Drain waits for the goroutine to park
	interrupt atomic.Pointer[context.CancelFunc] // ends its present Recv
	parked    chan struct{}
	resume    chan struct{}

	mu    sync.Mutex
	queue []ActionMessage
}

// Watch implements [Actions].
func (x *BusExecutor) Watch(trace uuid.UUID) (ActionWatch, error) {
	sub, err := x.client.Subscribe(topicActions, bus.SubOptions{})
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	w := &busWatch{
		sub: sub, trace: rmp.TraceID(trace), news: make(chan struct{}, 1), ctx: ctx, end: end,
		done: make(chan struct{}), parked: make(chan struct{}), resume: make(chan struct{}),
	}
	go w.loop()
	return w, nil
}

// C implements [ActionWatch].
func (w *busWatch) C() <-chan struct{} { return w.news }

// loop takes messages until the watch or the subscription ends.
func (w *busWatch) loop() {
	defer close(w.done)
	for w.ctx.Err() == nil {
		ctx, cancel := context.WithCancel(w.ctx)
		w.interrupt.Store(&cancel)
		if w.wanted.Load() { // Drain may have looked before this cancel was there
			cancel()
		}
		m, err := w.sub.Recv(ctx)
		cut := ctx.Err() != nil
		cancel()
		switch {
		case err == nil:
			w.take(m)
		case !cut:
			return // the subscription is over
		}
		if w.wanted.Load() {
			select {
			case w.parked <- struct{}{}:
				<-w.resume
			case <-w.ctx.Done():
			}
		}
	}
}

// take keeps a message that concerns the run.
func (w *busWatch) take(m *bus.Msg) {
	if m.TraceID != w.trace {
		return
	}
	msg := ActionMessage{Crossing: crossingOf(&m.Header, m.Topic)}
	if meta, err := m.DecodeMeta(); err == nil {
		msg.Crossing.From, msg.Crossing.To = toValid(meta.From), toValid(meta.To)
	}
	if msg.Crossing.From == "" {
		msg.Crossing.From = toValid(m.From)
	}
	if msg.Crossing.To == "" {
		msg.Crossing.To = "actions"
	}
	switch m.SchemaID {
	case rmp.CTActionRequest:
		var p rmp.ActionRequest
		if m.Decode(&p) != nil {
			return
		}
		msg.Request = unwireAction(&p)
	case rmp.CTActionDecision:
		var p rmp.ActionDecision
		if m.Decode(&p) != nil {
			return
		}
		msg.Decision = unwireDecision(&p)
	default:
		return
	}
	w.mu.Lock()
	if len(w.queue) < maxUndrained {
		w.queue = append(w.queue, msg)
	}
	w.mu.Unlock()
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// Drain implements [ActionWatch]. Messages that were published before it was
// called are in what it gives.
func (w *busWatch) Drain() []ActionMessage {
	w.wanted.Store(true)
	if cancel := w.interrupt.Load(); cancel != nil {
		(*cancel)()
	}
	select {
	case <-w.parked:
		w.takeRest()
		w.wanted.Store(false)
		w.resume <- struct{}{}
	case <-w.done:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.queue
	w.queue = nil
	return out
}

// takeRest takes what is in the queue of the subscription without waiting: Recv
// looks there before it looks at its context.
func (w *busWatch) takeRest() {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	for {
		m, err := w.sub.Recv(now)
		if err != nil {
			return
		}
		w.take(m)
	}
}

// Stop implements [ActionWatch].
func (w *busWatch) Stop() {
	w.end()
	_ = w.sub.Close()
	<-w.done
}
