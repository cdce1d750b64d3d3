package opening

import (
	"context"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

func TestLimitsTighten(t *testing.T) {
	a, b := Limits{100, 0.5, 0}, Limits{0, 0.2, 3000}
	if got, want := a.Tighter(b), (Limits{100, 0.2, 3000}); got != want || b.Tighter(a) != want {
		t.Errorf("%+v, %+v", got, b.Tighter(a))
	}
	if (Limits{}).Tighter(Limits{}) != (Limits{}) {
		t.Error("nothing became a limit")
	}
}

func TestLimitsCheck(t *testing.T) {
	for _, bad := range []Limits{
		{BudgetTokens: -1}, {BudgetTokens: 1<<53 + 1}, {BudgetUSD: -0.1}, {BudgetUSD: 1e-7}, {BudgetUSD: 1e10},
		{BudgetUSD: math.NaN()}, {BudgetUSD: math.Inf(1)}, {TimeoutMS: -5}, {TimeoutMS: math.MaxInt64},
	} {
		if bad.Check() == nil {
			t.Errorf("%+v is accepted", bad)
		}
		e := &Engine{Executor: &fakeExecutor{}}
		if _, err := e.Run(t.Context(), plan(t, small("a", "", "")), RunOptions{Limits: bad}); err == nil {
			t.Errorf("a run with %+v begins", bad)
		}
	}
	for _, good := range []Limits{{}, {1, 1e-6, 1}, {1 << 53, 1e9, maxTimeout.Milliseconds()}} {
		if err := good.Check(); err != nil {
			t.Error(err)
		}
	}
}

// TestRunLimits: what agents are told and when the run ends follow from the
// tighter of the opening's limits and the run's.
func TestRunLimits(t *testing.T) {
	const policy = "policy: {timeout_ms: 3000, budget_tokens: 500, budget_usd: 0.5}"
	for _, tt := range []struct {
		name, policy string
		limits       Limits
		told         rmp.Budget // of the run
		ends         int64      // after ms
		reason       string
	}{
		{"tighter", policy, Limits{100, 0.1, 1000}, rmp.Budget{Tokens: 100, USD: 0.1, DeadlineMillis: 1000}, 1000,
			"the run took longer than the 1000 ms that it was given"},
		{"looser", policy, Limits{1000, 1, 9000}, rmp.Budget{Tokens: 500, USD: 0.5, DeadlineMillis: 3000}, 3000,
			"the run took longer than its policy.timeout_ms of 3000 ms"},
		{"of both", policy, Limits{BudgetTokens: 100}, rmp.Budget{Tokens: 100, USD: 0.5, DeadlineMillis: 3000}, 3000,
			"the run took longer than its policy.timeout_ms of 3000 ms"},
		{"alone", "", Limits{100, 0.1, 1000}, rmp.Budget{Tokens: 100, USD: 0.1, DeadlineMillis: 1000}, 1000,
			"the run took longer than the 1000 ms that it was given"},
		{"a node's own timeout stays", "", Limits{TimeoutMS: 60_000}, rmp.Budget{DeadlineMillis: 60_000}, 30_000,
			"a failed: timeout: no answer within 30000 ms"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var told rmp.Budget
			e := &Engine{Store: &memStore{}, Executor: &fakeExecutor{acts: map[string]act{
				"a": func(ctx context.Context, req *Request, obs Observer) *Response {
					told = req.RunBudget
					return takes(time.Hour)(ctx, req, obs)
				},
			}}}
			rep, err := e.Run(t.Context(), plan(t, small("a", "", tt.policy)), RunOptions{TraceID: testTrace, Limits: tt.limits})
			if err != nil || told != tt.told || rep.DurationMS != tt.ends || rep.Reason != tt.reason {
				t.Errorf("%s: told %+v, ended after %d ms: %s (%v)", tt.name, told, rep.DurationMS, rep.Reason, err)
			}
		})
	}
}

// TestRunLimitsLast: a run that another process goes on with has the limits that
// it began with.
func TestRunLimitsLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memStore{}
		limits := Limits{100, 0.1, 5000}
		e := &Engine{Store: store, Executor: &fakeExecutor{acts: map[string]act{"b": takes(time.Hour)}}}
		p := plan(t, small("a; b", "a.out -> b.in", "policy: {timeout_ms: 60000, budget_tokens: 500}"))
		if _, err := e.Run(t.Context(), p, RunOptions{TraceID: testTrace, Limits: limits}); err != nil {
			t.Fatal(err)
		}
		// As if the process had ended while b was running.
		for i, r := range store.records {
			if r.Kind == kindNodeStarted && strings.Contains(string(r.Payload), `"b"`) {
				store.records = store.records[:i+1]
				break
			}
		}
		rr, err := LoadRun(t.Context(), store, testTrace)
		if err != nil || rr.Limits != limits {
			t.Fatalf("%+v %v", rr, err)
		}
		var told rmp.Budget
		e.Executor = &fakeExecutor{acts: map[string]act{"b": func(ctx context.Context, req *Request, obs Observer) *Response {
			told = req.RunBudget
			return takes(time.Hour)(ctx, req, obs)
		}}}
		rep, err := e.Resume(t.Context(), rr, ResumeOptions{})
		if err != nil || rep.Status != StatusTimeout || told.Tokens != 100 || told.USD != 0.1 || told.DeadlineMillis > 5000 {
			t.Errorf("told %+v, %+v, %v", told, rep, err)
		}
	})
}
