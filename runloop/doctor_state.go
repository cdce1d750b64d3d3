package runloop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/runloop-os/runloop/pog"
)

// program looks at the executable, and at what the shell finds under its name.
func (e *examination) program() {
	const name = "program"
	self, err := os.Executable()
	if err != nil {
		e.fail(name, "", "this executable cannot be found: %v", err)
		return
	}
	found, err := exec.LookPath("rlp")
	switch {
	case err != nil:
		e.warn(name, "put its folder on the PATH, or run: runloop --install", "runloop %s at %s, but rlp is not on the PATH", version, self)
	case !sameFile(found, self):
		e.warn(name, "put the one that you want first on the PATH", "runloop %s at %s, but the PATH finds another at %s", version, self, found)
	default:
		e.ok(name, "runloop %s (%s, %s/%s) at %s", version, runtime.Version(), runtime.GOOS, runtime.GOARCH, self)
	}
}

func sameFile(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// configuration reads all layers. Nothing else is looked at that depends on one
// that cannot be read.
func (e *examination) configuration() {
	const name = "config"
	cfg, err := e.io.configSource().load()
	if err != nil {
		e.fail(name, "mend it there; rlp config validate checks it", "%v", err)
		return
	}
	e.cfg = cfg
	for _, w := range cfg.Warnings {
		e.warn(name, "rlp config show --origin", "%s", w)
	}
	if len(cfg.Warnings) == 0 {
		var from []string
		for _, l := range cfg.Layers {
			if l.State == "loaded" && len(l.values) > 0 {
				from = append(from, l.Name)
			}
		}
		e.ok(name, "valid, from %s", strings.Join(from, ", "))
	}
}

// folders looks at who may read and write the folders of the program.
func (e *examination) folders() {
	p := e.io.places(e.cfg)
	seen := map[string]bool{}
	for _, f := range []struct{ name, path string }{
		{"state", p.work}, {"ledger folder", p.pog}, {"module cache", p.cache}, {"secrets", e.cfg.Security.Secrets.Root},
	} {
		if f.path == "" || seen[f.path] {
			continue
		}
		seen[f.path] = true
		e.folder(f.name, f.path)
	}
}

func (e *examination) folder(name, path string) {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		e.absentFolder(name, path)
	case err != nil:
		e.fail(name, "", "%v", err)
	case !st.IsDir():
		e.fail(name, "move it away", "%s is no folder", path)
	case st.Mode().Perm()&0o022 != 0:
		e.fail(name, "chmod 700 "+path, "others may write in %s (mode %04o)", path, st.Mode().Perm())
	case unix.Access(path, unix.W_OK|unix.X_OK) != nil:
		e.fail(name, "chown it, or set runtime.workdir to a folder of yours", "%s cannot be written in by this user", path)
	case st.Mode().Perm()&0o077 != 0 && name != "module cache":
		e.warn(name, "chmod 700 "+path, "others may read %s (mode %04o)", path, st.Mode().Perm())
	default:
		e.ok(name, "%s, mode %04o", path, st.Mode().Perm())
	}
}

// absentFolder: what is not there yet can be made, or not.
func (e *examination) absentFolder(name, path string) {
	parent := existing(path)
	if err := unix.Access(parent, unix.W_OK|unix.X_OK); err != nil {
		e.fail(name, "make it, or set another place in the configuration", "%s is not there and cannot be made in %s: %v", path, parent, err)
		return
	}
	e.add(name, checkNote, "", "%s is not there yet", path)
}

// existing is the nearest folder at or above path that is there.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || filepath.Dir(path) == path {
			return path
		}
		path = filepath.Dir(path)
	}
}

// Free space, in bytes, below which a warning and a failure are due.
const (
	spaceScarce = 1 << 30
	spaceGone   = 64 << 20
)

// space looks how much is left where the ledger lies.
func (e *examination) space() {
	const name = "disk"
	path := existing(e.io.places(e.cfg).pog)
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		e.warn(name, "", "%s: %v", path, err)
		return
	}
	free := fs.Bavail * uint64(fs.Bsize)
	found := fmt.Sprintf("%.1f GiB free at %s", float64(free)/(1<<30), path)
	const fix = "make room, or set kb.root_dir to a place that has some"
	switch {
	case free < spaceGone:
		e.fail(name, fix, "%s", found)
	case free < spaceScarce:
		e.warn(name, fix, "%s", found)
	case fs.Files > 0 && fs.Ffree < 1000:
		e.warn(name, "remove small files", "%d more files fit at %s", fs.Ffree, path)
	default:
		e.ok(name, "%s", found)
	}
}

// ledgerLatest is how many events the quick check of the ledger reads.
const ledgerLatest = 1000

func (e *examination) ledger(ctx context.Context) {
	const name = "ledger"
	r, err := pog.PeekCheck(ctx, e.io.storeOptions(e.cfg), ledgerLatest)
	switch {
	case errors.Is(err, pog.ErrNotFound):
		e.add(name, checkNote, "", "there is none yet")
	case err != nil:
		e.fail(name, "rlp kb verify says more", "%v", err)
	case !r.OK():
		d := r.Damages[0]
		e.fail(name, "stop writing to it, and see rlp kb verify", "damaged (%s): %s", d.Kind, d.Detail)
	default:
		e.ok(name, "%d events, the last %d checked (rlp kb verify checks all)", r.Events, min(r.Events, ledgerLatest))
	}
}

// agents looks whether there are any, and which crashed again and again.
func (e *examination) agents() {
	const name = "agents"
	quiet := &IO{Environ: e.io.Environ, Warn: func(string) {}}
	catalog, err := quiet.catalog(e.cfg, sessionOptions{})
	if err != nil {
		e.fail(name, "see agents.search_dirs", "%v", err)
		return
	}
	refs, err := catalog.Refs()
	if err != nil || len(refs) == 0 {
		e.fail(name, "build the program with make, or see agents.search_dirs", "there are none (%v)", err)
		return
	}
	for _, ref := range refs {
		b, err := catalog.Bundle(ref)
		if err != nil {
			e.warn(name, "rlp agent verify", "%s: %v", ref, err)
			continue
		}
		if r, err := quiet.quarantine(e.cfg).Get(ref, b.Digest); err == nil && r != nil {
			e.warn(name, "see its log, then: rlp agent release "+ref, "%s is in quarantine", ref)
		}
	}
	e.ok(name, "%d can be found", len(refs))
}
