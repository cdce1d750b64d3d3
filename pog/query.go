package pog

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	sqlite3 "github.com/mattn/go-sqlite3"
)

// Limits bound one query. Zero fields take the defaults, which are also the
// most that a reader who is not the owner can ask for.
type Limits struct {
	Rows    int
	Bytes   int // of all values together
	Timeout time.Duration
}

// defaultLimits suit an agent; the owner may ask for more.
var defaultLimits = Limits{Rows: 1000, Bytes: 4 << 20, Timeout: time.Second}

// Result is the answer to a query. Values are nil, int64, float64, string or
// []byte.
type Result struct {
	Columns []string `json:"columns"`
	Rows    [][]any  `json:"rows"`
	// Truncated says which limit cut the rows off: "rows", "bytes" or "".
	Truncated string `json:"truncated,omitempty"`
}

// Bounds of what a restricted query may be made of, set on its connection
// (https://www.sqlite.org/c3ref/c_limit_attached.html). SQLite looks at an
// interrupt between instructions, not inside of one, so they also bound what
// one function call can cost: the longest string times the longest pattern.
var sqlLimits = map[int]int{
	sqlite3.SQLITE_LIMIT_LENGTH:              512 << 10,
	sqlite3.SQLITE_LIMIT_SQL_LENGTH:          64 << 10,
	sqlite3.SQLITE_LIMIT_COLUMN:              128,
	sqlite3.SQLITE_LIMIT_EXPR_DEPTH:          100,
	sqlite3.SQLITE_LIMIT_COMPOUND_SELECT:     32,
	sqlite3.SQLITE_LIMIT_VDBE_OP:             50_000,
	sqlite3.SQLITE_LIMIT_FUNCTION_ARG:        32,
	sqlite3.SQLITE_LIMIT_ATTACHED:            0,
	sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 256,
	sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER:     256,
	sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH:       1,
}

// Query runs one SELECT on the views the reader may see; the package comment
// lists them. Everything else is refused by SQLite's authorizer, and a table
// the reader may not see reads like one that does not exist.
//
// Errors: ErrQuery for what is wrong with the statement or its arguments,
// ErrTimeLimit, ctx's error, *StorageError.
func (s *Store) Query(
	ctx context.Context, r Reader, sql string, args []any, limits Limits,
) (*Result, error) {
	if err := checkStatement(sql); err != nil {
		return nil, err
	}
	bound, err := checkArgs(args)
	if err != nil {
		return nil, err
	}
	limits = limits.within(r.owner)
	if err := s.fresh(ctx); err != nil {
		return nil, err
	}
	var out *Result
	err = s.reader(r).use(ctx, func(c *conn) error {
		out, err = c.restricted(ctx, sql, bound, limits)
		return err
	})
	return out, err
}

func (l Limits) within(owner bool) Limits {
	pick := func(asked, most int) int {
		if asked <= 0 || !owner && asked > most {
			return most
		}
		return asked
	}
	return Limits{
		Rows:    pick(l.Rows, defaultLimits.Rows),
		Bytes:   pick(l.Bytes, defaultLimits.Bytes),
		Timeout: time.Duration(pick(int(l.Timeout), int(defaultLimits.Timeout))),
	}
}

// reader returns the pool of connections for readers like r.
func (s *Store) reader(r Reader) *pool {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := r.signature()
	p, ok := s.readers[key]
	if !ok {
		p = newPool(viewReaders, func() (*conn, error) { return s.openRestricted(r) })
		p.closed = s.closed
		s.readers[key] = p
	}
	return p
}

// openRestricted opens a connection that can only read, and only what r may.
func (s *Store) openRestricted(r Reader) (*conn, error) {
	a := s.viewsDB.access
	a.readOnly = true
	c, err := openConn(s.viewsDB.path, a)
	if err == nil {
		if err = s.restrict(c, r); err != nil {
			c.close()
		}
	}
	if err != nil {
		return nil, storageError("open views", s.viewsDB.path, err)
	}
	return c, nil
}

