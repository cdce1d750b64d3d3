package wasm

import (
	"runtime"
	"strings"
	"testing"

	"github.com/runloop-os/runloop/rmp"
)

// TestHostileGuestsAsAgents runs guests that attack the host as agents like
// any other, beside one that behaves: each ends as it should, and the other
// finishes untouched.
func TestHostileGuestsAsAgents(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds of deadlines")
	}
	for _, tt := range []struct {
		guest, status, code, text string
	}{
		{"spin", rmp.StatusTimeout, CodeDeadline, ""},
		{"tight_loop", rmp.StatusTimeout, CodeDeadline, ""},
		{"start_loop", rmp.StatusTimeout, CodeDeadline, ""},
		{"sleep_forever", rmp.StatusTimeout, CodeDeadline, ""},
		{"sched_yield_loop", rmp.StatusTimeout, CodeDeadline, ""},
		{"stdout_flood", rmp.StatusFailed, CodeOutputLimit, ""},
		{"stdout_nolf", rmp.StatusFailed, CodeOutputInvalid, ""}, // all of it on stderr
		{"membomb", rmp.StatusFailed, CodeOutputInvalid, ""},     // malloc fails, it says so and exits with 0
		{"recurse", rmp.StatusFailed, CodeTrap, ""},
		{"mutual_recursion", rmp.StatusFailed, CodeStackOverflow, ""},
		{"abort_trap", rmp.StatusFailed, CodeTrap, "unreachable"},
		{"oob_access", rmp.StatusFailed, CodeTrap, "out of bounds"},
		{"stdout_escapes", rmp.StatusFailed, CodeOutputInvalid, `\x1b`},
		{"env_args", rmp.StatusFailed, CodeOutputInvalid, ""},
		{"escape", rmp.StatusFailed, CodeOutputInvalid, ""},
		{"escape_write", rmp.StatusFailed, CodeOutputInvalid, ""},
		{"proc_exit", rmp.StatusFailed, CodeExit, "status 4294967295"},
		{"proc_exit_0xefffffff", rmp.StatusFailed, CodeExit, "status 4026531839"},
		{"proc_exit_2147483648", rmp.StatusFailed, CodeExit, "status 2147483648"},
		{"proc_exit_255", rmp.StatusFailed, CodeExit, "status 255"},
		{"proc_exit_256", rmp.StatusFailed, CodeExit, "status 256"},
		{"proc_exit_300", rmp.StatusFailed, CodeExit, "status 300"},
		{"no_start", rmp.StatusFailed, CodeLoadRefused + ":" + CodeNoEntryPoint, ""},
		{"unknown_import", rmp.StatusFailed, CodeLoadRefused + ":" + CodeUnknownImport, "grant_everything"},
		{"mem_max_touch", rmp.StatusFailed, CodeLoadRefused + ":" + CodeLimit, ""},
		{"table_grow_once", rmp.StatusFailed, CodeLoadRefused + ":" + CodeFeature, ""},
		{"renumber_bomb", rmp.StatusFailed, CodeOutputInvalid, ""},
		{"poll_overflow", rmp.StatusFailed, CodeOutputInvalid, ""},
	} {
		t.Run(tt.guest, func(t *testing.T) {
			r := newRig(t, "", Services{}, map[string][]byte{
				"guest": hostileGuest(t, tt.guest), "probe": probeModule(t, LifeReactor),
			})
			res := r.send(r.request("guest", `{}`, func(q *rmp.AgentRequest) { q.Budget.DeadlineMillis = 500 }))
			if res.Status != tt.status || res.Error == nil || res.Error.Code != tt.code ||
				!strings.Contains(res.Error.Message, tt.text) {
				t.Errorf("status %s, exit %d, error %+v", res.Status, res.ExitCode, res.Error)
			}
			for _, l := range r.logs {
				if strings.Contains(l.Chunk, "TOPSECRET") || strings.Contains(l.Chunk, "HOME=") {
					t.Errorf("it saw something of the host: %q", l.Chunk)
				}
			}
			out(t, r.do("echo"))
		})
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > 512<<20 {
		t.Errorf("%d MiB stay in use", m.HeapAlloc>>20)
	}
}
