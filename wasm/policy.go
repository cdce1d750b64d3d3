package wasm

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Policy decides what a bundle may do on this machine: what it asks for, less
// what each layer takes away, and nothing at all before a person granted it
// (spec/03 "Capabilities").
type Policy struct {
	// OverridesDir holds <agent>.toml files; "" for none.
	OverridesDir string
	// TrustFile is the trust policy, read at each decision so that what was
	// revoked does not start again; "" trusts nobody.
	TrustFile string
	// System are the limits of the configuration, those of the system first.
	System []*CapsLimit
	// RequireSigned refuses what is not signed by somebody the trust policy
	// has a rule for. What came with the binary needs no signature.
	RequireSigned bool
	// Grants remembers what people agreed to. Nil grants only what came with
	// the binary.
	Grants *Grants
	// GrantNames are agents granted for this process alone.
	GrantNames []string
	// Now is the time, for keys that expire. Nil means time.Now.
	Now func() time.Time
}

// Ruling is what a bundle may do here, and what each layer took away.
type Ruling struct {
	Asked    *Caps         `json:"asked"` // by the bundle
	Caps     *Caps         `json:"caps"`  // what is left
	Layers   []LayerEffect `json:"layers"`
	Verdict  *Verdict      `json:"-"`
	Warnings []string      `json:"warnings,omitempty"`
}

// LayerEffect is what one layer took away; Took is as [Taken] spells it.
type LayerEffect struct {
	Layer  string   `json:"layer"`
	Source string   `json:"source"`
	Took   []string `json:"took"`
}

// Effective returns the capabilities that b gets here, with warnings for
// overrides that try to add something. CodeUntrusted means that it may not run
// at all, CodeNotGranted that a person has to agree first.
func (p *Policy) Effective(b *Bundle) (*Caps, []string, error) {
	r, err := p.Rule(b)
	if err != nil {
		return nil, nil, err
	}
	if err := p.Granted(b); err != nil {
		return nil, nil, err
	}
	return r.Caps, r.Warnings, nil
}

// Rule says what the layers leave of what b asks for, whether or not it was
// granted. It is an error if b may not run here at all.
func (p *Policy) Rule(b *Bundle) (*Ruling, error) {
	v, err := p.verdict(b)
	if err != nil {
		return nil, err
	}
	r := &Ruling{Asked: b.Caps, Caps: b.Caps, Verdict: v}
	limits, err := p.limits(b, v)
	if err != nil {
		return nil, err
	}
	for _, l := range limits {
		if l.Layer == LayerOverride {
			r.Warnings = append(r.Warnings, l.warnAdds(r.Caps)...)
		}
		left := l.Apply(r.Caps)
		r.Layers = append(r.Layers, LayerEffect{l.Layer, l.Source, Taken(r.Caps, left)})
		r.Caps = left
	}
	return r, nil
}

// limits are the layers that hold for a bundle, in their order.
func (p *Policy) limits(b *Bundle, v *Verdict) ([]*CapsLimit, error) {
	var out []*CapsLimit
	over, err := p.override(b.Manifest.Name)
	if err != nil {
		return nil, err
	}
	if over != nil {
		out = append(out, over)
	}
	if v.Rule != nil {
		limit, err := v.Rule.limit(p.TrustFile + " (" + v.Signer + ")")
		if err != nil {
			return nil, err
		}
		if limit != nil {
			out = append(out, limit)
		}
	}
	return append(out, p.System...), nil
}

func (p *Policy) override(agent string) (*CapsLimit, error) {
	if p.OverridesDir == "" {
		return nil, nil
	}
	name := filepath.Join(p.OverridesDir, agent+".toml")
	src, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, errorf(CodeBundle, "override %s: %v", name, reason(err))
	}
	return ParseCapsLimit(LayerOverride, name, src)
}

// verdict is what the trust policy says of a bundle; it is an error if the
// bundle may not run. What came with the binary is nobody's to sign.
func (p *Policy) verdict(b *Bundle) (*Verdict, error) {
	if b.BuiltIn {
		return &Verdict{Why: "it came with the binary"}, nil
	}
	trust := &Trust{}
	if p.TrustFile != "" {
		var err error
		if trust, err = ReadTrust(p.TrustFile); err != nil {
			return nil, err
		}
	}
	v, err := trust.Judge(b, p.now())
	if err != nil {
		return nil, err
	}
	if p.RequireSigned && v.Rule == nil {
		return nil, errorf(CodeUntrusted, "agent %s from %s may not run: %s, and security.allow_unsigned_agents "+
			"is false; whose key is right is for you to say: `rlp trust add`", b.Manifest.Name, b.Origin, v.Why)
	}
	return v, nil
}

// TrustedInline reports whether b may run in the host's own process, where
// only the sandbox stands between it and the host: what came with the binary,
// and what is signed by somebody whom the trust policy lets.
func (p *Policy) TrustedInline(b *Bundle) bool {
	if b.BuiltIn {
		return true
	}
	v, err := p.verdict(b)
	return err == nil && v.Rule != nil && v.Rule.Inline
}

// Granted is nil if a person agreed to b as it is now, or nobody has to.
func (p *Policy) Granted(b *Bundle) error {
	if b.BuiltIn || slices.Contains(p.GrantNames, b.Manifest.Name) {
		return nil
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

func (p *Policy) now() time.Time {
	if p.Now != nil {
		return p.Now()
	}
	return time.Now()
}

// auditEmpty records that an attempt can do nothing, although its bundle asked
// for something: policies left nothing of that. An agent that asked for
// nothing misses nothing.
func (a *attempt) auditEmpty(ctx context.Context) {
	if a.tape.replay || !a.caps.IsZero() || a.bundle.Caps.IsZero() {
		return
	}
	a.door.audit(ctx, CapAudit{
		Cap: "caps.empty", Op: "launch", Target: a.bundle.Manifest.Name, Decision: "allow", Severity: "warn",
		Reason: "policies leave nothing of what it asks for",
	})
}
