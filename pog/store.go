package pog

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Options say where a store is and how it behaves. Only Dir is required.
type Options struct {
	Dir      string // created, for its owner alone, when it is not there
	EventsDB string // file name in Dir, or a path; default events.sqlite
	ViewDB   string // likewise; default pog.sqlite
	// SchemaDirs hold the user's own kinds, one <kind>.json each. They are
	// looked into when such a kind is first proposed; the first hit wins.
	SchemaDirs []string
	// MaxPayload bounds the payload of one event in bytes; default 16 MiB.
	MaxPayload int
	// Now is the clock that stamps events; default time.Now.
	Now func() time.Time
	// Warn is told what went wrong in the background, such as views that
	// cannot be written. It must not call the store.
	Warn func(error)
}

// Store is an open personal ops graph. Its methods may be called from many
// goroutines.
type Store struct {
	opts   Options
	kinds  registry
	red    redactor
	writer *writer
	mat    *materializer

	ledgerDB, viewsDB *database
	ledger            *pool // reads the ledger

	mu      sync.Mutex
	readers map[string]*pool // reads the views, one pool per kind of reader
	closed  bool
	closing sync.Once
}

// Sizes of the pools of readers. A reader beyond them waits.
const (
	ledgerReaders = 4
	viewReaders   = 4
)

// Open opens the store in opts.Dir, creating what is not there. The time it
// takes does not depend on how much is in it; views that are behind catch up
// in the background and by the first read.
func Open(ctx context.Context, opts Options) (*Store, error) {
	if !builtWithFTS5 {
		return nil, ErrNoFTS5
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{opts: opts, kinds: registry{dirs: opts.SchemaDirs}, readers: map[string]*pool{}}
	s.ledgerDB = ledgerDatabase(opts.EventsDB)
	s.viewsDB = viewsDatabase(opts.ViewDB)
	if err := checkFile(s.viewsDB); err != nil {
		return nil, err
	}
	c, err := s.ledgerDB.open()
	if err != nil {
		return nil, err
	}
	head, err := readHead(ctx, c)
	if err == nil {
		s.red.salt, err = loadSalt(c)
	}
	if err != nil {
		c.close()
		return nil, storageError("open ledger", opts.EventsDB, err)
	}
	s.ledger = newPool(ledgerReaders, func() (*conn, error) { return openReader(s.ledgerDB) })
	s.mat = &materializer{ledgerDB: s.ledgerDB, viewsDB: s.viewsDB, warn: opts.Warn,
		replaced: s.resetReaders, wanted: head.EventID}
	s.mat.start()
	s.writer = newWriter(s.ledgerDB, c, opts.Now, func(h Head) { s.mat.advance(h.EventID) })
	return s, nil
}

// LedgerPath is the file that the ledger of a store with these options is in.
func (o Options) LedgerPath() (string, error) {
	o, err := o.paths()
	return o.EventsDB, err
}

// paths fills in where the files are, and makes nothing.
func (o Options) paths() (Options, error) {
	if o.Dir == "" {
		return o, fmt.Errorf("open store: %w: no directory given", ErrNotFound)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return o, err
	}
	o.Dir = dir
	for _, f := range []struct {
		path *string
		name string
	}{{&o.EventsDB, "events.sqlite"}, {&o.ViewDB, "pog.sqlite"}} {
		if *f.path == "" {
			*f.path = f.name
		}
		if !filepath.IsAbs(*f.path) {
			*f.path = filepath.Join(dir, *f.path)
		}
	}
	return o, nil
}

func (o Options) withDefaults() (Options, error) {
	o, err := o.paths()
	if err != nil {
		return o, err
	}
	if o.MaxPayload <= 0 {
		o.MaxPayload = 16 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Warn == nil {
		o.Warn = func(error) {}
	}
	return o, makeDir(o.Dir)
}

// checkFile refuses early what the materializer would fail on later.
func checkFile(d *database) error {
	if _, err := os.Lstat(d.path); err != nil {
		return nil // absent is fine; anything else shows when it is opened
	}
	err := d.look()
	if CodeOf(err) == ErrCorrupt {
		return nil // damaged views are made again
	}
	return storageError("open "+d.what, d.path, err)
}

// Close ends the store: what is queued is appended, then the files are
// closed. Views that are behind catch up when the store is next open.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.writer.stop()
		s.mu.Lock()
		s.closed = true
		for _, p := range s.readers {
			p.close()
		}
		s.mu.Unlock()
		// Of each file the connection that writes is the last to go: only it
		// can move the write-ahead log into the file.
		s.mat.close()
		s.ledger.close()
		s.writer.close()
	})
	return nil
}

