package broker

import (
	"context"
	"time"
)

// call is one Complete or Embed on its way through the broker.
type call struct {
	op     string
	model  string // as it was asked for
	caller Caller
	limits Limits
	outer  []Limits // of the caller's Outer
	need   need
	spent  account // the request's own account, over all attempts
}

// record fills in what is known about the call.
func (c *call) record(start time.Time, t Target, r Record) Record {
	r.Time, r.Op, r.Provider, r.Model = start, c.op, t.Provider, t.Model
	r.Trace, r.Node, r.Agent = c.caller.Trace, c.caller.Node, c.caller.Agent
	for _, o := range c.caller.Outer {
		r.Outer = append(r.Outer, OuterRecord{o.Trace, o.Node})
	}
	return r
}

// refused reports a call that reached no provider.
func (b *Broker) refused(c *call, err *Error) *Error {
	rec := Record{ErrorKind: err.Code}
	b.cfg.OnRecord(c.record(b.cfg.Now(), Target{Model: clip(c.model, maxModelName)}, rec))
	return err
}

// bounded gives ctx the broker's own deadline if it has none.
func (b *Broker) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, b.cfg.Timeout)
}

// leg is the part of a call that one target serves.
type leg struct {
	*call
	source *source
	target Target
}

// attemptFunc makes one attempt with an answer of at most maxOut tokens, 0
// for no limit, and returns the tokens it used, also when it fails.
type attemptFunc func(ctx context.Context, maxOut int64) (Usage, error)

// each tries the targets of a call in order until one answers or fails for
// good. The result is a plain error so that a nil *Error cannot hide in it.
func (b *Broker) each(ctx context.Context, c *call, try func(context.Context, leg) *Error) error {
	if err := c.caller.Limits.check(); err != nil {
		return b.refused(c, err)
	}
	c.limits = effective(c.caller.Limits, b.cfg.Defaults, b.cfg.Caps)
	for _, o := range c.caller.Outer {
		if err := o.Limits.check(); err != nil {
			return b.refused(c, err)
		}
		c.outer = append(c.outer, effective(o.Limits, b.cfg.Defaults, b.cfg.Caps))
	}
	targets, err := b.routes.resolve(c.model)
	if err != nil {
		return b.refused(c, err)
	}
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	for _, t := range targets {
		if err = try(ctx, leg{c, b.sources[t.Provider], t}); err == nil {
			return nil
		}
		if !err.fallsBack() {
			break
		}
	}
	err.Usage = c.spent.usage()
	return err
}

// fallsBack reports whether the next route may do better.
func (e *Error) fallsBack() bool {
	switch e.Code {
	case CodeUnavailable, CodeProvider, CodeRateLimited:
		return e.Retryable
	}
	return false
}

// attempts asks one provider until it answers, fails for good or runs out of
// retries, and returns what the call has been charged so far.
func (b *Broker) attempts(ctx context.Context, l leg, do attemptFunc) (Usage, *Error) {
	for n := 1; ; n++ {
		err := b.attempt(ctx, l, n, do)
		if err == nil {
			return l.spent.usage(), nil
		}
		pause, again := b.cfg.Retry.next(ctx, n, err)
		if !again {
			return Usage{}, err
		}
		sleep(ctx, pause)
		if ctx.Err() != nil {
			return Usage{}, classify(ctx, l.target.Provider, contextError(ctx))
		}
	}
}

// attempt makes one attempt and sees that it is paid for and recorded,
// however it ends.
func (b *Broker) attempt(ctx context.Context, l leg, n int, do attemptFunc) *Error {
	rec := Record{Attempt: n}
	at, start := b.cfg.Now(), time.Now()
	used, asked, err := b.guarded(ctx, l, do)
	if err != nil {
		rec.ErrorKind, rec.Status = err.Code, err.Status
	}
	if !asked {
		rec.Attempt = 0
	}
	rec.TokensIn, rec.TokensOut, rec.USD = used.TokensIn, used.TokensOut, used.USD
	rec.Latency = time.Since(start)
	b.cfg.OnRecord(l.record(at, l.target, rec))
	return err
}

// guarded lets an attempt through if the provider is not known to be away and
// the budgets hold; asked says whether it got that far.
func (b *Broker) guarded(
	ctx context.Context, l leg, do attemptFunc,
) (used Usage, asked bool, err *Error) {
	id := l.target.Provider
	probe, err := l.source.health.allow()
	if err != nil {
		return Usage{}, false, classify(ctx, id, err)
	}
	defer func() { l.source.health.note(probe, err) }()
	need := l.need
	need.rate = b.prices.rate(l.target, l.source.local)
	h, err := b.ledger.reserve(ctx, l.call, need)
	if err != nil {
		return Usage{}, false, classify(ctx, id, err)
	}
	// What the provider reports is charged even if it panics half-way.
	var spent Usage
	defer func() { used = b.ledger.settle(h, spent.TokensIn, spent.TokensOut) }()
	spent, failure := do(ctx, h.maxOut)
	return Usage{}, true, classify(ctx, id, failure)
}
