package runloop

import (
	"time"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/opening"
)

// limitBy reads --budget-tokens, --budget-usd and --timeout.
func (f *runFlags) limitBy(c *cli.Context) error {
	l := opening.Limits{
		BudgetTokens: c.Int64("budget-tokens"), BudgetUSD: c.Float64("budget-usd"),
		TimeoutMS: c.Duration("timeout").Milliseconds(),
	}
	switch { // zero would bound nothing
	case c.IsSet("budget-tokens") && l.BudgetTokens < 1:
		return usageErrorf("--budget-tokens %d: want at least 1", l.BudgetTokens)
	case c.IsSet("budget-usd") && !(l.BudgetUSD > 0):
		return usageErrorf("--budget-usd %v: want more than 0", l.BudgetUSD)
	case c.IsSet("timeout") && c.Duration("timeout") < time.Millisecond:
		return usageErrorf("--timeout %v: want at least 1ms", c.Duration("timeout"))
	}
	if err := l.Check(); err != nil {
		return usageErrorf("%v", err)
	}
	f.limits = l
	return nil
}

// Who set a limit of a run.
const (
	fromRequest = "request"
	fromOpening = "opening"
	fromConfig  = "config"
)

// askedLimits are limits for a run as the engine gets them. What the
// configuration has for openings that set no tokens holds beside those that
// were asked for: asking only tightens.
func (l *Loaded) askedLimits(p opening.Policy, asked opening.Limits) opening.Limits {
	if p.BudgetTokens == 0 && asked.BudgetTokens > 0 {
		asked = asked.Tighter(opening.Limits{BudgetTokens: int64(l.Models.Broker.Budgets.DefaultTokens)})
	}
	return asked
}

// limitsOf are all limits of a run, with who set each.
func (l *Loaded) limitsOf(p opening.Policy, asked opening.Limits) previewLimits {
	b := &l.Models.Broker.Budgets
	var byConfig int64
	if p.BudgetTokens == 0 {
		byConfig = int64(b.DefaultTokens)
	}
	return previewLimits{
		Tokens:    tightest(asked.BudgetTokens, p.BudgetTokens, byConfig),
		USD:       tightest(asked.BudgetUSD, p.BudgetUSD, b.HardCapUSD),
		TimeoutMS: tightest(asked.TimeoutMS, p.TimeoutMS, 0),
	}
}

// tightest is the smallest of three limits, of which 0 is none.
func tightest[T int64 | float64](request, opening, config T) *previewLimit[T] {
	var out *previewLimit[T]
	for _, l := range []previewLimit[T]{{config, fromConfig}, {opening, fromOpening}, {request, fromRequest}} {
		if l.Most > 0 && (out == nil || l.Most <= out.Most) {
			out = &l
		}
	}
	return out
}
