package runloop

import (
	"testing"

	"github.com/runloop-os/runloop/router"
)

func TestShellZshDiverts(t *testing.T) {
	t.Parallel()
	p := newPane(t, paneOptions{shell: router.Zsh})
	if status := p.line("find the oldest file in this folder please"); status != 0 {
		t.Errorf("status %d", status)
	}
	p.shows("find the oldest file in this folder please  @agents")
	p.shows("agents got: find the oldest file")
	p.wantRuns("find the oldest file in this folder please")
	if got := p.output("print -r -- $((6 * 7))"); got != "42\n" {
		t.Errorf("a command printed %q", got)
	}
}
