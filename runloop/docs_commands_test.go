package runloop

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// Code in a page: a block between fences, an indented line, a span.
var (
	docBlock   = regexp.MustCompile("(?ms)^```[a-z]*\n(.*?)^```$")
	docLine    = regexp.MustCompile(`(?m)^    (\S.*)$`)
	docSpan    = regexp.MustCompile("`([^`]+)`")
	docCommand = regexp.MustCompile(`(?m)(?:^|[\s(;|&$])rlp ([a-z][^\n#|;&)]*)`)
	docFlag    = regexp.MustCompile(`^--?[a-z]`)
)

// TestDocsCommands holds every command and flag of rlp that README and docs
// show against those that there are.
func TestDocsCommands(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatal("no pages", err)
	}
	found := 0
	for _, page := range append(pages, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range commandsIn(string(text)) {
			found++
			if problem := checkCommand(commands(&IO{}), strings.Fields(line)); problem != "" {
				t.Errorf("%s: rlp %s: %s", filepath.Base(page), line, problem)
			}
		}
	}
	if found < 50 {
		t.Errorf("only %d commands were found", found)
	}
}

// commandsIn are the commands of rlp in a page, without the name.
func commandsIn(page string) []string {
	var code []string
	for _, m := range docBlock.FindAllStringSubmatch(page, -1) {
		code = append(code, strings.ReplaceAll(m[1], "\\\n", " "))
	}
	prose := docBlock.ReplaceAllString(page, "")
	for _, re := range []*regexp.Regexp{docLine, docSpan} {
		for _, m := range re.FindAllStringSubmatch(prose, -1) {
			code = append(code, strings.ReplaceAll(m[1], "\n", " "))
		}
	}
	var out []string
	for _, c := range code {
		for _, m := range docCommand.FindAllStringSubmatch(c, -1) {
			out = append(out, strings.TrimSpace(m[1]))
		}
	}
	return out
}

// checkCommand says what is wrong with the words of a command, or "".
func checkCommand(list []*cli.Command, words []string) string {
	c := findCommand(list, strings.TrimSuffix(words[0], ","))
	if c == nil {
		return "there is no such command"
	}
	words = words[1:]
	for len(c.Subcommands) > 0 && len(words) > 0 && !strings.HasPrefix(words[0], "-") {
		sub := findCommand(c.Subcommands, strings.Split(strings.TrimSuffix(words[0], ","), "|")[0])
		if sub == nil {
			return c.Name + " has no " + words[0]
		}
		c, words = sub, words[1:]
	}
	for _, w := range words {
		if docFlag.MatchString(w) && !hasFlag(c, w) {
			return c.Name + " has no flag " + w
		}
	}
	return ""
}

func hasFlag(c *cli.Command, word string) bool {
	name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
	return flagNamed(commonFlagList(), "--"+name) != nil || slices.ContainsFunc(c.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
}
