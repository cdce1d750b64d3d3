package pog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// seeded is a store with something in every domain.
func seeded(t testing.TB) *Store {
	s := newStore(t)
	propose(t, s, User(), contact("John Smith", "john@example.com"), contact("Jane Doe", "jane@example.org"),
		note("Q4 plan", "the budget"), note("Venue", "booked for John"),
		delta("artifact.created", `{"kind":"draft","path":"/p","sha256":"`+strings.Repeat("ab", 32)+`"}`),
		delta("email.sent", `{"to":["john@example.com"],"subject":"secret merger"}`),
		delta("account.linked", `{"kind":"imap","handle":"me@example.com"}`))
	propose(t, s, System(),
		delta("run.started", `{"trace_id":"t1","opening_id":"o"}`),
		delta("node.started", `{"trace_id":"t1","node":"n"}`),
		delta("action.requested", `{"trace_id":"t1","action_id":"a"}`),
		delta("cap.audit", `{"agent":"x","cap":"c","op":"o","decision":"deny"}`),
		delta("broker.call", `{"provider":"p","model":"m"}`))
	return s
}

func queryErr(s *Store, r Reader, sql string, args ...any) error {
	_, err := s.Query(context.Background(), r, sql, args, Limits{})
	return err
}

func TestQueryGranted(t *testing.T) {
	s := seeded(t)
	notes := AgentReader(DomainNotes)
	for sql, want := range map[string]string{
		`SELECT title FROM notes ORDER BY id`:              "Q4 plan\nVenue",
		`SELECT count(*) FROM notes`:                       "2",
		`SELECT count(*) FROM events`:                      "2",
		`SELECT DISTINCT domain FROM events`:               "notes",
		`WITH x AS (SELECT 1 AS a) SELECT count(*) FROM x`: "1",
		`WITH runs AS (SELECT 7) SELECT * FROM (SELECT 7)`: "7",
		`SELECT n.title FROM notes_fts f JOIN notes n ON n.id = f.rowid WHERE notes_fts MATCH 'budget'`: "Q4 plan",
		`SELECT snippet(notes_fts, 1, '[', ']', '', 5) FROM notes_fts('budget')`:                        "the [budget]",
		`SELECT value FROM json_each('[1,2]')`:                                                          "1\n2",
		`SELECT upper(title) FROM notes WHERE title LIKE 'q4%';`:                                        "Q4 PLAN",
		"SELECT ';' -- ; DROP": ";",
		`SELECT json_extract(payload_json, '$.title') FROM events WHERE kind = 'note.added' ORDER BY id LIMIT 1`: "Q4 plan",
		`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < 3) SELECT sum(x) FROM c`:         "6",
	} {
		if got := query(t, s, notes, sql); got != want {
			t.Errorf("%s\n got %q\nwant %q", sql, got, want)
		}
	}
}

// aboutTheText matches refusals that say something about the statement and
// nothing about what the store has.
var aboutTheText = regexp.MustCompile(`syntax error|it would write|more than one statement|notes because it is a view|` +
	`no such function|wrong number of arguments`)

