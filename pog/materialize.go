package pog

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// materializer keeps the views up to date. It owns the connection that
// writes them and runs when the ledger has grown or a reader asks. Several
// processes may each run one: the watermark is read under the write lock, so
// an event is applied once, by whoever comes first.
type materializer struct {
	ledgerDB, viewsDB *database
	warn              func(error)
	replaced          func() // called when the file was moved aside

	kick   chan struct{} // the ledger has grown; one token is enough, a pass takes all there is
	urgent chan struct{} // somebody waits
	stop   context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	wanted  int64         // newest event known to this process
	reached int64         // events up to here are in the views
	failure error         // of the last pass
	opened  bool          // the views have been there in their present form
	steps   int64         // finished, failed ones included
	passes  int64         // that took all there was
	changed chan struct{} // closed and replaced after every step

	// Only the goroutine of run, or rebuild under busy, touches these.
	busy   sync.Mutex
	ledger *conn
	views  *projection
}

// passEvents bounds one transaction on the views.
const passEvents = 1000

// start runs m until close.
func (m *materializer) start() {
	var ctx context.Context
	ctx, m.stop = context.WithCancel(context.Background())
	m.kick, m.urgent = make(chan struct{}, 1), make(chan struct{}, 1)
	m.done, m.changed = make(chan struct{}), make(chan struct{})
	go m.run(ctx)
	m.wake()
}

// viewsVersion counts changes of the views' tables or of what is derived
// into them. Older views are not migrated but made again.
const viewsVersion = 3

// viewsDatabase describes pog.sqlite. A lost commit of the views costs
// nothing, the ledger has it: NORMAL spares them the fsync.
func viewsDatabase(path string) *database {
	return &database{what: "views", path: path, appID: viewsAppID,
		access:  access{synchronous: "NORMAL", busy: busyTimeout},
		version: viewsVersion, upgrade: func(c *conn, _ int64) error { return clearViews(c) }}
}

// run ends when stop is called, after the pass under way.
func (m *materializer) run(ctx context.Context) {
	defer close(m.done)
	for {
		select {
		case <-m.kick:
			m.settle(ctx)
			m.pass(ctx)
		case <-ctx.Done():
			m.busy.Lock() // a rebuild may be at it
			m.disconnect()
			m.busy.Unlock()
			return
		}
	}
}

// wake asks for a pass at once.
func (m *materializer) wake() {
	token(m.urgent)
	token(m.kick)
}

func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Appends go first: while the ledger keeps growing and nobody waits for the
// views, they are left behind, but by no more events and no longer than this.
const (
	settlePause = 3 * time.Millisecond
	settleMost  = 500 * time.Millisecond
	settleLag   = 20_000
)

// settle returns when the ledger has stopped growing for a moment, when the
// views are far enough behind, or when somebody waits for them.
func (m *materializer) settle(ctx context.Context) {
	timer := time.NewTimer(settlePause)
	defer timer.Stop()
	m.mu.Lock()
	before := m.wanted
	m.mu.Unlock()
	for start := time.Now(); ; timer.Reset(settlePause) {
		select {
		case <-timer.C:
		case <-m.urgent:
			return
		case <-ctx.Done():
			return
		}
		m.mu.Lock()
		now, lag := m.wanted, m.wanted-m.reached
		m.mu.Unlock()
		if now == before || lag > settleLag || time.Since(start) > settleMost {
			return
		}
		before = now
	}
}

// advance tells the materializer that the ledger has reached head.
func (m *materializer) advance(head int64) {
	m.mu.Lock()
	m.wanted = max(m.wanted, head)
	m.mu.Unlock()
	token(m.kick)
}

