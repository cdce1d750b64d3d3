package wasm

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"lukechampine.com/blake3"
)

// Caps is what an agent may do: the [capabilities] table of policy.caps. The
// zero value grants nothing (spec/03 "Capabilities").
type Caps struct {
	FS        []FSGrant `json:"fs,omitempty"`
	Net       []string  `json:"net,omitempty"` // hosts, with a port if not 443
	AllowHTTP bool      `json:"allow_http,omitempty"`
	Time      bool      `json:"time,omitempty"`
	KBRead    Domains   `json:"kb_read,omitzero"`
	KBWrite   Domains   `json:"kb_write,omitzero"`
	Secrets   []string  `json:"secrets,omitempty"`
	// SecretsRaw are those of Secrets whose plain value the agent may see; of
	// the others it gets a handle.
	SecretsRaw []string `json:"secrets_raw,omitempty"`
	Model      bool     `json:"model,omitempty"`
	Exec       Names    `json:"exec,omitzero"`
}

// FSGrant is one directory or file of the host, at the same path in the guest.
type FSGrant struct {
	Path  string `toml:"path" json:"path"`
	Write bool   `toml:"write" json:"write,omitempty"`
}

// Domains is a set of domains of the knowledge base: none, some or all. All
// stands for every domain but DomainContactsRaw, which is always named.
type Domains struct {
	All   bool     `json:"all,omitempty"`
	Names []string `json:"names,omitempty"` // sorted
}

// DomainContactsRaw, in kb_read, lifts the redaction of addresses.
const DomainContactsRaw = "contacts_raw"

// Has reports whether the set holds domain.
func (d Domains) Has(domain string) bool {
	return slices.Contains(d.Names, domain) || d.All && domain != DomainContactsRaw
}

// IsZero reports whether the set is empty.
func (d Domains) IsZero() bool { return !d.All && len(d.Names) == 0 }

// Names is a list that may also be "all" or empty.
type Names struct {
	All  bool     `json:"all,omitempty"`
	List []string `json:"list,omitempty"` // sorted
}

// IsZero reports whether the list is empty.
func (n Names) IsZero() bool { return !n.All && len(n.List) == 0 }

// IsZero reports whether c grants nothing.
func (c *Caps) IsZero() bool {
	return len(c.FS) == 0 && len(c.Net) == 0 && !c.Time && c.KBRead.IsZero() &&
		c.KBWrite.IsZero() && len(c.Secrets) == 0 && !c.Model && c.Exec.IsZero()
}

