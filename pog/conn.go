package pog

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	sqlite3 "github.com/mattn/go-sqlite3"
)

// conn is one SQLite connection with its prepared statements. It goes past
// database/sql because a connection here has a role: one writes the ledger,
// one the views, and a restricted one carries an authorizer that fits only
// its reader. It is not for concurrent use.
type conn struct {
	db    *sqlite3.SQLiteConn
	path  string
	stmts map[string]*sqlite3.SQLiteStmt
	args  []driver.NamedValue // used again by each exec
	// policy is what a restricted connection may do; nil on the others.
	policy *policy
}

// access is what a connection may do to its file, and how durably.
type access struct {
	readOnly    bool
	synchronous string // FULL or NORMAL; a reader has none to keep
	busy        time.Duration
}

// synchronous levels as PRAGMA synchronous reports them
// (https://www.sqlite.org/pragma.html#pragma_synchronous).
var synchronousLevel = map[string]int64{"NORMAL": 1, "FULL": 2}

// openConn opens path and asserts what was asked for. The pragmas travel in
// the DSN, because go-sqlite3 otherwise makes every WAL connection
// synchronous=NORMAL, and are read back, because a pragma that is not
// understood is not an error.
func openConn(path string, a access) (*conn, error) {
	opts := url.Values{
		"_busy_timeout": {fmt.Sprint(a.busy.Milliseconds())},
		"_foreign_keys": {"on"},
		"_synchronous":  {a.synchronous},
		"mode":          {"rw"},
	}
	if a.readOnly {
		opts.Set("mode", "ro")
		opts.Set("_query_only", "on")
	} else {
		opts.Set("_journal_mode", "WAL")
	}
	db, err := (&sqlite3.SQLiteDriver{}).Open(fileURI(path) + "?" + opts.Encode())
	if err != nil {
		return nil, err
	}
	c := &conn{db: db.(*sqlite3.SQLiteConn), path: path, stmts: map[string]*sqlite3.SQLiteStmt{}}
	if err := c.settle(a); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// settle sets the pragmas go-sqlite3 has no DSN option for and checks all.
func (c *conn) settle(a access) error {
	// trusted_schema=OFF: a tampered file must not reach functions through
	// its views and triggers (https://www.sqlite.org/src/doc/latest/doc/trusted-schema.md).
	// journal_size_limit gives back the space of a WAL that once was large.
	if err := c.script(`PRAGMA trusted_schema=OFF; PRAGMA recursive_triggers=ON;
		PRAGMA journal_size_limit=67108864`); err != nil {
		return err
	}
	want := []struct {
		pragma string
		value  int64
	}{
		{"foreign_keys", 1},
		{"trusted_schema", 0},
		{"busy_timeout", a.busy.Milliseconds()},
		{"synchronous", synchronousLevel[a.synchronous]},
	}
	for _, w := range want {
		got, err := c.pragma(w.pragma)
		if err != nil {
			return err
		}
		if got != w.value {
			return fmt.Errorf("PRAGMA %s is %d, want %d", w.pragma, got, w.value)
		}
	}
	return c.requireWAL()
}

func (c *conn) requireWAL() error {
	mode := ""
	err := c.each(context.Background(), `PRAGMA journal_mode`, nil, func(row []driver.Value) error {
		mode = text(row[0])
		return nil
	})
	if err == nil && mode != "wal" {
		err = fmt.Errorf("PRAGMA journal_mode is %q, want wal", mode)
	}
	return err
}

// fileURI is path as SQLite's URI form, with everything escaped that would
// start a query or a fragment (https://www.sqlite.org/uri.html).
func fileURI(path string) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath()
}

// pragma reads a pragma that is a number.
func (c *conn) pragma(name string) (int64, error) {
	return c.int(`PRAGMA ` + name)
}

