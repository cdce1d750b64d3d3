package runloop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/pog"
	"github.com/runloop-os/runloop/wasm"
)

// kbService lets agents into the knowledge base, as far as their capabilities
// go.
type kbService struct{ store *pog.Store }

// reader is what an agent may see.
func reader(caps *wasm.Caps) pog.Reader {
	r := pog.Reader{AllDomains: caps.KBRead.All, Raw: caps.KBRead.Has(wasm.DomainContactsRaw)}
	for _, name := range caps.KBRead.Names {
		if name != wasm.DomainContactsRaw {
			r.Domains = append(r.Domains, pog.Domain(name))
		}
	}
	return r
}

// proposer is an agent with what it may write. An event that it proposes a
// second time, in another attempt, is the one that is there.
func proposer(c wasm.Caller) pog.Proposer {
	p := pog.Agent(c.Agent)
	p.AllDomains, p.Existing = c.Caps.KBWrite.All, true
	for _, name := range c.Caps.KBWrite.Names {
		p.Domains = append(p.Domains, pog.Domain(name))
	}
	return p
}

func provenance(c wasm.Caller) pog.Provenance {
	return pog.Provenance{
		TraceID: c.TraceID, OpeningID: c.OpeningID, AgentID: c.Agent, NodeID: c.Node,
		InputsHash: c.InputsHash,
	}
}

// kbError gives an agent the reason that is its own fault; a failure of the
// store is the host's.
func kbError(err error) error {
	var storage *pog.StorageError
	if err == nil || errors.As(err, &storage) {
		return err
	}
	code := pog.CodeOf(err)
	if code == "" {
		return err
	}
	return agentError(string(code), err, false)
}

// agentError is err as an agent sees it: the code once, then the rest.
func agentError(code string, err error, retryable bool) *wasm.Error {
	text := strings.TrimPrefix(err.Error(), code+": ")
	return &wasm.Error{Code: code, Message: printable(text), Retryable: retryable}
}

// Query implements wasm.KB.
func (k kbService) Query(ctx context.Context, c wasm.Caller, q wasm.KBQuery) (*wasm.KBRows, error) {
	res, err := k.store.Query(ctx, reader(c.Caps), q.SQL, q.Params, pog.Limits{})
	if err != nil {
		return nil, kbError(err)
	}
	return &wasm.KBRows{Columns: res.Columns, Rows: res.Rows, Cut: res.Truncated != ""}, nil
}

// Search implements wasm.KB.
func (k kbService) Search(ctx context.Context, c wasm.Caller, q wasm.KBSearch) ([]wasm.KBHit, error) {
	req, err := searchRequest(q)
	if err != nil {
		return nil, err
	}
	hits, err := k.store.Search(ctx, reader(c.Caps), req)
	if err != nil {
		return nil, kbError(err)
	}
	out := make([]wasm.KBHit, len(hits))
	for i, h := range hits {
		out[i] = wasm.KBHit{
			Entity: h.Entity, Domain: string(h.Domain), Title: h.Title, Excerpt: h.Excerpt,
			Score: h.Score, EventID: h.EventID,
		}
	}
	return out, nil
}

// searchFilters are the filters of kb.search.
type searchFilters struct {
	Kinds         []string `json:"kinds"`
	Actor         string   `json:"actor"`
	SinceMS       int64    `json:"since_ms"`
	UntilMS       int64    `json:"until_ms"`
	ConfirmedOnly bool     `json:"confirmed_only"`
}

func searchRequest(q wasm.KBSearch) (pog.SearchRequest, error) {
	var f searchFilters
	if err := strictJSON(q.Filters, &f); err != nil {
		return pog.SearchRequest{}, &wasm.Error{Code: wasm.CodeInvalid, Message: "kb.search: filters: " + err.Error()}
	}
	req := pog.SearchRequest{Text: q.Text, K: q.K, Kinds: f.Kinds, Actor: f.Actor, ConfirmedOnly: f.ConfirmedOnly}
	for _, d := range q.Domains {
		req.Domains = append(req.Domains, pog.Domain(d))
	}
	if f.SinceMS > 0 {
		req.Since = time.UnixMilli(f.SinceMS)
	}
	if f.UntilMS > 0 {
		req.Until = time.UnixMilli(f.UntilMS)
	}
	return req, nil
}

// Why implements wasm.KB.
func (k kbService) Why(ctx context.Context, c wasm.Caller, entity string) (json.RawMessage, error) {
	causes, err := k.store.Why(ctx, reader(c.Caps), entity)
	if err != nil {
		return nil, kbError(err)
	}
	return json.Marshal(causes)
}

// Propose implements wasm.KB.
func (k kbService) Propose(ctx context.Context, c wasm.Caller, d wasm.KBDelta) (int64, error) {
	from := provenance(c)
	from.Rationale, from.Model = d.Rationale, d.Model
	events, err := k.store.Propose(ctx, proposer(c), pog.Delta{
		Kind: d.Kind, Payload: d.Payload, Provenance: from, Evidence: d.Evidence,
	})
	if err != nil {
		return 0, kbError(err)
	}
	return events[0].ID, nil
}

// DomainOf implements wasm.KB.
func (k kbService) DomainOf(kind string) (string, bool) {
	d, ok := k.store.DomainOf(kind)
	return string(d), ok
}

// auditService records decisions about capabilities. One that cannot be
// recorded does not become an allowance: the decision stands either way.
func auditService(store *pog.Store, warn func(error)) func(context.Context, wasm.CapAudit) {
	return func(ctx context.Context, a wasm.CapAudit) {
		d, err := pog.NewDelta("cap.audit", a)
		if err == nil {
			d.Provenance = pog.Provenance{TraceID: a.TraceID, Nonce: uuid.NewString()}
			_, err = store.Propose(ctx, pog.System(), d)
		}
		if err != nil {
			warn(err)
		}
	}
}

// auditRefusal records what a client of the socket was refused.
func auditRefusal(store *pog.Store, r bus.Refusal, warn func(error)) {
	why := r.Code + ": " + r.Why
	if r.Suppressed > 0 {
		why += fmt.Sprintf(" (and %d more before)", r.Suppressed)
	}
	d, err := pog.NewDelta("cap.audit", map[string]any{
		"agent": r.Peer.Name, "cap": "bus", "op": r.Op, "target": r.Topic, "decision": "deny",
		"severity": "warn", "reason": why,
	})
	if err == nil {
		d.Provenance = pog.Provenance{
			Source: fmt.Sprintf("socket, uid %d, pid %d, kind %s", r.Peer.UID, r.Peer.PID, r.Peer.Kind),
			Nonce:  uuid.NewString(),
		}
		_, err = store.Propose(context.Background(), pog.System(), d)
	}
	if err != nil {
		warn(err)
	}
}
