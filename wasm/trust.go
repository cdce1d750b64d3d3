package wasm

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// trustMax is the most a trust policy may hold, in bytes.
const trustMax = 1 << 20

// Trust is a trust policy: whose signatures count here, and for what
// (trust-policy.toml, spec/03 "Commands"). The zero value trusts nobody.
type Trust struct {
	Anchors     []Anchor     `toml:"anchors" json:"anchors"`
	Rules       []TrustRule  `toml:"rules" json:"rules"`
	Revocations []Revocation `toml:"revocations" json:"revocations"`
}

// Anchor is a signer that is known by name.
type Anchor struct {
	Name string `toml:"name" json:"name"`
	Key  string `toml:"key" json:"key"` // a PublicKey
	// Expires is when signatures of the key stop to count; zero for never.
	Expires time.Time `toml:"expires,omitempty" json:"expires,omitzero"`
}

// TrustRule says for which agents a signer counts. The first rule that fits a
// bundle holds.
type TrustRule struct {
	Signer string   `toml:"signer" json:"signer"` // name of an anchor
	Agents []string `toml:"agents" json:"agents"` // names, where * stands for any letters
	// Inline lets the agents run in the host's own process.
	Inline bool `toml:"inline,omitempty" json:"inline,omitempty"`
	// Caps is the most that they may have, in the form of [capabilities]. Keys
	// that it does not name stay as the bundle asks.
	Caps map[string]any `toml:"caps,omitempty" json:"caps,omitempty"`
}

// Revocation takes trust from a key for good, whatever anchors say.
type Revocation struct {
	Key    string    `toml:"key" json:"key"`
	Reason string    `toml:"reason,omitempty" json:"reason,omitempty"`
	At     time.Time `toml:"at,omitempty" json:"at,omitzero"`
}

// ReadTrust reads a trust policy; a file that is not there trusts nobody.
func ReadTrust(name string) (*Trust, error) {
	st, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return &Trust{}, nil
	}
	if err == nil && st.Size() > trustMax {
		return nil, errorf(CodeBundle, "trust policy %s: over %d bytes", name, trustMax)
	}
	src, err := os.ReadFile(name)
	if err != nil {
		return nil, errorf(CodeBundle, "trust policy %s: %v", name, reason(err))
	}
	return ParseTrust(name, src)
}

// ParseTrust reads and checks a trust policy; name is for errors. Anything that
// does not make sense is an error: a rule that is passed over would be one
// that somebody relies on.
func ParseTrust(name string, src []byte) (*Trust, error) {
	t := &Trust{}
	if err := decodeTOML(name, src, t); err != nil {
		return nil, err
	}
	for _, check := range []func() error{t.checkAnchors, t.checkRules, t.checkRevocations} {
		if err := check(); err != nil {
			return nil, errorf(CodeBundle, "%s: %v", name, err)
		}
	}
	return t, nil
}

func (t *Trust) checkAnchors() error {
	seen := map[string]bool{}
	for _, a := range t.Anchors {
		if !agentName().MatchString(a.Name) {
			return errorf(CodeInvalid, "anchor %q: a name is of the form [a-z][a-z0-9_]{0,63}", a.Name)
		}
		if _, err := ParsePublicKey(a.Key); err != nil {
			return errorf(CodeInvalid, "anchor %s: %s", a.Name, asError(err).Message)
		}
		if seen[a.Name] || seen[a.Key] {
			return errorf(CodeInvalid, "anchor %s: its name or its key comes twice", a.Name)
		}
		seen[a.Name], seen[a.Key] = true, true
	}
	return nil
}

func (t *Trust) checkRules() error {
	for i, r := range t.Rules {
		if t.anchor(func(a Anchor) bool { return a.Name == r.Signer }) == nil {
			return errorf(CodeInvalid, "rule %d: there is no anchor %q", i+1, r.Signer)
		}
		if len(r.Agents) == 0 {
			return errorf(CodeInvalid, "rule %d: agents is empty; [\"*\"] stands for all", i+1)
		}
		for _, p := range r.Agents {
			if _, err := path.Match(p, ""); err != nil {
				return errorf(CodeInvalid, "rule %d: agents: %q: %v", i+1, p, err)
			}
		}
		if _, err := r.limit("caps"); err != nil {
			return errorf(CodeInvalid, "rule %d: %s", i+1, asError(err).Message)
		}
	}
	return nil
}

