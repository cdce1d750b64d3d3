package runloop

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// configFileMax is the most a config file may hold, in bytes.
const configFileMax = 1 << 20

// parseConfigFile reads a YAML file into a map that fits Config. A value of
// the wrong type is an error with its place; an unknown key is a warning with
// the nearest known one, and left out.
func parseConfigFile(name string, src []byte) (map[string]any, []string, error) {
	if len(src) > configFileMax {
		return nil, nil, usageErrorf("config: %s is over %d bytes", name, configFileMax)
	}
	file, err := parser.ParseBytes(src, 0)
	if err != nil {
		return nil, nil, usageErrorf("config: %s: %s", name, firstLine(err.Error()))
	}
	r := &configReader{name: name}
	out := map[string]any{}
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		m, ok := r.value(doc.Body, reflect.TypeFor[Config](), "").(map[string]any)
		if !ok && r.err == nil {
			r.fail(doc.Body, "", "a map of settings")
		}
		for k, v := range m {
			out[k] = v
		}
	}
	return out, r.warnings, r.err
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// configReader walks YAML and the types of Config side by side. The first
// error stays.
type configReader struct {
	name     string
	warnings []string
	err      error
}

func (r *configReader) at(n ast.Node) string {
	pos := n.GetToken().Position
	return fmt.Sprintf("%s:%d:%d", r.name, pos.Line, pos.Column)
}

func (r *configReader) fail(n ast.Node, key, want string) {
	if r.err == nil {
		r.err = usageErrorf("config: %s: %s must be %s", r.at(n), orText(key, "it"), want)
	}
}

func (r *configReader) value(n ast.Node, t reflect.Type, key string) any {
	switch t.Kind() {
	case reflect.Pointer:
		return r.value(n, t.Elem(), key)
	case reflect.Struct:
		return r.table(n, t, key)
	case reflect.Slice:
		return r.list(n, t, key)
	case reflect.Map:
		return r.free(n, key)
	}
	return r.scalar(n, t, key)
}

func (r *configReader) table(n ast.Node, t reflect.Type, key string) any {
	var entries []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		entries = n.Values
	case *ast.MappingValueNode:
		entries = []*ast.MappingValueNode{n}
	case *ast.NullNode: // "kb:" with nothing below it
	default:
		r.fail(n, key, "a map")
	}
	out := map[string]any{}
	for _, e := range entries {
		k := e.Key.String()
		full := strings.TrimPrefix(key+"."+k, ".")
		if alias, ok := configAliases[full]; ok {
			r.warnings = append(r.warnings, fmt.Sprintf("%s: %s is now %s", r.at(e.Key), full, alias.key))
			alias.apply(r, e.Value, out)
			continue
		}
		field, ok := fieldByKey(t, k)
		if !ok {
			r.warnings = append(r.warnings, fmt.Sprintf("%s: unknown key %s%s", r.at(e.Key), full,
				didYouMean(k, keysOf(t))))
			continue
		}
		out[k] = r.value(e.Value, field, full)
	}
	return out
}

// free reads a map whose values are checked by whom they are for.
func (r *configReader) free(n ast.Node, key string) any {
	var out map[string]any
	if err := yaml.NodeToValue(n, &out); err != nil {
		r.fail(n, key, "a map")
	}
	return out
}

// list reads a sequence. A map where a list of tables belongs is the old form
// of models.broker.route, pattern: provider.
func (r *configReader) list(n ast.Node, t reflect.Type, key string) any {
	out := []any{}
	switch n := n.(type) {
	case *ast.SequenceNode:
		for i, e := range n.Values {
			out = append(out, r.value(e, t.Elem(), fmt.Sprintf("%s[%d]", key, i)))
		}
	case *ast.NullNode:
	default:
		r.fail(n, key, "a list")
	}
	return out
}

func (r *configReader) scalar(n ast.Node, t reflect.Type, key string) any {
	switch t.Kind() {
	case reflect.Bool:
		if b, ok := n.(*ast.BoolNode); ok {
			return b.Value
		}
		r.fail(n, key, "true or false")
	case reflect.Int:
		if i, ok := n.(*ast.IntegerNode); ok {
			if v, err := strconv.Atoi(fmt.Sprint(i.Value)); err == nil {
				return v
			}
		}
		r.fail(n, key, "a whole number")
	case reflect.Float64:
		switch v := n.(type) {
		case *ast.FloatNode:
			if !math.IsNaN(v.Value) {
				return v.Value
			}
		case *ast.IntegerNode:
			if f, err := strconv.ParseFloat(fmt.Sprint(v.Value), 64); err == nil {
				return f
			}
		}
		r.fail(n, key, "a number")
	case reflect.String:
		switch v := n.(type) {
		case *ast.StringNode:
			return v.Value
		case *ast.LiteralNode:
			return v.Value.Value
		case *ast.NullNode:
			return ""
		}
		r.fail(n, key, "a string")
	}
	return nil
}

// configAlias is an old key that still works, with a warning.
type configAlias struct {
	key   string
	apply func(r *configReader, v ast.Node, out map[string]any)
}

var stringType = reflect.TypeFor[string]()

var configAliases = map[string]configAlias{
	"kb.ledger":             renamed("kb.events_db", "events_db"),
	"kb.materialized":       renamed("kb.view_db", "view_db"),
	"models.broker.routing": {key: "models.broker.route", apply: routesFromMap},
}

func renamed(key, last string) configAlias {
	return configAlias{key: key, apply: func(r *configReader, v ast.Node, out map[string]any) {
		out[last] = r.scalar(v, stringType, key)
	}}
}

// routesFromMap turns the old map from pattern to provider into a list.
func routesFromMap(r *configReader, v ast.Node, out map[string]any) {
	routes := []any{}
	m, ok := v.(*ast.MappingNode)
	if !ok {
		r.fail(v, "models.broker.routing", "a map from pattern to provider")
		return
	}
	for _, e := range m.Values {
		routes = append(routes, map[string]any{
			"pattern": e.Key.String(), "provider": r.scalar(e.Value, stringType, "models.broker.routing"),
		})
	}
	out["route"] = routes
}

func fieldByKey(t reflect.Type, key string) (reflect.Type, bool) {
	for f := range t.Fields() {
		if f.Tag.Get("koanf") == key {
			return f.Type, true
		}
	}
	return nil, false
}

func keysOf(t reflect.Type) []string {
	var out []string
	for f := range t.Fields() {
		out = append(out, f.Tag.Get("koanf"))
	}
	return out
}
