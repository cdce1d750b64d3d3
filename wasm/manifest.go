package wasm

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// KindWASI is the only kind of bundle there is.
const KindWASI = "wasm32-wasip1"

// defaultCapsFile is read where a manifest names no other.
const defaultCapsFile = "policy.caps"

// AnyType is the content type of a port that takes or gives any JSON value.
const AnyType = "any"

// Manifest is a bundle's manifest.toml (spec/03 "Bundle").
type Manifest struct {
	Name        string
	Version     string
	Description string
	Entry       FileRef
	Args        []string // argv of a module that serves several agents
	Life        Life     // 0: what the module's exports tell
	In, Out     map[string]Port
	With        json.RawMessage // JSON Schema of the node's with map, or nil
	Limits      Limits
	Caps        FileRef // policy.caps; its digest is optional
	Tools       *FileRef
}

// FileRef names a file of a bundle and the BLAKE3 it must have, in hex.
type FileRef struct {
	Path   string `toml:"path"`
	Blake3 string `toml:"blake3"`
}

// Port is one input or output of an agent. Schema is set where the manifest
// gives a JSON Schema by $ref instead of a content type.
type Port struct {
	Type      string          `json:"type"`
	SchemaRef FileRef         `json:"-"`
	Schema    json.RawMessage `json:"schema,omitempty"`
}

// Limits of one attempt. A zero field means the host's default; the host's
// configuration caps all of them.
type Limits struct {
	MemoryMB int `toml:"memory_mb"`
	WallMS   int `toml:"wall_ms"`
	StdoutKB int `toml:"stdout_kb"`
}

// manifestFile is the layout of manifest.toml.
type manifestFile struct {
	Agent struct {
		Name        string   `toml:"name"`
		Version     string   `toml:"version"`
		Kind        string   `toml:"kind"`
		Description string   `toml:"description"`
		EntryWasm   FileRef  `toml:"entry_wasm"`
		Args        []string `toml:"args"`
		Life        string   `toml:"life"`
	} `toml:"agent"`
	Ports struct {
		In  any `toml:"in"`
		Out any `toml:"out"`
	} `toml:"ports"`
	Schemas struct {
		With map[string]any `toml:"with"`
	} `toml:"schemas"`
	Limits Limits `toml:"limits"`
	Caps   struct {
		File   string `toml:"file"`
		Blake3 string `toml:"blake3"`
	} `toml:"caps"`
	Artifacts struct {
		Tools *struct {
			FileRef
			Version int `toml:"version"`
		} `toml:"tools"`
	} `toml:"artifacts"`
}

// Forms of names, digests and versions (https://semver.org). They are compiled
// when they are first needed: start-up is paid on every Enter key.
var (
	agentName = lazyRegexp(`^[a-z][a-z0-9_]{0,63}$`)
	hexDigest = lazyRegexp(`^[0-9a-f]{64}$`)
	semVer    = lazyRegexp(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)
)