func (s *Store) restrict(c *conn, r Reader) error {
	// query_only would refuse the temporary views too.
	if err := c.script(`PRAGMA query_only=OFF`); err != nil {
		return err
	}
	if r.owner {
		if err := c.script(fmt.Sprintf(`ATTACH '%s?mode=ro' AS ledger`,
			strings.ReplaceAll(fileURI(s.ledgerDB.path), "'", "''"))); err != nil {
			return err
		}
	}
	var tables []string
	const list = `SELECT name FROM pragma_table_list`
	err := c.each(context.Background(), list, nil, func(v []driver.Value) error {
		tables = append(tables, text(v[0]))
		return nil
	})
	if err == nil {
		err = c.script(r.publicViews() + `PRAGMA query_only=ON`)
	}
	if err == nil {
		err = registerFunctions(c.db)
	}
	if err == nil && r.owner {
		err = c.db.RegisterFunc("whole", s.opts.blobs().wholeText, false)
	}
	if err != nil {
		return err
	}
	if !r.owner {
		for limit, value := range sqlLimits {
			c.db.SetLimit(limit, value)
		}
	}
	c.policy = newPolicy(r, tables)
	c.db.RegisterAuthorizer(c.policy.authorize)
	return nil
}

// registerFunctions adds the functions the package comment describes.
func registerFunctions(db *sqlite3.SQLiteConn) error {
	for _, f := range []struct {
		name string
		impl any
	}{
		{"norm", normalizeName},
		{"trigrams", trigramsOrNothing},
		{"similarity", func(a, b string) float64 {
			return similarity(normalizeName(a), normalizeName(b))
		}},
	} {
		if err := db.RegisterFunc(f.name, f.impl, true); err != nil {
			return err
		}
	}
	return nil
}

// trigramsOrNothing never returns an empty expression, which FTS5 refuses.
func trigramsOrNothing(name string) string {
	if t := trigrams(name); t != "" {
		return t
	}
	return `"` + normalizeName(name) + `"`
}

// checkStatement refuses what is not one statement. The driver would run
// what follows a semicolon too.
func checkStatement(sql string) error {
	switch {
	case len(sql) > sqlLimits[sqlite3.SQLITE_LIMIT_SQL_LENGTH]:
		return fmt.Errorf("%w: %d bytes of SQL", ErrQuery, len(sql))
	case strings.ContainsRune(sql, 0):
		return fmt.Errorf("%w: a zero byte in the SQL", ErrQuery)
	}
	end := statementEnd(sql)
	if end < len(sql) && !onlySpace(sql[end:]) {
		return fmt.Errorf("%w: more than one statement", ErrQuery)
	}
	if onlySpace(sql[:end]) {
		return fmt.Errorf("%w: no statement", ErrQuery)
	}
	return nil
}

// statementEnd returns the place of the first semicolon that is not inside
// of a string, a name or a comment, or the length of sql
// (https://www.sqlite.org/lang_comment.html, lang_keywords.html).
func statementEnd(sql string) int {
	for i := 0; i < len(sql); {
		if sql[i] == ';' {
			return i
		}
		i += tokenLen(sql[i:])
	}
	return len(sql)
}

// tokenLen is the length of the quoted text or comment s begins with, or 1.
func tokenLen(s string) int {
	until := func(open int, end string) int {
		if i := strings.Index(s[open:], end); i >= 0 {
			return open + i + len(end)
		}
		return len(s)
	}
	switch {
	case s[0] == '\'' || s[0] == '"' || s[0] == '`':
		return until(1, s[:1]) // a doubled quote ends one string and begins the next
	case s[0] == '[':
		return until(1, "]")
	case strings.HasPrefix(s, "--"):
		return until(2, "\n")
	case strings.HasPrefix(s, "/*"):
		return until(2, "*/")
	}
	return 1
}

// onlySpace says whether s has nothing but white space, comments and
// semicolons.
func onlySpace(s string) bool {
	for i := 0; i < len(s); {
		n := tokenLen(s[i:])
		comment := strings.HasPrefix(s[i:], "--") || strings.HasPrefix(s[i:], "/*")
		if !comment && !strings.ContainsRune(" \t\r\n\f;", rune(s[i])) {
			return false
		}
		i += n
	}
	return true
}

// maxArgBytes bounds all arguments of a query together.
const maxArgBytes = 1 << 20

