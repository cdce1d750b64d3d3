package opening

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// checkWith holds a with map in YAML against a schema and gives the problems.
func checkWith(t *testing.T, schema, with string) string {
	t.Helper()
	cat := mapCatalog{"echo": {Digest: "d", With: json.RawMessage(schema)}}
	_, err := Load("x", []byte("version: 0\nname: x\nnodes:\n- {id: a, use: agent:echo, with: "+with+"}\nedges: []\n"), cat, nil)
	if err == nil {
		return ""
	}
	var out []string
	for _, p := range err.(Problems) {
		out = append(out, strings.TrimPrefix(p.String(), "x:4:"))
	}
	return strings.Join(out, " | ")
}

func TestSchema(t *testing.T) {
	for _, c := range []struct{ name, schema, with, want string }{
		{"none", ``, `{a: [1]}`, ""},
		{"true", `true`, `{a: [1]}`, ""},
		{"false", `false`, `{a: 1}`, "28: with is not allowed"},
		{"type", `{"type":"object"}`, `{a: 1}`, ""},
		{"types", `{"properties":{"a":{"type":["string","null"]}}}`, `{a: 1}`, "38: with.a must be a string or null, not 1"},
		{"whole numbers", `{"properties":{"a":{"type":"integer"},"b":{"type":"integer"}}}`, `{a: 1.0, b: 1.5}`,
			"46: with.b must be a whole number, not 1.5"},
		{"range", `{"properties":{"a":{"minimum":2},"b":{"maximum":1}}}`, `{a: 1, b: 2}`,
			"38: with.a must be at least 2, not 1 | 44: with.b must be at most 1, not 2"},
		{"every mistake", `{"additionalProperties":false,"required":["c","d"],"properties":{"a":{"type":"string"},"c":{}}}`,
			`{a: 1, b: 2, x: 3}`, `34: with has no "c", which the agent requires | 34: with has no "d", which the agent requires | ` +
				`38: with.a must be a string, not 1 | 41: unknown key "b" in with | 47: unknown key "x" in with`},
		{"a schema for the others", `{"properties":{"a":{}},"additionalProperties":{"type":"string"}}`, `{a: 1, b: 2, c: x}`,
			"44: with.b must be a string, not 2"},
		{"lists", `{"properties":{"a":{"items":{"type":"number"},"maxItems":2}}}`, `{a: [1, x, 3]}`,
			`38: with.a does not fit the schema of its agent (maxItems) | 42: with.a[1] must be a number, not "x"`},
		{"references", `{"properties":{"a":{"$ref":"#/$defs/n"},"b":{"items":{"$ref":"#/$defs/n"}}},"$defs":{"n":{"type":"number"}}}`,
			`{a: x, b: [1, y]}`, `38: with.a must be a number, not "x" | 48: with.b[1] must be a number, not "y"`},
		{"a reference inside anyOf", `{"properties":{"a":{"anyOf":[{"$ref":"#/$defs/n"},{"const":"x"}]}},"$defs":{"n":{"type":"number"}}}`,
			`{a: y}`, "38: with.a does not fit the schema of its agent: anyOf: did not validate against any of"},
		{"one of several", `{"properties":{"a":{"anyOf":[{"type":"number"},{"const":"x"}]}}}`, `{a: x}`, ""},
		{"patterns of keys", `{"patternProperties":{"^n_":{"type":"number"}},"additionalProperties":false}`, `{n_a: 1, b: 2}`,
			"34: with does not fit the schema of its agent (patternProperties, additionalProperties)"},
		{"conditions", `{"if":{"required":["a"]},"then":{"required":["b"]}}`, `{a: 1}`,
			"34: with does not fit the schema of its agent (if, then)"},
		{"annotations", `{"title":"x","description":"y","$comment":"z","examples":[1],"properties":{"a":{"default":1}}}`, `{a: x}`, ""},
		{"text that is not shown raw", `{"properties":{"a":{"pattern":"^x$"}}}`, `{a: "\e[2J"}`,
			`38: with.a does not fit the schema of its agent: pattern: "\x1b[2J" does not match regular expression "^x$"`},
	} {
		got := checkWith(t, c.schema, c.with)
		// The columns are those of one line; the first is of the with map.
		if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) || strings.ContainsRune(got, 0x1b) {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
		if again := checkWith(t, c.schema, c.with); again != got {
			t.Errorf("%s: the second time it is %s", c.name, again)
		}
	}
}

