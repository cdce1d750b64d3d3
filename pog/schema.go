package pog

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/google/jsonschema-go/jsonschema"
)

//go:embed schemas/*.json
var embedded embed.FS

// maxSchemaBytes bounds a schema file of the user's.
const maxSchemaBytes = 256 << 10

// registry finds kinds and their schemas. A schema is read and resolved when
// its kind is first proposed: a command that proposes nothing pays nothing.
type registry struct {
	dirs []string // of users' schemas, first hit wins

	mu    sync.Mutex
	kinds map[string]*checkedKind
}

// checkedKind is a kind with its schema taken apart, so that every field of
// a payload can be refused by name.
type checkedKind struct {
	kind
	whole    *jsonschema.Resolved // nil when the fields say it all
	fields   map[string]*jsonschema.Resolved
	required []string
	closed   bool // unknown fields are refused
}

// lookup returns the kind, or an error a proposer can act on.
func (r *registry) lookup(name string) (*checkedKind, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k, ok := r.kinds[name]; ok {
		return k, nil
	}
	k, err := r.load(name)
	if err != nil {
		return nil, err
	}
	if r.kinds == nil {
		r.kinds = map[string]*checkedKind{}
	}
	r.kinds[name] = k
	return k, nil
}

func (r *registry) load(name string) (*checkedKind, error) {
	if !kindName().MatchString(name) {
		return nil, fmt.Errorf("unknown kind %.80q", name)
	}
	if k, ok := builtinKinds[name]; ok {
		doc, err := embedded.ReadFile("schemas/" + name + ".json")
		if err != nil {
			return nil, err
		}
		return checkSchema(k, doc)
	}
	for _, dir := range r.dirs {
		path := filepath.Join(dir, name+".json")
		doc, err := readSchema(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		k, err := userKind(doc)
		if err != nil {
			return nil, fmt.Errorf("schema %s: %w", path, err)
		}
		return k, nil
	}
	return nil, fmt.Errorf("unknown kind %q%s", name, r.suggest(name))
}

// domainOf says which domain events of a kind are in. A kind whose schema is
// gone, or was never seen by this process, is custom: the views must not
// depend on what is in a directory today.
func domainOf(name string) Domain {
	if k, ok := builtinKinds[name]; ok {
		return k.domain
	}
	return DomainCustom
}

func readSchema(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("schema %s: not a regular file", path)
	}
	if info.Size() > maxSchemaBytes {
		return nil, fmt.Errorf("schema %s: larger than %d bytes", path, maxSchemaBytes)
	}
	return os.ReadFile(path)
}

// userKind checks a schema that came with the user. It may not refer to
// other files, nor to itself in a way that never ends.
func userKind(doc []byte) (*checkedKind, error) {
	var top map[string]any
	if err := json.Unmarshal(doc, &top); err != nil {
		return nil, err
	}
	if err := checkRefs(top, top, nil); err != nil {
		return nil, err
	}
	return checkSchema(kind{domain: DomainCustom}, doc)
}