// prepare returns the statement for sql, compiled once per connection.
func (c *conn) prepare(sql string) (*sqlite3.SQLiteStmt, error) {
	if s, ok := c.stmts[sql]; ok {
		return s, nil
	}
	s, err := c.db.Prepare(sql)
	if err != nil {
		return nil, err
	}
	stmt := s.(*sqlite3.SQLiteStmt)
	c.stmts[sql] = stmt
	return stmt, nil
}

// exec runs one statement that returns no rows.
func (c *conn) exec(sql string, args ...any) error {
	s, err := c.prepare(sql)
	if err != nil {
		return err
	}
	c.args = namedInto(c.args[:0], args)
	_, err = s.ExecContext(context.Background(), c.args)
	return err
}

// script runs several statements without keeping them.
func (c *conn) script(sql string) error {
	_, err := c.db.Exec(sql, nil)
	return err
}

// each calls f with every row of a query. The row's slice is used again for
// the next one; its strings and blobs are not.
func (c *conn) each(ctx context.Context, sql string, args []any, f func([]driver.Value) error) error {
	s, err := c.prepare(sql)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(ctx, named(args))
	if err != nil {
		return err
	}
	defer rows.Close()
	row := make([]driver.Value, len(rows.Columns()))
	for {
		if err := rows.Next(row); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := f(row); err != nil {
			return err
		}
	}
}

// first returns the first row of a query, or nil when there is none.
func (c *conn) first(sql string, args ...any) ([]driver.Value, error) {
	var found []driver.Value
	err := c.each(context.Background(), sql, args, func(row []driver.Value) error {
		found = row
		return io.EOF
	})
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return found, err
}

// int returns the first column of the first row, 0 when there is no row.
func (c *conn) int(sql string, args ...any) (int64, error) {
	row, err := c.first(sql, args...)
	if err != nil || len(row) == 0 {
		return 0, err
	}
	return integer(row[0]), nil
}

// commitError marks a failure of COMMIT itself: what was written before it
// may be on the disk or not. Any other failure of a transaction means that
// nothing is.
type commitError struct{ error }

func (e commitError) Unwrap() error { return e.error }

// tx runs f in a transaction that takes the write lock first, so that what f
// reads is still true when it writes.
func (c *conn) tx(f func() error) error {
	if err := c.exec(`BEGIN IMMEDIATE`); err != nil {
		return err
	}
	if err := f(); err != nil {
		c.rollback()
		return err
	}
	if err := c.exec(`COMMIT`); err != nil {
		c.rollback()
		return commitError{err}
	}
	return nil
}

// rollback ends a transaction; SQLite has often done so already after an
// error of the disk, and then says that there is none.
func (c *conn) rollback() {
	if !c.db.AutoCommit() {
		_ = c.exec(`ROLLBACK`)
	}
}

func (c *conn) close() error {
	for _, s := range c.stmts {
		s.Close()
	}
	c.stmts = nil
	return c.db.Close()
}

// named turns arguments into what the driver takes.
func named(args []any) []driver.NamedValue {
	return namedInto(make([]driver.NamedValue, 0, len(args)), args)
}

func namedInto(out []driver.NamedValue, args []any) []driver.NamedValue {
	for i, a := range args {
		out = append(out, driver.NamedValue{Ordinal: i + 1, Value: value(a)})
	}
	return out
}

func value(a any) driver.Value {
	switch v := a.(type) {
	case int:
		return int64(v)
	case Domain:
		return string(v)
	case Hash:
		return v[:]
	}
	return a
}

// integer and text read a column whatever its storage class; rows come from
// files that others may have written to.
func integer(v driver.Value) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case float64:
		return int64(v)
	}
	return 0
}

func text(v driver.Value) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	case nil:
		return ""
	}
	return strings.TrimSpace(fmt.Sprint(v))
}

func blob(v driver.Value) []byte {
	switch v := v.(type) {
	case []byte:
		return v
	case string:
		return []byte(v)
	}
	return nil
}
