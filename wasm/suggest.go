package wasm

import (
	"reflect"
	"slices"
	"strings"
)

// didYouMean is " (did you mean …?)" for the known key that is nearest to key,
// or nothing if none is near.
func didYouMean(key string, known []string) string {
	best, least := "", 1+len(key)/3
	for _, k := range known {
		if n := edits(key, k); n <= least {
			best, least = k, n-1
		}
	}
	if best == "" {
		return ""
	}
	return " (did you mean " + best + "?)"
}

// edits is how many bytes of a have to be put in, taken out or changed to make
// b (Levenshtein). to[j] is the distance of what was read of a to b[:j].
func edits(a, b string) int {
	to := make([]int, len(b)+1)
	for j := range to {
		to[j] = j
	}
	for i, ca := range []byte(a) {
		before := to[0]
		to[0] = i + 1
		for j, cb := range []byte(b) {
			change := before
			if ca != cb {
				change++
			}
			before = to[j+1]
			to[j+1] = min(change, before+1, to[j]+1)
		}
	}
	return to[len(b)]
}

// knownKeys are the keys that the table at path of a TOML layout may have.
func knownKeys(layout any, path []string) []string {
	t := reflect.TypeOf(layout)
	for _, key := range path {
		i := slices.IndexFunc(fieldsOf(t), func(f reflect.StructField) bool { return f.Tag.Get("toml") == key })
		if i < 0 {
			return nil
		}
		t = fieldsOf(t)[i].Type
	}
	var keys []string
	for _, f := range fieldsOf(t) {
		if key := f.Tag.Get("toml"); key != "" {
			keys = append(keys, strings.TrimSuffix(key, ",omitempty"))
		}
	}
	return keys
}

// fieldsOf lists the fields of a struct, those of embedded ones among them.
func fieldsOf(t reflect.Type) []reflect.StructField {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	return reflect.VisibleFields(t)
}
