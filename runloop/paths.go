package runloop

import (
	"fmt"
	"os"
	"path/filepath"
)

// places are the folders of one configuration.
type places struct {
	work       string // state: ~/.runloop
	pog        string
	artifacts  string
	overrides  string // of capabilities
	grants     string
	trust      string // whose signatures count: a file
	quarantine string // agents that crashed again and again
	installed  string // agents of rlp agent install
	schemas    string // the user's own kinds of events
	cache      string // compiled modules; "" when there is no place for it
}

func (o *IO) places(l *Loaded) places {
	work := l.Runtime.Workdir
	return places{
		work:       work,
		pog:        l.KB.RootDir,
		artifacts:  filepath.Join(work, "artifacts"),
		overrides:  filepath.Join(work, "caps", "overrides"),
		grants:     filepath.Join(work, "caps", "grants"),
		trust:      filepath.Join(work, "trust-policy.toml"),
		quarantine: filepath.Join(work, "quarantine"),
		installed:  filepath.Join(work, "agents"),
		schemas:    filepath.Join(work, "schemas"),
		cache:      o.cacheDir(work),
	}
}

// cacheDir is where compiled modules are kept: below XDG_CACHE_HOME or
// ~/.cache (XDG Base Directory Specification), else with the state.
func (o *IO) cacheDir(work string) string {
	if dir := o.getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "runloop", "modules")
	}
	if home := o.getenv("HOME"); home != "" {
		return filepath.Join(home, ".cache", "runloop", "modules")
	}
	return filepath.Join(work, "cache", "modules")
}

// makeWork makes the folder for state, for its owner alone.
func (p *places) makeWork() error {
	if err := os.MkdirAll(p.work, 0o700); err != nil {
		return fmt.Errorf("the work folder cannot be made: %w; set RUNLOOP__RUNTIME__WORKDIR to one that can", err)
	}
	return nil
}

// guarded are the program's own directories and files, wherever the
// configuration puts them: no agent is given one of them (spec/03 "Loading and
// isolation").
func (p *places) guarded(cfg *Loaded) []string {
	// Beside the compiled modules lie the router's settings, see enter.Sources.
	out := []string{p.work, p.pog, filepath.Dir(p.cache), cfg.Security.Secrets.Root, socketPath(cfg)}
	for _, layer := range cfg.Layers {
		if filepath.IsAbs(layer.Name) {
			out = append(out, layer.Name)
		}
	}
	if cfg.Logging.File != "" {
		out = append(out, cfg.Logging.File)
	}
	return out
}
