package pog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// writer owns the connection that appends to the ledger. Calls queue for it,
// and one of the callers leads: it takes what is waiting, appends it in one
// transaction, answers everyone after the fsync of that commit, and hands the
// lead to the next in the queue. While one commit is on its way to the disk
// the next batch gathers, so nothing waits on purpose; and a call that comes
// alone costs no switch to another goroutine.
type writer struct {
	ledger *database
	now    func() time.Time
	// committed is called after each commit, outside of the transaction.
	committed func(Head)

	conn *conn // nil while the disk is in doubt; only the leader touches it

	mu     sync.Mutex
	queue  []*proposal
	led    bool // somebody leads
	closed bool
	idle   sync.Cond // signalled when led becomes false
}

// proposal is one call: all of its events become part of the ledger, or none.
type proposal struct {
	ctx      context.Context
	events   []pending
	existing bool
	dryRun   bool
	done     func()        // called once when it is in the ledger or will not be
	lead     chan struct{} // told to lead; buffered
	answer   chan answer   // buffered: a leader never waits for a caller
}

type answer struct {
	events []Event
	err    error
}

// Bounds of one batch. A batch holds the write lock of the ledger, which
// other processes wait for.
const (
	maxBatchCalls = 512
	maxBatchBytes = 8 << 20
)

func newWriter(ledger *database, c *conn, now func() time.Time, committed func(Head)) *writer {
	w := &writer{ledger: ledger, now: now, committed: committed, conn: c}
	w.idle.L = &w.mu
	return w
}

// submit queues a proposal and returns its answer. When ctx ends while the
// proposal waits in the queue it was not appended; when it ends while the
// disk is at it, that is not known.
func (w *writer) submit(p *proposal) ([]Event, error) {
	if err := p.ctx.Err(); err != nil {
		p.done()
		return nil, err
	}
	p.lead, p.answer = make(chan struct{}, 1), make(chan answer, 1)
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		p.done()
		return nil, ErrClosed
	}
	w.queue = append(w.queue, p)
	first := !w.led
	w.led = true
	w.mu.Unlock()
	if first {
		w.leads()
	}
	select {
	case a := <-p.answer:
		return a.events, a.err
	case <-p.lead:
		w.leads()
	case <-p.ctx.Done():
		if w.withdraw(p) {
			p.done()
			return nil, p.ctx.Err()
		}
		select {
		case <-p.lead:
			w.leads() // the lead must go on, even to a caller that has left
		default:
			return nil, fmt.Errorf("%w: %w", ErrUnknown, p.ctx.Err())
		}
	}
	a := <-p.answer
	return a.events, a.err
}

// withdraw takes a proposal out of the queue unless it is the leader's or in
// a batch by now.
func (w *writer) withdraw(p *proposal) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.Index(w.queue, p)
	if i < 0 || len(p.lead) > 0 {
		return false
	}
	w.queue = slices.Delete(w.queue, i, i+1)
	return true
}

// leads appends one batch, which has the caller's own proposal in it, and
// passes the lead on.
func (w *writer) leads() {
	w.commit(w.gather())
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) > 0 {
		w.queue[0].lead <- struct{}{}
		return
	}
	w.led = false
	w.idle.Broadcast()
}

// gather takes what is waiting, up to the bounds of a batch.
func (w *writer) gather() []*proposal {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, bytes := 0, 0
	for n < len(w.queue) && n < maxBatchCalls && bytes < maxBatchBytes {
		bytes += w.queue[n].bytes()
		n++
	}
	batch := slices.Clone(w.queue[:n])
	w.queue = slices.Delete(w.queue, 0, n)
	return batch
}

func (p *proposal) bytes() int {
	n := 0
	for i := range p.events {
		n += len(p.events[i].payload) + len(p.events[i].provenance)
	}
	return n
}

// errDryRun ends a transaction that only wanted to know.
var errDryRun = errors.New("dry run")

// commit appends a batch in one transaction and answers every call in it.
func (w *writer) commit(batch []*proposal) {
	answers := make([]answer, len(batch))
	var head link
	err := w.ready()
	if err == nil {
		head, err = w.append(batch, answers)
	}
	var unsure commitError
	if errors.As(err, &unsure) {
		head, err = w.reconcile(batch, answers, storageError("append to", w.ledger.path, err))
	} else if err != nil && !errors.Is(err, errDryRun) {
		w.failed(batch, answers, storageError("append to", w.ledger.path, err))
	}
	if head.EventID > 0 {
		w.committed(Head(head))
	}
	for i, p := range batch {
		p.done()
		p.answer <- answers[i]
	}
}

