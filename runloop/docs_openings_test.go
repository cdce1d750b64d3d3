package runloop

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/runloop-os/runloop/opening"
)

// sample finds the openings in the page that documents the language.
var sample = regexp.MustCompile("(?s)<!-- sample: (yaml|brace) -->\n```[a-z]*\n(.*?)```\n")

// TestDocsOpenings reads the sample of docs/openings.md in both forms, against
// the built-in agents and openings. The brace form is also how it is printed, so
// that the page shows what the program writes.
func TestDocsOpenings(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/openings.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := sample.FindAllStringSubmatch(string(page), -1)
	if len(found) != 2 {
		t.Fatalf("the page has %d samples", len(found))
	}
	io := &IO{Environ: []string{"HOME=" + t.TempDir()}}
	bundles, err := io.catalog(&Loaded{}, sessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var irs []string
	for _, m := range found {
		plan, err := opening.Load("openings.md, "+m[1], []byte(m[2]), openingCatalog{planCatalog: planCatalog{bundles}}, nil)
		if err != nil {
			t.Fatal(err.(opening.Problems).Text())
		}
		irs = append(irs, string(plan.IR))
		if got := string(plan.Opening.Brace()); m[1] == "brace" && got != m[2] {
			t.Errorf("the program prints\n%s", got)
		}
	}
	if irs[0] != irs[1] {
		t.Errorf("the forms differ:\n%s\n%s", irs[0], irs[1])
	}
}
