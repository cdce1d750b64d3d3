package pog

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Delta is a proposal to add one event. Who proposes it is not part of it:
// that is the [Proposer]'s, which the host fills in.
type Delta struct {
	Kind string
	// Scope says whose state it is: user, system or agent:<name>. The default
	// is the proposer's own.
	Scope string
	// Payload is a JSON object that fits the schema of the kind.
	Payload    json.RawMessage
	Provenance Provenance
	// Evidence lists the ids of the events it follows from; they must exist.
	Evidence []int64
}

// NewDelta makes a delta from any value that encodes to a JSON object.
func NewDelta(kind string, payload any) (Delta, error) {
	doc, err := json.Marshal(payload)
	if err != nil {
		return Delta{}, fmt.Errorf("payload of %s: %w", kind, err)
	}
	return Delta{Kind: kind, Payload: doc}, nil
}

// Provenance says where an event comes from. All of it is optional for what
// a person enters; the host fills it in for what an agent proposes.
type Provenance struct {
	TraceID    string `json:"trace_id,omitempty"`
	OpeningID  string `json:"opening_id,omitempty"`
	AgentID    string `json:"agent_id,omitempty"` // must be the proposing agent's name
	NodeID     string `json:"node_id,omitempty"`
	InputsHash string `json:"inputs_hash,omitempty"`
	Rationale  string `json:"rationale,omitempty"`
	Model      string `json:"model,omitempty"`
	Source     string `json:"source,omitempty"` // an importer, a command
	// Nonce tells apart events that say the same because the same happened
	// again, such as a second pause of a run: without one they would be one
	// event (spec/05: an event is its hash).
	Nonce string `json:"nonce,omitempty"`
}

// storedProvenance is what the ledger keeps: the evidence is part of where
// an event comes from, and so of its hash.
type storedProvenance struct {
	Provenance
	Evidence []int64 `json:"evidence,omitempty"`
}

func parseProvenance(doc []byte) storedProvenance {
	var p storedProvenance
	_ = json.Unmarshal(doc, &p) // what is not understood is not there
	return p
}

// Actors that are not agents.
const (
	actorUser   = "user"
	actorSystem = "system"
)

// Proposer is who proposes, and what it may change. The host makes it from
// what it knows; nothing in a delta can widen it.
type Proposer struct {
	Actor  string   // user, system or agent:<name>
	Scopes []string // that it may write; none means only its own
	// Domains that it may write (kb_write); AllDomains means every one.
	Domains    []Domain
	AllDomains bool
	// Existing asks for the event the ledger already has in place of a
	// DuplicateError, so that repeating a call changes nothing.
	Existing bool
}

// User is the person the store belongs to.
func User() Proposer {
	return Proposer{Actor: actorUser, Scopes: []string{actorUser, actorSystem}, AllDomains: true}
}

// System is the host itself, keeping its own record.
func System() Proposer {
	return Proposer{Actor: actorSystem, Scopes: []string{actorSystem, actorUser}, AllDomains: true}
}

// Agent is an agent with the domains its capabilities grant.
func Agent(name string, domains ...Domain) Proposer {
	return Proposer{Actor: "agent:" + name, Domains: domains}
}

