package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Config is everything a Broker needs to know. The zero value is a broker
// without providers, which answers every call with CodeUnavailable.
type Config struct {
	Providers []ProviderConfig
	Routes    []Route
	Default   string // model for requests that name none
	// Defaults hold for callers that bring no limits of their own; Caps hold
	// for all.
	Defaults, Caps Limits
	Prices         []Price // looked at before the shipped ones
	Cache          CacheConfig
	Retry          Retry
	// Timeout bounds calls whose context has no deadline, 120 s by default.
	Timeout time.Duration
	// DownFor is how long an unreachable provider is left alone, 30 s by
	// default.
	DownFor time.Duration
	// AnswerTokens is the length of answer that is held for, and under a
	// limit allowed to, a request that does not say; 2048 by default.
	AnswerTokens int64
	// Secrets resolves SecretID. It is called once an attempt, so that a
	// changed secret is used at once.
	Secrets SecretFunc
	// OnRecord, if set, gets the metering of every attempt, from the
	// goroutine of the call and before it returns. It must not block.
	OnRecord func(Record)
	// Now is the clock of budgets, cache and health; time.Now by default.
	Now func() time.Time
}

// Broker routes calls to providers. Its methods may be called concurrently.
type Broker struct {
	cfg     Config
	sources map[string]*source
	order   []string
	routes  *routeTable
	prices  *priceTable
	ledger  *ledger
	cache   *cache
}

// New checks cfg and returns a broker. It contacts nobody.
func New(cfg Config) (*Broker, error) {
	cfg = cfg.withDefaults()
	for name, l := range map[string]Limits{"default": cfg.Defaults, "cap": cfg.Caps} {
		if err := l.check(); err != nil {
			return nil, fmt.Errorf("broker: %s %w", name, err)
		}
	}
	sources, ids, err := newSources(cfg.Providers, cfg.Secrets)
	if err != nil {
		return nil, err
	}
	routes, err := newRouteTable(cfg.Routes, ids)
	if err != nil {
		return nil, err
	}
	prices, err := newPriceTable(cfg.Prices)
	if err != nil {
		return nil, err
	}
	for _, s := range sources {
		s.health = &health{downFor: cfg.DownFor, now: cfg.Now}
	}
	return &Broker{cfg: cfg, sources: sources, order: ids, routes: routes, prices: prices,
		ledger: newLedger(cfg.Now), cache: newCache(cfg.Cache, cfg.Now)}, nil
}

