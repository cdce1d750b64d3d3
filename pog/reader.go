package pog

import (
	"fmt"
	"slices"
	"strings"
)

// Reader is who reads, and what it may see. The host makes it from an
// agent's capabilities; nothing in a query can widen it.
type Reader struct {
	// Domains that it may read (kb_read); AllDomains means every one. Only
	// exact names count.
	Domains    []Domain
	AllDomains bool
	// Raw shows addresses as they are (contacts_raw); otherwise they are
	// masked, in rows, search hits and provenance alike.
	Raw bool

	owner bool
}

// AllReader is the person the store belongs to: every domain, nothing
// masked, the schema, and the ledger itself as ledger.events.
func AllReader() Reader { return Reader{AllDomains: true, Raw: true, owner: true} }

// AgentReader is an agent that may read some domains, with addresses masked.
func AgentReader(domains ...Domain) Reader { return Reader{Domains: domains} }

// domains returns what is granted, in a fixed order.
func (r Reader) domains() []Domain {
	var out []Domain
	for _, d := range Domains() {
		if r.may(d) {
			out = append(out, d)
		}
	}
	return out
}

func (r Reader) may(d Domain) bool {
	return d.known() && (r.AllDomains || slices.Contains(r.Domains, d))
}

// signature is equal for readers that may see the same.
func (r Reader) signature() string {
	return fmt.Sprintf("%v %v %v %v", r.owner, r.Raw, r.AllDomains, r.domains())
}

// tables returns the view tables of the granted domains.
func (r Reader) tables() []*viewTable {
	var out []*viewTable
	for _, t := range viewTables() {
		if r.may(t.domain) {
			out = append(out, t)
		}
	}
	return out
}

// source is the real table behind a public name.
func (r Reader) source(t *viewTable) string {
	if r.Raw {
		return t.name
	}
	return "safe_" + t.name
}

// publicViews returns the SQL of the temporary views a reader's connection
// has: the public names, over the tables it may read. SQLite resolves an
// unqualified name in the temporary schema first.
func (r Reader) publicViews() string {
	var b strings.Builder
	for _, t := range r.tables() {
		fmt.Fprintf(&b, "CREATE TEMP VIEW %s AS SELECT %s FROM main.%s;\n",
			t.name, strings.Join(t.names(), ", "), r.source(t))
	}
	switch {
	case r.owner:
		b.WriteString(`CREATE TEMP VIEW events AS SELECT id, ts_ms, actor, kind, scope, whole(payload_json) AS payload_json,
			provenance_json, lower(hex(hash_blake3)) AS hash_blake3 FROM ledger.events;`)
	case len(r.domains()) > 0:
		fmt.Fprintf(&b, "CREATE TEMP VIEW events AS %s;\n", selectEvents(r.domains()))
	}
	return b.String()
}

// policy is what a connection's authorizer allows
// (https://www.sqlite.org/c3ref/c_alter_table.html). go-sqlite3 does not pass
// on which view a table is read through, so a table is either allowed whole
// or not at all: the real tables behind the views hold nothing the views do
// not show.
type policy struct {
	owner   bool
	allowed map[string]bool // "schema.table", lower case
	exists  map[string]bool // names of all tables, lower case
	denied  bool            // something was denied since it was last reset
}

// newPolicy allows r's tables; tables lists every table of the file.
func newPolicy(r Reader, tables []string) *policy {
	p := &policy{owner: r.owner, allowed: map[string]bool{}, exists: map[string]bool{}}
	for _, name := range tables {
		p.exists[strings.ToLower(name)] = true
	}
	allow := func(schema string, names ...string) {
		for _, name := range names {
			p.allowed[schema+"."+name] = true
		}
	}
	for _, t := range r.tables() {
		allow("temp", t.name)
		allow("main", r.source(t), "safe_"+t.name) // an index reads its text from safe_
		if len(t.fts) > 0 {
			allow("main", ftsTables(t.name+"_fts")...)
		}
	}
	if r.may(DomainContacts) {
		allow("main", ftsTables("contacts_tri")...)
	}
	for _, d := range r.domains() {
		allow("main", eventsTable(d))
	}
	allow("temp", "events")
	if r.AllDomains {
		allow("main", "edges", "entity_history")
	}
	if r.Raw && r.AllDomains {
		allow("main", "addresses")
	}
	allow("main", "json_each", "json_tree") // table-valued functions of their arguments
	return p
}

