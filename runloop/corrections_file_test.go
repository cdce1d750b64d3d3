package runloop

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runloop-os/runloop/router"
	"github.com/runloop-os/runloop/router/enter"
)

// oneCorrection is a whole file that sends "deploy the old site" to the shell.
func oneCorrection() []byte {
	return router.FormatCorrections([]router.Correction{{
		Key:  router.Key{First: "deploy", Shape: "words=3-4 prose=1"},
		Side: router.ToShell, Time: time.UnixMilli(1),
	}})
}

// TestHostileCorrections: whatever lies where the small file belongs, rlp route
// decides by the rules and says nothing, and rlp why says it in one line. That
// it waits for none of it is seen by the rule: a route that comes too late is a
// timeout.
func TestHostileCorrections(t *testing.T) {
	write := func(data []byte, mode os.FileMode) func(t *testing.T, path string) error {
		return func(_ *testing.T, path string) error {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				return err
			}
			return os.Chmod(path, mode)
		}
	}
	for name, tt := range map[string]struct {
		make func(t *testing.T, path string) error
		warn string // "" if it is to be believed, or not there
		rule string
	}{
		"nothing":  {func(*testing.T, string) error { return nil }, "", "score"},
		"whole":    {write(oneCorrection(), 0o600), "", "correction"},
		"readable": {write(oneCorrection(), 0o444), "", "correction"},
		"empty":    {write(nil, 0o600), "not a whole file", "score"},
		"binary":   {write(bytes.Repeat([]byte("\x00\xff\x1b[2J\n"), 999), 0o600), "not a whole file", "score"},
		"cut":      {write(oneCorrection()[:len(oneCorrection())-9], 0o600), "not a whole file", "score"},
		"a lie":    {write([]byte("runloop router corrections 1 1\nx\tshell\twords=3-4 prose=1\tdeploy\n"), 0o600), "", "score"},
		"huge": {func(_ *testing.T, path string) error {
			if err := os.WriteFile(path, oneCorrection(), 0o600); err != nil {
				return err
			}
			return os.Truncate(path, 1<<40)
		}, "bytes, at most", "score"},
		"for all":  {write(oneCorrection(), 0o666), "can be written by others", "score"},
		"a folder": {func(_ *testing.T, path string) error { return os.Mkdir(path, 0o700) }, "no regular file", "score"},
		"a fifo":   {func(_ *testing.T, path string) error { return unix.Mkfifo(path, 0o600) }, "no regular file", "score"},
		"a link": {func(t *testing.T, path string) error {
			to := filepath.Join(t.TempDir(), "x")
			if err := os.WriteFile(to, oneCorrection(), 0o600); err != nil {
				return err
			}
			return os.Symlink(to, path)
		}, "too many levels of symbolic links", "score"},
		"a loop":   {func(_ *testing.T, path string) error { return os.Symlink(path, path) }, "symbolic links", "score"},
		"a device": {func(_ *testing.T, path string) error { return os.Symlink("/dev/zero", path) }, "symbolic links", "score"},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			work := filepath.Join(home, ".runloop")
			if err := os.Mkdir(work, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := tt.make(t, filepath.Join(work, enter.CorrectionsFile)); err != nil {
				t.Fatal(err)
			}
			out, said := dispatchIn(t, home, "route", "--timeout-ms", "60000", "deploy", "the", "old", "site")
			if !strings.Contains(out, `"rule":"`+tt.rule+`"`) || said != "" {
				t.Errorf("route: %s%s", out, said)
			}
			out, said = dispatchIn(t, home, "why", "deploy", "the", "old", "site")
			lines := strings.Count(said, "\n")
			if !strings.Contains(out, "rule "+tt.rule) || (tt.warn == "") != (lines == 0) || lines > 1 ||
				!strings.Contains(said, tt.warn) || strings.Contains(said, "\x1b") {
				t.Errorf("why: %s%s", out, said)
			}
		})
	}
}

// dispatchIn runs a command of rlp with a home folder of its own.
func dispatchIn(t *testing.T, home string, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, said bytes.Buffer
	dispatch(context.Background(), &IO{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &said,
		Environ: []string{"HOME=" + home, "PATH=/nonexistent"},
	}, append([]string{"rlp"}, args...))
	return out.String(), said.String()
}

// TestCorrectionsReplaceWhatIsThere: the small file is made anew whatever lies
// in its place, and nothing is written through a link.
func TestCorrectionsReplaceWhatIsThere(t *testing.T) {
	home := t.TempDir()
	path := filepath.Join(home, ".runloop", enter.CorrectionsFile)
	victim := filepath.Join(home, "victim")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(victim, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, path); err != nil {
		t.Fatal(err)
	}
	if out, said := dispatchIn(t, home, "route", "--was", "shell", "deploy", "the", "old", "site"); said != "" {
		t.Fatal(out, said)
	}
	if b, err := os.ReadFile(victim); err != nil || string(b) != "mine" {
		t.Errorf("%q, %v", b, err)
	}
	st, err := os.Lstat(path)
	if err != nil || st.Mode() != 0o600 {
		t.Fatalf("%v, %v", st, err)
	}
	if out, _ := dispatchIn(t, home, "route", "deploy", "the", "old", "site"); !strings.Contains(out, "correction") {
		t.Error(out)
	}
	left, err := filepath.Glob(filepath.Join(home, ".runloop", ".router*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestCorrectionsAtTheSameTime: several at once, and the small file has them
// all in the end.
func TestCorrectionsAtTheSameTime(t *testing.T) {
	home := t.TempDir()
	dispatchIn(t, home, "route", "--corrections") // make the ledger first
	var all sync.WaitGroup
	words := []string{"show", "explain", "deploy", "describe", "list", "translate", "summarize", "compare"}
	for _, w := range words {
		all.Go(func() {
			if out, said := dispatchIn(t, home, "route", "--was", "shell", w, "the", "old", "site"); said != "" {
				t.Error(out, said)
			}
		})
	}
	all.Wait()
	c, err := enter.ReadCorrections(filepath.Join(home, ".runloop"))
	if err != nil || len(c.List()) != len(words) {
		t.Errorf("%d of %d corrections, %v", len(c.List()), len(words), err)
	}
}

// TestCorrectionsFollowTheLedger: of several with one key the last event counts.
func TestCorrectionsFollowTheLedger(t *testing.T) {
	home := t.TempDir()
	io := &IO{Stdin: strings.NewReader(""), Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}, Environ: []string{"HOME=" + home}}
	ctx := context.Background()
	err := io.withCorrections(ctx, func(l *correctionLedger) error {
		for i := range 600 {
			p := routeEvent{First: fmt.Sprintf("w%d", i%300), Shape: "words=1", Side: router.ToAgent}
			kind := kindCorrected
			if i%300 < 100 && i >= 300 {
				kind, p.Side = kindForgotten, ""
			}
			if _, err := l.record(ctx, kind, p); err != nil {
				return err
			}
		}
		list, err := l.all(ctx)
		if len(list) != 200 || list[0].First != "w299" || list[199].First != "w100" {
			t.Errorf("%d corrections", len(list))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := enter.ReadCorrections(filepath.Join(home, ".runloop")); err != nil || len(c.List()) != 200 {
		t.Errorf("%d corrections, %v", len(c.List()), err)
	}
}