func (c Config) withDefaults() Config {
	if c.Timeout <= 0 {
		c.Timeout = 120 * time.Second
	}
	if c.DownFor <= 0 {
		c.DownFor = 30 * time.Second
	}
	if c.AnswerTokens <= 0 {
		c.AnswerTokens = 2048
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.OnRecord == nil {
		c.OnRecord = func(Record) {}
	}
	c.Retry = c.Retry.withDefaults()
	return c
}

// Close drops the idle connections of all providers. Calls under way end by
// their own contexts.
func (b *Broker) Close() {
	for _, s := range b.sources {
		if p, ok := s.Provider.(*httpProvider); ok {
			p.client.CloseIdleConnections()
		}
	}
}

// Complete asks for a completion.
//
// # Errors
//
// All errors are *Error. Their codes are CodeInvalid for a request that no
// provider should see, CodeBudget when it may cost more than is left,
// CodeUnavailable when there is nobody to ask, CodeSecret when there is no
// credential to ask with, CodeRateLimited and CodeProvider for what came back
// instead of an answer, and CodeDeadline and CodeCancelled for the context.
// With the last four, tokens may have been spent: see [Error.Usage].
func (b *Broker) Complete(ctx context.Context, r Request) (*Response, error) {
	if r.Model == "" {
		r.Model = b.cfg.Default
	}
	c := &call{op: OpComplete, model: r.Model, caller: r.Caller}
	if err := r.validate(); err != nil {
		return nil, b.refused(c, err)
	}
	c.need = need{in: r.estimate(), out: b.cfg.AnswerTokens}
	if r.Params.MaxTokens > 0 {
		c.need.out, c.need.fixed = r.Params.MaxTokens, true
	}
	var resp *Response
	err := b.each(ctx, c, func(ctx context.Context, l leg) (err *Error) {
		resp, err = b.completeAt(ctx, l, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// completeAt answers from the cache or asks one provider.
func (b *Broker) completeAt(ctx context.Context, l leg, r Request) (*Response, *Error) {
	t := l.target
	ttl := b.cache.ttl(&r)
	var key cacheKey
	if ttl > 0 {
		var ok bool
		if key, ok = keyOf(r.Caller.CacheScope, t, &r); !ok {
			ttl = 0
		} else if hit := b.cache.get(key); hit != nil {
			b.cfg.OnRecord(l.record(b.cfg.Now(), t, Record{Cached: true}))
			return hit, nil
		}
	}
	r.Model = t.Model
	var resp Response
	usage, err := b.attempts(ctx, l, func(ctx context.Context, maxOut int64) (Usage, error) {
		r.Params.MaxTokens = maxOut
		var err error
		resp, err = l.source.Complete(ctx, &r)
		if err == nil {
			err = resp.fitSchema(r.Schema)
		}
		return resp.Usage, err
	})
	if err != nil {
		return nil, err
	}
	resp.Usage, resp.Provider, resp.Model = usage, t.Provider, t.Model
	if ttl > 0 && resp.keeps() {
		b.cache.put(key, &resp, ttl)
	}
	return &resp, nil
}

// fitSchema sets JSON when a schema was given. Whether the value fits the
// schema is the provider's promise; that it is JSON at all is checked here.
func (r *Response) fitSchema(schema json.RawMessage) error {
	if len(schema) == 0 || r.Finish == FinishRefusal || len(r.ToolCalls) > 0 {
		return nil
	}
	if !json.Valid([]byte(r.Text)) {
		return fault(false, "the answer is not JSON though a schema was given (finish reason %s)",
			r.Finish)
	}
	r.JSON = json.RawMessage(r.Text)
	return nil
}

// Embed asks for one vector per input. Its errors are those of Complete.
// Vectors of two models cannot be compared, so a route that falls back should
// lead to the same model elsewhere.
func (b *Broker) Embed(ctx context.Context, r EmbedRequest) (*Vectors, error) {
	if r.Model == "" {
		r.Model = b.cfg.Default
	}
	c := &call{op: OpEmbed, model: r.Model, caller: r.Caller}
	if err := r.validate(); err != nil {
		return nil, b.refused(c, err)
	}
	c.need = need{in: r.estimate(), fixed: true}
	var out Vectors
	err := b.each(ctx, c, func(ctx context.Context, l leg) *Error {
		r := r
		r.Model = l.target.Model
		usage, err := b.attempts(ctx, l, func(ctx context.Context, _ int64) (Usage, error) {
			var err error
			out, err = l.source.Embed(ctx, &r)
			return out.Usage, err
		})
		out.Usage, out.Provider, out.Model = usage, l.target.Provider, l.target.Model
		return err
	})
	if err != nil {
		return nil, err
	}
	return &out, nil
}

// Count estimates the tokens that r would send. See the package's source for
// the rule; a provider's own count may differ by a third either way.
func (b *Broker) Count(r Request) int64 { return r.estimate() }

// Resolve lists where a model name leads, in the order of trying.
func (b *Broker) Resolve(model string) ([]Target, error) {
	if model == "" {
		model = b.cfg.Default
	}
	targets, err := b.routes.resolve(model)
	if err != nil {
		return nil, err
	}
	return targets, nil
}

// MostUSD is what tokens cost at most if all of them are spent on one model: at
// the dearer of its two directions, and the dearest place that its name leads
// to. A name that leads nowhere costs nothing.
func (b *Broker) MostUSD(model string, tokens int64) float64 {
	targets, _ := b.Resolve(model)
	var most nanos
	for _, t := range targets {
		r := b.prices.rate(t, b.sources[t.Provider].local)
		most = max(most, r.cost(tokens, 0), r.cost(0, tokens))
	}
	return most.dollars()
}

// Providers returns the ids of the configured providers, in their order.
func (b *Broker) Providers() []string { return append([]string(nil), b.order...) }

// Probe asks a provider for a sign of life that costs nothing and returns how
// long it took. What it finds counts for later calls.
func (b *Broker) Probe(ctx context.Context, id string) (time.Duration, error) {
	s := b.sources[id]
	if s == nil {
		return 0, invalidf("no provider %q%s", clip(id, 64), suggest(id, b.order))
	}
	p, ok := s.Provider.(prober)
	if !ok {
		return 0, nil
	}
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	start := time.Now()
	err := classify(ctx, id, p.probe(ctx))
	s.health.note(false, err)
	if err != nil {
		return 0, err
	}
	return time.Since(start), nil
}

// Restore charges accounts with earlier records, so that a budget outlives
// the process: those of the current day (UTC), and all of runs that go on.
// Call it before the first request.
func (b *Broker) Restore(records []Record) {
	for _, r := range records {
		b.ledger.restore(r)
	}
}

// EndRun forgets the accounts of a run and of those that are part of it. A later call under the same trace
// starts from nothing, so it is for runs that are over for good.
func (b *Broker) EndRun(trace string) { b.ledger.endRun(trace) }

// Spent returns what has been charged to a node, to its run and to the day.
func (b *Broker) Spent(trace, node string) (ofNode, ofRun, ofDay Usage) {
	return b.ledger.spent(trace, node)
}
