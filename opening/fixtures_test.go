package opening

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const testdata = "../testdata/openings"

// mapCatalog is a Catalog of manifests in memory.
type mapCatalog map[string]*Manifest

func (c mapCatalog) Manifest(ref string) (*Manifest, error) {
	m, ok := c[ref]
	switch {
	case !ok:
		return nil, fmt.Errorf("agent %s: %w", ref, ErrUnknownAgent)
	case m.Digest == "broken":
		return nil, fmt.Errorf("bin/%s.wasm has digest 1111, the manifest says 2222", ref)
	}
	return m, nil
}

func (c mapCatalog) Names() []string { return slices.Collect(maps.Keys(c)) }

// crew is a small catalogue of invented agents: a library that orders books.
func crew() mapCatalog {
	any := func(ports ...string) map[string]string {
		m := map[string]string{}
		for _, p := range ports {
			m[p] = Any
		}
		return m
	}
	return mapCatalog{
		"finder": {
			Digest: "f1", In: any("in"),
			Out: map[string]string{"book": "observation.book.v1", "score": "number", "found": "bool"},
			With: []byte(`{"type":"object","additionalProperties":false,"required":["title"],"properties":{
				"title":{"type":"string","minLength":1},
				"shelf":{"type":"integer","minimum":1,"maximum":99},
				"order":{"enum":["title","author","year"]},
				"filters":{"type":"array","items":{"type":"object","additionalProperties":false,
					"properties":{"field":{"type":"string","pattern":"^[a-z]+$"},"value":{}}}}}}`),
		},
		"reader": {
			Digest: "f2", In: map[string]string{"book": "observation.book.v1", "notes": Any, "in": Any},
			Out: map[string]string{"out": "artifact.review.v1", "ok": "bool", "stars": "number", "word": "string"},
		},
		"printer": {
			Digest: "f3", In: map[string]string{"review": "artifact.review.v1", "in": Any, "more": Any},
			Out:  any("out", "ok"),
			With: []byte(`{"type":"object","properties":{"require_human_confirm":{"type":"boolean"}}}`),
		},
		"people": {Digest: "l1", Out: map[string]string{"out": "toolresult.person.v1"},
			With: []byte(`{"type":"object","required":["query"],"properties":{"query":{"type":"string"}}}`)},
		"notes": {Digest: "l2", In: map[string]string{"person": "toolresult.person.v1"},
			Out: map[string]string{"out": "observation.notes.v1"}},
		"scribe": {Digest: "l3", In: map[string]string{"to": "toolresult.person.v1", "notes": "observation.notes.v1"},
			Out: map[string]string{"out": "artifact.letter.v1"}},
		"judge": {Digest: "l4", In: map[string]string{"in": "artifact.letter.v1"},
			Out: map[string]string{"ok": "bool", "review": "critique.letter.v1"}},
		"post": {Digest: "l5", In: map[string]string{"letter": "artifact.letter.v1", "to": "toolresult.person.v1",
			"review": "critique.letter.v1", "in": Any}, Out: map[string]string{"ok": "bool", "out": Any}},
		"echo":         {Digest: "f4", In: any("in", "a", "b"), Out: any("out", "ok", "n")},
		"silent":       {Digest: "f5", In: any("in")},
		"reader@large": {Digest: "f6", In: any("book"), Out: any("out")},
		"damaged":      {Digest: "broken"},
		"loops":        {Digest: "f7", With: []byte(`{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/a"}}}`)},
	}
}

// golden compares got with a file, or writes the file with -update.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(got) {
		t.Errorf("%s differs (run with -update to accept)\n--- got\n%s--- want\n%s", path, got, want)
	}
}

// files lists what matches, and fails the test when that is nothing.
func files(t testing.TB, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(testdata, pattern))
	if err != nil || len(found) == 0 {
		t.Fatalf("no files match %s (%v)", pattern, err)
	}
	return found
}
