package runloop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runloop-os/runloop/bus"
)

// TestNestedInDaemon runs an opening that uses one which only the client can
// find, and which asks the person at the client's terminal.
func TestNestedInDaemon(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.daemon()
	h.people()
	folder := filepath.Join(h.dir, "here")
	h.Check(os.Mkdir(folder, 0o755))
	for name, text := range map[string]string{
		"outer.opening":  `opening "outer" { nodes: mail := opening("middle", to="John Okafor") }`,
		"middle.opening": `opening "middle" { params: {to: ""} nodes: it := opening("compose_email", recipient="{{params.to}}", topic="Q4 plan") }`,
	} {
		h.Check(os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644))
	}
	for answer, want := range map[string]int{"y\r": 0, "n\r": exitDeclined} {
		term := h.terminal("rlp", "run", "here/outer.opening", "--progress", "plain")
		term.expect("Go ahead? [y/N]")
		run := h.dial(bus.KindCLI).mustAsk(t, &ctrlRequest{Op: "run.list", State: "running", Limit: 9})
		outer := ""
		for _, r := range run.Runs {
			if r.OpeningName == "outer" {
				outer = r.TraceID
			}
		}
		c := h.dial(bus.KindCLI)
		c.until(t, outer, "the outer run has the action that waits", waits)
		term.typed(answer)
		if code := term.wait(); code != want {
			t.Errorf("%q: exit %d", answer, code)
		}
		term.expect("mail/it/send")
	}
	if out := h.rlp("runs", "list"); strings.Count(out, "\tcompose_email\t") != 2 || strings.Count(out, "\touter\t") != 2 {
		t.Errorf("the runs are\n%s", out)
	}
}
