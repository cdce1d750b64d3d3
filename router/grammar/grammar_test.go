package grammar

import (
	"strings"
	"testing"
)

// TestHolds: incomplete and fine count, wrong does not, and zsh is not bash.
func TestHolds(t *testing.T) {
	for _, c := range []struct {
		line, shell string
		want        verdict
	}{
		{"ls", "bash", fine},
		{"for i in 1 2 3", "bash", incomplete},
		{"(cd x", "bash", incomplete},
		{"echo 'x", "bash", incomplete},
		{"do you know", "bash", wrong},
		{") x", "bash", wrong},
		{"print -l ${(f)x}", "zsh", fine},
		{"print -l ${(f)x}", "bash", wrong},
		{"print -l ${(f)x}", "", wrong},
		{strings.Repeat(")", maxParse+1), "bash", fine},
	} {
		if got := parse(c.line, c.shell); got != c.want || Holds(c.line, c.shell) != (c.want != wrong) {
			t.Errorf("%.40q in %s: %d, want %d", c.line, c.shell, got, c.want)
		}
	}
}
