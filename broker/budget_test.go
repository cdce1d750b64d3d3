package broker

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestLedgerProperty reserves and settles at random. As long as nobody uses
// more than was held for him, no account ever passes its limit, and holds add
// up to nothing in the end.
func TestLedgerProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLedger(time.Now)
		lim := Limits{
			Node: Limit{Tokens: rapid.Int64Range(0, 500).Draw(t, "node")},
			Run:  Limit{Tokens: rapid.Int64Range(0, 900).Draw(t, "run"), USD: rapid.Float64Range(0, 1e-3).Draw(t, "usd")},
			Day:  Limit{Tokens: rapid.Int64Range(0, 2000).Draw(t, "day")},
		}
		price := rate{in: nanos(rapid.IntRange(0, 2000).Draw(t, "in")), out: nanos(rapid.IntRange(0, 2000).Draw(t, "out"))}
		var open []*hold
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(open) > 0 && rapid.Bool().Draw(t, "settle") {
				h := open[0]
				open = open[1:]
				in := rapid.Int64Range(0, h.tokens).Draw(t, "used in")
				settleWithin(l, h, in)
				continue
			}
			c := &call{limits: lim, caller: Caller{Trace: fmt.Sprint(rapid.IntRange(0, 2).Draw(t, "trace")), Node: "n"}}
			want := need{in: rapid.Int64Range(0, 200).Draw(t, "n in"), out: rapid.Int64Range(0, 300).Draw(t, "n out"),
				fixed: rapid.Bool().Draw(t, "fixed"), rate: price}
			if h, _, _ := l.tryReserve(c, want); h != nil {
				open = append(open, h)
			}
			checkLedger(t, l, lim)
		}
		for _, h := range open {
			l.settle(h, 0, 0)
		}
		if l.today().heldTokens != 0 || l.today().heldMoney != 0 {
			t.Fatalf("held in the end: %+v", l.day)
		}
	})
}

// settleWithin charges at most what was held, in tokens and in money.
func settleWithin(l *ledger, h *hold, in int64) {
	for in > 0 && h.rate.cost(in, 0) > h.money {
		in /= 2
	}
	l.settle(h, in, 0)
}

func checkLedger(t *rapid.T, l *ledger, lim Limits) {
	check := func(what string, a *account, limit Limit) {
		if limit.Tokens > 0 && a.in+a.out+a.heldTokens > limit.Tokens {
			t.Fatalf("%s: %+v passes %+v", what, a, limit)
		}
		if limit.USD > 0 && a.money+a.heldMoney > toNanos(limit.USD) {
			t.Fatalf("%s: %+v passes %+v", what, a, limit)
		}
	}
	check("day", l.day, lim.Day)
	for id, r := range l.runs {
		check("run "+id, &r.account, lim.Run)
		for _, n := range r.nodes {
			check("node", n, lim.Node)
		}
	}
}

// TestRunsAreBounded: a flood of new traces is refused, and the budgets of
// the old ones are kept.
func TestRunsAreBounded(t *testing.T) {
	l := newLedger(time.Now)
	lim := Limits{Run: Limit{Tokens: 10}}
	for i := range maxRuns {
		c := &call{limits: lim, caller: Caller{Trace: fmt.Sprint(i)}}
		h, err := l.reserve(context.Background(), c, need{in: 10})
		if err != nil {
			t.Fatal(err)
		}
		l.settle(h, 10, 0)
	}
	_, err := l.reserve(t.Context(), &call{limits: lim, caller: Caller{Trace: "new"}}, need{in: 1})
	if err == nil || err.Code != CodeBudget || !strings.Contains(err.Msg, "open budgets") {
		t.Errorf("one run too many: %v", err)
	}
	_, err = l.reserve(t.Context(), &call{limits: lim, caller: Caller{Trace: "0"}}, need{in: 1})
	if err == nil || !strings.Contains(err.Msg, "0 of 10 left") {
		t.Errorf("an old run: %v", err)
	}
	l.endRun("0")
	if _, err := l.reserve(t.Context(), &call{limits: lim, caller: Caller{Trace: "new"}}, need{in: 1}); err != nil {
		t.Errorf("after one ended: %v", err)
	}
}

func BenchmarkReserveSettle(b *testing.B) {
	l := newLedger(time.Now)
	c := &call{caller: Caller{Trace: "t", Node: "n"}, limits: Limits{Run: Limit{Tokens: 1 << 60, USD: 1e6}}}
	n := need{in: 100, out: 100, rate: rate{100, 100}}
	for b.Loop() {
		h, err := l.reserve(context.Background(), c, n)
		if err != nil {
			b.Fatal(err)
		}
		l.settle(h, 1, 1)
	}
}
