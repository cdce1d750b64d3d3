package runloop

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/runloop-os/runloop/router/enter"
)

// envPrefix begins every variable that sets a key: RUNLOOP__LOGGING__LEVEL.
const envPrefix = enter.EnvPrefix

// envLayer reads the environment: RUNLOOP__SECTION__KEY=value, lists as JSON
// or separated by commas.
func envLayer(environ []string) (map[string]any, []string, error) {
	out := map[string]any{}
	var warnings []string
	for _, kv := range slices.Sorted(slices.Values(environ)) {
		name, text, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, envPrefix) || text == "" {
			continue // an empty variable is one that is not set
		}
		path := strings.Split(strings.ToLower(strings.TrimPrefix(name, envPrefix)), "__")
		t, ok := typeAt(path)
		if !ok {
			warnings = append(warnings, fmt.Sprintf("environment: %s names no known key", name))
			continue
		}
		v, err := envValue(text, t)
		if err != nil {
			return nil, nil, usageErrorf("config: environment: %s must be %v", name, err)
		}
		setAt(out, path, v)
	}
	return out, warnings, nil
}

// typeAt is the type of the key at path, which is no table.
func typeAt(path []string) (reflect.Type, bool) {
	t := reflect.TypeFor[Config]()
	for _, key := range path {
		if t.Kind() != reflect.Struct {
			return nil, false
		}
		var ok bool
		if t, ok = fieldByKey(t, key); !ok {
			return nil, false
		}
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t, t.Kind() != reflect.Struct
}

func envValue(text string, t reflect.Type) (any, error) {
	switch t.Kind() {
	case reflect.Bool:
		return orWant(strconv.ParseBool(text))("true or false")
	case reflect.Int:
		return orWant(strconv.Atoi(text))("a whole number")
	case reflect.Float64:
		return orWant(strconv.ParseFloat(text, 64))("a number")
	case reflect.Slice:
		return envList(text, t)
	case reflect.Map:
		var m map[string]any
		return orWant(m, json.Unmarshal([]byte(text), &m))("a JSON map")
	}
	return text, nil
}

func orWant[T any](v T, err error) func(want string) (any, error) {
	return func(want string) (any, error) {
		if err != nil {
			return nil, fmt.Errorf("%s", want)
		}
		return v, nil
	}
}

func envList(text string, t reflect.Type) (any, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "[") {
		var list []any
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			return nil, fmt.Errorf("a JSON list: %w", err)
		}
		return list, nil
	}
	if t.Elem().Kind() != reflect.String {
		return nil, fmt.Errorf("a JSON list")
	}
	list := []any{}
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list, nil
}

func setAt(m map[string]any, path []string, v any) {
	for _, key := range path[:len(path)-1] {
		sub, ok := m[key].(map[string]any)
		if !ok {
			sub = map[string]any{}
			m[key] = sub
		}
		m = sub
	}
	m[path[len(path)-1]] = v
}
