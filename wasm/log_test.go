package wasm

import (
	"strings"
	"testing"

	"github.com/runloop-os/runloop/rmp"
)

// TestLogsAreBounded: what an attempt logs through the door is held to the
// limit of its streams, and what is over it is counted.
func TestLogsAreBounded(t *testing.T) {
	var said []string
	a := &attempt{
		req: &rmp.AgentRequest{}, bundle: &Bundle{Manifest: &Manifest{}}, limits: Limits{StdoutKB: 1},
		door: &door{}, emit: func(l rmp.AgentLog) { said = append(said, l.Chunk) },
	}
	a.openStreams()
	line := strings.Repeat("x", 600)
	for range 5 {
		a.logLine("info", line, nil)
	}
	a.logLine("info", "short", nil)
	a.logged.close()
	if got := strings.Join(said, "|"); got != line+"|short|[2400 bytes more were dropped]\n" {
		t.Errorf("%d lines: %s", len(said), got)
	}
}
