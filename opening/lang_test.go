package opening

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestPlainScalars(t *testing.T) {
	for in, want := range map[string]string{
		"NO": `"NO"`, "no": `"no"`, "on": `"on"`, "yes": `"yes"`, "Y": `"Y"`, "tRue": `"tRue"`,
		"true": "true", "True": "true", "TRUE": "true", "false": "false", "FALSE": "false",
		"null": "null", "~": "null", "Null": "null", "nUll": `"nUll"`,
		"0": "0", "7": "7", "07": "7", "0o7": "7", "0o17": "15", "0x1F": "31", "-12": "-12", "+12": "12",
		"0o8": `"0o8"`, "0x": `"0x"`, "-0x1": `"-0x1"`, "+0o7": `"+0o7"`, "0b1": `"0b1"`, "1_000": `"1_000"`, "--1": `"--1"`,
		"1:20": `"1:20"`, "1.2.3": `"1.2.3"`, "2026-01-02": `"2026-01-02"`,
		"1.": "1", ".5": "0.5", "-.5": "-0.5", "1e3": "1000", "1E-2": "0.01", "1e": `"1e"`, "e1": `"e1"`, ".": `"."`, "+": `"+"`, "-": `"-"`,
		"-0": "0", "1.5e+2": "150", "9007199254740992": "9007199254740992", "1e21": "1e+21",
		".infinity": `".infinity"`, "++.inf": `"++.inf"`,
	} {
		k, text, problem := resolvePlain(in)
		got := string((&tree{kind: k, text: text}).appendJSON(nil))
		if got != want || problem != "" {
			t.Errorf("%s is %s %s, want %s", in, got, problem, want)
		}
	}
}

func TestCanonical(t *testing.T) {
	for in, want := range map[string]string{
		`{"b":1,"a":[1.0,1e2,"\u0041\u20ac"]}`: `{"a":[1,100,"A€"],"b":1}`,
		` -0 `:                                 "0",
		`9007199254740992`:                     "9007199254740992",
		`0.1`:                                  "0.1",
		`123456789012345680000`:                "123456789012345680000",
		`9007199254740993`:                     "",
		`18446744073709552000`:                 "18446744073709552000",
		`1234567890123456789e2`:                "123456789012345680000",
		`{"a":{"b":[1,18446744073709551615]}}`: "",
		`1e400`:                                "",
		`-1e999`:                               "",
		`1e-400`:                               "0",
		`{"a":1,"a":2}`:                        "",
		`"\ud800"`:                             "",
		"\"\xff\"":                             "",
		`1 2`:                                  "",
		``:                                     "",
		`NaN`:                                  "",
	} {
		got, err := canonical([]byte(in))
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %s, %v; want %s", in, got, err, want)
		}
		if again, err := canonical(got); want != "" && (err != nil || string(again) != want) {
			t.Errorf("%s: the canonical form of %s is %s, %v", in, got, again, err)
		}
	}
}

func TestExpressions(t *testing.T) {
	for in, want := range map[string]string{
		"a.ok==true":               "a.ok == true",
		"  a.ok   !=  false ":      "a.ok != false",
		"a.n >= -1.50":             "a.n >= -1.5",
		"a.n<1e3":                  "a.n < 1000",
		`a.s == "x\u0041"`:         `a.s == "xA"`,
		`a.s == 'it "is"'`:         `a.s == "it \"is\""`,
		"exists(a.out)":            "exists(a.out)",
		"exists( a.b-c )":          "exists(a.b-c)",
		"a.exists == true":         "a.exists == true",
		`a.s == "a == b exists()"`: `a.s == "a == b exists()"`,
	} {
		e, err := parseExpr(in)
		if err != nil || e.String() != want {
			t.Errorf("%s: got %s, %v; want %s", in, e, err, want)
		}
		if again, err := parseExpr(e.String()); err != nil || again.String() != e.String() {
			t.Errorf("%s does not read back: %v", e, err)
		}
	}
}