// TestHostileSchemas holds a with map against schemas that a bundle of
// somebody else's might bring. They make the agent unusable, and nothing else.
func TestHostileSchemas(t *testing.T) {
	doubling := `{"$ref":"#/$defs/d0","$defs":{`
	for i := range 40 {
		doubling += fmt.Sprintf(`"d%d":{"allOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]},`, i, i+1, i+1)
	}
	doubling += `"d40":{"type":"number"}}}`
	for name, c := range map[string]struct{ schema, want string }{
		"itself":   {`{"$ref":"#"}`, "its schema refers to"},
		"a loop":   {`{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}`, "refers to itself or is too large"},
		"doubling": {doubling, "refers to itself or is too large"},
		"a name that is a path": {`{"$ref":"#/$defs/a/allOf/0","$defs":{"a/allOf/0":{},"a":{"allOf":[{"$ref":"#/$defs/a/allOf/0"}]}}}`,
			"only #/$defs/<name> is followed"},
		"recursion":        {`{"properties":{"a":{"$ref":"#/$defs/t"}},"$defs":{"t":{"properties":{"a":{"$ref":"#/$defs/t"}}}}}`, "refers to itself"},
		"elsewhere":        {`{"$ref":"https://example.com/schema"}`, "only #/$defs/<name> is followed"},
		"a file":           {`{"$ref":"file:///etc/passwd"}`, "only #/$defs/<name> is followed"},
		"missing":          {`{"$ref":"#/$defs/gone"}`, "only #/$defs/<name> is followed"},
		"dynamic":          {`{"$dynamicRef":"#x"}`, "uses $dynamicRef"},
		"an id inside":     {`{"properties":{"a":{"$id":"https://example.com"}}}`, "has an $id inside"},
		"not JSON":         {`{"type":`, "not valid JSON"},
		"a key twice":      {`{"type":"object","type":"string"}`, "not valid JSON"},
		"deep":             {strings.Repeat(`{"not":`, 200) + "{}" + strings.Repeat("}", 200), "nested more than"},
		"a bad pattern":    {`{"properties":{"a":{"pattern":"("}}}`, "its schema is not valid"},
		"a keyword's type": {`{"properties":{"a":{"minLength":"x"}}}`, "its schema is not valid"},
		"another draft":    {`{"$schema":"http://json-schema.org/draft-04/schema#","properties":{"a":{"minLength":1}}}`, ""},
		"a slow pattern":   {`{"properties":{"a":{"pattern":"(a+)+$"}}}`, ""},
	} {
		got := checkWith(t, c.schema, "{a: "+strings.Repeat("a", 50)+"b}")
		if c.want != "" && (!strings.Contains(got, c.want) || !strings.HasPrefix(got, `16: the agent "echo" cannot be used: `)) {
			t.Errorf("%s: got %q", name, got)
		}
		if strings.Contains(got, "|") {
			t.Errorf("%s: it was reported more than once: %s", name, got)
		}
	}
}

