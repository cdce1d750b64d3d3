package broker

import (
	"fmt"
	"math"
	"strings"
)

// Price is what a million tokens cost at a provider, in dollars. Model is a
// pattern as in [Route], matched against "provider:model", against the model,
// and against what follows its last slash ("openai/gpt-4o" at a reseller).
type Price struct {
	Model string
	In    float64
	Out   float64
}

// shippedPrices are the list prices of the large vendors, from their public
// price pages as of mid-2025; configuration goes first. The order matters:
// the first pattern that fits wins.
var shippedPrices = []Price{
	{"gpt-5-nano*", 0.05, 0.40},
	{"gpt-5-mini*", 0.25, 2.00},
	{"gpt-5*", 1.25, 10.00},
	{"gpt-4.1-nano*", 0.10, 0.40},
	{"gpt-4.1-mini*", 0.40, 1.60},
	{"gpt-4.1*", 2.00, 8.00},
	{"gpt-4o-mini*", 0.15, 0.60},
	{"gpt-4o*", 2.50, 10.00},
	{"gpt-4-turbo*", 10.00, 30.00},
	{"gpt-4*", 30.00, 60.00},
	{"gpt-3.5*", 0.50, 1.50},
	{"o4-mini*", 1.10, 4.40},
	{"o3-mini*", 1.10, 4.40},
	{"o3*", 2.00, 8.00},
	{"o1-mini*", 1.10, 4.40},
	{"o1*", 15.00, 60.00},
	{"text-embedding-3-small*", 0.02, 0},
	{"text-embedding-3-large*", 0.13, 0},
	{"text-embedding-ada-002*", 0.10, 0},
	{"claude-3-haiku*", 0.25, 1.25},
	{"claude-3-5-haiku*", 0.80, 4.00},
	{"claude*haiku*", 1.00, 5.00},
	{"claude*sonnet*", 3.00, 15.00},
	{"claude*opus*", 15.00, 75.00},
	{"gemini-1.5-flash*", 0.075, 0.30},
	{"gemini-2.0-flash*", 0.10, 0.40},
	{"gemini-2.5-flash-lite*", 0.10, 0.40},
	{"gemini-2.5-flash*", 0.30, 2.50},
	{"gemini-*-pro*", 1.25, 10.00},
	{"mistral-small*", 0.10, 0.30},
	{"mistral-large*", 2.00, 6.00},
	{"deepseek-chat*", 0.27, 1.10},
	{"deepseek-reasoner*", 0.55, 2.19},
}

// unknownPrice stands in for a model nobody has priced at a provider that is
// not on this host or network: as dear as anything in the table, so that a
// limit in dollars still holds.
var unknownPrice = Price{"", 30.00, 75.00}

// nanos is money in billionths of a dollar. Sums of floats would drift, and a
// cheap model's token costs 50 of these.
type nanos int64

func (n nanos) dollars() float64 { return float64(n) / 1e9 }

// toNanos rounds up, so that a positive limit or price never becomes zero;
// the small difference keeps the error of binary fractions from adding one.
func toNanos(usd float64) nanos {
	return nanos(min(math.Ceil(usd*1e9-1e-6), math.MaxInt64/4))
}

// rate is a price per token.
type rate struct{ in, out nanos }

func (p Price) rate() rate {
	return rate{in: toNanos(p.In / 1e6), out: toNanos(p.Out / 1e6)}
}

func (r rate) cost(in, out int64) nanos {
	return mul(r.in, in) + mul(r.out, out)
}

// mul saturates at a value that two of can still be added.
func mul(n nanos, tokens int64) nanos {
	const top = math.MaxInt64 / 4
	if n > 0 && tokens > top/int64(n) {
		return top
	}
	return n * nanos(tokens)
}

// priceTable finds the rate of a target.
type priceTable struct {
	configured []Price
}

func newPriceTable(configured []Price) (*priceTable, error) {
	for i, p := range configured {
		if p.Model == "" || !(p.In >= 0) || !(p.Out >= 0) || p.In > 1e6 || p.Out > 1e6 {
			return nil, fmt.Errorf("broker: prices[%d]: want a model and dollars per million tokens "+
				"from 0 to 1e6", i)
		}
	}
	return &priceTable{configured: configured}, nil
}

// rate looks in the configuration first. What runs on this host or network
// and was given no price is free.
func (t *priceTable) rate(target Target, local bool) rate {
	if p, ok := find(t.configured, target); ok {
		return p.rate()
	}
	if local {
		return rate{}
	}
	if p, ok := find(shippedPrices, target); ok {
		return p.rate()
	}
	return unknownPrice.rate()
}

// find returns the first price that fits a target under any of its names.
func find(prices []Price, target Target) (Price, bool) {
	full := target.Provider + ":" + target.Model
	base := target.Model[strings.LastIndexByte(target.Model, '/')+1:]
	for _, p := range prices {
		if matches(p.Model, full) || matches(p.Model, target.Model) || matches(p.Model, base) {
			return p, true
		}
	}
	return Price{}, false
}
