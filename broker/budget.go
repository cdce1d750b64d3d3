package broker

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"
)

// Limit is what may be spent. Tokens count both directions. Zero means no
// limit of that sort.
type Limit struct {
	Tokens int64   `json:"tokens"`
	USD    float64 `json:"usd"`
}

// Limits are the limits of the four scopes a call is charged to: itself with
// its retries, its node, its run, and the day (UTC).
type Limits struct {
	Request Limit `json:"request"`
	Node    Limit `json:"node"`
	Run     Limit `json:"run"`
	Day     Limit `json:"day"`
}

// maxRuns bounds the accounts kept in memory. Runs are forgotten by EndRun;
// past this many a new run is refused, because forgetting an old one would
// give it its budget back.
const maxRuns = 1 << 16

// leastAnswer is the smallest answer worth paying a prompt for: a call that
// did not say how much it wants is refused when less than this is left.
const leastAnswer = 64

// valid is written so that NaN fails it.
func (l Limit) valid() bool {
	return l.Tokens >= 0 && l.USD >= 0 && !math.IsInf(l.USD, 1)
}

// check refuses limits that no comparison would ever trip.
func (l Limits) check() *Error {
	for _, s := range []struct {
		name string
		l    Limit
	}{{"request", l.Request}, {"node", l.Node}, {"run", l.Run}, {"day", l.Day}} {
		if !s.l.valid() {
			return invalidf("limits: %s: want tokens ≥ 0 and finite dollars ≥ 0", s.name)
		}
	}
	return nil
}

// effective is what the caller asked for, or else the default, and never more
// than the cap.
func effective(caller, fallback, ceiling Limits) Limits {
	return Limits{
		Request: tighten(caller.Request, fallback.Request, ceiling.Request),
		Node:    tighten(caller.Node, fallback.Node, ceiling.Node),
		Run:     tighten(caller.Run, fallback.Run, ceiling.Run),
		Day:     tighten(caller.Day, fallback.Day, ceiling.Day),
	}
}

// tighten applies the layers to one limit; zero always means "says nothing".
func tighten(caller, fallback, ceiling Limit) Limit {
	if caller.Tokens == 0 {
		caller.Tokens = fallback.Tokens
	}
	if caller.USD == 0 {
		caller.USD = fallback.USD
	}
	if ceiling.Tokens > 0 && (caller.Tokens == 0 || caller.Tokens > ceiling.Tokens) {
		caller.Tokens = ceiling.Tokens
	}
	if ceiling.USD > 0 && (caller.USD == 0 || caller.USD > ceiling.USD) {
		caller.USD = ceiling.USD
	}
	return caller
}

// account is what one scope has spent, and what is held for calls under way.
type account struct {
	in, out    int64
	money      nanos
	heldTokens int64
	heldMoney  nanos
}

func (a *account) usage() Usage {
	return Usage{TokensIn: a.in, TokensOut: a.out, USD: a.money.dollars()}
}

// runAccount is a run's own account and those of its nodes. A node keeps its
// account over all its attempts.
type runAccount struct {
	account
	nodes map[string]*account
	inner map[string]bool // traces of runs that are part of it
}

// ledger holds all accounts. Its mutex is never held while anything else is
// waited for.
type ledger struct {
	now func() time.Time

	mu      sync.Mutex
	runs    map[string]*runAccount
	day     *account
	dayName string
	// freed is closed and replaced whenever a hold is settled.
	freed chan struct{}
}

func newLedger(now func() time.Time) *ledger {
	return &ledger{now: now, runs: map[string]*runAccount{}, freed: make(chan struct{})}
}

// scope is an account with the limit that applies to it for one call.
type scope struct {
	name  string
	acct  *account
	limit Limit
}

// need is what a call may cost. With fixed the caller named out himself, and
// less will not do.
type need struct {
	in, out int64
	fixed   bool
	rate    rate
}

// hold is money and tokens set aside for one attempt. maxOut is how long the
// answer may get, 0 if no limit says so.
type hold struct {
	accounts []*account
	tokens   int64
	money    nanos
	rate     rate
	maxOut   int64
}

// reserve sets aside what an attempt may cost in all its scopes, or refuses.
// When the need would fit but for calls under way, it waits for one of them
// to end: they held more than they will use.
func (l *ledger) reserve(ctx context.Context, c *call, want need) (*hold, *Error) {
	for {
		h, wait, err := l.tryReserve(c, want)
		if h != nil || err != nil {
			return h, err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, contextError(ctx)
		}
	}
}

// tryReserve returns a hold, or a channel that says when to try again, or a
// refusal.
func (l *ledger) tryReserve(c *call, want need) (*hold, <-chan struct{}, *Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	scopes, err := l.scopes(c)
	if err != nil {
		return nil, nil, err
	}
	bounded := false
	for _, s := range scopes {
		out, limited, err := s.fit(want)
		if err != nil {
			return nil, nil, err
		}
		want.out = out
		bounded = bounded || limited
	}
	for _, s := range scopes {
		if !s.free(want) {
			return nil, l.freed, nil
		}
	}
	h := &hold{
		tokens: want.in + want.out,
		money:  want.rate.cost(want.in, want.out),
		rate:   want.rate,
	}
	if bounded || want.fixed {
		h.maxOut = want.out
	}
	for _, s := range scopes {
		h.accounts = append(h.accounts, s.acct)
		s.acct.heldTokens += h.tokens
		s.acct.heldMoney += h.money
	}
	return h, nil, nil
}

