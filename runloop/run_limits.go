package runloop

import (
	"github.com/runloop-os/runloop/opening"
)

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
