package router

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDocs holds the figures and the mistakes that docs/routing.md shows against
// what is so.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../docs/routing.md")
	if err != nil {
		t.Fatal(err)
	}
	_, _, shell, agent := score(t, "held.tsv", false)
	_, _, _, lower := score(t, "held.tsv", true)
	for _, want := range []string{
		fmt.Sprintf("| commands | %d | %d | %d | %.1f %% |", shell.lines, shell.lines-shell.wrong, shell.wrong, shell.percent()),
		fmt.Sprintf("| requests | %d | %d | %d | %.1f %% |", agent.lines, agent.wrong, agent.lines-agent.wrong, agent.percent()),
		fmt.Sprintf("| the same requests in lower case | %d | %d | %d | %.1f %% |",
			lower.lines, lower.wrong, lower.lines-lower.wrong, lower.percent()),
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("docs/routing.md has no row %s", want)
		}
	}
	_, mistakes, _ := strings.Cut(string(page), "| line | goes to | because |")
	rows := regexp.MustCompile(`(?m)^\| (`+"`[^|]+`"+`) \| (shell|agents) \|`).FindAllStringSubmatch(mistakes, -1)
	if len(rows) < 8 {
		t.Fatalf("only %d rows of mistakes", len(rows))
	}
	lookup := fixturePath(t)
	for _, row := range rows {
		for line := range strings.SplitSeq(strings.Trim(row[1], "`"), "`, `") {
			d := classify(Input{Line: line, Lookup: lookup})
			if string(d.Route) != strings.TrimSuffix(row[2], "s") {
				t.Errorf("%q goes to %s by %s, docs/routing.md says %s", line, d.Route, d.Rule, row[2])
			}
		}
	}
}

// TestDocsRules: the page has a row for every rule.
func TestDocsRules(t *testing.T) {
	page, err := os.ReadFile("../docs/routing.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "| rule | to | when |")
	table, _, _ = strings.Cut(table, "\n\n")
	for _, r := range []Rule{RuleBlank, RuleDeny, RuleForced, RuleTooLong, RuleAllow, RuleOpening, RuleCorrection,
		RuleHistory, RuleComment, RuleSyntax, RulePath, RuleKeyword, RuleFreeText, RuleIdiom, RuleGreeting, RuleQuestion,
		RuleScript, RuleOneWord, RuleAddress, RuleContraction, RuleTypo, RuleScore, RuleTimeout} {
		if !strings.Contains(table, "`"+string(r)+"`") {
			t.Errorf("docs/routing.md says nothing of rule %s", r)
		}
	}
}