func (t *Trust) checkRevocations() error {
	for i, r := range t.Revocations {
		if _, err := ParsePublicKey(r.Key); err != nil {
			return errorf(CodeInvalid, "revocation %d: %s", i+1, asError(err).Message)
		}
	}
	return nil
}

// anchor is the first for which is holds, or nil.
func (t *Trust) anchor(is func(Anchor) bool) *Anchor {
	if i := slices.IndexFunc(t.Anchors, is); i >= 0 {
		return &t.Anchors[i]
	}
	return nil
}

// revoked is the revocation of a key, or nil.
func (t *Trust) revoked(key string) *Revocation {
	if i := slices.IndexFunc(t.Revocations, func(r Revocation) bool { return r.Key == key }); i >= 0 {
		return &t.Revocations[i]
	}
	return nil
}

// limit is what the rule leaves, or nil when it limits nothing.
func (r *TrustRule) limit(source string) (*CapsLimit, error) {
	if r.Caps == nil {
		return nil, nil
	}
	return NewCapsLimit(LayerTrust, source, r.Caps)
}

// Verdict is what a trust policy says of a bundle.
type Verdict struct {
	Signer string     // name of the anchor; "" when nobody that is known signed
	Rule   *TrustRule // that holds, or nil
	Why    string     // there is no rule: in a few words
}

// Judge says whose the bundle is. A key that was revoked or has expired is an
// error, even where unsigned bundles may run: somebody meant it to be refused.
func (t *Trust) Judge(b *Bundle, now time.Time) (*Verdict, error) {
	if b.Signer == "" {
		return &Verdict{Why: "it is not signed"}, nil
	}
	key := string(b.Signer)
	if r := t.revoked(key); r != nil {
		return nil, errorf(CodeUntrusted, "agent %s is signed with %s, which was revoked (%s)",
			b.Manifest.Name, key, orUnsaid(r.Reason))
	}
	a := t.anchor(func(a Anchor) bool { return a.Key == key })
	if a == nil {
		return &Verdict{Why: "it is signed with " + key + ", which nobody here trusts"}, nil
	}
	if !a.Expires.IsZero() && !now.Before(a.Expires) {
		return nil, errorf(CodeUntrusted, "agent %s is signed by %s, whose key has expired on %s",
			b.Manifest.Name, a.Name, a.Expires.UTC().Format(time.DateOnly))
	}
	for i := range t.Rules {
		if r := &t.Rules[i]; r.Signer == a.Name && r.fits(b.Manifest.Name) {
			return &Verdict{Signer: a.Name, Rule: r}, nil
		}
	}
	return &Verdict{Signer: a.Name, Why: "no rule trusts " + a.Name + " for an agent of that name"}, nil
}

func (r *TrustRule) fits(agent string) bool {
	return slices.ContainsFunc(r.Agents, func(pattern string) bool {
		ok, err := path.Match(pattern, agent)
		return ok && err == nil
	})
}

func orUnsaid(reason string) string {
	if reason == "" {
		return "no reason given"
	}
	return reason
}

// Revoke takes trust from a key, given as itself or by its anchor's name.
func (t *Trust) Revoke(who, reason string, now time.Time) error {
	if a := t.anchor(func(a Anchor) bool { return a.Name == who }); a != nil {
		who = a.Key
	}
	key, err := ParsePublicKey(who)
	if err != nil {
		return errorf(CodeInvalid, "%q is neither the name of an anchor nor a public key", who)
	}
	if t.revoked(string(key)) != nil {
		return nil
	}
	t.Revocations = append(t.Revocations, Revocation{string(key), reason, now.UTC().Truncate(time.Second)})
	return nil
}

// Write puts the policy in place of the file name, whole or not at all, after
// checking it as ParseTrust does.
func (t *Trust) Write(name string) error {
	src, err := toml.Marshal(t)
	if err != nil {
		return errorf(CodeHost, "trust policy: %v", err)
	}
	if _, err := ParseTrust(name, src); err != nil {
		return err
	}
	if err := writeFileAtomic(name, src); err != nil {
		return errorf(CodeBundle, "trust policy %s: %v", name, reason(err))
	}
	return nil
}
