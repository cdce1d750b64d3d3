package runloop

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/runloop-os/runloop/wasm"
)

// agentOverride is one --agent NAME=PATH: a bundle that is tried in place of an
// agent.
type agentOverride struct {
	ref    string
	source wasm.Source
}

// agentOverrides reads the values of --agent.
func agentOverrides(pairs []string) ([]agentOverride, error) {
	var out []agentOverride
	for _, pair := range pairs {
		name, dir, ok := strings.Cut(pair, "=")
		if !ok || name == "" || dir == "" {
			return nil, usageErrorf("--agent %q: want NAME=PATH", pair)
		}
		dir, err := filepath.Abs(dir)
		if err != nil {
			return nil, usageErrorf("--agent %s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(dir, wasm.ManifestFile)); err != nil {
			return nil, exitErrorf(exitNotFound, "--agent %s: no bundle at %s", name, dir)
		}
		src, _, err := wasm.DirSource(filepath.Dir(dir))
		if err != nil {
			return nil, err
		}
		out = append(out, agentOverride{ref: name, source: wasm.Source{
			Name: dir, FS: renamedDir{src.FS, name, filepath.Base(dir)},
		}})
	}
	return out, nil
}

// sourcesOf are where the bundles of overrides lie.
func sourcesOf(overrides []agentOverride) []wasm.Source {
	var out []wasm.Source
	for _, o := range overrides {
		out = append(out, o.source)
	}
	return out
}

// renamedDir shows the folder called real as name, and hides its other
// neighbours that are bundles.
type renamedDir struct {
	fs.FS
	name, real string
}

// Open implements fs.FS.
func (d renamedDir) Open(name string) (fs.File, error) {
	first, rest, _ := strings.Cut(name, "/")
	switch {
	case first == d.name:
		return d.FS.Open(path.Join(d.real, rest))
	case path.Base(name) == wasm.ManifestFile:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return d.FS.Open(name)
}