func TestTestHolds(t *testing.T) {
	for _, c := range []struct {
		value, test string
		want        bool
	}{
		{"true", "== true", true}, {"false", "== true", false}, {"false", "!= true", true}, {"1", "== true", false},
		{"null", "== false", false}, {"null", "!= false", true}, {`"true"`, "== true", false},
		{"3", "== 3", true}, {"3", "== 3.0", true}, {"3", "> 2", true}, {"3", ">= 3", true}, {"3", "< 3", false},
		{"3", "<= 3", true}, {"10", "> 9", true}, {`"10"`, `> "9"`, false}, {`"3"`, "> 2", false}, {`"3"`, "!= 2", true},
		{`"b"`, `> "a"`, true}, {`"é"`, `== "é"`, true}, {`{"a":1}`, "!= 1", true}, {`[1]`, "== 1", false},
		{`{"a":1}`, "> 1", false},
	} {
		e, err := parseExpr("a.b " + c.test)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.Test.Holds(json.RawMessage(c.value)); got != c.want {
			t.Errorf("%s %s is %v", c.value, c.test, got)
		}
	}
}

// with gives the filled-in with map of the only node of an opening.
func with(t *testing.T, withMap, defaults, given string) (string, error) {
	t.Helper()
	yaml := "version: 0\nname: x\nparams: " + defaults + "\nnodes:\n  - id: a\n    use: agent:echo\n    with: " + withMap + "\nedges: []\n"
	p, err := Load("x.yaml", []byte(yaml), nil, json.RawMessage(given))
	if err != nil {
		return "", err
	}
	return string(p.With[0]), nil
}

// TestParamsAreData puts things into parameters that mean something in one of
// the languages around. They must come out as they went in.
func TestParamsAreData(t *testing.T) {
	for _, s := range []string{
		"{{params.x}}", "{{", "}}", "$(touch /tmp/canary)", "`touch /tmp/canary`", "a\nb: c\n- d", `"`, "'", "\\", "&a *a !!x",
		"#", "a: b", "{{env.HOME}}", "\x00\x1b", "é€😀", "<<", "null", "007", strings.Repeat("x", 1<<20-100),
	} {
		given := string(mustJSON(map[string]string{"x": s}))
		got, err := with(t, `{whole: "{{params.x}}", part: "[{{params.x}}]", list: ["{{params.x}}"]}`, "{x: d}", given)
		if err != nil {
			t.Errorf("%.40q: %v", s, err)
			continue
		}
		want := string(mustJSON(map[string]any{"whole": s, "part": "[" + s + "]", "list": []string{s}}))
		if got != want {
			t.Errorf("%.40q became %.100s", s, got)
		}
	}
}

func TestParams(t *testing.T) {
	for _, c := range []struct{ name, with, defaults, given, want string }{
		{"types are kept", `{a: "{{params.n}}", b: "{{params.l}}", c: "{{params.m}}", d: "{{params.b}}", e: "{{params.z}}"}`,
			"{n: 1.50, l: [1, a], m: {x: 1}, b: true, z: null}", "",
			`{"a":1.5,"b":[1,"a"],"c":{"x":1},"d":true,"e":null}`},
		{"scalars as text", `{a: "n={{params.n}} b={{params.b}} s={{params.s}}"}`, "{n: 1e3, b: true, s: x}", "",
			`{"a":"n=1000 b=true s=x"}`},
		{"deep merge", `{a: "{{params.m}}"}`, "{m: {x: 1, y: {z: 2, w: 3}, l: [1, 2]}}", `{"m":{"y":{"z":9},"l":[7]}}`,
			`{"a":{"l":[7],"x":1,"y":{"w":3,"z":9}}}`},
		{"no default, given", `{a: "{{params.x}}"}`, "{}", `{"x":[1]}`, `{"a":[1]}`},
		{"inside an open map", `{a: "{{params.m}}"}`, "{m: {}}", `{"m":{"any":1}}`, `{"a":{"any":1}}`},
		{"null takes anything", `{a: "{{params.x}}"}`, "{x: }", `{"x":{"y":1}}`, `{"a":{"y":1}}`},
		{"given wins", `{a: "{{params.x}}"}`, "{x: old}", `{"x":"new"}`, `{"a":"new"}`},
		{"a given map may hold more than templates use", `{a: "{{params.x.y}}"}`, "{}", `{"x":{"y":1,"z":2}}`, `{"a":1}`},
		{"wrong type", "{}", "{x: text}", `{"x":{"a":1}}`, "ERR the parameter x must be a string, as its default is, not a map"},
		{"wrong type inside", "{}", "{x: {y: 1}}", `{"x":{"y":"1"}}`, "ERR the parameter x.y must be a number, as its default is, not a string"},
		{"a map for null", "{}", "{x: 1}", `{"x":null}`, "ERR the parameter x must be a number, as its default is, not null"},
		{"unknown", "{}", "{recipient: a}", `{"recipent":"b"}`, `ERR the opening has no parameter recipent; did you mean "recipient"?`},
		{"not a map", "{}", "{x: 1}", `[1]`, "ERR the parameters must be a map, not a list"},
		{"not JSON", "{}", "{x: 1}", `{"x"`, "ERR not valid JSON"},
		{"a key twice", "{}", "{x: 1}", `{"x":1,"x":2}`, "ERR not valid JSON"},
	} {
		got, err := with(t, c.with, c.defaults, c.given)
		if want, bad := strings.CutPrefix(c.want, "ERR "); bad {
			if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "params: ") {
				t.Errorf("%s: got %v, want %s", c.name, err, want)
			}
		} else if err != nil || got != c.want {
			t.Errorf("%s: got %s, %v; want %s", c.name, got, err, c.want)
		}
	}
}

