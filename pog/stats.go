package pog

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// Stats says how large a store is and how it is doing.
type Stats struct {
	Events    int64            `json:"events"`
	Kinds     map[string]int64 `json:"kinds"` // events by kind
	Rows      map[string]int64 `json:"rows"`  // of the views' tables
	Head      Head             `json:"head"`
	Watermark int64            `json:"watermark"` // how far the views are
	// Bytes on disk by file name, write-ahead logs included. A log that keeps
	// growing means a reader that does not end.
	Bytes map[string]int64 `json:"bytes"`
	// ViewError is why the views could last not be brought up to date.
	ViewError string `json:"view_error,omitempty"`
}

// Stats counts what is in the store.
func (s *Store) Stats(ctx context.Context) (*Stats, error) {
	out := &Stats{Kinds: map[string]int64{}, Rows: map[string]int64{}, Bytes: map[string]int64{}}
	if err := s.current(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		out.ViewError = err.Error()
	}
	err := s.ledger.use(ctx, func(c *conn) error {
		head, err := readHead(ctx, c)
		if err == nil {
			out.Head, out.Events = Head(head), head.EventID
			const kinds = `SELECT kind, count(*) FROM events GROUP BY kind`
			err = c.each(ctx, kinds, nil, func(v []driver.Value) error {
				out.Kinds[text(v[0])] = integer(v[1])
				return nil
			})
		}
		return storageError("read", c.path, err)
	})
	if err != nil {
		return nil, err
	}
	out.sizes(s.ledgerDB.path, s.viewsDB.path)
	if out.ViewError != "" {
		return out, nil
	}
	return out, s.countRows(ctx, out)
}

func (st *Stats) sizes(paths ...string) {
	for _, path := range paths {
		for _, suffix := range []string{"", "-wal"} {
			if info, err := os.Stat(path + suffix); err == nil {
				st.Bytes[info.Name()] = info.Size()
			}
		}
	}
}

func (s *Store) countRows(ctx context.Context, out *Stats) error {
	return s.reader(AllReader()).use(ctx, func(c *conn) error {
		mark, err := readWatermark(c)
		out.Watermark = mark.EventID
		for _, t := range viewTables() {
			if err == nil {
				out.Rows[t.name], err = c.int(`SELECT count(*) FROM main.` + t.name)
			}
		}
		return storageError("read", c.path, err)
	})
}

// DumpViews writes everything the views hold, one JSON line a row, in an
// order that depends only on the contents: two stores with the same ledger
// have the same dump. Full-text indexes are dumped as the terms they hold;
// how SQLite lays them out depends on when transactions ended.
func (s *Store) DumpViews(ctx context.Context, w io.Writer) error {
	if err := s.current(ctx); err != nil {
		return err
	}
	c, err := openReader(s.viewsDB)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.script(`PRAGMA query_only=OFF`); err != nil { // for the temporary vocabulary tables
		return storageError("dump", c.path, err)
	}
	d := dumper{ctx: ctx, c: c, enc: json.NewEncoder(w)}
	d.tables()
	d.indexes()
	return storageError("dump", c.path, d.err)
}

type dumper struct {
	ctx context.Context
	c   *conn
	enc *json.Encoder
	err error
}

// tables dumps the ordinary tables. Snapshots and meta are no views: they
// log what was done to them.
func (d *dumper) tables() {
	for _, t := range [][2]string{
		{"materializer_state", "1"}, {"entity_history", "1, 2"}, {"edges", "1, 2, 3, 4"},
		{"contact_aliases", "1"}, {"addresses", "1, 2, 3"}, {"embeddings", "1"},
	} {
		d.query(t[0], `SELECT * FROM `+t[0]+` ORDER BY `+t[1])
	}
	names := []string{}
	for _, t := range viewTables() {
		names = append(names, t.name, "safe_"+t.name)
	}
	for _, domain := range Domains() {
		names = append(names, eventsTable(domain))
	}
	for _, name := range names {
		d.query(name, `SELECT * FROM `+name+` ORDER BY id`)
	}
}

// indexes dumps each full-text index as (term, document, column, place)
// (https://www.sqlite.org/fts5.html#the_fts5vocab_virtual_table_module).
func (d *dumper) indexes() {
	names := []string{"contacts_tri"}
	for _, t := range viewTables() {
		if len(t.fts) > 0 {
			names = append(names, t.name+"_fts")
		}
	}
	for _, name := range names {
		if d.err == nil {
			d.err = d.c.script(fmt.Sprintf(
				`CREATE VIRTUAL TABLE temp.terms_%[1]s USING fts5vocab(main, %[1]s, instance)`, name))
		}
		d.query(name, `SELECT term, doc, col, "offset" FROM temp.terms_`+name+` ORDER BY 1, 2, 3, 4`)
	}
}

func (d *dumper) query(name, sql string) {
	if d.err != nil {
		return
	}
	d.err = d.c.each(d.ctx, sql, nil, func(v []driver.Value) error {
		line := []any{name}
		for _, value := range v {
			if b, ok := value.([]byte); ok {
				value = fmt.Sprintf("%x", b)
			} else if s, ok := value.(string); ok {
				value = strings.ToValidUTF8(s, "�")
			}
			line = append(line, value)
		}
		return d.enc.Encode(line)
	})
}
