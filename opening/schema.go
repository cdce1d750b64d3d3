package opening

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// withSchema holds with maps against the JSON Schema of a manifest (draft
// 2020-12). The keywords that say where a mistake is are read here: type, enum,
// minimum, maximum, properties, required, additionalProperties, items and $ref.
// The library stops at the first mistake, does not say where it is, and picks
// one by chance when there are several; it is given the keywords that are left,
// and is not even loaded with a schema that has none.
//
// A value that came out of a template is checked like any other. One that could
// not be filled in is passed over, together with every keyword that would have
// to look at it.
type withSchema struct {
	root  *tree
	err   error
	told  bool // err was reported
	rests map[restKey]*jsonschema.Resolved
}

// restKey names what is left of a schema for values of one kind.
type restKey struct {
	schema *tree
	kind   kind
}

// newWithSchema reads a schema. It may come with an agent of somebody else's:
// one that cannot be read is an error of the agent, found when it is used.
func newWithSchema(raw json.RawMessage) *withSchema {
	s := &withSchema{rests: map[restKey]*jsonschema.Resolved{}}
	if len(raw) == 0 {
		return s
	}
	from := newSource("schema")
	s.root = parseJSON(from, raw)
	if s.root == nil {
		s.err = errors.New(from.problems[0].Message)
		return s
	}
	size := 0
	s.err = s.measure(s.root, &size)
	return s
}

// measure counts the subschemas that validation can reach, references
// followed. It ends for schemas that refer to themselves and for those whose
// references double at every step, on which the library would not.
func (s *withSchema) measure(t *tree, size *int) error {
	if *size++; *size > maxSchemaSize {
		return errors.New("its schema refers to itself or is too large")
	}
	for _, item := range t.items {
		if err := s.measure(item, size); err != nil {
			return err
		}
	}
	for _, p := range t.pairs {
		below := p.val
		if p.val.kind == kindString {
			switch p.key {
			case "$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor":
				return fmt.Errorf("its schema uses %s, which is not supported here", p.key)
			case "$id":
				if t != s.root {
					return errors.New("its schema has an $id inside, which is not supported here")
				}
			case "$ref":
				if below = s.resolve(p.val.text); below == nil {
					return fmt.Errorf("its schema refers to %s; only #/$defs/<name> is followed",
						quote(p.val.text))
				}
			}
		}
		if err := s.measure(below, size); err != nil {
			return err
		}
	}
	return nil
}

// resolve follows a reference, or gives nil.
func (s *withSchema) resolve(ref string) *tree {
	for _, section := range []string{"$defs", "definitions"} {
		name, ok := strings.CutPrefix(ref, "#/"+section+"/")
		if strings.ContainsAny(name, "/~%") { // the library would follow it elsewhere
			return nil
		}
		if defs := s.root.get(section); ok && defs != nil {
			return defs.get(name)
		}
	}
	return nil
}

// check reports what is wrong with the with map at path.
func (s *withSchema) check(src *source, ref string, with *tree, path string) {
	if s.root == nil && s.err == nil {
		return
	}
	c := &schemaCheck{schema: s, src: src}
	if s.err == nil {
		c.walk(s.root, with, path, "with")
	}
	if s.err != nil && !s.told {
		s.told = true
		use := strings.TrimSuffix(path, "/with") + "/use"
		src.add(src.val(use), codeLoad, "the agent %s cannot be used: %v", quote(ref), s.err)
	}
}

// schemaCheck goes through one value and its schema side by side.
type schemaCheck struct {
	schema *withSchema
	src    *source
}

