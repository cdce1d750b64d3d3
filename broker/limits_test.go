package broker_test

import (
	"context"
	"errors"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runloop-os/runloop/broker"
)

// TestBudgetRace lets a hundred callers at once at budgets for one call and
// for ten. However they interleave, no more calls than that are made.
func TestBudgetRace(t *testing.T) {
	prices := []broker.Price{{Model: "*", In: 10, Out: 10}} // 608 tokens: $0.00608
	for _, c := range []struct {
		name   string
		limits broker.Limits
		calls  int
	}{
		{"run tokens, one", broker.Limits{Run: broker.Limit{Tokens: 1000}}, 1},
		{"node tokens, one", broker.Limits{Node: broker.Limit{Tokens: 1000}}, 1},
		{"day tokens, ten", broker.Limits{Day: broker.Limit{Tokens: 6100}}, 10},
		{"run dollars, one", broker.Limits{Run: broker.Limit{USD: 0.010}}, 1},
		{"day dollars, ten", broker.Limits{Day: broker.Limit{USD: 0.061}}, 10},
		{"both", broker.Limits{Run: broker.Limit{Tokens: 1e6, USD: 0.010}, Day: broker.Limit{Tokens: 1e6}}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, func(x *exchange) { x.words(8, 600, "spent") })
			b := newBroker(t, srv.url(), func(cfg *broker.Config) { cfg.Prices = prices })
			r := ask("m", "please") // about 9 tokens
			r.Params.MaxTokens = 600
			r.Caller = broker.Caller{Trace: "T", Node: "N", Limits: c.limits}
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					if _, err := b.Complete(t.Context(), r); err != nil && broker.CodeOf(err) != broker.CodeBudget {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if n := len(srv.requests()); n != c.calls {
				t.Errorf("%d calls were made on a budget for %d", n, c.calls)
			}
			if _, run, day := b.Spent("T", "N"); run != day || run.TokensIn != int64(8*c.calls) {
				t.Errorf("accounts %+v and %+v", run, day)
			}
		})
	}
}

// TestRefusal checks that a refusal names the scope, the figure and the
// limit, comes before any byte is sent, and is not retryable.
func TestRefusal(t *testing.T) {
	srv := serve(t, func(x *exchange) { t.Error("asked") })
	b := newBroker(t, srv.url(), func(c *broker.Config) {
		c.Prices = []broker.Price{{Model: "*", In: 0, Out: 1000}}
	})
	for _, c := range []struct {
		limits broker.Limits
		says   string
	}{
		{broker.Limits{Request: broker.Limit{Tokens: 400}}, "request budget: this call needs about 508 tokens, 400 of 400 left"},
		{broker.Limits{Node: broker.Limit{Tokens: 1}}, "node budget: this call needs about 508 tokens, 1 of 1 left"},
		{broker.Limits{Day: broker.Limit{USD: 0.25}}, "day budget: this call needs about $0.500000, $0.250000 of $0.250000 left"},
	} {
		r := ask("m", "hi")
		r.Params.MaxTokens = 500
		r.Caller = broker.Caller{Trace: "T", Node: "N", Limits: c.limits}
		_, err := b.Complete(t.Context(), r)
		if broker.CodeOf(err) != broker.CodeBudget || broker.Retryable(err) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("got %v, want %q", err, c.says)
		}
	}
	for _, r := range b.recorded() {
		if r.Attempt != 0 || r.TokensIn != 0 || r.ErrorKind != broker.CodeBudget {
			t.Errorf("refusal recorded as %+v", r)
		}
	}
}

// TestAnswerLength checks what a request that names no length is allowed.
func TestAnswerLength(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit broker.Limit
		sends string
	}{
		{"no limit", broker.Limit{}, ""},
		{"roomy", broker.Limit{Tokens: 100_000}, `"max_tokens":2048`},
		{"tight", broker.Limit{Tokens: 308}, `"max_tokens":300`},
		{"tight dollars", broker.Limit{USD: 0.3}, `"max_tokens":300`},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := serve(t, func(x *exchange) { x.words(8, 10, "ok") })
			b := newBroker(t, srv.url(), func(cfg *broker.Config) {
				cfg.Prices = []broker.Price{{Model: "*", Out: 1000}}
			})
			r := ask("m", "hi") // 8 tokens
			r.Caller.Limits.Request = c.limit
			if _, err := b.Complete(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			body := string(srv.requests()[0].body)
			if !strings.Contains(body, c.sends) || c.sends == "" && strings.Contains(body, "max_tokens") {
				t.Errorf("sent %s, want %s", body, c.sends)
			}
		})
	}
}

