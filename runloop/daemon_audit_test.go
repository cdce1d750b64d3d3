package runloop

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
	"github.com/runloop-os/runloop/wasm"
)

// audited are the refusals in the ledger.
func (h *home) audited() []map[string]any {
	h.t.Helper()
	out := h.rlp("kb", "query", "--json", "SELECT payload_json, provenance_json FROM events WHERE kind = ? ORDER BY id", "cap.audit")
	var res struct{ Rows [][]any }
	if err := json.Unmarshal([]byte(out), &res); err != nil {
		h.t.Fatalf("%v: %s", err, out)
	}
	var all []map[string]any
	for _, row := range res.Rows {
		var payload, from map[string]any
		if err := errors.Join(json.Unmarshal([]byte(row[0].(string)), &payload), json.Unmarshal([]byte(row[1].(string)), &from)); err != nil {
			h.t.Fatal(err)
		}
		payload["source"] = from["source"]
		all = append(all, payload)
	}
	return all
}

// TestDaemonForgeries: who may not decide does not, who was not asked to work
// for a run does not speak for it, and both are in the audit.
func TestDaemonForgeries(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.daemon()
	h.people()
	ui := h.dial(bus.KindUI)
	a := ui.mustAsk(t, emailTo(t, "John Okafor", "ask"))
	state := ui.until(t, a.TraceID, "the action waits", waits)
	var req rmp.ActionRequest
	raw, err := rmp.AppendMsgpack(nil, state.Actions[0])
	if err == nil {
		_, err = req.UnmarshalMsg(raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	trace, err := rmp.ParseTraceID(a.TraceID)
	if err != nil {
		t.Fatal(err)
	}
	decision := func() *rmp.Message {
		return &rmp.Message{SchemaID: rmp.CTActionDecision, TraceID: trace, TTLMS: 60_000,
			Meta: rmp.Meta{Topic: wasm.TopicActions}, Payload: &rmp.ActionDecision{Op: rmp.OpActionDecision,
				ActionID: req.ActionID, TraceID: req.TraceID, Digest: req.Digest, Approved: true, By: "user"}}
	}
	kinds := []bus.Kind{bus.KindCLI, bus.KindAgent, bus.KindTool}
	for _, kind := range kinds {
		if _, err := h.dial(kind).Publish(t.Context(), decision()); !errors.Is(err, bus.ErrForbidden) {
			t.Errorf("a decision of a %s: %v", kind, err)
		}
	}
	other := &rmp.Message{SchemaID: rmp.CTObservation, TraceID: trace, TTLMS: 60_000,
		Meta: rmp.Meta{Topic: "rlp/runs/" + uuid.UUID(trace).String() + "/agents/a/1"}, Raw: []byte{0xc0}}
	if _, err := h.dial(bus.KindTool).Publish(t.Context(), other); !errors.Is(err, bus.ErrForbidden) {
		t.Errorf("a tool in another's run: %v", err)
	}
	if state := ui.mustAsk(t, &ctrlRequest{Op: "run.get", TraceID: a.TraceID}).Run; !waits(state) {
		t.Errorf("the action was decided: %+v", state)
	}
	audit := h.audited()
	if len(audit) != len(kinds)+1 {
		t.Fatalf("%d in the audit: %v", len(audit), audit)
	}
	for i, kind := range append(kinds, bus.KindTool) {
		want := map[string]any{"cap": "bus", "op": "publish", "decision": "deny"}
		for k, v := range want {
			if audit[i][k] != v {
				t.Errorf("%s: %s is %v", kind, k, audit[i][k])
			}
		}
		if source, _ := audit[i]["source"].(string); !strings.HasSuffix(source, "kind "+string(kind)) ||
			!strings.Contains(source, fmt.Sprintf("pid %d", os.Getpid())) {
			t.Errorf("%s: source %q", kind, source)
		}
	}
}

// TestDaemonOtherUser: the files keep another user out, and where somebody
// opened them the daemon does.
func TestDaemonOtherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	h := newHome(t)
	h.daemon()
	public, err := os.MkdirTemp("", "rlother")
	h.Check(err)
	t.Cleanup(func() { os.RemoveAll(public) })
	h.Check(os.Chmod(public, 0o755))
	program, err := os.ReadFile(os.Args[0])
	h.Check(err)
	h.Check(os.WriteFile(filepath.Join(public, "rlp"), program, 0o755))
	status := func() (string, int) {
		cmd := exec.Command(filepath.Join(public, "rlp"), "status")
		cmd.Dir, cmd.Env = "/", []string{"HOME=/nonexistent", "RUNLOOP__RUNTIME__WORKDIR=" + public,
			"RUNLOOP__RUNTIME__SOCKET_PATH=" + h.socket()}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, code := status(); code != exitNoDaemon || !strings.Contains(out, "not open to this user") {
		t.Errorf("past the files: exit %d, %s", code, out)
	}
	for _, path := range []string{h.dir, filepath.Join(h.dir, ".runloop"), filepath.Dir(h.socket())} {
		h.Check(os.Chmod(path, 0o755))
	}
	h.Check(os.Chmod(h.socket(), 0o777))
	if out, code := status(); code != exitNoDaemon || !strings.Contains(out, "forbidden: uid 65534") {
		t.Errorf("past the daemon: exit %d, %s", code, out)
	}
	audit := h.audited()
	if len(audit) != 1 || audit[0]["op"] != "connect" || !strings.Contains(fmt.Sprint(audit[0]["source"]), "uid 65534") {
		t.Errorf("audit %v", audit)
	}
}