func lazyRegexp(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

// ParseManifest reads a manifest.toml; name is for errors.
func ParseManifest(name string, src []byte) (*Manifest, error) {
	var f manifestFile
	if err := decodeTOML(name, src, &f); err != nil {
		return nil, err
	}
	m := &Manifest{
		Name: f.Agent.Name, Version: f.Agent.Version, Description: f.Agent.Description,
		Entry: f.Agent.EntryWasm, Args: f.Agent.Args, Limits: f.Limits,
		Caps: FileRef{Path: f.Caps.File, Blake3: f.Caps.Blake3},
	}
	if t := f.Artifacts.Tools; t != nil {
		m.Tools = &t.FileRef
	}
	if err := m.fill(&f); err != nil {
		return nil, errorf(CodeBundle, "%s: %v", name, err)
	}
	if err := m.check(f.Agent.Kind); err != nil {
		return nil, errorf(CodeBundle, "%s: %v", name, err)
	}
	return m, nil
}

func (m *Manifest) fill(f *manifestFile) (err error) {
	if m.Life, err = parseLife(f.Agent.Life); err != nil {
		return err
	}
	if m.In, err = ports(f.Ports.In); err != nil {
		return fmt.Errorf("ports.in: %w", err)
	}
	if m.Out, err = ports(f.Ports.Out); err != nil {
		return fmt.Errorf("ports.out: %w", err)
	}
	if f.Schemas.With != nil {
		if m.With, err = json.Marshal(f.Schemas.With); err != nil {
			return fmt.Errorf("schemas.with: %w", err)
		}
	}
	return nil
}

func (m *Manifest) check(kind string) error {
	switch {
	case !agentName().MatchString(m.Name):
		return fmt.Errorf("agent.name %q is not of the form [a-z][a-z0-9_]{0,63}", m.Name)
	case !semVer().MatchString(m.Version):
		return fmt.Errorf("agent.version %q is not a SemVer version", m.Version)
	case kind != KindWASI:
		return fmt.Errorf("agent.kind %q is not %s", kind, KindWASI)
	case m.Limits.MemoryMB < 0 || m.Limits.WallMS < 0 || m.Limits.StdoutKB < 0:
		return fmt.Errorf("a limit is negative")
	}
	for _, a := range m.Args {
		if strings.ContainsRune(a, 0) {
			return fmt.Errorf("agent.args holds a NUL byte")
		}
	}
	return m.checkFiles()
}

func (m *Manifest) checkFiles() error {
	if err := checkRef("agent.entry_wasm", m.Entry, true); err != nil {
		return err
	}
	if m.Caps.Path == "" {
		m.Caps.Path = defaultCapsFile
	}
	if err := checkRef("caps", m.Caps, false); err != nil {
		return err
	}
	if m.Tools != nil {
		return checkRef("artifacts.tools", *m.Tools, true)
	}
	return nil
}

func checkRef(key string, r FileRef, needDigest bool) error {
	if r.Path == "" || path.IsAbs(r.Path) || path.Clean(r.Path) != r.Path {
		return fmt.Errorf("%s: path %q is not a clean relative path", key, r.Path)
	}
	if (needDigest || r.Blake3 != "") && !hexDigest().MatchString(r.Blake3) {
		return fmt.Errorf("%s: blake3 %q is not 64 lower-case hex digits", key, r.Blake3)
	}
	return nil
}

// ports reads a table from port to content type or {"$ref" = file}, or the
// plain list of names that bundles for the Rust prototype have.
func ports(v any) (map[string]Port, error) {
	out := map[string]Port{}
	switch v := v.(type) {
	case nil:
	case []any:
		for _, e := range v {
			s, _ := e.(string)
			out[s] = Port{Type: AnyType}
		}
	case map[string]any:
		for name, spec := range v {
			p, err := port(spec)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			out[name] = p
		}
	default:
		return nil, fmt.Errorf("want a table or a list of names, not %T", v)
	}
	for name := range out {
		if !agentName().MatchString(name) {
			return nil, fmt.Errorf("port name %q is not of the form [a-z][a-z0-9_]{0,63}", name)
		}
	}
	return out, nil
}

func port(v any) (Port, error) {
	switch v := v.(type) {
	case string:
		if v == "" {
			return Port{}, fmt.Errorf("the content type is empty")
		}
		return Port{Type: v}, nil
	case map[string]any:
		return schemaPort(v)
	}
	return Port{}, fmt.Errorf("want a content type, not %T", v)
}

func schemaPort(v map[string]any) (Port, error) {
	var ref FileRef
	for key, value := range v {
		text, ok := value.(string)
		switch {
		case ok && key == "$ref":
			ref.Path = text
		case ok && key == "blake3":
			ref.Blake3 = text
		default:
			return Port{}, fmt.Errorf(`want a content type or { "$ref" = "file.json", blake3 = "…" }`)
		}
	}
	return Port{SchemaRef: ref}, checkRef("$ref", ref, false)
}

// schemaRefs lists the files that ports refer to, sorted.
func (m *Manifest) schemaRefs() []FileRef {
	var out []FileRef
	for _, ports := range []map[string]Port{m.In, m.Out} {
		for _, p := range ports {
			if p.SchemaRef.Path != "" {
				out = append(out, p.SchemaRef)
			}
		}
	}
	slices.SortFunc(out, func(a, b FileRef) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Blake3, b.Blake3))
	})
	return slices.Compact(out)
}
