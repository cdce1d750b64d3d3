package wasm

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
)

// Source is one place where bundles are looked for: a folder that holds a
// folder for each agent.
type Source struct {
	Name    string // for people: the path, or "built in"
	FS      fs.FS
	BuiltIn bool
}

// DirSource is a folder of the host. Reads stay inside of it, whatever links
// it holds. ok is false when there is no such folder.
func DirSource(dir string) (src Source, ok bool, err error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Source{}, false, nil
	}
	if err != nil {
		return Source{}, false, errorf(CodeBundle, "agents folder %s: %v", dir, reason(err))
	}
	return Source{Name: dir, FS: root.FS()}, true, nil
}

// Catalog finds bundles by reference along its sources; the first source that
// has the agent wins. A bundle from a folder is read and checked anew at each
// call, one that came with the binary only once. It is safe for many callers.
type Catalog struct {
	sources []Source

	mu      sync.Mutex
	builtIn map[string]*Bundle
	modules map[string]moduleBytes // of built-in bundles, which share theirs
}

// NewCatalog looks along sources in their order.
func NewCatalog(sources ...Source) *Catalog {
	return &Catalog{sources: sources, builtIn: map[string]*Bundle{}, modules: map[string]moduleBytes{}}
}

// Bundle returns the bundle for a reference "name" or "name@variant"; a
// variant lives in a folder of that whole name. The error has CodeUnknownAgent
// when no source has it.
func (c *Catalog) Bundle(ref string) (*Bundle, error) {
	name, variant, hasVariant := strings.Cut(ref, "@")
	if !agentName().MatchString(name) || hasVariant && !agentName().MatchString(variant) {
		return nil, errorf(CodeUnknownAgent, "%q is not an agent's name", ref)
	}
	for _, src := range c.sources {
		_, err := fs.Stat(src.FS, path.Join(ref, ManifestFile))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, errorf(CodeBundle, "%s: agent %s: %v", src.Name, ref, reason(err))
		}
		return c.load(src, ref, name)
	}
	return nil, errorf(CodeUnknownAgent, "no bundle for agent %q in %s", ref, c.places())
}

func (c *Catalog) load(src Source, ref, name string) (*Bundle, error) {
	if src.BuiltIn {
		return c.loadBuiltIn(src, ref, name)
	}
	return src.load(ref, name, nil)
}

func (c *Catalog) loadBuiltIn(src Source, ref, name string) (*Bundle, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b, ok := c.builtIn[ref]; ok {
		return b, nil
	}
	b, err := src.load(ref, name, c.modules)
	if err != nil {
		return nil, err
	}
	b.BuiltIn = true
	c.builtIn[ref] = b
	return b, nil
}

func (src *Source) load(ref, name string, modules map[string]moduleBytes) (*Bundle, error) {
	b, err := loadBundle(src.FS, ref, modules)
	if err != nil {
		e := asError(err)
		return nil, &Error{Code: e.Code, Message: src.Name + ": " + e.Message}
	}
	if b.Manifest.Name != name {
		return nil, errorf(CodeBundle, "%s: folder %s holds agent %q", src.Name, ref, b.Manifest.Name)
	}
	b.Origin = src.Name
	return b, nil
}

// Shadows reports whether b would run in place of an agent of the same name
// that came with the binary.
func (c *Catalog) Shadows(b *Bundle) bool {
	return !b.BuiltIn && slices.ContainsFunc(c.sources, func(src Source) bool {
		_, err := fs.Stat(src.FS, path.Join(b.Manifest.Name, ManifestFile))
		return src.BuiltIn && err == nil
	})
}

func (c *Catalog) places() string {
	names := make([]string, len(c.sources))
	for i, s := range c.sources {
		names[i] = s.Name
	}
	return strings.Join(names, ", ")
}

// Refs lists the references of all bundles that can be found, sorted. A bundle
// hidden by one of the same name in an earlier source comes once.
func (c *Catalog) Refs() ([]string, error) {
	var out []string
	for _, src := range c.sources {
		found, err := fs.Glob(src.FS, "*/"+ManifestFile)
		if err != nil {
			return nil, errorf(CodeBundle, "%s: %v", src.Name, reason(err))
		}
		for _, f := range found {
			out = append(out, path.Dir(f))
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