func TestHashIgnoresWhatDoesNotMatter(t *testing.T) {
	same := []string{
		"version: 0\nname: x\nparams: {b: 1, a: 2}\nnodes:\n  - {id: a, use: agent:echo, retry: {max_attempts: 2}}\n  - {id: b, use: agent:echo}\nedges:\n  - {from: a.ok==true, to: b.in}\n",
		"# comment\nname: \"x\"\nedges:\n- to: b.in\n  from: 'a.ok  ==  true' # why\nnodes:\n- use: agent:echo\n  retry: {jitter: 0.2, max_attempts: 2, backoff_ms: 200, multiplier: 2.0}\n  id: a\n- {id: b, use: agent:echo, with: {}}\nparams:\n  a: 0x2\n  b: 1.0\nversion: 0\n",
	}
	other := strings.Replace(same[0], "{b: 1, a: 2}", "{b: 1, a: 3}", 1)
	swapped := "version: 0\nname: x\nparams: {b: 1, a: 2}\nnodes:\n  - {id: b, use: agent:echo}\n  - {id: a, use: agent:echo, retry: {max_attempts: 2}}\nedges:\n  - {from: a.ok==true, to: b.in}\n"
	hash := func(text string) string {
		o, err := Parse("x.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return o.Hash()
	}
	if hash(same[0]) != hash(same[1]) {
		t.Error("the order of keys, comments or spelling changed the hash")
	}
	if hash(same[0]) == hash(other) || hash(same[0]) == hash(swapped) {
		t.Error("another default or another order of nodes has the same hash")
	}
	if len(hash(same[0])) != 64 {
		t.Errorf("the hash is %s", hash(same[0]))
	}
}

// TestProblemsJSON pins the form that --errors-format json prints.
func TestProblemsJSON(t *testing.T) {
	_, err := Parse("x.yaml", []byte("version: 0\nnmae: x\nnodes: []\nedges: []\n"))
	var ps Problems
	if !errors.As(err, &ps) {
		t.Fatal(err)
	}
	raw, _ := json.Marshal(ps[1])
	want := `{"file":"x.yaml","line":2,"column":1,"code":"key.unknown","message":"unknown key \"nmae\" in the opening","hint":"did you mean \"name\"?"}`
	if string(raw) != want {
		t.Errorf("got %s", raw)
	}
	if got := ps.Error(); got != `x.yaml:1:1: the opening has no "name" (and 2 more problems)` {
		t.Errorf("got %s", got)
	}
}

// TestPrintRoundTrip prints random openings in both forms and as IR, and reads
// all of them back.
func TestPrintRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawOpening(t)
		ir := string(o.IR())
		for _, to := range []Syntax{YAML, Brace} {
			text, err := o.Print(to)
			if err != nil {
				t.Fatal(err)
			}
			back, err := Parse("x", text)
			if err != nil {
				t.Fatalf("%v\n%s", err.(Problems).Text(), text)
			}
			if got := string(back.IR()); got != ir {
				t.Fatalf("printed\n%s\ngot  %s\nwant %s", text, got, ir)
			}
			if got := SyntaxOf("x", text); got != to {
				t.Fatalf("taken for %s:\n%s", got, text)
			}
		}
		back, err := ParseIR([]byte(ir))
		if err != nil || string(back.IR()) != ir {
			t.Fatalf("the IR does not read back: %v\n%s", err, ir)
		}
	})
}

