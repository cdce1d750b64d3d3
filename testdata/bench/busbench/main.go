// Command busbench measures the bus beside what it is compared with in
// spec/09, in one run and in turns, and prints one JSON object a line:
//
//	{"what":…,"ours":…,"reference":…,"ratio":…,"target":…,"unit":…,"ok":…}
//
// The broker and each of the two clients are processes of their own; they are
// this program again, told by its arguments which part to play.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
)

// row is one line of the result.
type row struct {
	What      string  `json:"what"`
	Ours      float64 `json:"ours"`
	Reference float64 `json:"reference,omitempty"`
	Ratio     float64 `json:"ratio,omitempty"`
	Target    string  `json:"target"`
	Unit      string  `json:"unit"`
	OK        bool    `json:"ok"`
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == "play" {
		if err := play(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, "busbench:", os.Args[2]+":", err)
			os.Exit(1)
		}
		return
	}
	rounds := flag.Int("rounds", 5, "how often each pair is measured")
	messages := flag.Int("messages", 500_000, "messages of a round of publish to deliver")
	calls := flag.Int("calls", 10_000, "requests of a round of request to reply")
	only := flag.String("only", "", "measure only codec, inprocess, stream or request")
	flag.Parse()
	parts := []struct {
		name string
		run  func() ([]row, error)
	}{
		{"codec", func() ([]row, error) { return codecRows(*rounds), nil }},
		{"inprocess", func() ([]row, error) { return inProcessRows(*rounds), nil }},
		{"stream", func() ([]row, error) { return streamRows(*rounds, *messages) }},
		{"request", func() ([]row, error) { return requestRows(*rounds, *calls) }},
	}
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for _, part := range parts {
		if *only != "" && *only != part.name {
			continue
		}
		rows, err := part.run()
		for _, r := range rows {
			_ = out.Encode(r)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "busbench:", err)
			os.Exit(1)
		}
	}
}

// median returns the middle of some figures.
func median(x []float64) float64 {
	s := slices.Sorted(slices.Values(x))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// ratios divides figures that were measured in turns, pair by pair.
func ratios(ours, reference []float64) []float64 {
	r := make([]float64, len(ours))
	for i := range ours {
		r[i] = ours[i] / reference[i]
	}
	return r
}

// target is a bound of the median ratio of a row.
type target struct {
	most bool // or least
	x    float64
}

func atMost(x float64) target  { return target{true, x} }
func atLeast(x float64) target { return target{false, x} }

// compare makes a row of figures that were measured in turns.
func compare(what, unit string, ours, reference []float64, to target) row {
	ratio := median(ratios(ours, reference))
	r := row{What: what, Ours: median(ours), Reference: median(reference), Ratio: ratio, Unit: unit}
	if to.most {
		r.Target, r.OK = fmt.Sprintf("<= %gx", to.x), ratio <= to.x
	} else {
		r.Target, r.OK = fmt.Sprintf(">= %gx", to.x), ratio >= to.x
	}
	return r
}
