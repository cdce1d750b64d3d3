package pog

import (
	"fmt"
	"strings"
)

// viewTable describes one table of the views. Every one exists twice: under
// its own name with what the events say, and as safe_<name> with every
// address masked. Restricted readers and the full-text indexes use only the
// second.
type viewTable struct {
	name    string
	domain  Domain
	key     string   // columns that name a row
	columns []column // without id and the common ones
	indexes []string
	fts     []string // columns of <name>_fts
}

// column is one column of a viewTable.
type column struct {
	name string
	decl string // SQL type; TEXT columns are masked in the safe table
	// derive computes the column from another after masking, so that a form
	// that is no longer recognized as an address cannot slip through.
	derive func(string) string
	from   string
}

// commonColumns end every viewTable: when and by whom the row was last
// brought up to date, whether a person stands behind it, and the event.
var commonColumns = []column{
	{name: "ts_ms", decl: "INTEGER"},
	{name: "actor", decl: "TEXT"},
	{name: "confirmed", decl: "INTEGER"},
	{name: "source_event", decl: "INTEGER"},
}

// The tables of spec/05. They are never written after start-up.
var (
	contactsTable = viewTable{name: "contacts", domain: DomainContacts, key: "contact_key",
		columns: []column{
			{name: "contact_key", decl: "TEXT"},
			{name: "external_id", decl: "TEXT"},
			{name: "name", decl: "TEXT"},
			{name: "email", decl: "TEXT"},
			{name: "emails", decl: "TEXT"}, // JSON array: further and former addresses
			{name: "org", decl: "TEXT"},
			{name: "title", decl: "TEXT"},
			{name: "trust", decl: "REAL"},
			{name: "tags", decl: "TEXT"}, // JSON array
			{name: "source", decl: "TEXT"},
			{name: "name_norm", decl: "TEXT", from: "name", derive: normalizeName},
			{name: "first_norm", decl: "TEXT", from: "name",
				derive: func(name string) string { return firstWord(normalizeName(name)) }},
		},
		indexes: []string{"email", "name_norm", "first_norm"},
		fts:     []string{"name", "org", "title", "email", "emails", "tags"},
	}
	notesTable = viewTable{name: "notes", domain: DomainNotes, key: "note_key",
		columns: []column{
			{name: "note_key", decl: "TEXT"},
			{name: "title", decl: "TEXT"},
			{name: "body", decl: "TEXT"},
			{name: "source", decl: "TEXT"},
			{name: "tags", decl: "TEXT"}, // JSON array
		},
		fts: []string{"title", "body", "tags"},
	}
	artifactsTable = viewTable{name: "artifacts", domain: DomainArtifacts, key: "artifact_id",
		columns: []column{
			{name: "artifact_id", decl: "TEXT"},
			{name: "kind", decl: "TEXT"},
			{name: "path", decl: "TEXT"},
			{name: "sha256", decl: "TEXT"},
			{name: "name", decl: "TEXT"},
			{name: "size", decl: "INTEGER"},
			{name: "media_type", decl: "TEXT"},
			{name: "summary", decl: "TEXT"},
			{name: "trace_id", decl: "TEXT"},
		},
		indexes: []string{"sha256", "trace_id"},
		fts:     []string{"name", "kind", "summary", "path"},
	}
	emailsTable = viewTable{name: "emails", domain: DomainEmail, key: "id",
		columns: []column{
			{name: "sent_to", decl: "TEXT"}, // JSON array
			{name: "cc", decl: "TEXT"},      // JSON array
			{name: "subject", decl: "TEXT"},
			{name: "artifact_id", decl: "TEXT"},
			{name: "message_id", decl: "TEXT"},
			{name: "status", decl: "TEXT"},
			{name: "delivered_at_ms", decl: "INTEGER"},
			{name: "trace_id", decl: "TEXT"},
		},
		fts: []string{"subject", "sent_to", "cc"},
	}
	accountsTable = viewTable{name: "accounts", domain: DomainAccounts, key: "kind, handle",
		columns: []column{
			{name: "kind", decl: "TEXT"},
			{name: "handle", decl: "TEXT"},
			{name: "auth_ref", decl: "TEXT"},
			{name: "scopes", decl: "TEXT"}, // JSON array
			{name: "verified", decl: "INTEGER"},
		},
	}
	runsTable = viewTable{name: "runs", domain: DomainRuns, key: "trace_id",
		columns: []column{
			{name: "trace_id", decl: "TEXT"},
			{name: "opening_id", decl: "TEXT"},
			{name: "opening_name", decl: "TEXT"},
			{name: "state", decl: "TEXT"}, // running, paused, or the status it finished with
			{name: "error", decl: "TEXT"},
			{name: "started_ms", decl: "INTEGER"},
			{name: "finished_ms", decl: "INTEGER"},
		},
		indexes: []string{"state"},
	}
	nodesTable = viewTable{name: "nodes", domain: DomainRuns, key: "trace_id, node, attempt",
		columns: []column{
			{name: "trace_id", decl: "TEXT"},
			{name: "node", decl: "TEXT"},
			{name: "attempt", decl: "INTEGER"},
			{name: "agent", decl: "TEXT"},
			{name: "state", decl: "TEXT"}, // running, or the status it finished with
			{name: "error", decl: "TEXT"},
			{name: "started_ms", decl: "INTEGER"},
			{name: "finished_ms", decl: "INTEGER"},
		},
	}
	actionsTable = viewTable{name: "actions", domain: DomainActions, key: "action_id",
		columns: []column{
			{name: "action_id", decl: "TEXT"},
			{name: "trace_id", decl: "TEXT"},
			{name: "node", decl: "TEXT"},
			{name: "agent", decl: "TEXT"},
			{name: "kind", decl: "TEXT"},
			{name: "summary", decl: "TEXT"},
			{name: "digest", decl: "TEXT"},
			{name: "state", decl: "TEXT"}, // requested, approved, denied
			{name: "decided_by", decl: "TEXT"},
			{name: "rationale", decl: "TEXT"},
			{name: "requested_ms", decl: "INTEGER"},
			{name: "decided_ms", decl: "INTEGER"},
		},
		indexes: []string{"state"},
	}
)

