package pog

import (
	"context"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// SearchRequest says what to look for and where. Only Text is required.
type SearchRequest struct {
	Text string // words; the last one also matches as a beginning
	K    int    // most hits to return; default 10, at most 100
	// Domains to look in; those that are not granted, or have no index, find
	// nothing. None means all.
	Domains []Domain
	Kinds   []string  // kinds of the source event
	Actor   string    // who said it
	Since   time.Time // source event not before
	Until   time.Time // source event before
	// ConfirmedOnly leaves out what no person stands behind.
	ConfirmedOnly bool
}

// Hit is one thing found.
type Hit struct {
	Entity    string  `json:"entity"` // contact:…, note:…, artifact:…, event:…
	Domain    Domain  `json:"domain"`
	Kind      string  `json:"kind"` // of the source event
	Title     string  `json:"title"`
	Excerpt   string  `json:"excerpt"`
	Score     float64 `json:"score"` // higher is better; comparable within one answer only
	EventID   int64   `json:"event_id"`
	TSMillis  int64   `json:"ts_ms"`
	Actor     string  `json:"actor"`
	Confirmed bool    `json:"confirmed"`
	// FoundBy names the lists it was on: name, words, any_word, fuzzy, address.
	FoundBy []string `json:"found_by"`
}

// Bounds of a search.
const (
	defaultHits    = 10
	maxHits        = 100
	maxSearchText  = 2000 // bytes; more is cut
	maxSearchWords = 32
	searchTimeout  = 5 * time.Second
	// candidates is how many of each list are fused: more than are returned,
	// since a hit in the middle of two lists may be the best.
	candidates = 3 * maxHits
)

// searchable is one table with a full-text index.
type searchable struct {
	*viewTable
	kind    string // the only kind of event it is made from
	entity  string // SQL for the entity's name
	title   string // SQL
	body    string // SQL for the text of the excerpt
	weights string // of the index's columns, for bm25
}

// searchables lists them; it is never written.
var searchables = []searchable{{
	viewTable: &contactsTable, kind: "contact.upserted",
	entity: "'contact:' || t.contact_key", title: "t.name",
	body:    "concat_ws(' · ', nullif(t.email, ''), nullif(t.org, ''), nullif(t.title, ''))",
	weights: "8, 3, 2, 4, 2, 1",
}, {
	viewTable: &notesTable, kind: "note.added",
	entity: "'note:' || t.note_key", title: "t.title", body: "t.body",
	weights: "4, 1, 2",
}, {
	viewTable: &artifactsTable, kind: "artifact.created",
	entity: "'artifact:' || t.artifact_id", title: "coalesce(nullif(t.name, ''), t.kind)",
	body:    "coalesce(nullif(t.summary, ''), t.path)",
	weights: "4, 1, 2, 1",
}, {
	viewTable: &emailsTable, kind: "email.sent",
	entity: "'event:' || t.id", title: "t.subject", body: "t.sent_to",
	weights: "3, 1, 1",
}}

// Search finds contacts, notes, artifacts and emails by words. The text is
// data: nothing in it is syntax. Addresses in it match masked ones too, so a
// restricted reader finds a contact by an address it was given.
func (s *Store) Search(ctx context.Context, r Reader, req SearchRequest) ([]Hit, error) {
	text := strings.ToValidUTF8(req.Text, " ")
	if len(text) > maxSearchText {
		text = strings.ToValidUTF8(text[:maxSearchText], "")
	}
	if req.K <= 0 {
		req.K = defaultHits
	}
	req.K = min(req.K, maxHits)
	if err := s.fresh(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	hits := []Hit{}
	err := s.reader(r).use(ctx, func(c *conn) error {
		f := finder{c: c, ctx: ctx, r: r, req: &req, words: s.searchWords(text)}
		err := f.run(text)
		for _, found := range fuse(f.lists, req.K) {
			if err == nil {
				hits, err = f.describe(hits, found)
			}
		}
		return storageError("search", c.path, err)
	})
	if err != nil {
		return nil, err
	}
	return hits, nil
}

// searchWords splits text into words, with addresses masked as the index has
// them, and drops what has nothing to look up.
func (s *Store) searchWords(text string) []string {
	var words []string
	for _, w := range strings.Fields(s.red.mask(strings.ReplaceAll(text, "\x00", " "))) {
		if strings.IndexFunc(w, isWordRune) >= 0 && len(words) < maxSearchWords {
			words = append(words, w)
		}
	}
	return words
}

// isWordRune says whether r is part of a word for a full-text index.
func isWordRune(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// matchExpr is the FTS5 expression for words joined by an operator. Every
// word is a string, in which only the quote means anything
// (https://www.sqlite.org/fts5.html#fts5_strings).
func matchExpr(words []string, operator string) string {
	var b strings.Builder
	for i, w := range words {
		if i > 0 {
			b.WriteString(operator)
		}
		b.WriteString(`"` + strings.ReplaceAll(w, `"`, `""`) + `"`)
	}
	if len(words) > 0 && utf8.RuneCountInString(words[len(words)-1]) >= 2 {
		b.WriteString(" *") // the last word may not be finished
	}
	return b.String()
}

// finder runs the lists of one search on the reader's own connection, where
// the public names lead to what that reader may see: a mistake here cannot
// show more than a query could.
type finder struct {
	c     *conn
	ctx   context.Context
	r     Reader
	req   *SearchRequest
	words []string
	lists []rankedList
}

// run fills lists. Names are compared whole, words by index; only when that
// finds little are single words and near spellings tried.
func (f *finder) run(text string) error {
	if len(f.words) == 0 {
		return nil
	}
	if err := f.byName(text); err != nil {
		return err
	}
	if err := f.byWords("words", matchExpr(f.words, " AND ")); err != nil {
		return err
	}
	if err := f.byAddress(text); err != nil {
		return err
	}
	if f.found() >= f.req.K {
		return nil
	}
	if len(f.words) > 1 {
		if err := f.byWords("any_word", matchExpr(f.words, " OR ")); err != nil {
			return err
		}
	}
	return f.byLikeness(text)
}

func (f *finder) found() int {
	n := 0
	for _, l := range f.lists {
		n = max(n, len(l.found))
	}
	return n
}

// tables returns the indexes to look into.
func (f *finder) tables() []searchable {
	var out []searchable
	for _, t := range searchables {
		asked := len(f.req.Domains) == 0 || slices.Contains(f.req.Domains, t.domain)
		kind := len(f.req.Kinds) == 0 || slices.Contains(f.req.Kinds, t.kind)
		if asked && kind && f.r.may(t.domain) {
			out = append(out, t)
		}
	}
	return out
}

// contacts is the contacts' index when it is among those to look into.
func (f *finder) contacts() []searchable {
	return slices.DeleteFunc(f.tables(), func(t searchable) bool {
		return t.viewTable != &contactsTable
	})
}

// byWords adds a list of everything that matches, over all tables. Each
// index knows only its own domain, so a score says nothing about domains the
// reader may not see.
func (f *finder) byWords(name, match string) error {
	var found []candidate
	for i := range f.tables() {
		t := &f.tables()[i]
		more, err := f.collect(t, way{
			score: fmt.Sprintf("-bm25(%s_fts, %s)", t.name, t.weights),
			from:  t.name + "_fts f", id: "f.rowid", where: t.name + "_fts MATCH ?",
			args: []any{match},
		})
		if err != nil {
			return err
		}
		found = append(found, more...)
	}
	f.add(name, found)
	return nil
}

// byName adds the contacts whose whole or first name was typed.
func (f *finder) byName(text string) error {
	for _, t := range f.contacts() {
		name := normalizeName(text)
		found, err := f.collect(&t, way{
			score: "CASE WHEN f.name_norm = ? THEN 2.0 ELSE 1.0 END",
			from:  "contacts f", id: "f.id", where: "(f.name_norm = ? OR f.first_norm = ?)",
			args: []any{name, name, name},
		})
		if err != nil {
			return err
		}
		f.add("name", found)
	}
	return nil
}

// likeEnough is the similarity from which on a name is a misspelling of
// another: "jon smit" and "John Smith" have 0.95, "john" and "jane" 0.70.
const likeEnough = 0.8

// byLikeness adds contacts whose names are spelled nearly like the text.
func (f *finder) byLikeness(text string) error {
	for _, t := range f.contacts() {
		found, err := f.collect(&t, way{
			score: "similarity(?, f.name_norm)",
			from:  "contacts_tri f", id: "f.rowid", where: "contacts_tri MATCH trigrams(?)",
			args: []any{text, text},
		})
		if err != nil {
			return err
		}
		unlike := func(c candidate) bool { return c.score < likeEnough }
		f.add("fuzzy", slices.DeleteFunc(found, unlike))
	}
	return nil
}

// byAddress adds what holds an address that begins with a word. Only readers
// who see addresses have that index.
func (f *finder) byAddress(text string) error {
	if !f.r.Raw || !f.r.AllDomains {
		return nil
	}
	short := func(w string) bool { return len(w) < 3 }
	words := slices.DeleteFunc(strings.Fields(strings.ToLower(text)), short)
	words = words[:min(len(words), maxSearchWords)]
	var found []candidate
	for i := range f.tables() {
		t := &f.tables()[i]
		for _, word := range words {
			more, err := f.collect(t, way{
				score: "length(?) * 1.0 / length(f.address)",
				from:  "addresses f", id: "f.row_id",
				where: "f.tbl = '" + t.name + "' AND f.address >= ? AND f.address < ?",
				args:  []any{word, word, word + "\U0010ffff"},
			})
			if err != nil {
				return err
			}
			found = append(found, more...)
		}
	}
	f.add("address", found)
	return nil
}

// add sorts a list and keeps it; what was found twice counts once.
func (f *finder) add(name string, found []candidate) {
	slices.SortStableFunc(found, byScore)
	seen := map[item]bool{}
	found = slices.DeleteFunc(found, func(c candidate) bool {
		again := seen[c.item]
		seen[c.item] = true
		return again
	})
	f.lists = append(f.lists, rankedList{name, found[:min(len(found), candidates)]})
}

// way is the SQL of one list on one table f: all of it is of this file,
// never of a caller. args are for the parameters of score and where.
type way struct {
	score, from, id, where string
	args                   []any
}

// collect runs one list on one table. It ranks ids and leaves the texts
// alone: of some hundred candidates a few are shown.
func (f *finder) collect(t *searchable, w way) ([]candidate, error) {
	filters, more := f.filters()
	if len(more) > 0 {
		w.from += fmt.Sprintf(" JOIN %s t ON t.id = %s", t.name, w.id)
	}
	sql := fmt.Sprintf(`SELECT %s, %s AS score FROM %s WHERE %s%s ORDER BY score DESC, 1 DESC LIMIT %d`,
		w.id, w.score, w.from, w.where, filters, candidates)
	var found []candidate
	err := f.c.each(f.ctx, sql, append(w.args, more...), func(v []driver.Value) error {
		c := candidate{item: item{t.name, integer(v[0])}}
		c.score, _ = v[1].(float64)
		found = append(found, c)
		return nil
	})
	return found, err
}

// filters is the part of WHERE that every list shares, about the row t.
func (f *finder) filters() (string, []any) {
	var b strings.Builder
	var args []any
	add := func(condition string, arg any) {
		b.WriteString(" AND " + condition)
		args = append(args, arg)
	}
	if f.req.Actor != "" {
		add("t.actor = ?", f.req.Actor)
	}
	if !f.req.Since.IsZero() {
		add("t.ts_ms >= ?", f.req.Since.UnixMilli())
	}
	if !f.req.Until.IsZero() {
		add("t.ts_ms < ?", f.req.Until.UnixMilli())
	}
	if f.req.ConfirmedOnly {
		add("t.confirmed = ?", 1)
	}
	return b.String(), args
}

// describe appends the hit for something found, as the reader may see it.
func (f *finder) describe(hits []Hit, found fused) ([]Hit, error) {
	i := slices.IndexFunc(searchables, func(t searchable) bool { return t.name == found.table })
	t := &searchables[i]
	sql := fmt.Sprintf(`SELECT %s, %s, substr(%s, 1, 20000), t.source_event, t.ts_ms, t.actor,
		t.confirmed FROM %s t WHERE t.id = ?`, t.entity, t.title, t.body, t.name)
	err := f.c.each(f.ctx, sql, []any{found.id}, func(v []driver.Value) error {
		hits = append(hits, Hit{
			Entity: text(v[0]), Domain: t.domain, Kind: t.kind, Title: text(v[1]),
			Excerpt: excerpt(text(v[2]), f.words), Score: found.score, FoundBy: found.by,
			EventID: integer(v[3]), TSMillis: integer(v[4]), Actor: text(v[5]),
			Confirmed: integer(v[6]) != 0,
		})
		return nil
	})
	return hits, err
}
