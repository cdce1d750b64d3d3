package pog

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Cause is one event in the explanation of something, with what it follows
// from below it.
type Cause struct {
	EventID  int64  `json:"event_id"`
	Kind     string `json:"kind"`
	Actor    string `json:"actor"`
	TSMillis int64  `json:"ts_ms"`
	Summary  string `json:"summary"` // one line
	// Relation says what the event is to the one above it: source, evidence,
	// cites, made_by (the attempt of a node), input (a node before it) or run.
	Relation   string     `json:"relation"`
	Provenance Provenance `json:"provenance"`
	Causes     []*Cause   `json:"causes,omitempty"`
	// Seen marks an event that is explained elsewhere in the tree, Cut one
	// that was not followed further because of depth or size.
	Seen bool `json:"seen,omitempty"`
	Cut  bool `json:"cut,omitempty"`
}

// Bounds of an explanation.
const (
	maxWhyDepth  = 8
	maxWhyEvents = 500
)

// Why returns the events an entity comes from, oldest first, each with the
// chain behind it: the evidence and citations of the event, and for what an
// agent made the node that made it and the run that was for. A reader sees
// only events of its domains; what it may not see, and what is not there,
// are both ErrNotFound.
//
// The owner may also name a contact by address or by a name that only one
// contact has.
func (s *Store) Why(ctx context.Context, r Reader, name string) ([]*Cause, error) {
	e, err := parseEntity(name)
	if err != nil {
		return nil, err
	}
	if r.owner && e.kind == "contact" {
		if e, err = s.resolveContact(ctx, e); err != nil {
			return nil, err
		}
	}
	var sources []Event
	if id := e.eventID(); id > 0 {
		ev, err := s.Event(ctx, r, id)
		if err != nil {
			return nil, err
		}
		sources = []Event{*ev}
	} else if sources, err = s.Events(ctx, r, Filter{Entity: e.key(), Limit: maxWhyEvents}); err != nil {
		return nil, err
	}
	if len(sources) == 0 {
		return nil, fmt.Errorf("%.80s: %w", name, ErrNotFound)
	}
	w := whyWalk{s: s, r: r, ctx: ctx, seen: map[int64]bool{}, left: maxWhyEvents}
	out := make([]*Cause, 0, len(sources))
	for i := range sources {
		w.left--
		out = append(out, w.node(&sources[i], "source"))
	}
	// A source is explained in its own place, not below another one.
	for i, c := range out {
		w.seen[c.EventID] = true
		if e.kind != "trace" {
			w.expand(c, &sources[i], 1)
		}
	}
	return out, w.err
}

// resolveContact turns an address or a name into a key.
func (s *Store) resolveContact(ctx context.Context, e entity) (entity, error) {
	res, err := s.Query(ctx, AllReader(), `SELECT contact_key FROM contacts
		WHERE contact_key = ?1 OR email = ?1 COLLATE NOCASE OR name_norm = norm(?1)
		ORDER BY contact_key = ?1 DESC LIMIT 2`, []any{e.id}, Limits{})
	if err != nil {
		return e, err
	}
	switch {
	case len(res.Rows) == 0:
		return e, fmt.Errorf("contact %.80q: %w", e.id, ErrNotFound)
	case len(res.Rows) > 1 && text(res.Rows[0][0]) != e.id:
		return e, fmt.Errorf("%w: several contacts are called %.80q; name one by its key",
			ErrQuery, e.id)
	}
	return entity{e.kind, text(res.Rows[0][0])}, nil
}

// whyWalk follows causes. Errors stop it and are kept.
type whyWalk struct {
	s    *Store
	r    Reader
	ctx  context.Context
	seen map[int64]bool
	left int
	err  error
}

func (w *whyWalk) node(e *Event, relation string) *Cause {
	return &Cause{
		EventID: e.ID, Kind: e.Kind, Actor: e.Actor, TSMillis: e.TSMillis, Relation: relation,
		Summary: summarize(e), Provenance: parseProvenance(e.Provenance).Provenance,
	}
}

// expand adds what e follows from below c.
func (w *whyWalk) expand(c *Cause, e *Event, depth int) {
	if depth > maxWhyDepth || w.left <= 0 {
		c.Cut = true
		return
	}
	for _, cause := range w.causes(e) {
		below := w.node(&cause.event, cause.relation)
		c.Causes = append(c.Causes, below)
		if w.left--; w.seen[below.EventID] {
			below.Seen = true
			continue
		}
		w.seen[below.EventID] = true
		w.expand(below, &cause.event, depth+1)
	}
}

// cause is an event and what it is to the one it explains.
type cause struct {
	event    Event
	relation string
}

// causes lists what an event directly follows from.
func (w *whyWalk) causes(e *Event) []cause {
	var out []cause
	add := func(relation string, ids []int64) {
		for _, id := range ids {
			known := slices.ContainsFunc(out, func(c cause) bool { return c.event.ID == id })
			if known || id >= e.ID || len(out) >= maxEvidence || w.err != nil {
				continue // causes come before effects, which also rules out cycles
			}
			ev, err := w.s.Event(w.ctx, w.r, id)
			switch {
			case err == nil:
				out = append(out, cause{*ev, relation})
			case CodeOf(err) != ErrNotFound:
				w.err = err
			}
		}
	}
	add("evidence", e.Evidence())
	add("cites", citations(e.Payload))
	o := w.origin(e)
	add("made_by", o.made)
	add("input", o.inputs)
	add("run", o.run)
	return out
}

