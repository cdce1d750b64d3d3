package main

import "fmt"

// growthMost is how much dearer one of a thousand may be than one of ten.
const growthMost = 2

// growthRows compare what one of many costs with what one of few does: bus,
// scheduler and ledger (spec/09 "How cost grows").
func growthRows() ([]row, error) {
	var list []comparison
	add := func(what, pkg, bench, unit string, few, many int) {
		list = append(list, comparison{
			what: fmt.Sprintf("%s; %d against %d", what, many, few), pkg: pkg,
			ours:      figure{fmt.Sprintf("%s/%d", bench, many), unit},
			reference: figure{fmt.Sprintf("%s/%d", bench, few), unit},
			limit:     growthMost, unit: "ns",
		})
	}
	for _, n := range []int{100, 1000} {
		add("bus, a delivery by subscribers", "bus", "Subscribers", "ns/delivery", 10, n)
		add("bus, a publish by topics", "bus", "Topics", "ns/op", 10, n)
		add("bus, a one-shot reply by subscriptions", "bus", "OneShot", "ns/op", 10, n)
		add("engine, a node by nodes", "opening", "Engine", "ns/node", 10, n)
		add("engine and bus, a node by nodes", "opening", "Bus", "ns/node", 10, n)
		add("history, bytes of a node by nodes", "opening", "History", "bytes/node", 10, n)
		add("reading a run back, a node by nodes", "opening", "History", "ns/node", 10, n)
		add("reading an opening, a node by nodes", "opening", "Load", "ns/node", 10, n)
	}
	for _, n := range []int{10_000, 100_000} {
		add("scheduler alone, a node by nodes", "opening", "Machine", "ns/node", 1000, n)
	}
	return compareAll(list)
}
