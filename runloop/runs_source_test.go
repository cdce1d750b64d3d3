package runloop

import (
	"encoding/json"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"
)

// TestRunsOfAnotherLedger: who is served by a daemon with another ledger sees
// the runs of that, and is told which it is.
func TestRunsOfAnotherLedger(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	d := h.daemon()
	h.people()
	other := newHome(t, "RUNLOOP__RUNTIME__SOCKET_PATH="+h.socket())
	runs := func(of *home, args ...string) (traces []string, errs string) {
		t.Helper()
		out, errs, code := of.run("rlp", append([]string{"runs", "list", "--json"}, args...)...)
		var list []listedRun
		if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || list == nil {
			t.Fatalf("exit %d, %v: %s%s", code, err, out, errs)
		}
		for _, r := range list {
			traces = append(traces, r.TraceID)
		}
		return traces, errs
	}
	theirs := "the daemon at " + h.socket() + ", in its ledger " + filepath.Join(h.dir, ".runloop/pog/events.sqlite")
	if got, errs := runs(other); len(got) != 0 || !strings.Contains(errs, theirs) {
		t.Errorf("before any: %v, %s", got, errs)
	}
	other.rlp("run", "compose_email", "-p", "recipient=John Okafor", "-p", "topic=Q4 plan", "--yes")
	if got, errs := runs(h); len(got) != 1 || errs != "" {
		t.Errorf("whose ledger it is: %v, %s", got, errs)
	}
	got, errs := runs(other, "--state", "ok")
	if len(got) != 1 || !strings.Contains(errs, theirs) {
		t.Fatalf("who uses the daemon: %v, %s", got, errs)
	}
	if got, errs := runs(other, "--local"); len(got) != 0 || errs != "" {
		t.Errorf("--local: %v, %s", got, errs)
	}
	out, errs, code := other.run("rlp", "runs", "show", got[0])
	if code != 0 || strings.Count(out, "\n") != 5 || !strings.Contains(out, "writer") || !strings.Contains(errs, theirs) {
		t.Errorf("show: exit %d, %s%s", code, out, errs)
	}
	for _, args := range [][]string{{got[0], "--local"}, {"trace:" + uuid.NewString()}} {
		if out, errs, code := other.run("rlp", append([]string{"runs", "show"}, args...)...); code != exitNotFound {
			t.Errorf("show %v: exit %d, %s%s", args, code, out, errs)
		}
	}
	d.signal(syscall.SIGKILL) // which leaves the socket behind
	d.wait()
	if got, errs := runs(other); len(got) != 0 || errs != "" {
		t.Errorf("without the daemon: %v, %s", got, errs)
	}
}

// TestRunsOfAnotherUser: the same for another user, whom the group lets in; one
// whom nothing lets in is told so and sees their own.
func TestRunsOfAnotherUser(t *testing.T) {
	t.Parallel()
	nobody, err := user.Lookup("nobody")
	if os.Geteuid() != 0 || err != nil || nobody.Uid != "65534" || nobody.Gid != "65534" {
		t.Skip("only root can become another user, and here it must be nobody")
	}
	group, err := user.LookupGroupId(nobody.Gid)
	if err != nil {
		t.Skip("nobody's group has no name")
	}
	h := newHome(t)
	h.config("bus: { auth: { group: " + group.Name + " } }\n")
	h.daemon()
	h.people()
	h.rlp("run", "compose_email", "-p", "recipient=John Okafor", "-p", "topic=Q4 plan", "--yes")
	public, err := os.MkdirTemp("", "rlother")
	h.Check(err)
	t.Cleanup(func() { os.RemoveAll(public) })
	program, err := os.ReadFile(os.Args[0])
	h.Check(err)
	h.Check(os.WriteFile(filepath.Join(public, "rlp"), program, 0o755))
	h.Check(os.Mkdir(filepath.Join(public, "home"), 0o700))
	h.Check(os.Chown(filepath.Join(public, "home"), 65534, 65534))
	for _, dir := range []string{public, h.dir, filepath.Join(h.dir, ".runloop")} {
		h.Check(os.Chmod(dir, 0o755))
	}
	list := func(gid uint32) (out, errs string) {
		cmd := exec.Command(filepath.Join(public, "rlp"), "runs", "list", "--json")
		cmd.Dir, cmd.Env = "/", []string{"HOME=" + filepath.Join(public, "home"), "RUNLOOP__RUNTIME__SOCKET_PATH=" + h.socket()}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: gid}}
		var o, e strings.Builder
		cmd.Stdout, cmd.Stderr = &o, &e
		if err := cmd.Run(); err != nil {
			t.Fatal(err, e.String())
		}
		return o.String(), e.String()
	}
	if out, errs := list(65534); strings.Count(out, "trace_id") != 1 || !strings.Contains(errs, "in its ledger "+h.dir) {
		t.Errorf("a member: %s%s", out, errs)
	}
	if out, errs := list(65533); strings.TrimSpace(out) != "[]" || !strings.Contains(errs, "the runs of your own ledger, "+public) {
		t.Errorf("not a member: %s%s", out, errs)
	}
}