// viewTables lists them in the order they are created and dumped in.
func viewTables() []*viewTable {
	return []*viewTable{&contactsTable, &notesTable, &artifactsTable, &emailsTable, &accountsTable,
		&runsTable, &nodesTable, &actionsTable}
}

// all returns the columns after id.
func (t *viewTable) all() []column {
	return append(t.columns[:len(t.columns):len(t.columns)], commonColumns...)
}

// names returns "id" and the names of all columns.
func (t *viewTable) names() []string {
	names := []string{"id"}
	for _, c := range t.all() {
		names = append(names, c.name)
	}
	return names
}

// ddl creates the table, its masked twin and its full-text index.
func (t *viewTable) ddl() string {
	var b strings.Builder
	for _, name := range []string{t.name, "safe_" + t.name} {
		fmt.Fprintf(&b, "CREATE TABLE %s(\n  id INTEGER PRIMARY KEY", name)
		for _, c := range t.all() {
			fmt.Fprintf(&b, ",\n  %s %s", c.name, c.decl)
		}
		b.WriteString("\n);\n")
		if t.key != "id" {
			fmt.Fprintf(&b, "CREATE INDEX %s_key ON %s(%s);\n", name, name, t.key)
		}
		for _, column := range t.indexes {
			fmt.Fprintf(&b, "CREATE INDEX %s_%s ON %s(%s);\n", name, column, name, column)
		}
	}
	fmt.Fprintf(&b, "CREATE INDEX %[1]s_source ON %[1]s(source_event);\n", t.name)
	if len(t.fts) > 0 {
		b.WriteString(ftsDDL(t.name+"_fts", "safe_"+t.name, t.fts, "unicode61 remove_diacritics 2"))
	}
	return b.String()
}