// scopes finds the accounts of a call and makes those that are new.
func (l *ledger) scopes(c *call) ([]scope, *Error) {
	lim := c.limits
	out := []scope{{"request", &c.spent, lim.Request}}
	if trace := c.caller.Trace; trace != "" {
		run, err := l.run(trace)
		if err != nil {
			return nil, err
		}
		if c.caller.Node != "" {
			out = append(out, scope{"node", run.node(c.caller.Node), lim.Node})
		}
		out = append(out, scope{"run", &run.account, lim.Run})
		for i, o := range c.caller.Outer {
			outer, err := l.run(o.Trace)
			if err != nil {
				return nil, err
			}
			outer.inner[trace] = true
			out = append(out, scope{"node " + o.Node, outer.node(o.Node), c.outer[i].Node},
				scope{"outer run", &outer.account, c.outer[i].Run})
		}
	}
	return append(out, scope{"day", l.today(), lim.Day}), nil
}

// run returns the account of a run, opening it if there is room.
func (l *ledger) run(trace string) (*runAccount, *Error) {
	if r := l.runs[trace]; r != nil {
		return r, nil
	}
	if len(l.runs) >= maxRuns {
		return nil, &Error{Code: CodeBudget, Retryable: true,
			Msg: fmt.Sprintf("%d runs have open budgets; end some first", len(l.runs))}
	}
	r := &runAccount{nodes: map[string]*account{}, inner: map[string]bool{}}
	l.runs[trace] = r
	return r, nil
}

func (r *runAccount) node(id string) *account {
	if a := r.nodes[id]; a != nil {
		return a
	}
	a := new(account)
	r.nodes[id] = a
	return a
}

// today returns the account of the current day. A hold taken before midnight
// is settled on the day it was taken.
func (l *ledger) today() *account {
	if name := dayOf(l.now()); l.day == nil || l.dayName != name {
		l.day, l.dayName = new(account), name
	}
	return l.day
}

// dayOf names the day in UTC, so that a change of time zone grants nothing.
func dayOf(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// fit returns how long an answer this scope can pay for once the calls under
// way have ended and cost nothing; limited says that a limit bears on it.
func (s scope) fit(n need) (out int64, limited bool, err *Error) {
	out = n.out
	least := min(n.out, leastAnswer)
	if n.fixed {
		least = n.out
	}
	if s.limit.Tokens > 0 {
		left := max(0, s.limit.Tokens-s.acct.in-s.acct.out)
		if n.in+least > left {
			return 0, true, s.refuse(fmt.Sprintf("about %d tokens", n.in+least),
				fmt.Sprintf("%d of %d", left, s.limit.Tokens))
		}
		out, limited = min(out, left-n.in), true
	}
	if s.limit.USD > 0 && n.rate != (rate{}) {
		left := max(0, toNanos(s.limit.USD)-s.acct.money)
		if cost := n.rate.cost(n.in, least); cost > left {
			return 0, true, s.refuse(fmt.Sprintf("about $%.6f", cost.dollars()),
				fmt.Sprintf("$%.6f of $%.6f", left.dollars(), s.limit.USD))
		}
		if n.rate.out > 0 {
			out = min(out, int64((left-n.rate.cost(n.in, 0))/n.rate.out))
		}
		limited = true
	}
	return out, limited, nil
}

// refuse names the scope, the figure and the limit, which is all that helps
// somebody to change one of them.
func (s scope) refuse(figure, left string) *Error {
	return &Error{Code: CodeBudget,
		Msg: fmt.Sprintf("%s budget: this call needs %s, %s left", s.name, figure, left)}
}

// free reports whether the need fits beside the calls under way.
func (s scope) free(n need) bool {
	a := s.acct
	if s.limit.Tokens > 0 && a.in+a.out+a.heldTokens+n.in+n.out > s.limit.Tokens {
		return a.heldTokens == 0
	}
	if s.limit.USD > 0 && a.money+a.heldMoney+n.rate.cost(n.in, n.out) > toNanos(s.limit.USD) {
		return a.heldMoney == 0
	}
	return true
}

// settle replaces a hold by what was used and returns it priced.
func (l *ledger) settle(h *hold, in, out int64) Usage {
	l.mu.Lock()
	defer l.mu.Unlock()
	money := h.rate.cost(in, out)
	for _, a := range h.accounts {
		a.heldTokens -= h.tokens
		a.heldMoney -= h.money
		a.in += in
		a.out += out
		a.money += money
	}
	close(l.freed)
	l.freed = make(chan struct{})
	return Usage{TokensIn: in, TokensOut: out, USD: money.dollars()}
}

// restore charges what earlier records of this day and of their runs say.
func (l *ledger) restore(r Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var accounts []*account
	today := l.today()
	if dayOf(r.Time) == l.dayName {
		accounts = append(accounts, today)
	}
	for _, of := range append(r.Outer, OuterRecord{r.Trace, r.Node}) {
		if of.Trace == "" {
			continue
		}
		run, err := l.run(of.Trace)
		if err != nil {
			continue
		}
		accounts = append(accounts, &run.account)
		if of.Node != "" {
			accounts = append(accounts, run.node(of.Node))
		}
		if of.Trace != r.Trace {
			run.inner[r.Trace] = true
		}
	}
	for _, a := range accounts {
		a.in += r.TokensIn
		a.out += r.TokensOut
		a.money += toNanos(r.USD)
	}
}

func (l *ledger) endRun(trace string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if run := l.runs[trace]; run != nil {
		for inner := range run.inner {
			delete(l.runs, inner)
		}
	}
	delete(l.runs, trace)
}

// spent returns what a node, its run and the day have been charged so far.
func (l *ledger) spent(trace, node string) (ofNode, ofRun, ofDay Usage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ofDay = l.today().usage()
	if r := l.runs[trace]; r != nil {
		ofRun = r.usage()
		if a := r.nodes[node]; a != nil {
			ofNode = a.usage()
		}
	}
	return ofNode, ofRun, ofDay
}
