package wasm

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Layers of a policy, in the order in which they take capabilities away from
// what a bundle asks for.
const (
	LayerOverride = "override" // the operator's file for the agent
	LayerTrust    = "trust"    // the rule for who signed the bundle
	LayerSystem   = "system"   // policy.caps of the configuration
)

// CapsLimit is a layer of a policy: it says the most that is left. Keys that
// it does not name stay as they are.
type CapsLimit struct {
	Layer  string // one of the Layer constants
	Source string // file, for people

	most *Caps
	keys map[string]any // that it names
}

// ParseCapsLimit reads a limit in the form of policy.caps.
func ParseCapsLimit(layer, source string, src []byte) (*CapsLimit, error) {
	most, err := ParseCaps(source, src)
	if err != nil {
		return nil, err
	}
	var f struct {
		Capabilities map[string]any `toml:"capabilities"`
	}
	if err := toml.Unmarshal(src, &f); err != nil {
		return nil, errorf(CodeBundle, "%s: %v", source, err)
	}
	return &CapsLimit{Layer: layer, Source: source, most: most, keys: f.Capabilities}, nil
}

// NewCapsLimit makes a limit of the keys of a [capabilities] table that stands
// in some other file.
func NewCapsLimit(layer, source string, table map[string]any) (*CapsLimit, error) {
	for key := range table {
		if !slices.Contains(capsKeys(), key) {
			return nil, errorf(CodeBundle, "%s: unknown capability %q%s", source, key, didYouMean(key, capsKeys()))
		}
	}
	src, err := toml.Marshal(map[string]any{"capabilities": table})
	if err != nil {
		return nil, errorf(CodeBundle, "%s: %v", source, err)
	}
	return ParseCapsLimit(layer, source, src)
}

// Apply returns what the limit leaves of caps.
func (l *CapsLimit) Apply(caps *Caps) *Caps { return Intersect(caps, l.over(caps)) }

// over is the limit with the keys of caps where it names none.
func (l *CapsLimit) over(caps *Caps) *Caps {
	over := *l.most
	for key, keep := range map[string]func(){
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
	} {
		if _, named := l.keys[key]; !named {
			keep()
		}
	}
	return &over
}

// Adds lists what the limit names that caps have not: it is ignored, since a
// layer can only take away.
func (l *CapsLimit) Adds(caps *Caps) []string {
	over := l.over(caps)
	return Taken(over, Intersect(over, caps))
}

// Widens lists where l allows what another limit of the same layer, which
// stands above it, does not. A key that l does not name widens nothing.
func (l *CapsLimit) Widens(above *CapsLimit) []string {
	return Taken(l.most, Intersect(l.most, above.over(l.most)))
}

// warnAdds is the warning for an override that names more than it can give.
func (l *CapsLimit) warnAdds(caps *Caps) []string {
	adds := l.Adds(caps)
	if len(adds) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s: an override can only take away; what it adds is ignored (%s)",
		l.Source, strings.Join(adds, "; "))}
}

// capsKeys are the keys of [capabilities].
func capsKeys() []string {
	return []string{"fs", "net", "allow_http", "time", "kb_read", "kb_write", "secrets", "secrets_raw", "model", "exec"}
}

// Table is the limit as the [capabilities] table that it was read from.
func (l *CapsLimit) Table() map[string]any { return l.keys }

// Describe says in plain words what is the most that the limit leaves, of the
// capabilities that it names.
func (l *CapsLimit) Describe() string {
	names := slices.Sorted(maps.Keys(l.keys))
	return fmt.Sprintf("of %s only %s", strings.Join(names, ", "), strings.TrimPrefix(l.most.Describe(), "to "))
}
