package opening

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// hostileYAML are files that are made to cost or to break: each with the code
// of the first problem it must give. Several of them kill a process that hands
// them to the YAML library as they are.
func hostileYAML() map[string]struct{ text, code string } {
	rep := strings.Repeat
	numbered := func(format string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	indented := func(n int) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(rep(" ", i) + "a:\n")
		}
		return b.String()
	}
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + numbered("a%d: &b [*a0, *a0]\n", 9)
	head := "version: 0\nname: x\nnodes:\n"
	return map[string]struct{ text, code string }{
		"alias bomb":             {bomb, codeFeature},
		"anchors":                {rep("&a ", 20_000), codeFeature},
		"tags":                   {rep("! ", 20_000), codeFeature},
		"flow lists open":        {rep("[", 60_000), codeSize},
		"flow lists":             {rep("[", 30_000) + rep("]", 30_000), codeSize},
		"flow maps open":         {rep("{", 60_000), codeSize},
		"flow maps":              {rep("{a: ", 15_000) + rep("}", 15_000), codeSize},
		"lists in lists":         {rep("- ", 60_000), codeSize},
		"maps in maps":           {indented(1000), codeSize},
		"complex keys":           {rep("? ", 30_000), codeFeature},
		"a million indicators":   {rep("[", 1_000_000), codeSize},
		"a million keys":         {numbered("k%d: 1\n", 70_000), codeSize},
		"many keys in one map":   {numbered("k%d: 1\n", 20_000), codeSize},
		"many keys in a flow":    {"a: {" + numbered("k%d: 1, ", 20_000) + "}", codeUnknown},
		"a long key":             {rep("k", 100_000) + ": 1", codeSize},
		"long keys over many":    {longPaths(), codeSize},
		"10 MiB of text":         {"a: " + rep("x", 10<<20), codeSize},
		"1 MiB of text":          {"a: " + rep("x", 1<<20-3), codeUnknown},
		"1 MiB in quotes":        {`a: "` + rep("x", 1<<20-5) + `"`, codeUnknown},
		"escapes":                {`a: "` + rep(`\u0041`, 100_000) + `"`, codeUnknown},
		"a literal":              {"a: |\n" + rep("  text\n", 60_000), codeUnknown},
		"commas":                 {"a: [" + rep(",", 60_000), codeSyntax},
		"quotes":                 {rep("'", 60_000), codeType},
		"colons":                 {rep(":", 60_000), codeSize},
		"documents":              {rep("---\n", 10_000), codeFeature},
		"comments":               {rep("# x\n", 30_000), codeEmpty},
		"line ends":              {rep("\n", 65_000), codeEmpty},
		"carriage returns":       {rep("\r", 60_000) + "a: 1", codeUnknown},
		"tabs":                   {rep("\t", 100_000) + "a: 1", codeSyntax},
		"NUL":                    {rep("\x00", 100_000), codeText},
		"one line of scalars":    {"a: [" + rep("word, ", 60_000) + "]", codeUnknown},
		"one line of quotes":     {"a: [" + rep(`"w" `, 10) + "]", codeSyntax},
		"too many nodes":         {head + numbered("- {id: n%d}\n", 2001) + "edges: []", codeSize},
		"wrong names":            {head + numbered("- {id: node_number_%d, use: agent:echo}\n", 1900) + "edges:\n" + numbered("- {from: nood_numbre_%d.a, to: x.y}\n", 3000), codeNode},
		"a long expression":      {head + "- {id: a, use: agent:echo}\nedges:\n- {from: '" + rep("a.b == ", 10_000) + "', to: a.in}", codeExpr},
		"nested expression":      {head + "- {id: a, use: agent:echo}\nedges: []\nsuccess: {all_of: ['" + rep("(a && ", 150) + "']}", codeExpr},
		"a template never ended": {head + "- {id: a, use: agent:echo, with: {x: '" + rep("{{", 5_000) + "'}}\nedges: []", codeTemplate},
		"many templates":         {head + "- {id: a, use: agent:echo, with: {x: '" + rep("{{params.x}}", 5_000) + "'}}\nedges: []\nparams: {x: " + rep("y", 5000) + "}", codeSize},
	}
}