// walk reports what is wrong with v, which stands at path and is called name.
func (c *schemaCheck) walk(t, v *tree, path, name string) {
	if v.kind == kindHole {
		return
	}
	if t.kind == kindBool && t.text == "false" {
		c.src.add(c.src.key(path), codeWith, "%s is not allowed", name)
	}
	if t.kind != kindMap {
		return
	}
	done := []string{"type", "enum", "minimum", "maximum"}
	if !c.typed(t, v, path, name) {
		return // the rest would only say the same again
	}
	if ref := t.get("$ref"); ref != nil && ref.kind == kindString {
		done = append(done, "$ref")
		c.walk(c.schema.resolve(ref.text), v, path, name)
	}
	complete := t.get("patternProperties") == nil && t.get("unevaluatedProperties") == nil
	switch {
	case v.kind == kindMap && complete:
		done = append(done, "properties", "required", "additionalProperties")
		c.properties(t, v, path, name)
	case v.kind == kindList && t.get("prefixItems") == nil && t.get("items") != nil:
		done = append(done, "items")
		for i, item := range v.items {
			c.walk(t.get("items"), item, fmt.Sprintf("%s/%d", path, i), fmt.Sprintf("%s[%d]", name, i))
		}
	}
	c.rest(t, v, done, path, name)
}

// typed checks the keywords that nearly every schema has, in words a person
// would use.
func (c *schemaCheck) typed(t, v *tree, path, name string) bool {
	if want := t.get("type"); want != nil {
		types := want.items
		if want.kind == kindString {
			types = []*tree{want}
		}
		if !slices.ContainsFunc(types, func(w *tree) bool { return hasType(v, w.text) }) {
			c.src.add(c.src.val(path), codeWith, "%s must be %s, not %s",
				name, typeNames(types), describe(v))
			return false
		}
	}
	if v.kind == kindNumber && !c.inRange(t, v, path, name) {
		return false
	}
	return c.oneOf(t.get("enum"), v, path, name)
}

// inRange checks minimum and maximum.
func (c *schemaCheck) inRange(t, v *tree, path, name string) bool {
	n, _ := strconv.ParseFloat(v.text, 64)
	for key, words := range map[string]string{"minimum": "at least", "maximum": "at most"} {
		limit := t.get(key)
		if limit == nil || limit.kind != kindNumber {
			continue
		}
		f, _ := strconv.ParseFloat(limit.text, 64)
		if key == "minimum" && n < f || key == "maximum" && n > f {
			c.src.add(c.src.val(path), codeWith, "%s must be %s %s, not %s", name, words, limit.text, v.text)
			return false
		}
	}
	return true
}

// oneOf checks an enum, if there is one.
func (c *schemaCheck) oneOf(enum, v *tree, path, name string) bool {
	if enum == nil || enum.kind != kindList {
		return true
	}
	var allowed, words []string
	for _, e := range enum.items {
		if e.kind == v.kind && string(e.appendJSON(nil)) == string(v.appendJSON(nil)) {
			return true
		}
		allowed = append(allowed, describe(e))
		words = append(words, e.text)
	}
	hint := ""
	if v.kind == kindString {
		hint = c.src.didYouMean(v.text, words)
	}
	c.src.add(c.src.val(path), codeWith, "%s must be one of %s, not %s",
		name, cut(strings.Join(allowed, ", ")), describe(v)).hint("%s", hint)
	return false
}

// properties checks the keys of a map, and the values of those that are
// declared.
func (c *schemaCheck) properties(t, v *tree, path, name string) {
	props, extra := t.get("properties"), t.get("additionalProperties")
	if props == nil || props.kind != kindMap {
		props = &tree{kind: kindMap}
	}
	for _, p := range v.pairs {
		below := path + "/" + escapeSegment(p.key)
		called := name + "." + visible(cut(p.key))
		switch sub := props.get(p.key); {
		case sub != nil:
			c.walk(sub, p.val, below, called)
		case extra == nil:
		case extra.kind == kindBool && extra.text == "false":
			c.src.add(c.src.key(below), codeWith, "unknown key %s in %s", quote(p.key), name).
				hint("%s", c.src.didYouMean(p.key, keys(props)))
		default:
			c.walk(extra, p.val, below, called)
		}
	}
	if required := t.get("required"); required != nil {
		for _, r := range required.items {
			if v.get(r.text) == nil {
				c.src.add(c.src.val(path), codeWith, "%s has no %s, which the agent requires",
					name, quote(r.text))
			}
		}
	}
}