var actorName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(user|system|agent:[a-z][a-z0-9_]{0,63}(@[A-Za-z0-9._-]{1,64})?)$`)
})

const badActor = "must be user, system or agent:<name>"

func (p *Proposer) isAgent() bool { return strings.HasPrefix(p.Actor, "agent:") }

// agentName is the part of an agent's actor that provenance repeats.
func (p *Proposer) agentName() string { return strings.TrimPrefix(p.Actor, "agent:") }

func (p *Proposer) mayWrite(d Domain) bool {
	return p.AllDomains || slices.Contains(p.Domains, d)
}

// scope returns the scope a delta is for.
func (p *Proposer) scope(d *Delta) string {
	if d.Scope == "" {
		return p.Actor
	}
	return d.Scope
}

func (p *Proposer) mayScope(scope string) bool {
	return scope == p.Actor || slices.Contains(p.Scopes, scope)
}

// pending is a delta that fits its schema and its proposer: what is left to
// check is whether what it refers to exists and whether it is new.
type pending struct {
	kind, scope, actor  string
	payload, provenance []byte // canonical
	hash                Hash
	refs                []ref
	blobs               map[Hash][]byte // to keep before it is appended
}

// ref is an event a delta refers to and the field that does.
type ref struct {
	field string
	id    int64
}

// limits of one proposal.
const (
	maxDeltas     = 4096
	maxProvenance = 64 << 10
	maxEvidence   = 1000
)

// validate turns deltas into pending events, or lists everything that is
// wrong with them.
func (s *Store) validate(p *Proposer, deltas []Delta) ([]pending, error) {
	if !actorName().MatchString(p.Actor) {
		return nil, &RefusedError{[]Problem{{Field: "actor", Reason: badActor}}}
	}
	if len(deltas) == 0 || len(deltas) > maxDeltas {
		return nil, &RefusedError{[]Problem{{Field: "deltas",
			Reason: fmt.Sprintf("%d in one call, want 1 to %d", len(deltas), maxDeltas)}}}
	}
	out := make([]pending, len(deltas))
	var problems []Problem
	for i := range deltas {
		wrong := s.validateOne(p, &deltas[i], &out[i])
		for _, w := range wrong {
			w.Delta = i
			problems = append(problems, w)
		}
	}
	if len(problems) > 0 {
		return nil, &RefusedError{problems}
	}
	return out, nil
}

func (s *Store) validateOne(p *Proposer, d *Delta, out *pending) []Problem {
	k, err := s.kinds.lookup(d.Kind)
	if err != nil {
		return []Problem{{Field: "kind", Reason: err.Error()}}
	}
	problems := p.check(d, k)
	payload, fields, wrong := s.checkPayload(d, k)
	problems = append(problems, wrong...)
	provenance, err := provenanceOf(p, d)
	if err != nil {
		problems = append(problems, Problem{Field: "provenance", Reason: err.Error()})
	}
	if len(problems) > 0 {
		return problems
	}
	payload, blobs := split(payload, k.large)
	*out = pending{kind: d.Kind, scope: p.scope(d), actor: p.Actor,
		payload: payload, provenance: provenance, blobs: blobs}
	out.hash, err = eventHash(out.actor, out.kind, out.scope, out.payload, out.provenance)
	if err != nil {
		return []Problem{{Reason: err.Error()}}
	}
	out.refs = refsOf(d, fields)
	return nil
}

// check compares a delta with what the proposer may do.
func (p *Proposer) check(d *Delta, k *checkedKind) []Problem {
	var problems []Problem
	add := func(field, format string, args ...any) {
		problems = append(problems, Problem{Field: field, Reason: fmt.Sprintf(format, args...)})
	}
	if k.hostOnly && p.isAgent() {
		add("kind", "denied:kb_write:%s is the host's own record", d.Kind)
	} else if !p.mayWrite(k.domain) {
		add("kind", "denied:kb_write:%s is not granted", k.domain)
	}
	if scope := p.scope(d); !p.mayScope(scope) {
		add("scope", "denied:kb_write:scope %.80q is not %s's to write", scope, p.Actor)
	} else if !actorName().MatchString(scope) {
		add("scope", badActor)
	}
	if a := d.Provenance.AgentID; p.isAgent() && a != "" && a != p.agentName() {
		add("provenance.agent_id", "is %.80q, but the proposer is %s", a, p.Actor)
	}
	if len(d.Evidence) > maxEvidence {
		add("evidence", "%d events, at most %d", len(d.Evidence), maxEvidence)
	}
	return problems
}

// checkPayload returns the payload in canonical form, and decoded.
func (s *Store) checkPayload(d *Delta, k *checkedKind) ([]byte, map[string]any, []Problem) {
	refuse := func(format string, args ...any) ([]byte, map[string]any, []Problem) {
		return nil, nil, []Problem{{Field: "payload", Reason: fmt.Sprintf(format, args...)}}
	}
	var fields map[string]any
	if len(d.Payload) > s.opts.MaxPayload {
		return refuse("%d bytes, at most %d", len(d.Payload), s.opts.MaxPayload)
	}
	doc, err := canonical(d.Payload)
	if err != nil {
		return refuse("%v", err)
	}
	if err := json.Unmarshal(doc, &fields); err != nil || fields == nil {
		return refuse("must be a JSON object")
	}
	return doc, fields, k.check(fields)
}

// provenanceOf returns the provenance that is stored, in canonical form.
func provenanceOf(p *Proposer, d *Delta) ([]byte, error) {
	stored := storedProvenance{Provenance: d.Provenance, Evidence: d.Evidence}
	if stored.Provenance == (Provenance{}) && len(d.Evidence) == 0 && !p.isAgent() {
		return []byte("{}"), nil
	}
	if p.isAgent() {
		stored.AgentID = p.agentName()
	}
	doc, err := json.Marshal(stored)
	if err != nil {
		return nil, err
	}
	if len(doc) > maxProvenance {
		return nil, fmt.Errorf("%d bytes, at most %d", len(doc), maxProvenance)
	}
	return canonical(doc)
}

// refsOf lists the events a delta refers to: its evidence, and what its
// payload cites when that is a list of integers; a host's own kinds may use
// the names for something else.
func refsOf(d *Delta, payload map[string]any) []ref {
	var refs []ref
	for i, id := range d.Evidence {
		refs = append(refs, ref{fmt.Sprintf("evidence[%d]", i), id})
	}
	for _, field := range []string{"evidence", "citations"} {
		list, _ := payload[field].([]any)
		for i, v := range list {
			if id, ok := v.(float64); ok && id == float64(int64(id)) {
				refs = append(refs, ref{fmt.Sprintf("payload.%s[%d]", field, i), int64(id)})
			}
		}
	}
	return refs
}
