package router

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestCutBudget(t *testing.T) {
	for _, tt := range []struct {
		in, text string
		want     Budget
	}{
		{"write John", "write John", Budget{}},
		{"write John :budget 30s $0.05 2000t", "write John", Budget{30 * time.Second, 0.05, 2000}},
		{":budget 30s $0.05 2000t write John", "write John", Budget{30 * time.Second, 0.05, 2000}},
		{"write John :budget 2000 tokens, 1m30s, $1", "write John", Budget{90 * time.Second, 1, 2000}},
		{":budget 8000tok\nwrite\tJohn\n  twice", "write\tJohn\n  twice", Budget{Tokens: 8000}},
		{"é :budget 500ms", "é", Budget{Timeout: 500 * time.Millisecond}},
		{"x :budget $.5", "x", Budget{USD: 0.5}},
		{"x :budget 1 token", "x", Budget{Tokens: 1}},
		{"x :budget 2h 5t", "x", Budget{Timeout: 2 * time.Hour, Tokens: 5}},
		{":budget 5t", "", Budget{Tokens: 5}},
		{`what does \:budget mean`, "what does :budget mean", Budget{}},
		{"the budget: 30s", "the budget: 30s", Budget{}},
		{"x:budget 30s", "x:budget 30s", Budget{}},
		{":budgets 30s", ":budgets 30s", Budget{}},
	} {
		text, b, err := CutBudget(tt.in)
		if err != nil || text != tt.text || b != tt.want {
			t.Errorf("%q: %q %+v %v", tt.in, text, b, err)
		}
	}
}

func TestCutBudgetWrong(t *testing.T) {
	for _, tt := range []struct {
		in   string
		char int
		msg  string
	}{
		{"x :budget", 10, "want a time"},
		{":budget", 8, "want a time"},
		{"x :budget soon", 11, "want a time"},
		{"what does :budget mean", 19, `the word itself is \:budget`},
		{"é :budget 30", 11, "without a unit"},
		{":budget 30s 3 apples", 13, "without a unit"},
		{"x :budget 30x", 11, "not a time"},
		{"x :budget 30us", 11, "want 1ms"},
		{"x :budget 1000h", 11, "want 1ms to 168h"},
		{"x :budget 0s", 11, "want 1ms"},
		{"x :budget 0t", 11, "want 1 to"},
		{"x :budget 1.5t", 11, "whole number"},
		{"x :budget 99999999999999999999t", 11, "want 1 to"},
		{"x :budget $", 11, "not an amount"},
		{"x :budget $0", 11, "want $0.000001"},
		{"x :budget $-1", 11, "not an amount"},
		{"x :budget $1e3", 11, "not an amount"},
		{"x :budget $nan", 11, "not an amount"},
		{"x :budget 30s 40s", 15, "said already"},
		{"x :budget 30s 5t 6 tokens", 18, "said already"},
		{"x :budget $1 $2", 14, "said already"},
		{"x :budget 30s y", 15, "at the beginning or at the end"},
		{"x :budget 30s :budget 5t", 15, "there is a budget already"},
		{"x :budget bash.05", 11, "this was $0.05"},
		{"x :budget 30s -zsh.05", 15, "'…'"},
	} {
		text, b, err := CutBudget(tt.in)
		var e *BudgetError
		if !errors.As(err, &e) || e.Char != tt.char || !strings.Contains(err.Error(), tt.msg) || text != "" || !b.IsZero() {
			t.Errorf("%q: %q %+v %v", tt.in, text, b, err)
		}
	}
}

func TestMeansBudget(t *testing.T) {
	for prompt, want := range map[string]bool{
		"x :budget 30": true, "x :budget 3 apples": true, ":budget $x": true, "a :budget b :budget 5t": true, "ls :budget bash.05": true,
		"grep :budget notes.txt": false, "x :budget": false, `x \:budget 30s`: false, "": false, "x :budget é": false,
	} {
		if MeansBudget(prompt) != want {
			t.Errorf("%q: %v", prompt, !want)
		}
	}
}

// TestBudgetRoutes: a budget is for agents; what only looks like one is not.
func TestBudgetRoutes(t *testing.T) {
	for line, want := range map[string]Route{
		"ls :budget 30s":            ToAgent,
		":budget 30s write John":    ToAgent,
		":budget 30x write John":    ToAgent, // so that the mistake is shown, and nothing runs
		":budget":                   ToAgent,
		"git log --grep :budget":    ToShell,
		"grep :budget notes.txt":    ToShell,
		"vim :budgets":              ToShell,
		"!ls :budget 30s":           ToShell,
		`grep "\:budget 30s" x.txt`: ToShell,
	} {
		if d := Classify(Input{Line: line, Lookup: func(string) bool { return true }}); d.Route != want {
			t.Errorf("%q: %s by %s", line, d.Route, d.Rule)
		}
	}
}

func FuzzCutBudget(f *testing.F) {
	for _, s := range []string{"write John :budget 30s $0.05 2000t", ":budget 5 tokens, x", `\:budget`, ":budget é\x00\xff 1s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, prompt string) {
		text, b, err := CutBudget(prompt)
		if err != nil {
			if text != "" || !b.IsZero() {
				t.Fatalf("%q %+v with %v", text, b, err)
			}
			return
		}
		if b.Tokens < 0 || b.Timeout < 0 || !(b.USD >= 0) || len(text) > len(prompt) {
			t.Fatalf("%+v %q", b, text)
		}
		if !b.IsZero() && strings.Contains(text, BudgetMark) && !strings.Contains(prompt, `\`+BudgetMark) &&
			len(budgetWords(text)) > 0 && len(marksOf(budgetWords(text))) > 0 {
			t.Fatalf("a budget is left in %q", text)
		}
	})
}