// keys lists the keys of a map in the order they are in.
func keys(t *tree) []string {
	var names []string
	for _, p := range t.pairs {
		names = append(names, p.key)
	}
	return names
}

// rest gives the library what is left of a schema.
func (c *schemaCheck) rest(t, v *tree, done []string, path, name string) {
	if hasHole(v) {
		return
	}
	left := &tree{kind: kindMap}
	for _, p := range t.pairs {
		if !isAnnotation(p.key) && !slices.Contains(done, p.key) {
			left.pairs = append(left.pairs, p)
		}
	}
	if len(left.pairs) == 0 {
		return
	}
	err := c.validate(restKey{t, v.kind}, left, v)
	switch {
	case err == nil || c.schema.err != nil:
	case v.kind == kindMap || v.kind == kindList:
		// Which part of a map the library complains about first is chance.
		c.src.add(c.src.val(path), codeWith, "%s does not fit the schema of its agent (%s)",
			name, visible(strings.Join(keys(left), ", ")))
	default:
		msg := err.Error()
		for strings.HasPrefix(msg, "validating ") {
			_, msg, _ = strings.Cut(msg, ": ")
		}
		c.src.add(c.src.val(path), codeWith, "%s does not fit the schema of its agent: %s",
			name, visible(cut(msg)))
	}
}

// validate runs the library on v. A schema it cannot use is noted in
// schema.err; it panics on some, which must not end the process.
func (c *schemaCheck) validate(key restKey, left, v *tree) (err error) {
	defer func() {
		if r := recover(); r != nil {
			c.schema.err = errors.New("its schema is not valid")
		}
	}()
	r := c.schema.rests[key]
	if r == nil {
		for _, section := range []string{"$defs", "definitions", "$schema"} {
			if defs := c.schema.root.get(section); defs != nil {
				left.pairs = append(left.pairs, pair{key: section, val: defs})
			}
		}
		var schema jsonschema.Schema
		if err = json.Unmarshal(left.appendJSON(nil), &schema); err == nil {
			r, err = schema.Resolve(nil)
		}
		if err != nil {
			c.schema.err = fmt.Errorf("its schema is not valid: %s", visible(cut(err.Error())))
			return nil
		}
		c.schema.rests[key] = r
	}
	var value any
	if err := json.Unmarshal(v.appendJSON(nil), &value); err != nil {
		return err
	}
	return r.Validate(value)
}

// isAnnotation tells keywords that say nothing about validity.
func isAnnotation(key string) bool {
	switch key {
	case "$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default",
		"examples", "deprecated", "readOnly", "writeOnly", "format":
		return true
	}
	return false
}

// hasHole tells whether anything in t could not be filled in.
func hasHole(t *tree) bool {
	if t.kind == kindHole || slices.ContainsFunc(t.items, hasHole) {
		return true
	}
	return slices.ContainsFunc(t.pairs, func(p pair) bool { return hasHole(p.val) })
}

// kindOf puts a type as JSON Schema names it into our words, or gives "".
func kindOf(typ string) kind {
	switch typ {
	case "null":
		return kindNull
	case "boolean":
		return kindBool
	case "number":
		return kindNumber
	case "integer":
		return "a whole number"
	case "string":
		return kindString
	case "array":
		return kindList
	case "object":
		return kindMap
	}
	return ""
}

// hasType tells whether v is of a type as JSON Schema names it.
func hasType(v *tree, typ string) bool {
	if typ != "integer" {
		return v.kind == kindOf(typ)
	}
	f, err := strconv.ParseFloat(v.text, 64)
	return v.kind == kindNumber && err == nil && f == math.Trunc(f)
}

// typeNames puts types as JSON Schema names them into words.
func typeNames(types []*tree) string {
	var out []string
	for _, t := range types {
		out = append(out, cmp.Or(string(kindOf(t.text)), quote(t.text)))
	}
	return strings.Join(out, " or ")
}

// describe puts a value into a message.
func describe(t *tree) string {
	switch t.kind {
	case kindString:
		return quote(t.text)
	case kindNumber, kindBool:
		return t.text
	}
	return string(t.kind)
}