// Propose validates deltas and appends all of them as events, in order and
// in one transaction, or none. It returns after the events are on the disk.
//
// Errors: *RefusedError with everything that is wrong, field by field;
// *DuplicateError unless p.Existing; *StorageError. With ErrUnknown, or when
// ctx ends first, the events may have been appended; proposing them again is
// safe.
func (s *Store) Propose(ctx context.Context, p Proposer, deltas ...Delta) ([]Event, error) {
	return s.propose(ctx, p, false, deltas)
}

// Check does everything Propose does except append. Events that are new have
// no id.
func (s *Store) Check(ctx context.Context, p Proposer, deltas ...Delta) ([]Event, error) {
	return s.propose(ctx, p, true, deltas)
}

func (s *Store) propose(
	ctx context.Context, p Proposer, dryRun bool, deltas []Delta,
) ([]Event, error) {
	events, err := s.validate(&p, deltas)
	if err != nil {
		return nil, err
	}
	done := func() {}
	if !dryRun {
		if done, err = s.keepBlobs(ctx, events); err != nil {
			return nil, err
		}
	}
	return s.writer.submit(&proposal{
		ctx: ctx, events: events, existing: p.Existing, dryRun: dryRun, done: done,
	})
}

// keepBlobs writes what is kept beside the ledger. It is safe from collection
// until done is called, or named by an event.
func (s *Store) keepBlobs(ctx context.Context, events []pending) (done func(), err error) {
	if !slices.ContainsFunc(events, func(e pending) bool { return len(e.blobs) > 0 }) {
		return func() {}, nil
	}
	blobs := s.opts.blobs()
	done, err = blobs.share(ctx)
	if err == nil {
		err = blobs.belongTo(s.ledgerDB.path)
	}
	for i := range events {
		for h, content := range events[i].blobs {
			if err == nil {
				err = blobs.put(h, content)
			}
		}
	}
	if err != nil && done != nil {
		done()
	}
	return done, err
}

// Head returns the newest event of the ledger and what commits to it.
func (s *Store) Head(ctx context.Context) (Head, error) {
	var head link
	err := s.ledger.use(ctx, func(c *conn) (err error) {
		head, err = readHead(ctx, c)
		return storageError("read", c.path, err)
	})
	return Head(head), err
}

// Rebuild makes the views again from the ledger. Readers see the old ones
// until it is done.
func (s *Store) Rebuild(ctx context.Context) error { return s.mat.rebuild(ctx) }

// current waits until the views have everything the ledger has now.
func (s *Store) current(ctx context.Context) error {
	head, err := s.Head(ctx)
	if err != nil {
		return err
	}
	return s.mat.wait(ctx, head.EventID)
}

// fresh is current, except that when the views cannot be written a read goes
// on with what they have: a full disk must not take away what is there.
func (s *Store) fresh(ctx context.Context) error {
	err := s.current(ctx)
	switch CodeOf(err) {
	case ErrDiskFull, ErrReadOnly, ErrBusy:
		if s.mat.wasOpened() {
			return nil
		}
	}
	return err
}

// resetReaders makes readers open the views again.
func (s *Store) resetReaders() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.readers {
		p.reset()
	}
}