// TestCapsTighten checks the three layers of limits.
func TestCapsTighten(t *testing.T) {
	one := func(n int64) broker.Limits { return broker.Limits{Run: broker.Limit{Tokens: n}} }
	for _, c := range []struct {
		caller, fallback, ceiling, want int64
	}{
		{0, 0, 0, 0}, {0, 500, 0, 500}, {800, 500, 0, 800}, {800, 500, 600, 600},
		{0, 0, 600, 600}, {100, 0, 600, 100}, {0, 900, 600, 600},
	} {
		srv := serve(t, func(x *exchange) { x.words(8, 10, "ok") })
		b := newBroker(t, srv.url(), func(cfg *broker.Config) {
			cfg.Defaults, cfg.Caps = one(c.fallback), one(c.ceiling)
		})
		r := ask("m", "hi")
		r.Params.MaxTokens = 5000
		r.Caller = broker.Caller{Trace: "T", Limits: one(c.caller)}
		_, err := b.Complete(t.Context(), r)
		if c.want == 0 {
			if err != nil {
				t.Errorf("%+v: %v", c, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), " of "+strconv.FormatInt(c.want, 10)+" left") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestRetriesArePaid checks that attempts that failed half-way count.
func TestRetriesArePaid(t *testing.T) {
	srv := serve(t, func(x *exchange) {
		x.say(sseHead, delta("half an ans"))
	})
	b := newBroker(t, srv.url(), func(c *broker.Config) { c.Retry.Attempts = 5 })
	r := ask("m", "hi")
	r.Params.MaxTokens = 100
	r.Caller = broker.Caller{Trace: "T", Node: "N", Limits: broker.Limits{Request: broker.Limit{Tokens: 130}}}
	_, err := b.Complete(t.Context(), r)
	// 108 fit into 130, and again into the 119 left after the first attempt
	// (8 in, 3 out), but not into the 108 left after the second.
	e, ok := errors.AsType[*broker.Error](err)
	if !ok || e.Code != broker.CodeBudget && e.Code != broker.CodeProvider {
		t.Fatalf("got %v", err)
	}
	n := int64(len(srv.requests()))
	if e.Usage.TokensIn != 8*n || e.Usage.TokensOut != 3*n || e.Usage.TokensIn+e.Usage.TokensOut > 130 {
		t.Errorf("%d attempts charged %+v", n, e.Usage)
	}
	if node, _, _ := b.Spent("T", "N"); node != e.Usage {
		t.Errorf("node was charged %+v, the error says %+v", node, e.Usage)
	}
}

// TestRestore checks that a budget outlives the process: a second broker that
// is fed the first one's records goes on where it stopped.
func TestRestore(t *testing.T) {
	srv := serve(t, func(x *exchange) { x.words(100, 600, "spent") })
	now := time.Date(2026, 3, 1, 23, 0, 0, 0, time.UTC)
	setup := func(c *broker.Config) {
		c.Now = func() time.Time { return now }
		c.Caps = broker.Limits{Run: broker.Limit{Tokens: 1500}, Day: broker.Limit{Tokens: 2000}}
	}
	r := ask("m", "hi")
	r.Params.MaxTokens = 600
	r.Caller = broker.Caller{Trace: "T", Node: "N"}
	first := newBroker(t, srv.url(), setup)
	for range 2 {
		if _, err := first.Complete(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	second := newBroker(t, srv.url(), setup)
	second.Restore(first.recorded())
	if node, run, day := second.Spent("T", "N"); node.TokensIn != 200 || run != node || day != node {
		t.Errorf("restored %+v, %+v, %+v", node, run, day)
	}
	refused := func(trace, scope string) {
		t.Helper()
		r.Caller.Trace = trace
		if _, err := second.Complete(t.Context(), r); err == nil || !strings.Contains(err.Error(), scope) {
			t.Errorf("trace %s: got %v, want a refusal by the %s", trace, err, scope)
		}
	}
	refused("T", "run budget")
	refused("U", "day budget")
	now = now.Add(2 * time.Hour) // past midnight: a new day, the same run
	refused("T", "run budget")
	second.EndRun("T")
	r.Caller.Trace = "T"
	if _, err := second.Complete(t.Context(), r); err != nil {
		t.Errorf("after the end of the run: %v", err)
	}
	third := newBroker(t, srv.url(), setup)
	third.Restore(first.recorded())
	if _, run, day := third.Spent("T", "N"); run.TokensIn != 200 || day.TokensIn != 0 {
		t.Errorf("yesterday's records: run %+v, day %+v", run, day)
	}
}

// TestWaitsForHolds checks that a call which fits once another has ended
// waits for it, and that a deadline ends the wait.
func TestWaitsForHolds(t *testing.T) {
	release := make(chan struct{})
	srv := serve(t, func(x *exchange) {
		if x.n == 1 {
			<-release
		}
		x.words(8, 10, "ok")
	})
	b := newBroker(t, srv.url(), nil)
	r := ask("m", "hi")
	r.Params.MaxTokens = 600
	r.Caller = broker.Caller{Trace: "T", Limits: broker.Limits{Run: broker.Limit{Tokens: 1000}}}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, err := b.Complete(t.Context(), r); err != nil {
				t.Error(err)
			}
		})
	}
	for len(srv.requests()) == 0 {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := b.Complete(ctx, r); broker.CodeOf(err) != broker.CodeDeadline {
		t.Errorf("third call: %v", err)
	}
	if n := len(srv.requests()); n != 1 {
		t.Errorf("%d calls while the first held the budget", n)
	}
	close(release)
	wg.Wait()
}

// TestDollarsAreCounted checks prices of the table, of the configuration and
// of the unknown.
func TestDollarsAreCounted(t *testing.T) {
	for _, c := range []struct {
		name, model string
		prices      []broker.Price
		want        float64
	}{
		{"local is free", "gpt-4o", nil, 0},
		{"configured", "gpt-4o", []broker.Price{{Model: "gpt-4o", In: 1, Out: 2}}, 0.0005},
		{"by provider", "x", []broker.Price{{Model: "other:*", In: 9}, {Model: "srv:*", In: 1}}, 0.0001},
	} {
		srv := serve(t, func(x *exchange) { x.words(100, 200, "ok") })
		b := newBroker(t, srv.url(), func(cfg *broker.Config) { cfg.Prices = c.prices })
		resp, err := b.Complete(t.Context(), ask(c.model, "hi"))
		if err != nil || math.Abs(resp.Usage.USD-c.want) > 1e-12 {
			t.Errorf("%s: %+v, %v; want $%v", c.name, resp, err, c.want)
		}
	}
}
