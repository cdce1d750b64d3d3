package opening

import "fmt"

// Limits bound one run beyond what its opening says. They can only tighten: of
// a limit and the opening's policy the smaller counts. Zero bounds nothing.
type Limits struct {
	BudgetTokens int64   `json:"budget_tokens,omitempty"`
	BudgetUSD    float64 `json:"budget_usd,omitempty"`
	TimeoutMS    int64   `json:"timeout_ms,omitempty"`
}

// Check refuses limits that a policy could not have (spec/04 "YAML").
func (l Limits) Check() error {
	switch {
	case l.BudgetTokens < 0 || l.BudgetTokens > maxBudgetTokens:
		return fmt.Errorf("a budget of %d tokens: want 1 to %d", l.BudgetTokens, int64(maxBudgetTokens))
	case l.BudgetUSD != 0 && !(l.BudgetUSD >= minUSD && l.BudgetUSD <= maxUSD):
		return fmt.Errorf("a budget of $%v: want $0.000001 to $1000000000", l.BudgetUSD)
	case l.TimeoutMS < 0 || l.TimeoutMS > maxTimeout.Milliseconds():
		return fmt.Errorf("a timeout of %d ms: want 1 to %d", l.TimeoutMS, maxTimeout.Milliseconds())
	}
	return nil
}

// Tighter is the smaller of each limit.
func (l Limits) Tighter(m Limits) Limits {
	return Limits{
		BudgetTokens: smaller(l.BudgetTokens, m.BudgetTokens),
		BudgetUSD:    smaller(l.BudgetUSD, m.BudgetUSD),
		TimeoutMS:    smaller(l.TimeoutMS, m.TimeoutMS),
	}
}

// Limits are those of the policy.
func (p Policy) Limits() Limits {
	return Limits{BudgetTokens: p.BudgetTokens, BudgetUSD: p.BudgetUSD, TimeoutMS: p.TimeoutMS}
}

// smaller is the smaller of two limits, where 0 is none.
func smaller[T int64 | float64](a, b T) T {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
