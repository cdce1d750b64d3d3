package router

import (
	"strings"
	"testing"
)

// BenchmarkClassify runs the tuning corpus round; its figure is the mean of
// one decision. The target of spec/09 is 20 µs at the median.
func BenchmarkClassify(b *testing.B) {
	lookup := fixturePath(b)
	var inputs []Input
	for _, s := range readCorpus(b, "tune.tsv") {
		inputs = append(inputs, s.input(lookup))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		classify(inputs[i%len(inputs)])
	}
}

func BenchmarkLine(b *testing.B) {
	for name, line := range map[string]string{
		"command":  "git log --oneline -n 20",
		"request":  "show me the largest files in my home folder and when I last opened them",
		"sentence": "find the three invoices from last week that nobody has paid yet, please",
		"typo":     "dokcer ps",
		"unknown":  "frobnicate all",
		"syntax":   "for f in *.c; do gcc -c \"$f\"; done",
		"parsed":   "(cd build && cmake .. && make -j8)",
		"script":   "почему сервер не отвечает",
		"1MiB":     strings.Repeat("word ", 1<<20/5),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				classify(Input{Line: line})
			}
		})
	}
}
