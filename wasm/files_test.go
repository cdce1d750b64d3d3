package wasm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runloop-os/runloop/rmp"
)

// grantDir is a folder with one file, and the capability for it.
func grantDir(t *testing.T, write bool) (dir, caps string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "in.txt"), []byte("from the host"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir, fmt.Sprintf("fs = [{ path = %q, write = %v }]", dir, write)
}

func filesRequest(r *rig, dir string) *rmp.AgentRequest {
	return r.request("probe", fmt.Sprintf(`{"Do":"files","Dir":%q}`, dir), nil)
}

func TestFilesAndTheirReplay(t *testing.T) {
	eachLife(t, func(t *testing.T, life Life) {
		dir, caps := grantDir(t, true)
		r := probeRig(t, life, caps, Services{})
		req := filesRequest(r, dir)
		live := r.send(req)
		want := `{"escaped":false,"names":["in.txt","out.txt"],"text":"from the host","wrote":true}`
		if got := out(t, live); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if b, err := os.ReadFile(filepath.Join(dir, "out.txt")); err != nil || string(b) != "made here" {
			t.Errorf("the file holds %q, %v", b, err)
		}
		// A replay works without the folder, and brings nothing back.
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		replay := r.send(replayOf(r, req, live))
		if out(t, replay) != want || replay.Diverged != nil {
			t.Errorf("replay %s, %+v", out(t, replay), replay.Diverged)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Error("the replay touched the host's files")
		}
		other := r.send(replayOf(r, filesRequest(r, dir+"/sub"), live))
		if other.Error == nil || other.Diverged == nil {
			t.Errorf("another path is not noticed: %s", other.Status)
		}
	})
}

func TestReadOnlyFiles(t *testing.T) {
	dir, caps := grantDir(t, false)
	r := probeRig(t, LifeReactor, caps, Services{})
	if got := out(t, r.send(filesRequest(r, dir))); !strings.Contains(got, `"wrote":false`) {
		t.Error(got)
	}
	if _, err := os.Stat(filepath.Join(dir, "out.txt")); !os.IsNotExist(err) {
		t.Error("it wrote into a read-only root")
	}
}

func TestGrantsThatCannotBeGiven(t *testing.T) {
	state := t.TempDir()
	for name, path := range map[string]string{
		"missing": filepath.Join(t.TempDir(), "nothing"), "the host's own": state,
		"around the host's own": filepath.Dir(state), "system": "/proc",
	} {
		f := &fakeBackend{}
		r := probeRig(t, LifeReactor, fmt.Sprintf("fs = [%q]", path), f.services())
		r.host.cfg.Guarded = []string{state}
		res := r.send(filesRequest(r, path))
		if res.Status != rmp.StatusFailed || res.Error.Code != CodeDenied || !strings.HasPrefix(res.Error.Message, "denied:fs:") {
			t.Errorf("%s: %s %+v", name, res.Status, res.Error)
		}
		if len(f.audits) != 1 || f.audits[0].Cap != capFS || f.audits[0].Target != path {
			t.Errorf("%s: audits %+v", name, f.audits)
		}
	}
}