// TestQueryDenied holds what a reader of notes must not get; security.md 70
// and 72. Every refusal reads the same, so that none says what exists.
func TestQueryDenied(t *testing.T) {
	s := seeded(t)
	before := dump(t, s)
	notes := AgentReader(DomainNotes)
	absent := queryErr(s, notes, `SELECT * FROM no_such_table`)
	for _, sql := range []string{
		// Tables of other domains, by every road.
		`SELECT * FROM contacts`, `SELECT count(*) FROM contacts`, `SELECT count(*) FROM CONTACTS`, `SELECT 1 FROM contacts`,
		`SELECT * FROM main.contacts`, `SELECT count(*) FROM main.safe_contacts`, `SELECT name FROM safe_contacts`,
		`SELECT * FROM main.notes`, `SELECT count(*) FROM main.notes`, `SELECT body FROM main."notes"`,
		`SELECT * FROM main.events`, `SELECT * FROM events_contacts`, `SELECT count(*) FROM events_email`,
		`SELECT 1 WHERE EXISTS (SELECT 1 FROM runs)`, `SELECT (SELECT count(*) FROM runs)`,
		`SELECT * FROM notes NATURAL JOIN main.contacts`, `SELECT 1 FROM notes UNION SELECT id FROM main.contacts`,
		`WITH x AS (SELECT * FROM main.contacts) SELECT count(*) FROM x`, `SELECT * FROM (SELECT email FROM main.contacts)`,
		`SELECT title FROM notes ORDER BY (SELECT email FROM main.contacts)`, `SELECT 1 IN main.contacts`,
		`SELECT * FROM runs`, `SELECT * FROM nodes`, `SELECT * FROM actions`, `SELECT * FROM accounts`, `SELECT * FROM emails`,
		`SELECT * FROM addresses`, `SELECT * FROM contact_aliases`, `SELECT * FROM materializer_state`, `SELECT * FROM meta`,
		`SELECT * FROM snapshots`, `SELECT * FROM embeddings`, `SELECT * FROM edges`, `SELECT count(*) FROM entity_history`,
		// Full-text indexes of other domains and what they are kept in.
		`SELECT * FROM contacts_fts`, `SELECT * FROM contacts_fts WHERE contacts_fts MATCH 'john'`, `SELECT * FROM contacts_fts('john')`,
		`SELECT count(*) FROM contacts_fts_data`, `SELECT * FROM contacts_tri`, `SELECT block FROM emails_fts_data`,
		`INSERT INTO notes_fts(notes_fts) VALUES('rebuild')`, `INSERT INTO notes_fts(notes_fts) VALUES('delete-all')`,
		`INSERT INTO notes_fts(notes_fts, rank) VALUES('secure-delete', 1)`,
		`CREATE VIRTUAL TABLE temp.v USING fts5vocab(main, contacts_fts, row)`, `CREATE VIRTUAL TABLE temp.v USING fts5(x)`,
		// The schema.
		`SELECT name FROM sqlite_schema`, `SELECT count(*) FROM sqlite_schema`, `SELECT sql FROM sqlite_master`,
		`SELECT * FROM sqlite_temp_schema`, `SELECT * FROM main.sqlite_schema`, `SELECT * FROM sqlite_sequence`, `SELECT * FROM sqlite_stat1`,
		`SELECT * FROM pragma_table_list`, `SELECT count(*) FROM pragma_table_info('contacts')`, `SELECT * FROM pragma_database_list`,
		`SELECT * FROM pragma_function_list`, `SELECT * FROM pragma_module_list`, `SELECT file FROM pragma_database_list`,
		// Statements that are not SELECT.
		`UPDATE notes SET title = ''`, `DELETE FROM notes`, `INSERT INTO notes(title) VALUES('')`, `REPLACE INTO main.notes(id) VALUES(1)`,
		`DROP TABLE main.notes`, `DROP VIEW notes`, `CREATE TABLE x(a)`, `CREATE TEMP TABLE x(a)`, `CREATE TEMP VIEW x AS SELECT * FROM main.contacts`,
		`CREATE TEMP TRIGGER x AFTER INSERT ON notes BEGIN SELECT 1; END`, `ALTER TABLE main.notes ADD COLUMN x`,
		`ATTACH ':memory:' AS x`, `ATTACH '` + s.ledgerDB.path + `' AS l`, `DETACH main`, `VACUUM`, `VACUUM INTO '/tmp/pog-attack'`,
		`REINDEX`, `ANALYZE`, `BEGIN`, `BEGIN IMMEDIATE`, `COMMIT`, `SAVEPOINT a`, `ROLLBACK`,
		`PRAGMA writable_schema=ON`, `PRAGMA query_only=OFF`, `PRAGMA table_info(contacts)`, `PRAGMA user_version=9`, `PRAGMA user_version`,
		`PRAGMA journal_mode=DELETE`, `PRAGMA database_list`, `PRAGMA wal_checkpoint`, `PRAGMA temp_store_directory='/tmp'`, `PRAGMA data_version=1`,
		// Functions that do more than compute.
		`SELECT load_extension('x')`, `SELECT fts3_tokenizer('simple')`, `SELECT fts5()`, `SELECT fts5_source_id()`, `SELECT readfile('/etc/passwd')`,
		`SELECT authenticate('a','b')`, `SELECT auth_user_add('a','b',1)`, `SELECT zeroblob(1000)`, `SELECT randomblob(1000)`,
		`SELECT sqlite_compileoption_get(1)`, `SELECT changes()`, `SELECT rtreecheck('x')`, `SELECT * FROM generate_series(1,2)`,
		// A list of names of its own must not open a table of that name.
		`WITH runs AS (SELECT 1) SELECT count(*) FROM main.runs`,
		// Explaining is compiling.
		`EXPLAIN SELECT * FROM contacts`, `EXPLAIN QUERY PLAN SELECT * FROM contacts`,
	} {
		err := queryErr(s, notes, sql)
		if err == nil {
			t.Errorf("%s: allowed", sql)
		} else if err.Error() != absent.Error() && !aboutTheText.MatchString(err.Error()) {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if _, err := os.Stat("/tmp/pog-attack"); err == nil {
		t.Error("VACUUM INTO wrote a file")
	}
	if dump(t, s) != before {
		t.Error("the views changed")
	}
	verifyOK(t, s)
}

func TestQueryOneStatement(t *testing.T) {
	s := seeded(t)
	for sql, ok := range map[string]bool{
		`SELECT 1;`: true, `SELECT 1 ; ; -- end`: true, "SELECT 1; /* ; */ \n": true, `SELECT ';'`: true,
		`SELECT 1 AS "a;b"`: true, "SELECT 1 AS `a;b`": true, `SELECT 1 AS [a;b]`: true, `SELECT 'it''s;'`: true,
		`SELECT 1; SELECT 2`: false, `SELECT 1;;SELECT 2`: false, `;SELECT 1`: false, ``: false, ` -- x`: false, `;`: false,
		"SELECT 1\x00; DROP": false, `SELECT '; SELECT 2`: false, `SELECT 1 /* ; SELECT 2`: true,
	} {
		for name, r := range map[string]Reader{"owner": AllReader(), "agent": AgentReader(DomainNotes)} {
			if err := queryErr(s, r, sql); (err == nil) != ok {
				t.Errorf("%s: %q: %v", name, sql, err)
			}
		}
	}
}

// TestDomainNames reads the vectors of security.md 70: only the exact name of
// a domain grants anything.
func TestDomainNames(t *testing.T) {
	s := seeded(t)
	f, err := os.Open("../testdata/pog/kb_keys.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "# ") {
			continue
		}
		key, err := strconv.Unquote(`"` + strings.ReplaceAll(line, `"`, `\"`) + `"`)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		n++
		r := AgentReader(Domain(key))
		if err := queryErr(s, r, `SELECT * FROM notes`); err == nil {
			t.Errorf("%q reads notes", key)
		}
		if hits := search(t, s, r, SearchRequest{Text: "plan venue john"}); len(hits) > 0 {
			t.Errorf("%q finds %s", key, titles(hits))
		}
		if _, err := s.Propose(context.Background(), Agent("x", Domain(key)), note("x", "y")); !errors.Is(err, ErrDenied) {
			t.Errorf("%q writes notes: %v", key, err)
		}
		// As a search of somebody who may read notes it is only text.
		hits := search(t, s, AgentReader(DomainNotes), SearchRequest{Text: key})
		for _, h := range hits {
			if h.Domain != DomainNotes {
				t.Errorf("%q finds %+v", key, h)
			}
		}
	}
	if n < 42 {
		t.Fatalf("only %d vectors", n)
	}
}

func TestQueryLimits(t *testing.T) {
	s := seeded(t)
	notes := AgentReader(DomainNotes)
	ctx := context.Background()
	res, err := s.Query(ctx, notes, `WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT x FROM c`, nil, Limits{Rows: 5})
	if err != nil || len(res.Rows) != 5 || res.Truncated != "rows" {
		t.Errorf("%+v, %v", res, err)
	}
	res, err = s.Query(ctx, notes, `WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT printf('%.*c', 1000, 'x') FROM c`, nil, Limits{Bytes: 10_000})
	if err != nil || res.Truncated != "bytes" || len(res.Rows) > 10 {
		t.Errorf("%d rows, %v", len(res.Rows), err)
	}
	res, err = s.Query(ctx, notes, `SELECT 1 UNION ALL SELECT 2`, nil, Limits{Rows: 2})
	if err != nil || len(res.Rows) != 2 || res.Truncated != "" {
		t.Errorf("%+v, %v", res, err)
	}
	// An agent cannot ask for more than the default; the owner can.
	if got := (Limits{Rows: 1e6, Timeout: time.Hour}).within(false); got != defaultLimits {
		t.Errorf("%+v", got)
	}
	if got := (Limits{Rows: 1e6}).within(true); got.Rows != 1e6 || got.Bytes != defaultLimits.Bytes {
		t.Errorf("%+v", got)
	}
	for name, args := range map[string][]any{"too few": {}, "too many": {1, 2}, "a map": {map[string]any{}}, "too large": {strings.Repeat("x", maxArgBytes+1)}} {
		if _, err := s.Query(ctx, notes, `SELECT ?`, args, Limits{}); !errors.Is(err, ErrQuery) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := query(t, s, notes, `SELECT ?1, ?2, ?3, ?4 IS NULL, typeof(?5)`, 1, "it's; --", 2.5, nil, []byte("x")); got != "1|it's; --|2.5|1|blob" {
		t.Error(got)
	}
	if err := queryErr(s, notes, strings.Repeat("SELECT 1 -- ", 10_000)); !errors.Is(err, ErrQuery) {
		t.Errorf("long SQL: %v", err)
	}
}

// TestQueryBombs runs what would take for ever or take all memory. Each ends
// by its limit, and the store answers afterwards.
func TestQueryBombs(t *testing.T) {
	s := seeded(t)
	notes := AgentReader(DomainNotes)
	long := strings.Repeat("a", 200_000)
	for name, bomb := range map[string]struct {
		sql  string
		args []any
	}{
		"endless recursion": {`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) FROM c`, nil},
		"growing recursion": {`WITH RECURSIVE c(x) AS (SELECT printf('%.*c', 100000, 'x') UNION SELECT x || random() FROM c) SELECT count(*) FROM c`, nil},
		"sorted strings":    {`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT printf('%.*c', 100000, 'x') || x AS s FROM c ORDER BY s`, nil},
		"cross join":        {`SELECT count(*) FROM events a, events b, events c, (WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c LIMIT 1000000) SELECT x FROM c) d, (WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c LIMIT 1000000) SELECT x FROM c) e`, nil},
		"group_concat":      {`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT group_concat(printf('%.*c', 1000, 'x')) FROM c`, nil},
		"like":              {`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT sum(?1 LIKE '%a%a%a%a%a%a%a%a%a%ab%') FROM c`, []any{long}},
		"glob":              {`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT sum(?1 GLOB '*a*a*a*a*a*a*[b]*') FROM c`, []any{long}},
		"instr":             {`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT sum(instr(?1, ?2)) FROM c`, []any{long, long[:100_000] + "b"}},
		"replace":           {`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT sum(length(replace(?1, 'a', 'aa'))) FROM c`, []any{long}},
		"huge string":       {`SELECT length(printf('%.*c', 1000000000, 'x'))`, nil},
		"doubling":          {`SELECT length(replace(replace(replace(hex(?1), '6', 'aaaaaaaaaaaa'), 'a', 'bbbbbbbbbbbbb'), 'b', 'cccccccccccc'))`, []any{long}},
		"wide row":          {"SELECT " + strings.TrimSuffix(strings.Repeat("printf('%.*c', 500000, 'x'),", 2000), ","), nil},
		"deep expression":   {"SELECT " + strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000), nil},
		"many compounds":    {"SELECT 1" + strings.Repeat(" UNION SELECT 1", 1000), nil},
		"json":              {`SELECT json_extract(?1, '$.a')`, []any{strings.Repeat("[", 100_000)}},
		"similarity":        {`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT sum(similarity(?1, ?1)) FROM c`, []any{long}},
		"trigrams":          {`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT sum(length(trigrams(?1 || x))) FROM c`, []any{long}},
		"fts near":          {`SELECT count(*) FROM notes_fts WHERE notes_fts MATCH ?`, []any{"NEAR(" + strings.Repeat("a ", 30_000) + ", 1000000)"}},
		"fts parentheses":   {`SELECT count(*) FROM notes_fts WHERE notes_fts MATCH ?`, []any{strings.Repeat("(", 100_000) + "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := s.Query(context.Background(), notes, bomb.sql, bomb.args, Limits{Timeout: 100 * time.Millisecond})
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
			if err != nil && !errors.Is(err, ErrTimeLimit) && !errors.Is(err, ErrQuery) {
				t.Errorf("%v", err)
			}
			if err != nil && len(err.Error()) > 1000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			if err := queryErr(s, notes, `SELECT 1 FROM notes`); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err := s.Query(ctx, AllReader(), `WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) FROM c`, nil, Limits{Timeout: time.Hour})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the caller's deadline: %v", err)
	}
	runtime.GC()
}

// TestOwnerQuery is what the person may do and what not even the person may
// do by a query.
func TestOwnerQuery(t *testing.T) {
	s := seeded(t)
	all := AllReader()
	for sql, want := range map[string]string{
		`SELECT email FROM contacts ORDER BY id`:                                             "john@example.com\njane@example.org",
		`SELECT count(*) FROM events`:                                                        "12",
		`SELECT count(*) FROM ledger.events`:                                                 "12",
		`SELECT kind FROM events WHERE id = 8`:                                               "run.started",
		`SELECT count(*) > 0 FROM sqlite_schema`:                                             "1",
		`SELECT name FROM pragma_table_info('runs') LIMIT 1`:                                 "id",
		`PRAGMA user_version`:                                                                fmt.Sprint(viewsVersion),
		`SELECT json_extract(payload_json, '$.to[0]') FROM events WHERE kind = 'email.sent'`: "john@example.com",
	} {
		if got := query(t, s, all, sql); got != want {
			t.Errorf("%s\n got %q\nwant %q", sql, got, want)
		}
	}
	for _, sql := range []string{
		`UPDATE main.notes SET title = ''`, `DELETE FROM ledger.events`, `INSERT INTO ledger.chain VALUES(1,2,3)`, `DROP TABLE ledger.events`,
		`ATTACH ':memory:' AS x`, `PRAGMA writable_schema=ON`, `PRAGMA ledger.user_version=7`, `PRAGMA journal_mode=DELETE`, `PRAGMA query_only=OFF`,
		`VACUUM INTO '/tmp/pog-attack'`, `CREATE TEMP TABLE x(a)`, `SELECT * FROM ledger.salt`, `SELECT count(*) FROM ledger.salt`, `SELECT count(*) FROM salt`,
		`SELECT auth_user_add('a','b',1)`, `BEGIN`,
	} {
		if err := queryErr(s, all, sql); !errors.Is(err, ErrQuery) {
			t.Errorf("%s: %v", sql, err)
		}
	}
	verifyOK(t, s)
}

// TestRawAgents may see addresses, but only of what they are granted.
func TestRawAgents(t *testing.T) {
	s := seeded(t)
	r := Reader{Domains: []Domain{DomainContacts}, Raw: true}
	if got := query(t, s, r, `SELECT email FROM contacts WHERE name_norm = norm('  JÓHN  smith')`); got != "john@example.com" {
		t.Error(got)
	}
	for _, sql := range []string{`SELECT * FROM notes`, `SELECT * FROM main.emails`, `SELECT * FROM ledger.events`, `SELECT * FROM addresses`} {
		if err := queryErr(s, r, sql); !errors.Is(err, ErrQuery) {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if err := queryErr(s, Reader{}, `SELECT * FROM events`); err == nil {
		t.Error("a reader without any domain reads events")
	}
}

// TestAbsentAndNotYours compares what a reader gets for what it may not see
// with what it gets for what is not there.
func TestAbsentAndNotYours(t *testing.T) {
	s := seeded(t)
	r, ctx := AgentReader(DomainContacts), context.Background()
	plain := func(err error, name string) string { return strings.ReplaceAll(err.Error(), name, "X") }
	_, notYours := s.Event(ctx, r, 3)
	_, absent := s.Event(ctx, r, 999)
	if plain(notYours, "3") != plain(absent, "999") || !errors.Is(notYours, ErrNotFound) {
		t.Errorf("%v\n%v", notYours, absent)
	}
	_, notYours = s.Why(ctx, r, "trace:t1")
	_, absent = s.Why(ctx, r, "trace:t2")
	if plain(notYours, "t1") != plain(absent, "t2") || !errors.Is(notYours, ErrNotFound) {
		t.Errorf("%v\n%v", notYours, absent)
	}
	if events, err := s.Events(ctx, r, Filter{}); err != nil || len(events) != 2 {
		t.Errorf("%d events, %v", len(events), err)
	}
}

// TestScoresDoNotTell compares hits before and after something the reader may
// not see came in: an index over several domains would shift every score.
func TestScoresDoNotTell(t *testing.T) {
	s := seeded(t)
	r := AgentReader(DomainNotes)
	before := search(t, s, r, SearchRequest{Text: "budget"})
	for i := range 20 {
		propose(t, s, User(), contact("Budget "+strconv.Itoa(i), ""), delta("email.sent", `{"to":["a@b.c"],"subject":"budget `+strconv.Itoa(i)+`"}`))
	}
	after := search(t, s, r, SearchRequest{Text: "budget"})
	if len(before) != 1 || len(after) != 1 || before[0].Score != after[0].Score {
		t.Errorf("%+v\n%+v", before, after)
	}
}