// ftsTables are an FTS5 table and the shadow tables its module reads
// (https://www.sqlite.org/fts5.html#fts5_data_structures).
func ftsTables(name string) []string {
	return []string{name, name + "_data", name + "_idx", name + "_docsize", name + "_config"}
}

// Action codes of sqlite3_set_authorizer; the driver exports only some.
const (
	actPragma    = 19
	actRead      = 20
	actSelect    = 21
	actFunction  = 31
	actRecursive = 33

	authOK   = 0
	authDeny = 1
)

// authorize is called by SQLite while it compiles a statement. Whatever is
// not named here is denied: writes, ATTACH, transactions, schema changes.
func (p *policy) authorize(action int, a, b, schema string) int {
	ok := false
	switch action {
	case actSelect, actRecursive:
		ok = true // a recursion ends at the time limit
	case actRead:
		ok = p.mayRead(strings.ToLower(a), b, strings.ToLower(schema))
	case actFunction:
		ok = p.mayCall(strings.ToLower(b))
	case actPragma:
		ok = p.mayPragma(strings.ToLower(a), b)
	}
	if !ok {
		p.denied = true
		return authDeny
	}
	return authOK
}

// mayRead decides about one column of one table. A table of which no column
// is used comes without a schema; so does a name of the query's own WITH
// clause, which is told from a table by not being one.
func (p *policy) mayRead(table, column, schema string) bool {
	if table == "salt" {
		return false // not even the owner's queries: it would end up in a terminal
	}
	if p.owner {
		return true
	}
	if schema == "" && column == "" {
		builtin := strings.HasPrefix(table, "sqlite_") || strings.HasPrefix(table, "pragma_")
		own := !p.exists[table] && !builtin
		return own || p.allowed["temp."+table] || p.allowed["main."+table]
	}
	return p.allowed[schema+"."+table]
}

// ownerPragmas only report, when they have no argument or name a table.
var ownerPragmas = map[string]bool{
	"table_info": true, "table_xinfo": true, "table_list": true, "index_list": true, "index_info": true,
	"index_xinfo": true, "foreign_key_list": true,
}

var ownerPlainPragmas = map[string]bool{
	"application_id": true, "compile_options": true, "database_list": true, "data_version": true,
	"freelist_count": true, "function_list": true, "integrity_check": true, "journal_mode": true,
	"page_count": true, "page_size": true, "quick_check": true, "schema_version": true,
	"synchronous": true, "user_version": true,
}

// mayPragma allows what FTS5 itself asks for, and to the owner what reports.
func (p *policy) mayPragma(name, argument string) bool {
	if name == "data_version" && argument == "" {
		return true
	}
	return p.owner && (ownerPragmas[name] || ownerPlainPragmas[name] && argument == "")
}

// mayCall is a list of what may be called, because functions are where a
// SQLite build differs: the driver adds some that manage users, the FTS
// modules some that take pointers.
func (p *policy) mayCall(function string) bool { return sqlFunctions[function] }

var sqlFunctions = setOf(`abs avg char coalesce concat concat_ws count cume_dist date datetime dense_rank
	first_value format glob group_concat hex if ifnull iif instr json json_array json_array_length
	json_each json_error_position json_extract json_group_array json_group_object json_insert json_object
	json_patch json_pretty json_quote json_remove json_replace json_set json_tree json_type json_valid
	-> ->> julianday lag last_value lead length like likely likelihood lower ltrim match max min nth_value
	ntile nullif octet_length percent_rank printf quote random rank replace round row_number rtrim sign
	sqlite_version strftime string_agg substr substring subtype sum time timediff total trim typeof
	unhex unicode unixepoch unlikely upper
	bm25 highlight snippet norm similarity trigrams whole`)

func setOf(words string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(words) {
		set[w] = true
	}
	return set
}
