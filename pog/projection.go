package pog

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"strings"
)

// record is one event on its way into the views.
type record struct {
	Event
	prov  storedProvenance
	trace string // normalized, "" when it belongs to no run
	// confirmed says that a person stands behind the event.
	confirmed bool
}

func (r *record) byAgent() bool { return strings.HasPrefix(r.Actor, "agent:") }

// projection writes views. What it writes depends on the events, the salt
// and nothing else.
type projection struct {
	db  *conn
	red *redactor
	sql map[*viewTable][2]string // how save writes the table and its twin
}

// row is one row of a viewTable by column name; "id" is among them.
type row map[string]any

func (r row) str(name string) string { s, _ := r[name].(string); return s }

// maxViewPayload bounds the payload an events view repeats. Traces of runs
// are far larger and are read from the ledger.
const maxViewPayload = 64 << 10

// apply derives everything that follows from one event.
func (p *projection) apply(r *record) error {
	r.prov = parseProvenance(r.Provenance)
	r.trace = traceOf(r)
	r.confirmed = r.Actor == actorUser
	if err := p.saveEvent(r); err != nil {
		return err
	}
	for _, id := range r.prov.Evidence {
		if err := p.edge(r, eventKey(r.ID), "evidence", eventKey(id)); err != nil {
			return err
		}
	}
	if err := p.confirm(r); err != nil {
		return err
	}
	if r.trace != "" {
		if err := p.history(r, "trace:"+r.trace); err != nil {
			return err
		}
	}
	if k, ok := builtinKinds[r.Kind]; ok && k.project != nil {
		return k.project(p, r)
	}
	return nil
}

// saveEvent writes the masked event into its domain's events table.
func (p *projection) saveEvent(r *record) error {
	var trace any // NULL for none, which the index leaves out
	if r.trace != "" {
		trace = r.trace
	}
	payload := string(r.Payload)
	if len(payload) > maxViewPayload {
		payload = fmt.Sprintf(`{"omitted_bytes":%d}`, len(payload))
	} else {
		payload = string(p.red.maskJSON(r.Payload))
	}
	return p.db.exec(`INSERT INTO `+eventsTable(domainOf(r.Kind))+`(`+eventColumns+`)
		VALUES(?,?,?,?,?,?,?,?,?)`,
		r.ID, r.TSMillis, r.Actor, r.Kind, r.Scope, trace, r.confirmed, payload,
		string(p.red.maskJSON(r.Provenance)))
}