// checkArgs accepts what JSON and MsgPack can bring.
func checkArgs(args []any) ([]any, error) {
	out := make([]any, len(args))
	total := 0
	for i, a := range args {
		switch v := a.(type) {
		case nil, int64, float64, bool:
			out[i] = v
		case int:
			out[i] = int64(v)
		case string:
			out[i], total = v, total+len(v)
		case []byte:
			out[i], total = v, total+len(v)
		default:
			return nil, fmt.Errorf("%w: argument %d is a %T", ErrQuery, i+1, a)
		}
	}
	if total > maxArgBytes {
		return nil, fmt.Errorf("%w: %d bytes of arguments, at most %d", ErrQuery, total, maxArgBytes)
	}
	return out, nil
}

// restricted runs a stranger's statement and collects its rows.
func (c *conn) restricted(ctx context.Context, sql string, args []any, l Limits) (*Result, error) {
	limited, cancel := context.WithTimeout(ctx, l.Timeout)
	defer cancel()
	c.policy.denied = false
	prepared, err := c.db.Prepare(sql)
	if err != nil {
		return nil, c.queryError(ctx, err)
	}
	stmt := prepared.(*sqlite3.SQLiteStmt)
	defer stmt.Close()
	if !stmt.Readonly() {
		return nil, fmt.Errorf("%w: it would write", ErrQuery)
	}
	if n := stmt.NumInput(); n != len(args) {
		return nil, fmt.Errorf("%w: %d arguments, the statement has %d", ErrQuery, len(args), n)
	}
	rows, err := stmt.QueryContext(limited, named(args))
	if err != nil {
		return nil, c.queryError(ctx, err)
	}
	defer rows.Close()
	out := &Result{Columns: rows.Columns(), Rows: [][]any{}}
	if err := out.collect(rows, l); err != nil {
		return nil, c.queryError(ctx, err)
	}
	return out, nil
}

// collect reads rows until the end or a limit.
func (out *Result) collect(rows driver.Rows, l Limits) error {
	values := make([]driver.Value, len(out.Columns))
	for bytes := 0; ; {
		switch err := rows.Next(values); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if len(out.Rows) == l.Rows {
			out.Truncated = "rows"
			return nil
		}
		row := make([]any, len(values))
		for i, v := range values {
			row[i] = plainValue(v)
			bytes += valueSize(row[i])
		}
		if bytes > l.Bytes {
			out.Truncated = "bytes"
			return nil
		}
		out.Rows = append(out.Rows, row)
	}
}

// plainValue undoes what the driver makes of columns declared as dates or
// booleans.
func plainValue(v driver.Value) any {
	switch v := v.(type) {
	case time.Time:
		return v.UTC().Format(time.RFC3339)
	case bool:
		if v {
			return int64(1)
		}
		return int64(0)
	}
	return v
}

func valueSize(v any) int {
	switch v := v.(type) {
	case string:
		return 16 + len(v)
	case []byte:
		return 16 + len(v)
	}
	return 16
}

// isAboutQuery says that an error comes from the statement, not from a file.
func isAboutQuery(code sqlite3.ErrNo) bool {
	switch code {
	case sqlite3.ErrError, sqlite3.ErrTooBig, sqlite3.ErrMismatch, sqlite3.ErrRange:
		return true
	}
	return false
}

// queryError says what is wrong with a query. Tables that are absent and
// tables that are not the reader's give the same text, whatever SQLite's
// message was.
func (c *conn) queryError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var se sqlite3.Error
	isSQLite := errors.As(err, &se)
	switch {
	case errors.Is(err, context.DeadlineExceeded), isSQLite && se.Code == sqlite3.ErrInterrupt:
		return fmt.Errorf("query: %w", ErrTimeLimit)
	case c.policy.owner && isSQLite && se.Code == sqlite3.ErrAuth:
		return fmt.Errorf("%w: it does more than read", ErrQuery)
	case c.policy.denied && !c.policy.owner, !c.policy.owner && strings.HasPrefix(err.Error(), "no such table"),
		strings.Contains(err.Error(), "vtable constructor"):
		return fmt.Errorf("%w: denied:kb_read: a table, function or statement in it "+
			"does not exist or is not granted", ErrQuery)
	case isSQLite && isAboutQuery(se.Code):
		return fmt.Errorf("%w: %s", ErrQuery, strings.ReplaceAll(err.Error(), "\n", " "))
	}
	return storageError("query", c.path, err)
}