// TestLimits exceeds each limit of an opening by one.
func TestLimits(t *testing.T) {
	many := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	node := "- {id: a, use: agent:echo}\n"
	file := func(nodes, edges, rest string) string {
		return "version: 0\nname: x\nnodes:\n" + nodes + "edges: [" + edges + "]\n" + rest
	}
	for _, c := range []struct {
		name, text, want string
	}{
		{"nodes", file(many(maxNodes+1, "- {id: a%d}\n"), "", ""), "an opening may have 2000 nodes; this one has 2001"},
		{"edges", file(node, strings.Repeat("{},", maxEdges+1), ""), "an opening may have 10000 edges; this one has 10001"},
		{"expressions", file(node, "", "success: {any_of: ["+strings.Repeat("a.b == 1, ", maxExprs+1)+"]}"),
			"any_of must have from 1 to 1000 expressions, not 1001"},
		{"depth", file(node, "", "params: {a: "+strings.Repeat("[", maxDepth)+strings.Repeat("]", maxDepth)+"}"),
			"maps and lists are nested more than 32 deep"},
		{"keys", "a:\n" + many(maxMapKeys+1, "  k%d: 1\n"), "a map may have 1000 keys"},
		{"a key", strings.Repeat("k", maxKeyBytes+1) + ": 1\n", "a key may have 128 bytes; this one has 129"},
		{"an expression", file(node, "{from: 'a.b == \""+strings.Repeat("x", maxExprBytes)+"\"', to: a.in}", ""),
			"an expression may have 1024 bytes"},
		{"a timeout", file("- {id: a, use: agent:echo, timeout_ms: 604800001}\n", "", ""), "timeout_ms must be from 1 to 604800000"},
		{"attempts", file("- {id: a, use: agent:echo, retry: {max_attempts: 101}}\n", "", ""), "max_attempts must be from 1 to 100"},
		{"a name", file("- {id: "+strings.Repeat("a", 65)+", use: agent:echo}\n", "", ""), "is not the id of a node"},
	} {
		_, err := Parse("x", []byte(c.text))
		if err == nil || !strings.Contains(err.(Problems).Text(), c.want) {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
	inside := file("- {id: "+strings.Repeat("a", 64)+", use: agent:echo, timeout_ms: 604800000, retry: {max_attempts: 100}}\n", "",
		"params: {a: "+strings.Repeat("[", maxDepth-2)+strings.Repeat("]", maxDepth-2)+", "+strings.Repeat("k", maxKeyBytes)+": 1}\n")
	if _, err := Parse("x", []byte(inside)); err != nil {
		t.Errorf("what is just inside the limits: %v", err)
	}
}

func TestDidYouMean(t *testing.T) {
	known := []string{"writer", "critic", "mailer", "contact_resolver", "context_gatherer", "a"}
	for name, want := range map[string]string{
		"writr": "writer", "wirter": "writer", "writers": "writer", "Writer": "writer", "maler": "mailer",
		"contact_gatherer": "context_gatherer", "contactresolver": "contact_resolver",
		"xyz": "", "": "", "b": "", "completely_other": "",
	} {
		got := newSource("x").didYouMean(name, known)
		if want != "" {
			want = "did you mean " + quote(want) + "?"
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	s := newSource("x")
	for range 100 {
		s.didYouMean(strings.Repeat("x", 100), []string{strings.Repeat("y", 1000)})
	}
	if got := s.didYouMean("writr", known); got != "" {
		t.Errorf("after too much effort there is still a hint: %s", got)
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"plain": `"plain"`, "a\x1b[31mb": `"a\x1b[31mb"`, "\u202e\u0085": `"\u202e\u0085"`, "\xff": `"\xff"`, "é😀": `"é😀"`,
		strings.Repeat("é", 50): `"` + strings.Repeat("é", 40) + `"…`,
	} {
		if got := quote(in); got != want {
			t.Errorf("%q: got %s", in, got)
		}
	}
	for in, want := range map[string]string{
		"plain é": "plain é", "a\nb\tc": `a\nb\tc`, "\x07\u009b\u200b\ufeff": `\a\u009b\u200b\ufeff`, "\xff\ufffd": `\xff` + "\ufffd",
	} {
		if got := visible(in); got != want || !isVisible(got) {
			t.Errorf("%q: got %s", in, got)
		}
	}
}
