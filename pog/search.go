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
	Entity    string   `json:"entity"` // contact:…, note:…, artifact:…, event:…
	Domain    Domain   `json:"domain"`
	Kind      string   `json:"kind"` // of the source event
	Title     string   `json:"title"`
	Excerpt   string   `json:"excerpt"`
	Score     float64  `json:"score"` // higher is better; comparable within one answer only
	EventID   int64    `json:"event_id"`
	TSMillis  int64    `json:"ts_ms"`
	Actor     string   `json:"actor"`
	Confirmed bool     `json:"confirmed"`
	FoundBy   []string `json:"found_by"` // the lists it was in: name, words, any_word, fuzzy, address
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
var searchables = []searchable{
	{&contactsTable, "contact.upserted", "'contact:' || t.contact_key", "t.name",
		"concat_ws(' · ', nullif(t.email, ''), nullif(t.org, ''), nullif(t.title, ''))", "8, 3, 2, 4, 2, 1"},
	{&notesTable, "note.added", "'note:' || t.note_key", "t.title", "t.body", "4, 1, 2"},
	{&artifactsTable, "artifact.created", "'artifact:' || t.artifact_id",
		"coalesce(nullif(t.name, ''), t.kind)", "coalesce(nullif(t.summary, ''), t.path)", "4, 1, 2, 1"},
	{&emailsTable, "email.sent", "'event:' || t.id", "t.subject", "t.sent_to", "3, 1, 1"},
}

// rankedList is one way of finding things, best first. A vector index will
// be one more; they are fused by rank, not by score, because scores of
// different ways do not compare.
type rankedList struct {
	name string
	hits []Hit
}

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
	var lists []rankedList
	err := s.reader(r).use(ctx, func(c *conn) error {
		f := finder{c: c, ctx: ctx, r: r, req: &req, words: s.searchWords(text)}
		err := f.run(text)
		lists = f.lists
		return storageError("search", c.path, err)
	})
	if err != nil {
		return nil, err
	}
	return fuse(lists, req.K), nil
}

// searchWords splits text into words, with addresses masked as the index has
// them, and drops what has nothing to look up.
func (s *Store) searchWords(text string) []string {
	var words []string
	for _, w := range strings.Fields(s.red.mask(strings.ReplaceAll(text, "\x00", " "))) {
		letters := strings.IndexFunc(w, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) })
		if letters >= 0 && len(words) < maxSearchWords {
			words = append(words, w)
		}
	}
	return words
}

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
		n = max(n, len(l.hits))
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
	return slices.DeleteFunc(f.tables(), func(t searchable) bool { return t.viewTable != &contactsTable })
}

// byWords adds a list of everything that matches, over all tables. Each
// index knows only its own domain, so a score says nothing about domains the
// reader may not see.
func (f *finder) byWords(name, match string) error {
	var hits []Hit
	for _, t := range f.tables() {
		found, err := f.collect(t, fmt.Sprintf("-bm25(%s_fts, %s)", t.name, t.weights),
			fmt.Sprintf("%[1]s_fts f JOIN %[1]s t ON t.id = f.rowid WHERE %[1]s_fts MATCH ?", t.name), match)
		if err != nil {
			return err
		}
		hits = append(hits, found...)
	}
	f.add(name, hits)
	return nil
}

// byName adds the contacts whose whole or first name was typed.
func (f *finder) byName(text string) error {
	for _, t := range f.contacts() {
		name := normalizeName(text)
		hits, err := f.collect(t, "CASE WHEN t.name_norm = ? THEN 2.0 ELSE 1.0 END",
			"contacts t WHERE (t.name_norm = ? OR t.first_norm = ?)", name, name, name)
		if err != nil {
			return err
		}
		f.add("name", hits)
	}
	return nil
}

// likeEnough is the similarity from which on a name is a misspelling of
// another: "jon smit" and "John Smith" have 0.95, "john" and "jane" 0.70.
const likeEnough = 0.8

// byLikeness adds contacts whose names are spelled nearly like the text.
func (f *finder) byLikeness(text string) error {
	for _, t := range f.contacts() {
		hits, err := f.collect(t, "similarity(?, t.name_norm)",
			"contacts_tri f JOIN contacts t ON t.id = f.rowid WHERE contacts_tri MATCH trigrams(?)", text, text)
		if err != nil {
			return err
		}
		hits = slices.DeleteFunc(hits, func(h Hit) bool { return h.Score < likeEnough })
		f.add("fuzzy", hits)
	}
	return nil
}