// checkRefs allows only references to "#/$defs/NAME", and no chain of them
// that comes back to where it was: validating such a schema would recurse
// until the stack is gone, which Go cannot recover from.
func checkRefs(top map[string]any, v any, open []string) error {
	if len(open) > 32 {
		return errors.New("references nested deeper than 32")
	}
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if err := checkRefs(top, e, open); err != nil {
				return err
			}
		}
	case map[string]any:
		for key, e := range v {
			if key == "$defs" && len(open) == 0 {
				continue // reached through the references to it
			}
			if err := checkMember(top, key, e, open); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkMember(top map[string]any, key string, v any, open []string) error {
	target, isString := v.(string)
	switch {
	case key == "$dynamicRef" || key == "$recursiveRef" || key == "$id":
		return fmt.Errorf("%s is not supported", key)
	case key != "$ref" || !isString:
		return checkRefs(top, v, open)
	}
	name, local := strings.CutPrefix(target, "#/$defs/")
	defs, _ := top["$defs"].(map[string]any)
	def, exists := defs[name]
	if !local || !exists || strings.ContainsAny(name, "/~%") {
		return fmt.Errorf("$ref %q: only #/$defs/NAME of the same file is supported", target)
	}
	if slices.Contains(open, name) {
		return fmt.Errorf("$ref %q refers to itself", target)
	}
	return checkRefs(top, def, append(open[:len(open):len(open)], name))
}

// checkSchema resolves a schema whole and once per top-level property.
func checkSchema(k kind, doc []byte) (*checkedKind, error) {
	var s jsonschema.Schema
	if err := json.Unmarshal(doc, &s); err != nil {
		return nil, err
	}
	whole, err := s.CloneSchemas().Resolve(nil)
	if err != nil {
		return nil, err
	}
	c := &checkedKind{kind: k, whole: whole, required: s.Required,
		fields: map[string]*jsonschema.Resolved{}}
	c.closed = isFalse(s.AdditionalProperties)
	if fieldsOnly(doc) && (c.closed || s.AdditionalProperties == nil) {
		c.whole = nil
	}
	for name, property := range s.Properties {
		p := property.CloneSchemas()
		if p.Defs == nil && s.Defs != nil {
			p.Defs = (&jsonschema.Schema{Defs: s.Defs}).CloneSchemas().Defs
		}
		if c.fields[name], err = p.Resolve(nil); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// isFalse says whether s is the schema that nothing fits.
func isFalse(s *jsonschema.Schema) bool {
	return s != nil && s.Not != nil && s.Not.Type == "" && s.Not.Properties == nil
}

// fieldsOnly says that a schema has no keyword at its top but those that are
// checked field by field.
func fieldsOnly(doc []byte) bool {
	var top map[string]json.RawMessage
	if json.Unmarshal(doc, &top) != nil {
		return false
	}
	for keyword := range top {
		switch keyword {
		case "$schema", "$comment", "$defs", "title", "description", "examples",
			"type", "required", "properties", "additionalProperties":
		default:
			return false
		}
	}
	return string(top["type"]) == `"object"`
}

// check returns what is wrong with a payload, field by field.
func (c *checkedKind) check(payload map[string]any) []Problem {
	var problems []Problem
	add := func(field, reason string) {
		problems = append(problems, Problem{Field: "payload." + field, Reason: reason})
	}
	for _, name := range c.required {
		if _, ok := payload[name]; !ok {
			add(name, "is required")
		}
	}
	for name, v := range payload {
		field, known := c.fields[name]
		switch {
		case known:
			if err := field.Validate(v); err != nil {
				add(name, plainReason(err))
			}
		case c.closed:
			add(name, "unknown field"+nearest(name, c.names()))
		}
	}
	if len(problems) == 0 && c.whole != nil {
		// What holds between fields has no field of its own.
		if err := c.whole.Validate(payload); err != nil {
			problems = append(problems, Problem{Field: "payload", Reason: plainReason(err)})
		}
	}
	slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.Field, b.Field) })
	return problems
}

func (c *checkedKind) names() []string {
	names := make([]string, 0, len(c.fields))
	for name := range c.fields {
		names = append(names, name)
	}
	return names
}

// plainReason drops the library's path prefixes and cuts what it quotes.
func plainReason(err error) string {
	reason, _, _ := strings.Cut(err.Error(), "\n")
	for strings.HasPrefix(reason, "validating ") {
		_, rest, ok := strings.Cut(reason, ": ")
		if !ok {
			break
		}
		reason = rest
	}
	const most = 200
	if len(reason) > most {
		reason = strings.ToValidUTF8(reason[:most], "") + "…"
	}
	return reason
}

func (r *registry) suggest(name string) string {
	known := make([]string, 0, len(builtinKinds))
	for k := range builtinKinds {
		known = append(known, k)
	}
	return nearest(name, known)
}

// nearest returns a hint when one of known is close to name.
func nearest(name string, known []string) string {
	best, score := "", 0.84
	slices.Sort(known) // ties must not depend on the order of a map
	for _, k := range known {
		if s := jaroWinkler([]rune(name), []rune(k)); s > score {
			best, score = k, s
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}