// ready reopens the ledger after a failure of the disk.
func (w *writer) ready() error {
	if w.conn != nil {
		return nil
	}
	c, err := w.ledger.open()
	w.conn = c
	return err
}

// append runs the transaction. A call that is refused is answered and leaves
// the others alone; an error of the file ends all of them.
func (w *writer) append(batch []*proposal, answers []answer) (link, error) {
	ts := w.now().UnixMilli() // one time for all that one commit makes true
	var head link
	err := w.conn.tx(func() error {
		var err error
		if head, err = readHead(context.Background(), w.conn); err != nil {
			return err
		}
		wrote := false
		for i, p := range batch {
			a := &answers[i]
			if a.err = p.ctx.Err(); a.err != nil {
				continue
			}
			if p.dryRun {
				a.events, a.err = checkNew(w.conn, head, p.events, p.existing)
			} else {
				a.events, head, a.err = appendAll(w.conn, head, p, ts)
				wrote = true
			}
			if a.err != nil && !isRefusal(a.err) {
				return a.err
			}
		}
		if !wrote {
			return errDryRun
		}
		return nil
	})
	return head, err
}

// isRefusal says that err is about the proposal, not about the file.
func isRefusal(err error) bool {
	return errors.Is(err, ErrRefused) || errors.Is(err, ErrDuplicate)
}

// failed answers a batch of which nothing was written. After an error of the
// disk the connection goes too: what it holds in memory cannot be trusted.
func (w *writer) failed(batch []*proposal, answers []answer, err error) {
	for i := range batch {
		if answers[i].err == nil || !isRefusal(answers[i].err) {
			answers[i] = answer{err: err}
		}
	}
	if code := CodeOf(err); w.conn != nil && code != ErrBusy && code != ErrDiskFull {
		w.conn.close()
		w.conn = nil
	}
}

// reconcile finds out what became of a batch whose COMMIT failed. After an
// EIO the rows may be in the WAL although the commit said no. So the ledger
// is opened again and each call is answered by whether its hashes are there.
// What the page cache shows need not be on the disk: before a call is told
// that it was written, everything in the WAL is moved into the database file
// and synced. A call whose events are not there gets the cause; should they
// turn up after a crash all the same, proposing them again finds them.
func (w *writer) reconcile(batch []*proposal, answers []answer, cause error) (link, error) {
	w.close()
	err := w.ready()
	var synced error
	if err == nil {
		synced = w.conn.checkpoint()
	}
	for i, p := range batch {
		if isRefusal(answers[i].err) {
			continue
		}
		answers[i] = answer{err: cause}
		var events []Event
		if err == nil {
			events = w.found(p)
		}
		switch {
		case err != nil, events != nil && synced != nil:
			answers[i].err = &StorageError{Code: ErrUnknown, Op: "append to",
				Path: w.ledger.path, Err: cause}
		case events != nil:
			answers[i] = answer{events: events}
		}
	}
	if err != nil {
		return link{}, err
	}
	return readHead(context.Background(), w.conn)
}

// found returns the events of a call when the ledger has all of them.
func (w *writer) found(p *proposal) []Event {
	var events []Event
	for i := range p.events {
		e, err := findHash(w.conn, p.events[i].hash)
		if err != nil || e == nil {
			return nil
		}
		events = append(events, *e)
	}
	return events
}

// checkpoint moves everything in the WAL into the database file and syncs
// both (https://www.sqlite.org/pragma.html#pragma_wal_checkpoint).
func (c *conn) checkpoint() error {
	row, err := c.first(`PRAGMA wal_checkpoint(TRUNCATE)`)
	if err == nil && len(row) > 0 && integer(row[0]) != 0 {
		err = &StorageError{Code: ErrBusy, Op: "checkpoint", Path: c.path}
	}
	return err
}

// stop refuses new proposals and waits until those in the queue are answered.
func (w *writer) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for w.led {
		w.idle.Wait()
	}
}

// close closes the ledger after stop.
func (w *writer) close() {
	if w.conn != nil {
		w.conn.close()
		w.conn = nil
	}
}
