package runloop

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/pog"
	"github.com/runloop-os/runloop/wasm"
)

// usedRunsMax is how many of the latest runs are looked at.
const usedRunsMax = 200

// usage is what recorded attempts of one agent did.
type usage struct {
	runs     int // attempts that were of this very bundle
	others   int // of another version, which tell nothing about this one
	attempts []usedAttempt
	needs    wasm.Needs
}

// usedAttempt is a node of a recorded run.
type usedAttempt struct {
	trace *opening.Trace
	node  string
}

// used collects what the recorded runs of a bundle did. Without a knowledge
// base there are none.
func (d *desk) used(ctx context.Context, b *wasm.Bundle) (*usage, error) {
	u := &usage{}
	if _, err := os.Stat(filepath.Join(d.places.pog, d.cfg.KB.EventsDB)); err != nil {
		return u, nil
	}
	store, err := d.io.openStore(ctx, d.cfg)
	if err != nil {
		return nil, err
	}
	err = d.readUsage(ctx, store, b, u)
	return u, errors.Join(err, store.Close())
}

// tapedKB is the knowledge base of a replay that is held to capabilities: it
// can be asked, to see what it would refuse, but not be written to.
type tapedKB struct{ kbService }

// Propose implements wasm.KB.
func (tapedKB) Propose(context.Context, wasm.Caller, wasm.KBDelta) (int64, error) {
	return 0, &wasm.Error{Code: wasm.CodeUnavailable, Message: "a replay writes nothing"}
}

func (d *desk) readUsage(ctx context.Context, store *pog.Store, b *wasm.Bundle, u *usage) error {
	runs, err := listRuns(ctx, store, "", usedRunsMax)
	if err != nil {
		return err
	}
	for _, r := range runs {
		rec, err := d.io.readRecorded(ctx, d.cfg, r.TraceID)
		if exitCode(err) == exitNotFound {
			continue // it goes on, or broke off
		}
		if err != nil {
			return err
		}
		u.addTrace(rec.trace, b, kbService{store}.DomainOf)
	}
	return d.resolveQueries(ctx, store, b, u)
}

// addTrace takes in the attempts of a bundle in one run.
func (u *usage) addTrace(t *opening.Trace, b *wasm.Bundle, domainOf func(string) (string, bool)) {
	for i := range t.Nodes {
		n := &t.Nodes[i]
		name, _, _ := strings.Cut(strings.TrimPrefix(n.Agent, "agent:"), "@")
		if n.FinalAttempt == nil || name != b.Manifest.Name {
			continue
		}
		if n.FinalAttempt.Digest != b.Digest {
			u.others++
			continue
		}
		u.runs++
		u.attempts = append(u.attempts, usedAttempt{t, n.NodeID})
		for _, call := range n.FinalAttempt.Hostcalls {
			u.needs.Add(taped(&call), domainOf)
		}
	}
}

func taped(h *opening.Hostcall) wasm.TapedCall {
	c := wasm.TapedCall{Op: h.Op, Args: h.Args, OK: h.OK}
	if h.Err != nil {
		c.Code = h.Err.Code
	}
	return c
}

// resolveQueries finds the domains that statements of kb.query cannot do
// without: those without which the knowledge base refuses them. One on events
// reads whatever there is, so it needs all that the agent has.
func (d *desk) resolveQueries(ctx context.Context, store *pog.Store, b *wasm.Bundle, u *usage) error {
	have := domainsOf(b.Caps)
	for _, q := range u.needs.Queries {
		if strings.Contains(strings.ToLower(q.SQL), "events") {
			u.needs.Read(have...)
			continue
		}
		for i, domain := range have {
			less := pog.Reader{Raw: true}
			for j, other := range have {
				if i != j {
					less.Domains = append(less.Domains, pog.Domain(other))
				}
			}
			if _, err := store.Query(ctx, less, q.SQL, q.Params, pog.Limits{}); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				u.needs.Read(domain)
			}
		}
	}
	return nil
}

// domainsOf lists the domains that an agent may read, one by one.
func domainsOf(c *wasm.Caps) []string {
	var out []string
	for _, domain := range pog.Domains() {
		if c.KBRead.Has(string(domain)) {
			out = append(out, string(domain))
		}
	}
	return out
}