// hostileBrace is the same for the brace form.
func hostileBrace() map[string]struct{ text, code string } {
	rep := strings.Repeat
	in := func(section string) string { return "opening \"x\" {\n" + section + "\n}" }
	node := func(args string) string { return in("nodes:\na := agent(\"echo\"" + args + ")") }
	return map[string]struct{ text, code string }{
		"lists open":           {in("goals: " + rep("[", 60_000)), codeSize},
		"lists":                {in("goals: " + rep("[", 30_000) + rep("]", 30_000)), codeSize},
		"maps":                 {in("params: " + rep("{a: ", 15_000) + rep("}", 15_000)), codeSize},
		"maps in an argument":  {node(", a=" + rep("{a: ", 29) + "1" + rep("}", 29)), codeSize},
		"too many words":       {rep("a ", 70_000), codeSize},
		"too many marks":       {rep("[", 1_000_000), codeSize},
		"10 MiB of text":       {in("goals: [\"" + rep("x", 10<<20) + "\"]"), codeSize},
		"1 MiB in quotes":      {in("goals: \"" + rep("x", 1<<20-100) + "\""), codeType},
		"quotes":               {rep("'", 60_001), codeBrace},
		"double quotes":        {rep(`"`, 60_001), codeBrace},
		"backquotes":           {rep("`", 60_001), codeBrace},
		"quotes never closed":  {rep("\"a\n", 60_000), codeBrace},
		"escapes":              {in("goals: [\"" + rep(`\u0041`, 100_000) + "\"]"), codeMissing},
		"half a pair":          {in(`goals: ["\ud800"]`), codeBrace},
		"a long number":        {in("params: {a: " + rep("9", 500_000) + "}"), codeNumber},
		"a number too large":   {in("params: {a: 1e999}"), codeNumber},
		"an exact number":      {in("params: {a: 9007199254740993}"), codeNumber},
		"a long time":          {node(", timeout=" + rep("9", 400) + "h"), codeBrace},
		"a time in fractions":  {node(", timeout=1.0001ms"), codeBrace},
		"a negative time":      {node(", timeout=-5s"), codeValue},
		"NUL":                  {rep("\x00", 100_000), codeText},
		"bidi":                 {in("goals: [\"\u202e\"]"), codeText},
		"not UTF-8":            {"opening \"\xff\" {}", codeText},
		"arrows":               {in("edges:\n" + rep("a.b -> ", 20_000)), codeBrace},
		"edges without ends":   {in("edges:\n" + rep("->\n", 30_000)), codeBrace},
		"nodes without end":    {in("nodes:\n" + rep("a := agent(\n", 10_000)), codeBrace},
		"a long expression":    {in("edges:\n" + rep("a.b == ", 10_000) + "-> a.in"), codeExpr},
		"parentheses":          {in("success: any_of(" + rep("(", 30_000)), codeBrace},
		"many unknown keys":    {in(rep("k: 1\n", 15_000)), codeUnknown},
		"the same key":         {in("params: {" + rep("a: 1, ", 15_000) + "}"), codeDuplicate},
		"a long key":           {in("params: {" + rep("k", 100_000) + ": 1}"), codeSize},
		"comments":             {rep("# x\n", 30_000), codeEmpty},
		"no end":               {"opening \"x\" {", codeBrace},
		"no name":              {"opening {", codeBrace},
		"only a word":          {"opening", codeBrace},
		"another opening":      {"opening \"x\" {}\nopening \"y\" {}", codeBrace},
		"characters of others": {in("nodеs: «»"), codeBrace},
	}
}

// longPaths makes the parser spell out a long path for each of many keys.
func longPaths() string {
	var b strings.Builder
	for i := range 20 {
		b.WriteString(strings.Repeat(" ", i) + strings.Repeat("k", 100) + ":\n")
	}
	b.WriteString(strings.Repeat(" ", 20) + "- {" + strings.Repeat("a: 1, ", 15_000) + "}\n")
	return b.String()
}

func TestHostile(t *testing.T) {
	for name, c := range hostileYAML() {
		t.Run(name, func(t *testing.T) { testHostile(t, "x.yaml", c.text, c.code) })
	}
	for name, c := range hostileBrace() {
		t.Run("brace "+name, func(t *testing.T) { testHostile(t, "x.opening", c.text, c.code) })
	}
}

func testHostile(t *testing.T, file, text, code string) {
	_, err := Load(file, []byte(text), crew(), nil)
	var ps Problems
	if !errors.As(err, &ps) {
		t.Fatalf("got %v, want problems", err)
	}
	found := false
	for _, p := range ps {
		found = found || p.Code == code
		if s := p.String(); len(s) > 600 || !isVisible(s) || p.Line < 1 || p.Column < 1 {
			t.Errorf("a problem is not fit to be shown: %.300q", s)
		}
	}
	if !found {
		t.Errorf("no problem has the code %s: %.300s", code, ps.Text())
	}
}

// BenchmarkHostile measures each of them, for a look at time and memory.
func BenchmarkHostile(b *testing.B) {
	for name, c := range hostileYAML() {
		b.Run(strings.ReplaceAll(name, " ", "_"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = Load("x.yaml", []byte(c.text), crew(), nil)
			}
		})
	}
	for name, c := range hostileBrace() {
		b.Run("brace_"+strings.ReplaceAll(name, " ", "_"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = Load("x.opening", []byte(c.text), crew(), nil)
			}
		})
	}
}
