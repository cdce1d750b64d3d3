package runloop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestHouseDocsCLI: docs/cli.md has what rlp help has.
func TestHouseDocsCLI(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := strings.NewReplacer("`", "", `\|`, "|").Replace(string(text))
	for _, row := range exitCodeRows {
		if !strings.Contains(page, "| "+row[0]+" | "+row[1]+" |") {
			t.Errorf("exit code %s: %s is not there", row[0], row[1])
		}
	}
	for _, row := range environmentRows {
		if !strings.HasPrefix(row[0], "RUNLOOP_ROUTER_") && !strings.Contains(page, "| "+row[0]+" | "+row[1]+" |") {
			t.Errorf("variable %s: %s is not there", row[0], row[1])
		}
	}
	for _, f := range docOfFlags(commonFlagList()) {
		spelled := "--" + f.names[0]
		if f.value != "" {
			spelled += " " + f.value
		}
		if !strings.Contains(page, spelled) {
			t.Errorf("%s is not there", spelled)
		}
	}
}