// origin is what the events of a run say about where one event of it comes
// from.
type origin struct {
	made   []int64 // the attempt of a node that was under way
	inputs []int64 // for a node's own event: how the nodes before it finished
	run    []int64 // the start of the run
}

// origin reads the events of e's run.
func (w *whyWalk) origin(e *Event) (o origin) {
	p := parseProvenance(e.Provenance)
	trace := traceOf(&record{Event: *e, prov: p})
	if trace == "" || e.Kind == "run.started" || w.err != nil {
		return o
	}
	events, err := w.s.Events(w.ctx, w.r, Filter{Entity: "trace:" + trace,
		Kinds: []string{"run.started", "node.started", "node.finished"}})
	if err != nil {
		w.err = err
		return o
	}
	var before []string
	for i := range events {
		n := &events[i]
		switch {
		case n.ID >= e.ID:
		case n.Kind == "run.started":
			o.run = append(o.run, n.ID)
			before = nodesBefore(n, nodeOf(e).Node)
		case strings.HasPrefix(e.Kind, "node."):
			if n.Kind == "node.finished" && slices.Contains(before, nodeOf(n).Node) {
				o.inputs = append(o.inputs, n.ID)
			}
		case !strings.HasPrefix(e.Kind, "run.") && madeBy(n, &p):
			o.made = []int64{n.ID}
		}
	}
	return o
}

// nodeRef is how a payload names a node.
type nodeRef struct{ Node, Agent string }

func nodeOf(e *Event) (n nodeRef) {
	_ = json.Unmarshal(e.Payload, &n)
	return n
}

// madeBy says whether a node's event is about the node that p names.
func madeBy(e *Event, p *storedProvenance) bool {
	n := nodeOf(e)
	if p.NodeID != "" {
		return n.Node == p.NodeID
	}
	agent, _, _ := strings.Cut(strings.TrimPrefix(n.Agent, "agent:"), "@")
	want, _, _ := strings.Cut(p.AgentID, "@")
	return want != "" && agent == want
}

// nodesBefore returns the nodes with an edge to node in the opening that a
// run was started with (spec/04: an end of an edge is <node>.<port>).
func nodesBefore(started *Event, node string) []string {
	type graph struct {
		Edges []struct{ From, To string }
	}
	var p struct {
		OpeningIR graph `json:"opening_ir"`
		IR        graph `json:"ir"`
	}
	if node == "" || json.Unmarshal(started.Payload, &p) != nil {
		return nil
	}
	var before []string
	for _, edge := range append(p.OpeningIR.Edges, p.IR.Edges...) {
		from, _, _ := strings.Cut(edge.From, ".")
		if to, _, _ := strings.Cut(edge.To, "."); to == node {
			before = append(before, from)
		}
	}
	return before
}

// citations collects event ids from wherever a payload names them: lists
// called citations or evidence and numbers called event_id, as agents'
// outputs have them at any depth.
func citations(payload []byte) []int64 {
	var doc any
	if json.Unmarshal(payload, &doc) != nil {
		return nil
	}
	var ids []int64
	collectCitations(doc, &ids)
	slices.Sort(ids)
	return slices.Compact(ids)
}

func collectCitations(v any, ids *[]int64) {
	number := func(v any) {
		if f, ok := v.(float64); ok && f >= 1 && f == float64(int64(f)) {
			*ids = append(*ids, int64(f))
		}
	}
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			collectCitations(e, ids)
		}
	case map[string]any:
		for key, e := range v {
			list, isList := e.([]any)
			switch {
			case isList && (key == "citations" || key == "evidence"):
				for _, n := range list {
					number(n)
				}
				collectCitations(e, ids) // citations may be objects with an event_id
			case key == "event_id" || key == "last_event_id":
				number(e)
			default:
				collectCitations(e, ids)
			}
		}
	}
}

// summarize says in one line what an event says.
func summarize(e *Event) string {
	var p map[string]any
	_ = json.Unmarshal(e.Payload, &p)
	get := func(names ...string) string {
		var parts []string
		for _, n := range names {
			if s, ok := p[n].(string); ok && s != "" {
				parts = append(parts, s)
			}
		}
		return strings.Join(parts, " · ")
	}
	fields := map[string][]string{
		"contact.upserted": {"name", "email", "org"}, "note.added": {"title"},
		"artifact.created": {"kind", "name", "path"}, "email.sent": {"subject", "status"},
		"account.linked": {"kind", "handle"}, "run.started": {"opening_name", "opening_id"},
		"run.finished": {"status", "error"}, "node.started": {"node", "agent"},
		"node.finished": {"node", "agent", "status"}, "action.requested": {"kind", "summary"},
		"action.decided": {"by", "rationale"}, "cap.audit": {"agent", "cap", "op", "decision"},
		"broker.call": {"provider", "model"},
	}[e.Kind]
	s := get(fields...)
	if s == "" {
		s = get("title", "name", "summary", "id")
	}
	return oneLine(e.Kind+": "+s, 160)
}

// oneLine cuts s to a number of runes on one line.
func oneLine(s string, most int) string {
	s = strings.TrimSuffix(strings.Join(strings.Fields(s), " "), ":")
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}