// wait returns when the views have everything up to head. When they cannot
// it returns why: the caller may still read what is there.
func (m *materializer) wait(ctx context.Context, head int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wanted = max(m.wanted, head)
	steps, passes := m.steps, m.passes
	for m.reached < head || m.passes == 0 {
		if m.failure != nil && m.steps > steps {
			return m.failure
		}
		if m.passes > passes+1 { // one that began after this call took all there was
			return &StorageError{Code: ErrCorrupt, Op: "read", Path: m.ledgerDB.path,
				Err: fmt.Errorf("the chain goes to event %d, the events to %d", head, m.reached)}
		}
		changed := m.changed
		m.mu.Unlock()
		m.wake()
		err := m.sleep(ctx, changed)
		m.mu.Lock()
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *materializer) sleep(ctx context.Context, changed <-chan struct{}) error {
	select {
	case <-changed:
		return nil
	case <-m.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wasOpened says whether there are views to read, however old.
func (m *materializer) wasOpened() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.opened
}

// pass applies everything the ledger has.
func (m *materializer) pass(ctx context.Context) {
	m.busy.Lock()
	defer m.busy.Unlock()
	var reached int64
	err := m.connect()
	for more := true; err == nil && more && ctx.Err() == nil; {
		reached, more, err = m.step(ctx)
		if err == nil {
			m.finish(reached, !more, nil)
		}
	}
	if err != nil && ctx.Err() == nil {
		m.recover(err)
		m.finish(0, false, err)
	}
}

// finish publishes the result of a step; all says that it was the last of a
// pass.
func (m *materializer) finish(reached int64, all bool, err error) {
	m.mu.Lock()
	m.reached = max(m.reached, reached)
	m.failure = err
	m.steps++
	if all {
		m.passes++
	}
	close(m.changed)
	m.changed = make(chan struct{})
	m.mu.Unlock()
}

// connect opens both files when they are not open.
func (m *materializer) connect() error {
	if m.views != nil {
		return nil
	}
	ledger, err := openReader(m.ledgerDB)
	if err != nil {
		return err
	}
	salt, err := m.salt(ledger)
	if err != nil {
		ledger.close()
		return storageError("read", m.ledgerDB.path, err)
	}
	views, err := m.viewsDB.open()
	if err == nil {
		// Checkpoints sync; at a fourth of the usual rate they leave the disk to
		// the ledger.
		if err = views.script(`PRAGMA wal_autocheckpoint=4000`); err != nil {
			views.close()
		}
	}
	if err != nil {
		ledger.close()
		return storageError("open views", m.viewsDB.path, err)
	}
	m.ledger, m.views = ledger, &projection{db: views, red: &redactor{salt: salt}}
	m.mu.Lock()
	m.opened = true
	m.mu.Unlock()
	return nil
}

func (m *materializer) salt(ledger *conn) ([]byte, error) {
	row, err := ledger.first(`SELECT value FROM salt WHERE id = 1`)
	if err == nil && len(row) == 0 {
		err = errors.New("it has no salt")
	}
	if err != nil {
		return nil, err
	}
	return blob(row[0]), nil
}

func (m *materializer) disconnect() {
	if m.views != nil {
		m.ledger.close()
		m.views.db.close()
		m.views, m.ledger = nil, nil
	}
}

// step applies one batch in one transaction. It reports how far the views
// are and whether there may be more.
func (m *materializer) step(ctx context.Context) (reached int64, more bool, err error) {
	db := m.views.db
	head, err := readHead(ctx, m.ledger)
	if err != nil {
		return 0, false, storageError("read", m.ledgerDB.path, err)
	}
	mark, err := readWatermark(db)
	if err == nil && mark.EventID == head.EventID && mark.Seal == head.Seal {
		return mark.EventID, false, nil // nothing to write: do not take the lock
	}
	if err != nil {
		return 0, false, storageError("read", m.viewsDB.path, err)
	}
	err = db.tx(func() error {
		if mark, err = readWatermark(db); err != nil {
			return err
		}
		same, err := m.sameLedger(mark)
		if err != nil {
			return err
		}
		if !same {
			mark = link{}
			if err := clearViews(db); err != nil {
				return err
			}
		}
		n, last, err := m.views.applyAfter(ctx, m.ledger, mark)
		if err != nil {
			return err
		}
		mark, more = last, n == passEvents
		return saveWatermark(db, mark)
	})
	return mark.EventID, more, storageError("write", m.viewsDB.path, err)
}

// sameLedger says whether the views were made from this ledger: its event at
// the watermark has the seal the views remember. After a restore of an older
// or another ledger it has not, and the views start again.
func (m *materializer) sameLedger(mark link) (bool, error) {
	if mark.EventID == 0 {
		return true, nil
	}
	row, err := m.ledger.first(`SELECT seal FROM chain WHERE event_id = ?`, mark.EventID)
	if err != nil {
		return false, storageError("read", m.ledgerDB.path, err)
	}
	return len(row) > 0 && toHash(row[0]) == mark.Seal, nil
}

// clearViews makes the views again, empty. Snapshots are a log of maintenance
// and stay.
func clearViews(db *conn) error {
	var drop []string
	err := db.each(context.Background(), `SELECT name, type FROM pragma_table_list
		WHERE schema = 'main' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' AND name <> 'snapshots'
		AND type IN ('virtual', 'view', 'table') ORDER BY type = 'table', name`, nil,
		func(v []driver.Value) error {
			// Dropping an FTS5 table drops its shadow tables; dropping a table
			// drops its indexes and triggers.
			what := map[bool]string{true: "VIEW", false: "TABLE"}[text(v[1]) == "view"]
			drop = append(drop, fmt.Sprintf("DROP %s %q", what, text(v[0])))
			return nil
		})
	for _, sql := range drop {
		if err == nil {
			err = db.script(sql)
		}
	}
	if err == nil {
		err = db.script(viewsDDL())
	}
	return err
}

// rebuild makes the views again in one transaction: until it commits,
// readers see the old ones.
func (m *materializer) rebuild(ctx context.Context) error {
	m.busy.Lock()
	defer m.busy.Unlock()
	select {
	case <-m.done:
		return ErrClosed
	default:
	}
	if err := m.connect(); err != nil {
		return err
	}
	db := m.views.db
	var mark link
	err := db.tx(func() error {
		if err := clearViews(db); err != nil {
			return err
		}
		for {
			n, last, err := m.views.applyAfter(ctx, m.ledger, mark)
			if err != nil {
				return err
			}
			if mark = last; n < passEvents {
				return saveWatermark(db, mark)
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	})
	if err == nil {
		m.finish(mark.EventID, true, nil)
	}
	return storageError("rebuild", m.viewsDB.path, err)
}

// recover prepares the next pass after a failed one. Damaged views are moved
// aside: all that is in them can be made again.
func (m *materializer) recover(err error) {
	m.warn(err)
	m.disconnect()
	var se *StorageError
	if errors.As(err, &se) && se.Code == ErrCorrupt && se.Path == m.viewsDB.path {
		aside, err := moveAside(m.viewsDB.path)
		if err != nil {
			m.warn(storageError("move aside", m.viewsDB.path, err))
			return
		}
		m.replaced()
		m.warn(fmt.Errorf("damaged views moved to %s; they are made again from the ledger", aside))
		m.wake()
	}
}

// moveAside renames a database with its WAL, so that it can be looked into.
func moveAside(path string) (string, error) {
	for n := 1; ; n++ {
		aside := fmt.Sprintf("%s.damaged-%d", path, n)
		if _, err := os.Lstat(aside); err == nil {
			continue
		}
		if err := os.Rename(path, aside); err != nil {
			return "", err
		}
		for _, suffix := range []string{"-wal", "-shm"} {
			err := os.Rename(path+suffix, aside+suffix)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return "", err
			}
		}
		return aside, nil
	}
}

func readWatermark(c *conn) (link, error) {
	row, err := c.first(`SELECT watermark, seal FROM materializer_state WHERE id = 1`)
	if err != nil || len(row) == 0 {
		return link{}, err
	}
	return link{EventID: integer(row[0]), Seal: toHash(row[1])}, nil
}

func saveWatermark(c *conn, l link) error {
	return c.exec(`UPDATE materializer_state SET watermark = ?, seal = ? WHERE id = 1`, l.EventID, l.Seal)
}

// close stops after the batch under way.
func (m *materializer) close() {
	m.stop()
	<-m.done
}
