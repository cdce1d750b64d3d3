package wasm

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// Bounds of JSON Schemas, which come with bundles: the library that holds values
// against them has none of its own, and knows of no context that ends.
const (
	// valueSchemaMax is how many subschemas validation may reach, references
	// followed.
	valueSchemaMax = 10_000
	// valueWorkMax bounds subschemas times bytes of the value.
	valueWorkMax = 100_000_000
)

// valueSchema is a JSON Schema (draft 2020-12) of a bundle. Nil takes any value.
type valueSchema struct {
	resolved *jsonschema.Resolved
	size     int // subschemas, references followed
}

// parseValueSchema reads a schema; nothing is none.
func parseValueSchema(src json.RawMessage) (*valueSchema, error) {
	if len(src) == 0 {
		return nil, nil
	}
	var doc any
	if err := json.Unmarshal(src, &doc); err != nil {
		return nil, err
	}
	m := &schemaMeasure{}
	m.root, _ = doc.(map[string]any)
	if err := m.walk(doc, true); err != nil {
		return nil, err
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(src, &s); err != nil {
		return nil, err
	}
	resolved, err := s.Resolve(nil)
	return &valueSchema{resolved, m.size}, err
}

// validate holds a JSON document against the schema.
func (s *valueSchema) validate(doc []byte) error {
	var v any
	if err := json.Unmarshal(doc, &v); err != nil || s == nil {
		return err
	}
	if s.size*len(doc) > valueWorkMax {
		return fmt.Errorf("%d bytes are too many for a schema of %d parts", len(doc), s.size)
	}
	return s.resolved.Validate(v)
}

// takes reports whether the schema lists a property.
func (s *valueSchema) takes(property string) bool {
	return s != nil && s.resolved.Schema().Properties[property] != nil
}

// schemaMeasure counts the subschemas of a schema. It ends for one that refers to
// itself, which the library would follow until the stack of this process is
// gone, and for one whose references double at every step.
type schemaMeasure struct {
	root map[string]any
	size int
}

func (m *schemaMeasure) walk(v any, top bool) error {
	if m.size++; m.size > valueSchemaMax {
		return errors.New("the schema refers to itself or is too large")
	}
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if err := m.walk(e, false); err != nil {
				return err
			}
		}
	case map[string]any:
		for key, e := range v {
			if err := m.member(key, e, top); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *schemaMeasure) member(key string, v any, top bool) error {
	text, isText := v.(string)
	if !isText {
		return m.walk(v, false)
	}
	switch key {
	case "$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor":
		return fmt.Errorf("%s is not supported", key)
	case "$id":
		if !top {
			return errors.New("an $id inside of a schema is not supported")
		}
	case "$ref":
		target, ok := m.resolve(text)
		if !ok {
			return fmt.Errorf("$ref %q: only #/$defs/NAME is followed", text)
		}
		return m.walk(target, false)
	}
	return nil
}

// resolve follows a reference to a definition. A name that is a path or is
// escaped would lead the library elsewhere.
func (m *schemaMeasure) resolve(ref string) (any, bool) {
	for _, section := range []string{"$defs", "definitions"} {
		name, ok := strings.CutPrefix(ref, "#/"+section+"/")
		if !ok || strings.ContainsAny(name, "/~%") {
			continue
		}
		defs, _ := m.root[section].(map[string]any)
		target, ok := defs[name]
		return target, ok
	}
	return nil, false
}
