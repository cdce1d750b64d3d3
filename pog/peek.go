package pog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	sqlite3 "github.com/mattn/go-sqlite3"
)

// Peek returns the newest event of a kind about a run, straight from the
// ledger, and writes nothing: no view, no write-ahead log, not even a lock
// while nobody else has the ledger open. It is for commands that must leave a
// store as it is.
//
// Errors: ErrNotFound, also when there is no ledger; *StorageError.
func Peek(ctx context.Context, opts Options, kind, trace string) (*Event, error) {
	c, err := openPeek(opts)
	if err != nil {
		return nil, err
	}
	defer c.close()
	row, err := c.first(selectEvent+` WHERE e.kind = ? AND `+ofTrace+`
		ORDER BY e.ts_ms DESC, e.id DESC LIMIT 1`, append([]any{kind}, ofTraceArgs(trace)...)...)
	switch {
	case err != nil:
		return nil, storageError("read", c.path, err)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case len(row) == 0:
		return nil, fmt.Errorf("%s of %s: %w", kind, trace, ErrNotFound)
	}
	ev := scanEvent(row)
	ev.Payload, err = blobsBeside(c.path, opts).whole(ev.Payload)
	return &ev, err
}

// blobsBeside is where the values are that a ledger refers to.
func blobsBeside(ledger string, opts Options) blobStore {
	if paths, err := opts.paths(); err == nil {
		return paths.blobs()
	}
	return Options{Dir: filepath.Dir(ledger)}.blobs()
}

// openPeek opens the ledger so that nothing is written.
func openPeek(opts Options) (*conn, error) {
	paths, err := opts.paths()
	if err != nil {
		return nil, err
	}
	path := paths.EventsDB
	switch st, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w", path, ErrNotFound)
	case err == nil && !st.Mode().IsRegular(): // SQLite would wait for who writes into a fifo
		return nil, &StorageError{Code: ErrNotRegular, Op: "open ledger", Path: path,
			Err: fmt.Errorf("it is %s", describeMode(st.Mode()))}
	}
	db, err := (&sqlite3.SQLiteDriver{}).Open(peekURI(path))
	if err != nil {
		return nil, storageError("open ledger", path, err)
	}
	return &conn{db: db.(*sqlite3.SQLiteConn), path: path, stmts: map[string]*sqlite3.SQLiteStmt{}}, nil
}

// peekURI opens the file as one that cannot change while there is no
// write-ahead log beside it, that is, while nobody has it open and the last one
// who had it closed it in order (https://www.sqlite.org/uri.html#uriimmutable).
func peekURI(path string) string {
	opts := url.Values{"mode": {"ro"}, "_query_only": {"on"}, "_busy_timeout": {fmt.Sprint(busyTimeout.Milliseconds())}}
	if st, err := os.Stat(path + "-wal"); err != nil || st.Size() == 0 {
		opts.Set("immutable", "1")
	}
	return fileURI(path) + "?" + opts.Encode()
}