// Digest is the hex BLAKE3 of the capabilities in a canonical form: what a
// person granted, whatever the file's layout.
func (c *Caps) Digest() string {
	b, err := json.Marshal(c) // struct order is fixed and lists are sorted
	if err != nil {
		panic("wasm: capabilities do not marshal: " + err.Error()) // no such type in Caps
	}
	sum := blake3.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// capsFile is the layout of policy.caps. Values that may have several types
// are read loosely and checked by hand, so that an error can say what was
// expected.
type capsFile struct {
	Capabilities struct {
		FS         []any    `toml:"fs"`
		Net        []string `toml:"net"`
		AllowHTTP  bool     `toml:"allow_http"`
		Time       bool     `toml:"time"`
		KBRead     any      `toml:"kb_read"`
		KBWrite    any      `toml:"kb_write"`
		Secrets    []string `toml:"secrets"`
		SecretsRaw []string `toml:"secrets_raw"`
		Model      bool     `toml:"model"`
		Exec       any      `toml:"exec"`
	} `toml:"capabilities"`
}

// ParseCaps reads a policy.caps file; name is for errors. An unknown key is an
// error, because a misspelt grant must not pass for none.
func ParseCaps(name string, src []byte) (*Caps, error) {
	var f capsFile
	if err := decodeTOML(name, src, &f); err != nil {
		return nil, err
	}
	in := &f.Capabilities
	c := &Caps{AllowHTTP: in.AllowHTTP, Time: in.Time, Model: in.Model}
	c.Net, c.Secrets, c.SecretsRaw = sortedSet(in.Net), sortedSet(in.Secrets), sortedSet(in.SecretsRaw)
	var err error
	if c.FS, err = parseFSGrants(in.FS); err != nil {
		return nil, errorf(CodeBundle, "%s: fs: %v", name, err)
	}
	if c.KBRead, err = domains(in.KBRead); err != nil {
		return nil, errorf(CodeBundle, "%s: kb_read: %v", name, err)
	}
	if c.KBWrite, err = domains(in.KBWrite); err != nil {
		return nil, errorf(CodeBundle, "%s: kb_write: %v", name, err)
	}
	exec, err := domains(in.Exec)
	if err != nil {
		return nil, errorf(CodeBundle, "%s: exec: %v", name, err)
	}
	c.Exec = Names{All: exec.All, List: exec.Names}
	return c, nil
}

func decodeTOML(name string, src []byte, v any) error {
	d := toml.NewDecoder(bytes.NewReader(src)).DisallowUnknownFields()
	err := d.Decode(v)
	switch e := err.(type) {
	case nil:
		return nil
	case *toml.StrictMissingError:
		row, col := e.Errors[0].Position()
		key := e.Errors[0].Key()
		return errorf(CodeBundle, "%s:%d:%d: unknown key %q%s", name, row, col, strings.Join(key, "."),
			didYouMean(key[len(key)-1], knownKeys(v, key[:len(key)-1])))
	case *toml.DecodeError:
		row, col := e.Position()
		return errorf(CodeBundle, "%s:%d:%d: %s", name, row, col, e.Error())
	default:
		return errorf(CodeBundle, "%s: %v", name, err)
	}
}

func sortedSet(in []string) []string {
	out := slices.Clone(in)
	slices.Sort(out)
	return slices.Compact(out)
}

func parseFSGrants(in []any) ([]FSGrant, error) {
	var out []FSGrant
	for _, v := range in {
		g, err := parseFSGrant(v)
		if err != nil {
			return nil, err
		}
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b FSGrant) int { return strings.Compare(a.Path, b.Path) })
	for i := 1; i < len(out); i++ {
		if out[i].Path == out[i-1].Path {
			return nil, fmt.Errorf("%s is granted twice", out[i].Path)
		}
	}
	return out, nil
}

func parseFSGrant(v any) (FSGrant, error) {
	var g FSGrant
	switch v := v.(type) {
	case string:
		g.Path = v
	case map[string]any:
		for k := range v {
			if k != "path" && k != "write" {
				return g, fmt.Errorf("unknown key %q (path, write)", k)
			}
		}
		var ok bool
		if g.Path, ok = v["path"].(string); !ok {
			return g, fmt.Errorf("path must be a string")
		}
		if w, has := v["write"]; has {
			if g.Write, ok = w.(bool); !ok {
				return g, fmt.Errorf("write must be true or false")
			}
		}
	default:
		return g, fmt.Errorf("a grant is a path or {path, write}, not %T", v)
	}
	if !filepath.IsAbs(g.Path) || filepath.Clean(g.Path) != g.Path {
		return g, fmt.Errorf("%q is not a clean absolute path", g.Path)
	}
	return g, nil
}

// domains reads true, false or a list of names.
func domains(v any) (Domains, error) {
	switch v := v.(type) {
	case nil:
		return Domains{}, nil
	case bool:
		return Domains{All: v}, nil
	case []any:
		var names []string
		for _, e := range v {
			s, ok := e.(string)
			if !ok || s == "" {
				return Domains{}, fmt.Errorf("%v is not a name", e)
			}
			names = append(names, s)
		}
		return Domains{Names: sortedSet(names)}, nil
	}
	return Domains{}, fmt.Errorf("want true, false or a list of names, not %T", v)
}
