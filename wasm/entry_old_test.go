package wasm

import (
	"strings"
	"testing"

	"github.com/runloop-os/runloop/rmp"
)

// oldGuest runs a hostile guest and returns its response and what it printed.
func oldGuest(t *testing.T, name, caps string, s Services, change func(*rmp.AgentRequest)) (*rmp.AgentResponse, string) {
	t.Helper()
	r := newRig(t, caps, s, map[string][]byte{"guest": hostileGuest(t, name)})
	res := r.send(r.request("guest", `{}`, change))
	var said strings.Builder
	for _, l := range r.logs {
		said.WriteString(l.Chunk)
	}
	return res, said.String()
}

// TestOldEntryPointsUnderAttack: whatever a guest hands to the prototype's
// entry points, nothing but a negative number comes back.
func TestOldEntryPointsUnderAttack(t *testing.T) {
	f := &fakeBackend{}
	for _, tt := range []struct{ guest, said string }{
		{"hc_oob", "positive=0"},
		{"hc_msgpack", "calls=679 negative=679"},
		{"hc_alias", "overlap -5\nsame -1\n"},
		{"hc_time_denied", "time_now=-2 wasi errno=0"},
		{"neg_len", ""},
		{"self_reenter", ""},
		{"call_before_start", ""},
	} {
		res, said := oldGuest(t, tt.guest, "", f.services(), nil)
		// They write no JSON document, and that is all that is wrong with them.
		if res.Error == nil || res.Error.Code != CodeOutputInvalid || res.ExitCode != 0 || !strings.Contains(said, tt.said) {
			t.Errorf("%s: %s %+v: %s", tt.guest, res.Status, res.Error, said)
		}
	}
	if len(f.asked) != 0 {
		t.Errorf("a backend was asked: %v", f.asked)
	}
}

func TestOldEntryPointsAreBounded(t *testing.T) {
	f := &fakeBackend{}
	for _, guest := range []string{"hc_flood", "hc_prng", "exit_while_call"} {
		res, said := oldGuest(t, guest, "", f.services(), func(q *rmp.AgentRequest) { q.Budget.DeadlineMillis = 700 })
		ended := res.Status == rmp.StatusTimeout || guest == "hc_prng" && strings.Contains(said, "pos=0")
		if !ended || len(f.audits) > 2*denialsMax {
			t.Errorf("%s: %s %+v, %d audits: %s", guest, res.Status, res.Error, len(f.audits), said)
		}
	}
}

func TestOldExecIsBounded(t *testing.T) {
	res, _ := oldGuest(t, "hc_exec_flood", "", Services{}, func(q *rmp.AgentRequest) { q.Budget.DeadlineMillis = 5000 })
	if res.Status != rmp.StatusFailed && res.Status != rmp.StatusTimeout {
		t.Errorf("%s %+v", res.Status, res.Error)
	}
	res, _ = oldGuest(t, "hc_exec_flood", `exec = ["/bin/sleep"]`, Services{},
		func(q *rmp.AgentRequest) { q.Budget.DeadlineMillis = 700 })
	if left := processesWith("/bin/sleep\x001000"); res.Status != rmp.StatusTimeout || len(left) > 0 {
		t.Errorf("%s %+v, left %v", res.Status, res.Error, left)
	}
}

func TestImportsThatDoNotFit(t *testing.T) {
	for guest, code := range map[string]string{
		"wrong_sig_import": CodeImportSignature, "unknown_import": CodeUnknownImport,
		"import_memory": CodeUnknownImport, "unknown_module": CodeUnknownImport,
	} {
		res, said := oldGuest(t, guest, "", Services{}, nil)
		if res.Error == nil || res.Error.Code != CodeLoadRefused+":"+code || said != "" {
			t.Errorf("%s: %+v %s", guest, res.Error, said)
		}
	}
}