// byAddress adds what holds an address that begins with a word. Only readers
// who see addresses have that index.
func (f *finder) byAddress(text string) error {
	if !f.r.Raw || !f.r.AllDomains {
		return nil
	}
	words := slices.DeleteFunc(strings.Fields(strings.ToLower(text)), func(w string) bool { return len(w) < 3 })
	words = words[:min(len(words), maxSearchWords)]
	var hits []Hit
	for _, t := range f.tables() {
		for _, word := range words {
			found, err := f.collect(t, "length(?) * 1.0 / length(a.address)", fmt.Sprintf(
				"addresses a JOIN %[1]s t ON t.id = a.row_id WHERE a.tbl = '%[1]s' AND a.address >= ? AND a.address < ?",
				t.name), word, word, word+"\U0010ffff")
			if err != nil {
				return err
			}
			hits = append(hits, found...)
		}
	}
	f.add("address", hits)
	return nil
}

// add sorts a list and keeps it; a hit found twice counts once.
func (f *finder) add(name string, hits []Hit) {
	slices.SortStableFunc(hits, byScore)
	seen := map[string]bool{}
	hits = slices.DeleteFunc(hits, func(h Hit) bool {
		again := seen[h.Entity]
		seen[h.Entity] = true
		return again
	})
	if len(hits) > candidates {
		hits = hits[:candidates]
	}
	f.lists = append(f.lists, rankedList{name, hits})
}

// byScore orders hits best first, and equal ones newest first.
func byScore(a, b Hit) int {
	switch {
	case a.Score != b.Score:
		if a.Score > b.Score {
			return -1
		}
		return 1
	case a.EventID != b.EventID:
		return int(max(-1, min(1, b.EventID-a.EventID)))
	}
	return strings.Compare(a.Entity, b.Entity)
}

// collect runs one list on one table. score and from are SQL of this file,
// never of a caller; args are for their parameters in that order.
func (f *finder) collect(t searchable, score, from string, args ...any) ([]Hit, error) {
	where, more := f.filters()
	sql := fmt.Sprintf(`SELECT %s, %s, substr(%s, 1, 20000), t.source_event, t.ts_ms, t.actor, t.confirmed, %s AS score
		FROM %s%s ORDER BY score DESC, t.source_event DESC LIMIT %d`,
		t.entity, t.title, t.body, score, from, where, candidates)
	var hits []Hit
	err := f.c.each(f.ctx, sql, append(args, more...), func(v []driver.Value) error {
		h := Hit{Entity: text(v[0]), Domain: t.domain, Kind: t.kind, Title: text(v[1]), EventID: integer(v[3]),
			TSMillis: integer(v[4]), Actor: text(v[5]), Confirmed: integer(v[6]) != 0}
		h.Score, _ = v[7].(float64)
		h.Excerpt = excerpt(text(v[2]), f.words)
		hits = append(hits, h)
		return nil
	})
	return hits, err
}

// filters is the part of WHERE that every list shares.
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

// rrfK damps the weight of the first places in reciprocal rank fusion; 60 is
// the value of the paper (Cormack, Clarke, Büttcher, SIGIR 2009).
const rrfK = 60

// fuse makes one list of several: each hit scores 1/(60+rank) for every list
// it is in.
func fuse(lists []rankedList, k int) []Hit {
	merged := map[string]*Hit{}
	for _, l := range lists {
		for rank, h := range l.hits {
			m, ok := merged[h.Entity]
			if !ok {
				h.Score = 0
				m = &h
				merged[h.Entity] = m
			}
			m.Score += 1 / float64(rrfK+rank+1)
			m.FoundBy = append(m.FoundBy, l.name)
		}
	}
	out := make([]Hit, 0, len(merged))
	for _, h := range merged {
		out = append(out, *h)
	}
	slices.SortFunc(out, byScore)
	return out[:min(k, len(out))]
}

// excerptRunes is how much of a text a hit shows.
const excerptRunes = 200

// excerpt cuts the part of text around the first place where a word of the
// search occurs, at word boundaries and on one line.
func excerpt(text string, words []string) string {
	runes := []rune(strings.Join(strings.Fields(text), " "))
	if len(runes) <= excerptRunes {
		return string(runes)
	}
	start := max(0, firstPlace(runes, words)-excerptRunes/4)
	for start > 0 && runes[start-1] != ' ' {
		start--
	}
	end := min(len(runes), start+excerptRunes)
	for end < len(runes) && end > start+excerptRunes/2 && runes[end] != ' ' {
		end--
	}
	out := strings.TrimSpace(string(runes[start:end]))
	if start > 0 {
		out = "…" + out
	}
	if end < len(runes) {
		out += "…"
	}
	return out
}

// firstPlace returns the rune at which the first of words begins in text.
func firstPlace(text []rune, words []string) int {
	folded := strings.ToLower(string(text))
	place := -1
	for _, w := range words {
		w = strings.ToLower(strings.TrimFunc(w, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }))
		if i := strings.Index(folded, w); len(w) > 2 && i >= 0 && (place < 0 || i < place) {
			place = i
		}
	}
	if place < 0 {
		return 0
	}
	return min(len(text), utf8.RuneCountInString(folded[:place]))
}