// drawOpening makes an acyclic opening with text of every kind in it.
func drawOpening(t *rapid.T) *Opening {
	o := drawWorld(t, 6).o
	o.Name = "x"
	text := rapid.String()
	o.Goals = rapid.SliceOfN(text, 0, 3).Draw(t, "goals")
	params := rapid.MapOfN(rapid.StringMatching(`[a-z\-0-9 :#]{1,12}`), text, 0, 3).Draw(t, "params")
	if len(params) > 0 {
		o.Params = mustJSON(params)
	}
	o.Policy = Policy{
		BudgetTokens: rapid.Int64Range(0, 1<<53).Draw(t, "tokens"),
		BudgetUSD:    rapid.Float64Range(0.01, 100).Draw(t, "usd"), ConfirmExternal: rapid.Bool().Draw(t, "confirm"),
		TimeoutMS: rapid.SampledFrom([]int64{0, 1, 999, 1000, 90_000, 3_600_000, 604_800_000}).Draw(t, "timeout"),
	}
	for i := range o.Nodes {
		o.Nodes[i].Use = rapid.SampledFrom([]string{"agent:echo", "agent:echo@1.2.0-rc.1", "opening:letter"}).Draw(t, "use")
		o.Nodes[i].TimeoutMS = rapid.Int64Range(0, 100_000).Draw(t, "node timeout")
		if o.Nodes[i].Retry != nil {
			o.Nodes[i].Retry.Jitter = rapid.Float64Range(0, 1).Draw(t, "jitter")
		}
		s := strings.ReplaceAll(text.Draw(t, "with"), "{{", "{")
		o.Nodes[i].With = mustJSON(map[string]any{"a": s, "retry": 1e-7, "b": []any{1.5, nil, true, "{{params.x}}", map[string]any{s: 1}}})
		if strings.Contains(s, "{{") || len(s) > maxKeyBytes {
			o.Nodes[i].With = nil
		}
		o.Nodes[i].Tags = rapid.SliceOfN(text, 0, 2).Draw(t, "tags")
	}
	for i := range o.Edges {
		if o.Edges[i].Guard != nil && rapid.Bool().Draw(t, "text guard") {
			o.Edges[i].Guard.Value = mustJSON(text.Draw(t, "literal"))
		}
	}
	if rapid.Bool().Draw(t, "success") {
		o.Success = &Success{AnyOf: []Expr{{Port: PortRef{"n0", "ok"}, Test: &Test{Op: ">=", Value: json.RawMessage("1.5")}},
			{Port: PortRef{"n0", "out"}}}}
		o.Artifacts = &Artifacts{Save: []PortRef{{"n0", "out"}}}
	}
	return o
}

// FuzzParse takes any bytes. Nothing may panic, what is wrong must be fit to be
// shown, and what is right must print back to the same IR.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"good/*.yaml", "bad/*.yaml", "printed/*.opening", "bad/*.opening"} {
		for _, path := range files(f, pattern) {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	cat := crew()
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := Load("x.yaml", data, cat, nil)
		checkProblems(t, err)
		o, err := Parse("x.yaml", data)
		if err != nil {
			checkProblems(t, err)
			return
		}
		ir := string(o.IR())
		for _, text := range [][]byte{o.YAML(), o.Brace()} {
			back, err := Parse("printed", text)
			if err != nil || string(back.IR()) != ir {
				t.Fatalf("%v\n%s\n%s", err, text, ir)
			}
		}
		back, err := ParseIR([]byte(ir))
		if err != nil || string(back.IR()) != ir {
			t.Fatalf("the IR does not read back: %v\n%s", err, ir)
		}
	})
}

func checkProblems(t *testing.T, err error) {
	if err == nil {
		return
	}
	var ps Problems
	if !errors.As(err, &ps) || len(ps) == 0 {
		t.Fatalf("%v is not a list of problems", err)
	}
	for _, p := range ps {
		if !isVisible(p.String()) || p.Code == "" || p.Message == "" {
			t.Fatalf("a problem is not fit to be shown: %q", p.String())
		}
	}
}

// FuzzTrace takes any bytes as a trace and shows what it takes.
func FuzzTrace(f *testing.F) {
	f.Add([]byte(bookTrace(f).JSON()))
	f.Fuzz(func(t *testing.T, data []byte) {
		tr, err := ParseTrace(data)
		if err != nil {
			if !errors.Is(err, ErrTrace) || !isVisible(err.Error()) {
				t.Fatalf("%q", err)
			}
			return
		}
		var b strings.Builder
		if err := tr.Render(&b, FormatText); err != nil {
			t.Fatal(err)
		}
		if !isVisible(strings.ReplaceAll(b.String(), "\n", "")) {
			t.Fatalf("%q", b.String())
		}
	})
}
