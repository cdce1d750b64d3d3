package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
)

// row is one line of the table. Reference and Ratio are 0 where the target is
// an absolute figure.
type row struct {
	What      string  `json:"what"`
	Ours      float64 `json:"ours"`
	Reference float64 `json:"reference,omitempty"`
	Ratio     float64 `json:"ratio,omitempty"`
	Target    string  `json:"target"`
	Unit      string  `json:"unit"`
	OK        bool    `json:"ok"`
}

// atMost is a row whose figure has a bound of its own.
func atMost(what, unit string, ours, most float64) row {
	return row{What: what, Ours: ours, Unit: unit, Target: "<= " + short(most) + " " + unit, OK: ours <= most}
}

// ratioAtMost is a row of figures that were measured in turns: the ratio is the
// median of those of the pairs.
func ratioAtMost(what, unit string, ours, reference []float64, most float64) row {
	r := compared(what, unit, ours, reference)
	r.Target, r.OK = "<= "+short(most)+"x", r.Ratio <= most
	return r
}

func ratioAtLeast(what, unit string, ours, reference []float64, least float64) row {
	r := compared(what, unit, ours, reference)
	r.Target, r.OK = ">= "+short(least)+"x", r.Ratio >= least
	return r
}

// noted is a row without a target.
func noted(what, unit string, ours, reference float64) row {
	return row{What: what, Unit: unit, Ours: ours, Reference: reference, Ratio: ours / reference, OK: true}
}

func compared(what, unit string, ours, reference []float64) row {
	ratios := make([]float64, 0, len(ours))
	for i := range ours {
		ratios = append(ratios, ours[i]/reference[i])
	}
	return row{What: what, Unit: unit, Ours: median(ours), Reference: median(reference), Ratio: median(ratios)}
}

func median(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(x))
	n := len(s)
	return (s[n/2] + s[(n-1)/2]) / 2
}

// quantile is the smallest figure that a share q of all are not above.
func quantile(x []float64, q float64) float64 {
	if len(x) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(x))
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

// short writes a figure with as many digits as mean something.
func short(x float64) string {
	switch {
	case x == 0:
		return "0"
	case x >= 100:
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(x, 'g', 3, 64)
}

func printTable(w io.Writer, rows []row) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WHAT\tOURS\tREFERENCE\tRATIO\tTARGET\t")
	for _, r := range rows {
		reference, ratio, mark := "", "", "ok"
		if r.Reference != 0 {
			reference, ratio = short(r.Reference)+" "+r.Unit, short(r.Ratio)+"x"
		}
		switch {
		case r.Target == "":
			mark = ""
		case !r.OK:
			mark = "MISSED"
		}
		fmt.Fprintf(t, "%s\t%s %s\t%s\t%s\t%s\t%s\n", r.What, short(r.Ours), r.Unit, reference, ratio, r.Target, mark)
	}
	t.Flush()
}