// ftsDDL creates an index over columns of content. The text stays in content
// (https://www.sqlite.org/fts5.html#external_content_tables); triggers keep
// the index in step with it.
func ftsDDL(name, content string, columns []string, tokenizer string) string {
	list := strings.Join(columns, ", ")
	oldRow := "old." + strings.Join(columns, ", old.")
	newRow := "new." + strings.Join(columns, ", new.")
	remove := fmt.Sprintf("INSERT INTO %[1]s(%[1]s, rowid, %[2]s) VALUES('delete', old.id, %[3]s);",
		name, list, oldRow)
	add := fmt.Sprintf("INSERT INTO %s(rowid, %s) VALUES(new.id, %s);", name, list, newRow)
	return fmt.Sprintf(`CREATE VIRTUAL TABLE %[1]s USING fts5(%[2]s,
  content='%[3]s', content_rowid='id', tokenize='%[4]s');
CREATE TRIGGER %[1]s_insert AFTER INSERT ON %[3]s BEGIN %[6]s END;
CREATE TRIGGER %[1]s_delete AFTER DELETE ON %[3]s BEGIN %[5]s END;
CREATE TRIGGER %[1]s_update AFTER UPDATE OF %[2]s ON %[3]s BEGIN %[5]s %[6]s END;
`, name, list, content, tokenizer, remove, add)
}

// eventsTable is the name of the masked events of one domain. Each domain
// has its own, because SQLite's authorizer sees tables, not rows: what a
// reader may read must be whole tables.
func eventsTable(d Domain) string { return "events_" + string(d) }

// eventColumns are the columns of the masked events.
const eventColumns = "id, ts_ms, actor, kind, scope, trace_id, confirmed, payload_json, provenance_json"

// selectEvents unites the masked events of some domains.
func selectEvents(domains []Domain) string {
	parts := make([]string, 0, len(domains))
	for _, d := range domains {
		parts = append(parts, fmt.Sprintf("SELECT %s, '%s' AS domain FROM main.%s",
			eventColumns, d, eventsTable(d)))
	}
	return strings.Join(parts, " UNION ALL ")
}

// fixedDDL is what the views have besides the viewTables.
const fixedDDL = `
CREATE TABLE materializer_state(
  id INTEGER PRIMARY KEY CHECK(id = 1), watermark INTEGER NOT NULL, seal BLOB);
INSERT INTO materializer_state(id, watermark, seal) VALUES(1, 0, zeroblob(32));
CREATE TABLE meta(schema_version TEXT, dirty INTEGER, ts DATETIME);
CREATE TABLE IF NOT EXISTS snapshots(
  id INTEGER PRIMARY KEY, ts INTEGER, events_high_watermark INTEGER, comment TEXT);
CREATE TABLE embeddings(item_id INTEGER PRIMARY KEY, dim INTEGER, embedding BLOB, meta TEXT);
CREATE TABLE entity_history(entity_key TEXT, event_id INTEGER,
  PRIMARY KEY(entity_key, event_id)) WITHOUT ROWID;
CREATE INDEX entity_history_event ON entity_history(event_id);
CREATE TABLE edges(from_id TEXT, kind TEXT, to_id TEXT, source_event INTEGER,
  PRIMARY KEY(from_id, kind, to_id, source_event)) WITHOUT ROWID;
CREATE INDEX edges_to ON edges(to_id, kind);
CREATE TABLE contact_aliases(alias TEXT PRIMARY KEY, contact_id INTEGER) WITHOUT ROWID;
CREATE TABLE addresses(address TEXT, tbl TEXT, row_id INTEGER,
  PRIMARY KEY(address, tbl, row_id)) WITHOUT ROWID;
CREATE INDEX addresses_row ON addresses(tbl, row_id);
`

// viewsDDL creates everything.
func viewsDDL() string {
	var b strings.Builder
	b.WriteString(fixedDDL)
	for _, t := range viewTables() {
		b.WriteString(t.ddl())
	}
	b.WriteString(ftsDDL("contacts_tri", "safe_contacts", []string{"name_norm"}, "trigram"))
	for _, d := range Domains() {
		name := eventsTable(d)
		fmt.Fprintf(&b, `CREATE TABLE %[1]s(
  id INTEGER PRIMARY KEY, ts_ms INTEGER, actor TEXT, kind TEXT, scope TEXT, trace_id TEXT,
  confirmed INTEGER, payload_json TEXT, provenance_json TEXT);
CREATE INDEX %[1]s_kind ON %[1]s(kind, ts_ms);
CREATE INDEX %[1]s_trace ON %[1]s(trace_id) WHERE trace_id IS NOT NULL;
`, name)
	}
	// A view of the file itself cannot name its schema.
	all := strings.ReplaceAll(selectEvents(Domains()), "main.", "")
	b.WriteString("CREATE VIEW events AS " + all + ";\n")
	return b.String()
}
