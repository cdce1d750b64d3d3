package runloop

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestTrustRevokedWhileItRuns: rlp trust revoke stops an agent that the daemon runs
// at that moment, and no retry brings it back. SIGHUP is not needed for that.
func TestTrustRevokedWhileItRuns(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	d := h.daemon()
	spin, err := os.ReadFile(filepath.Join(root, "wasm", "testdata", "hostile", "wasm", "spin.wasm"))
	h.Check(err)
	bundle := filepath.Join(h.dir, ".runloop", "agents", "spin")
	writeTestBundle(h, bundle, "spin", spin, "[capabilities]\n", "[ports.in]\nin = \"any\"\n[ports.out]\nout = \"any\"\n")
	key := strings.TrimSpace(h.rlp("agent", "keygen", filepath.Join(h.dir, "key")))
	h.rlp("agent", "sign", bundle, "--key", filepath.Join(h.dir, "key"))
	h.rlp("trust", "add", "acme", key)
	h.rlp("agent", "grant", "spin", "--yes")
	file := filepath.Join(h.dir, "spin.yaml")
	h.Check(os.WriteFile(file, []byte("version: 0\nname: spin\nnodes:\n  - id: spin\n    use: agent:spin\n"+
		"    timeout_ms: 600000\n    retry: { max_attempts: 3, backoff_ms: 1 }\nedges: []\n"), 0o600))
	cmd := h.command("rlp", "run", file)
	var out output
	cmd.Stdout, cmd.Stderr = &out, &out
	h.Check(cmd.Start())
	eventually(t, "the node starts", func() bool { return strings.Contains(out.String(), "node.started") })
	d.signal(syscall.SIGHUP) // nothing changed yet
	eventually(t, "the daemon has reloaded", func() bool { return d.logged("reloaded") != nil })
	h.rlp("trust", "revoke", "acme", "--reason", "stolen")
	_ = cmd.Wait()
	text := out.String()
	if code := cmd.ProcessState.ExitCode(); code != exitFailed || strings.Count(text, "node.started") != 1 ||
		!strings.Contains(text, "killed:revoked: stopped: agent spin is signed with "+key+", which was revoked (stolen)") {
		t.Errorf("exit %d\n%s", code, text)
	}
	audit := h.audited()
	if len(audit) != 1 || audit[0]["cap"] != "caps.revoked" || audit[0]["agent"] != "spin" {
		t.Errorf("audit %v", audit)
	}
}