// confirm marks what a user's event cites as confirmed by a person. A
// refusal cites what it refuses; it confirms nothing.
func (p *projection) confirm(r *record) error {
	if !r.confirmed || len(r.prov.Evidence) == 0 {
		return nil
	}
	if r.Kind == "action.decided" {
		var d struct{ Approved bool }
		if json.Unmarshal(r.Payload, &d) != nil || !d.Approved {
			return nil
		}
	}
	for _, id := range r.prov.Evidence {
		for _, d := range Domains() {
			err := p.db.exec(`UPDATE `+eventsTable(d)+` SET confirmed = 1 WHERE id = ?`, id)
			if err != nil {
				return err
			}
		}
		for _, t := range viewTables() {
			for _, name := range []string{"safe_" + t.name, t.name} {
				if err := p.db.exec(`UPDATE `+name+` SET confirmed = 1 WHERE id IN
					(SELECT id FROM `+t.name+` WHERE source_event = ?)`, id); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// history notes that an event is about an entity. Ids that came in an event
// may hold an address; history and edges have no raw twin, so they are
// masked.
func (p *projection) history(r *record, entity string) error {
	return p.db.exec(`INSERT OR IGNORE INTO entity_history(entity_key, event_id) VALUES(?,?)`,
		p.red.mask(entity), r.ID)
}

func (p *projection) edge(r *record, from, kind, to string) error {
	return p.db.exec(`INSERT OR IGNORE INTO edges(from_id, kind, to_id, source_event) VALUES(?,?,?,?)`,
		p.red.mask(from), kind, p.red.mask(to), r.ID)
}

// cite writes one edge per cited event.
func (p *projection) cite(r *record, from string, ids []int64) error {
	for _, id := range ids {
		if err := p.edge(r, from, "cites", eventKey(id)); err != nil {
			return err
		}
	}
	return nil
}

// find returns the row that where selects, or nil.
func (p *projection) find(t *viewTable, where string, args ...any) (row, error) {
	names := t.names()
	var found row
	sql := fmt.Sprintf(`SELECT %s FROM %s WHERE %s LIMIT 1`, strings.Join(names, ", "), t.name, where)
	err := p.db.each(context.Background(), sql, args, func(values []driver.Value) error {
		found = row{}
		for i, name := range names {
			if values[i] != nil {
				found[name] = values[i]
			}
		}
		return nil
	})
	return found, err
}

// save writes a row and its masked twin, stamped with the event it comes
// from. A row without an id is new and takes the event's.
func (p *projection) save(t *viewTable, r *record, v row) error {
	fresh := v["id"] == nil
	if fresh {
		v["id"] = r.ID
	}
	v["ts_ms"], v["actor"], v["source_event"] = r.TSMillis, r.Actor, r.ID
	v["confirmed"] = r.confirmed
	return p.write(t, v, fresh)
}

// write stores a row as it is; fresh says that there was none of its id.
func (p *projection) write(t *viewTable, v row, fresh bool) error {
	sql := p.upserts(t)
	if err := p.db.exec(sql[0], t.values(v)...); err != nil {
		return err
	}
	safe := make(row, len(v))
	addresses := map[string]bool{}
	for name, value := range v {
		safe[name] = value
		if s, ok := value.(string); ok && hasAddress(s) {
			safe[name] = p.red.mask(s)
			collectAddresses(s, addresses)
		}
	}
	if err := p.db.exec(sql[1], t.values(safe)...); err != nil {
		return err
	}
	return p.saveAddresses(t, v["id"], addresses, fresh)
}

// saveAddresses replaces what the raw readers' address index has for a row.
func (p *projection) saveAddresses(t *viewTable, id any, set map[string]bool, fresh bool) error {
	if len(t.fts) == 0 {
		return nil
	}
	if !fresh {
		err := p.db.exec(`DELETE FROM addresses WHERE tbl = ? AND row_id = ?`, t.name, id)
		if err != nil {
			return err
		}
	}
	for address := range set {
		err := p.db.exec(`INSERT OR IGNORE INTO addresses(address, tbl, row_id) VALUES(?,?,?)`,
			address, t.name, id)
		if err != nil {
			return err
		}
	}
	return nil
}

// upserts returns how to write a row of t and of its twin.
func (p *projection) upserts(t *viewTable) [2]string {
	if sql, ok := p.sql[t]; ok {
		return sql
	}
	names := t.names()
	set := make([]string, 0, len(names))
	for _, name := range names[1:] {
		set = append(set, name+" = excluded."+name)
	}
	tail := `(` + strings.Join(names, ", ") + `) VALUES(?` + strings.Repeat(",?", len(names)-1) +
		`) ON CONFLICT(id) DO UPDATE SET ` + strings.Join(set, ", ")
	sql := [2]string{`INSERT INTO ` + t.name + tail, `INSERT INTO safe_` + t.name + tail}
	if p.sql == nil {
		p.sql = map[*viewTable][2]string{}
	}
	p.sql[t] = sql
	return sql
}

// values puts a row into the order of the table's columns and computes the
// derived ones.
func (t *viewTable) values(v row) []any {
	out := []any{v["id"]}
	for _, c := range t.all() {
		if c.derive != nil {
			out = append(out, c.derive(v.str(c.from)))
			continue
		}
		out = append(out, v[c.name])
	}
	return out
}

// jsonList stores a list of strings as SQL can take it apart (json_each).
func jsonList(list []string) any {
	if len(list) == 0 {
		return nil
	}
	doc, err := json.Marshal(list)
	if err != nil {
		return nil
	}
	return string(doc)
}

func eventKey(id int64) string { return fmt.Sprintf("event:%d", id) }

// traceOf finds the run an event belongs to.
func traceOf(r *record) string {
	if r.prov.TraceID != "" {
		return normalizeTrace(r.prov.TraceID)
	}
	var p struct {
		TraceID string `json:"trace_id"`
	}
	if !strings.Contains(string(r.Payload), `"trace_id"`) || json.Unmarshal(r.Payload, &p) != nil {
		return ""
	}
	return normalizeTrace(p.TraceID)
}

// applyAfter applies up to passEvents events after mark. It returns how many
// there were and the link of the last one, which is mark when there was none.
func (p *projection) applyAfter(ctx context.Context, ledger *conn, mark link) (int, link, error) {
	n := 0
	sql := selectRecord + ` WHERE e.id > ? ORDER BY e.id LIMIT ?`
	err := ledger.each(ctx, sql, []any{mark.EventID, passEvents}, func(v []driver.Value) error {
		r := &record{Event: scanEvent(v)}
		if err := p.apply(r); err != nil {
			return storageError(fmt.Sprintf("derive event %d into", r.ID), p.db.path, err)
		}
		mark = link{EventID: r.ID, Seal: toHash(v[eventWidth])}
		n++
		return nil
	})
	return n, mark, storageError("read", ledger.path, err)
}
