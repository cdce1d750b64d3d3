package wasm

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Grants is the folder where grants are remembered, a file for each agent. A
// grant holds for one manifest and one set of capabilities: a version that
// wants more has to be granted again. That of a signed bundle also holds for its
// signature: without one, neither the rule for its signer nor a revocation would
// hold any more.
type Grants struct{ Dir string }

type grantFile struct {
	Agent     string    `json:"agent"`
	Bundle    string    `json:"bundle"` // digest
	Caps      string    `json:"caps"`   // digest
	Signer    string    `json:"signer,omitempty"`
	GrantedAt time.Time `json:"granted_at"`
}

// Has reports whether b was granted as it is now.
func (g *Grants) Has(b *Bundle) (bool, error) {
	src, err := os.ReadFile(g.path(b))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, errorf(CodeBundle, "grants: %v", err)
	}
	var f grantFile
	if err := json.Unmarshal(src, &f); err != nil {
		return false, errorf(CodeBundle, "grant %s: %v; remove it and grant again", g.path(b), err)
	}
	return f.Bundle == b.Digest && f.Caps == b.Caps.Digest() && (f.Signer == "" || f.Signer == string(b.Signer)), nil
}

// Add remembers that a person agreed to b, at the given time.
func (g *Grants) Add(b *Bundle, now time.Time) error {
	src, err := json.MarshalIndent(grantFile{
		Agent: b.Manifest.Name, Bundle: b.Digest, Caps: b.Caps.Digest(),
		Signer: string(b.Signer), GrantedAt: now.UTC(),
	}, "", "  ")
	if err != nil {
		return errorf(CodeHost, "grant %s: %v", b.Manifest.Name, err)
	}
	if err := os.MkdirAll(g.Dir, 0o700); err != nil {
		return errorf(CodeBundle, "grants: %v", err)
	}
	return writeFileAtomic(g.path(b), append(src, '\n'))
}

// Remove forgets the grant of an agent; that there is none is no error.
func (g *Grants) Remove(agent string) error {
	err := os.Remove(filepath.Join(g.Dir, agent+".json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errorf(CodeBundle, "grants: %v", reason(err))
	}
	return nil
}

func (g *Grants) path(b *Bundle) string {
	return filepath.Join(g.Dir, b.Manifest.Name+".json")
}

// writeFileAtomic puts content in place of name with mode 0600, whole or not
// at all.
func writeFileAtomic(name string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".tmp-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
