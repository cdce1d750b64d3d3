package wasm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pelletier/go-toml/v2"
)

// Policy decides what a bundle may do on this machine: what it asks for, less
// what the operator took away, and nothing at all before a person granted it
// (spec/03 "Capabilities").
type Policy struct {
	// OverridesDir holds <agent>.toml files; "" for none.
	OverridesDir string
	// Grants remembers what people agreed to. Nil grants only what came with
	// the binary.
	Grants *Grants
	// GrantNames are agents granted for this process alone.
	GrantNames []string
}

// Effective returns the capabilities that b gets here, with warnings for
// overrides that try to add something. CodeNotGranted means that a person has
// to agree first.
func (p *Policy) Effective(b *Bundle) (*Caps, []string, error) {
	if err := p.granted(b); err != nil {
		return nil, nil, err
	}
	if p.OverridesDir == "" {
		return b.Caps, nil, nil
	}
	name := filepath.Join(p.OverridesDir, b.Manifest.Name+".toml")
	src, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return b.Caps, nil, nil
	}
	if err != nil {
		return nil, nil, errorf(CodeBundle, "override %s: %v", name, reason(err))
	}
	return applyOverride(name, src, b.Caps)
}

func (p *Policy) granted(b *Bundle) error {
	if b.BuiltIn {
		return nil
	}
	for _, n := range p.GrantNames {
		if n == b.Manifest.Name {
			return nil
		}
	}
	if p.Grants != nil {
		ok, err := p.Grants.Has(b)
		if err != nil || ok {
			return err
		}
	}
	return errorf(CodeNotGranted, "agent %s from %s wants %s; nobody agreed to that yet: "+
		"`rlp agent grant %s`, or `--grant %s` for one run",
		b.Manifest.Name, b.Origin, b.Caps.Describe(), b.Manifest.Name, b.Manifest.Name)
}

// applyOverride narrows caps by an override file. A key that the file leaves
// out stays as the bundle has it.
func applyOverride(name string, src []byte, caps *Caps) (*Caps, []string, error) {
	over, err := ParseCaps(name, src)
	if err != nil {
		return nil, nil, err
	}
	var keys struct {
		Capabilities map[string]any `toml:"capabilities"`
	}
	if err := toml.Unmarshal(src, &keys); err != nil {
		return nil, nil, errorf(CodeBundle, "%s: %v", name, err)
	}
	keepAbsent(over, caps, keys.Capabilities)
	eff := Intersect(caps, over)
	var warnings []string
	if wider := Intersect(over, eff); wider.Digest() != over.Digest() {
		warnings = append(warnings,
			fmt.Sprintf("%s: an override can only take away; what it adds is ignored", name))
	}
	return eff, warnings, nil
}

func keepAbsent(over, caps *Caps, present map[string]any) {
	keep := map[string]func(){
		"fs":          func() { over.FS = caps.FS },
		"net":         func() { over.Net = caps.Net },
		"allow_http":  func() { over.AllowHTTP = caps.AllowHTTP },
		"time":        func() { over.Time = caps.Time },
		"kb_read":     func() { over.KBRead = caps.KBRead },
		"kb_write":    func() { over.KBWrite = caps.KBWrite },
		"secrets":     func() { over.Secrets = caps.Secrets },
		"secrets_raw": func() { over.SecretsRaw = caps.SecretsRaw },
		"model":       func() { over.Model = caps.Model },
		"exec":        func() { over.Exec = caps.Exec },
	}
	for key, set := range keep {
		if _, ok := present[key]; !ok {
			set()
		}
	}
}
