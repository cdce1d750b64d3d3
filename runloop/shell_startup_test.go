package runloop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// TestUnifiedDiffIsAPatch: patch(1) makes the new text of the old one.
func TestUnifiedDiffIsAPatch(t *testing.T) {
	patch, err := exec.LookPath("patch")
	if err != nil {
		t.Skip("no patch(1)")
	}
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`([a-c]{0,2}\n){0,12}[a-c]{0,2}`)
		before, after := text.Draw(t, "before"), text.Draw(t, "after")
		if before == after || before == "" || after == "" {
			return // patch takes an empty file for none
		}
		name := filepath.Join(dir, "file")
		if err := os.WriteFile(name, []byte(before), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(patch, "--no-backup-if-mismatch", "--reject-file=-", name)
		cmd.Stdin = strings.NewReader(unifiedDiff(name, []byte(before), []byte(after)))
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, said)
		}
		if got, err := os.ReadFile(name); err != nil || string(got) != after {
			t.Fatalf("%v: %q, want %q", err, got, after)
		}
	})
}

// TestStartupFileChangedMeanwhile: what somebody else writes while we think is
// not lost.
func TestStartupFileChangedMeanwhile(t *testing.T) {
	name := filepath.Join(t.TempDir(), ".bashrc")
	for _, before := range []string{"", "old\n"} {
		if before != "" {
			writeFiles(t, map[string]string{name: before})
		}
		f, err := openStartupFile(name)
		if err != nil {
			t.Fatal(err)
		}
		writeFiles(t, map[string]string{name: "theirs\n"})
		if _, err := f.replace([]byte("ours\n"), time.Unix(0, 0)); err == nil || !strings.Contains(err.Error(), "changed by someone else") {
			t.Errorf("from %q: %v", before, err)
		}
		if got, err := os.ReadFile(name); err != nil || string(got) != "theirs\n" {
			t.Errorf("from %q: %v, %q", before, err, got)
		}
		if left, err := filepath.Glob(name + "?*"); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
	}
}

// TestStartupFileOnAFullDisk: there is room for the copy but not for the new
// file, or for neither; the old file stays, and nothing else does.
func TestStartupFileOnAFullDisk(t *testing.T) {
	dir := smallDisk(t, 64<<10)
	name := filepath.Join(dir, ".bashrc")
	for _, size := range []int{16 << 10, 40 << 10} {
		before := strings.Repeat("# old\n", size/6)
		writeFiles(t, map[string]string{name: before})
		f, err := openStartupFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.replace([]byte(strings.Repeat("# new\n", 8<<10)), time.Now()); err == nil {
			t.Errorf("%d bytes: no error", size)
		}
		if got, err := os.ReadFile(name); err != nil || string(got) != before {
			t.Errorf("%d bytes: %v, %d bytes are left", size, err, len(got))
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Errorf("left behind: %v %v", left, err)
		}
	}
}

// smallDisk is a folder with room for so many bytes.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("cannot mount: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// TestStartupFileKeepsItsOwner: root may edit the file of a user.
func TestStartupFileKeepsItsOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	name := filepath.Join(t.TempDir(), ".bashrc")
	writeFiles(t, map[string]string{name: "old\n"})
	if err := os.Chown(name, 12345, 54321); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, 0o640); err != nil {
		t.Fatal(err)
	}
	f, err := openStartupFile(name)
	if err != nil {
		t.Fatal(err)
	}
	backup, err := f.replace([]byte("new\n"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{name, backup} {
		f, err := openStartupFile(n)
		if err != nil {
			t.Fatal(err)
		}
		if sys := f.sys(); sys.Uid != 12345 || sys.Gid != 54321 || f.info.Mode() != 0o640 {
			t.Errorf("%s: %d:%d %v", n, sys.Uid, sys.Gid, f.info.Mode())
		}
	}
}
