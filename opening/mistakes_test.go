package opening

import (
	"errors"
	"strings"
	"testing"
)

// TestEachMistake makes the mistakes that spec/04 lists, each alone and in both
// forms. The place is marked with ‸ in the text.
func TestEachMistake(t *testing.T) {
	for _, c := range []struct{ name, yaml, brace, want string }{
		{"unknown key of the opening", "version: 0\nname: x\n‸nodse: []\nnodes: [{id: a, use: agent:echo}]\nedges: []\n",
			"opening \"x\" {\n  ‸nodse: []\n  nodes:\n    a := agent(\"echo\")\n}",
			`unknown key "nodse" in the opening; did you mean "nodes"?`},
		{"unknown key of a retry", yamlNode("retry: {max_attempts: 2, ‸jiter: 0}"),
			braceNode("retry={max_attempts: 2, ‸jiter: 0}"), `unknown key "jiter" in retry; did you mean "jitter"?`},
		{"unknown key of the policy", "version: 0\nname: x\npolicy: {‸budget: 1}\nnodes: [{id: a, use: agent:echo}]\nedges: []\n",
			"opening \"x\" {\n  policy: {‸budget: 1}\n  nodes:\n    a := agent(\"echo\")\n}",
			`unknown key "budget" in policy`},
		{"duplicate ids", yamlGraph("{id: a, use: agent:echo}, {id: ‸a, use: agent:echo}", ""),
			braceGraph("a := agent(\"echo\"); ‸a := agent(\"echo\")", ""), `the node id "a" is already used, in line N`},
		{"edge from an unknown node", yamlGraph("{id: reed, use: agent:echo}", "{from: ‸read.out, to: reed.in}"),
			braceGraph("reed := agent(\"echo\")", "‸read.out -> reed.in"), `there is no node "read"; did you mean "reed"?`},
		{"edge to an unknown node", yamlGraph("{id: reed, use: agent:echo}", "{from: reed.out, to: ‸read.in}"),
			braceGraph("reed := agent(\"echo\")", "reed.out -> ‸read.in"), `there is no node "read"; did you mean "reed"?`},
		{"no such output", yamlGraph("{id: a, use: agent:echo}, {id: b, use: agent:echo}", "{from: ‸a.oot, to: b.in}"),
			braceGraph("a := agent(\"echo\"); b := agent(\"echo\")", "‸a.oot -> b.in"),
			`the node a has no output port "oot"; did you mean "out"?`},
		{"no such input", yamlGraph("{id: a, use: agent:echo}, {id: b, use: agent:echo}", "{from: a.out, to: ‸b.inn}"),
			braceGraph("a := agent(\"echo\"); b := agent(\"echo\")", "a.out -> ‸b.inn"),
			`the node b has no input port "inn"; did you mean "in"?`},
		{"types of ports", yamlGraph("{id: a, use: agent:people, with: {query: x}}, {id: b, use: agent:judge}", "{from: a.out, to: ‸b.in}"),
			braceGraph("a := agent(\"people\", query=\"x\"); b := agent(\"judge\")", "a.out -> ‸b.in"),
			"a.out gives toolresult.person.v1, but b.in takes artifact.letter.v1"},
		{"a guard that never holds", yamlGraph("{id: a, use: agent:judge}, {id: b, use: agent:echo}", "{from: ‸a.ok == 1, to: b.in}"),
			braceGraph("a := agent(\"judge\"); b := agent(\"echo\")", "‸a.ok == 1 -> b.in"), "a.ok is bool and is never equal to 1"},
		{"a cycle", yamlGraph("{id: a, use: agent:echo}, {id: b, use: agent:echo}", "{from: a.out, to: b.in}, {from: b.out, to: ‸a.in}"),
			braceGraph("a := agent(\"echo\"); b := agent(\"echo\")", "a.out -> b.in\n    b.out -> ‸a.in"),
			"the nodes wait for each other: a → b → a"},
		{"with against the schema", yamlGraph("{id: a, use: agent:finder, with: {title: x, shelf: ‸100}}", ""),
			braceGraph("a := agent(\"finder\", title=\"x\", shelf=‸100)", ""), "with.shelf must be at most 99, not 100"},
		{"with against the schema, a key", yamlGraph("{id: a, use: agent:finder, with: {title: x, ‸shelv: 1}}", ""),
			braceGraph("a := agent(\"finder\", title=\"x\", ‸shelv=1)", ""), `unknown key "shelv" in with; did you mean "shelf"?`},
		{"with against the schema, a missing key", yamlGraph("{id: a, use: agent:finder, with: ‸{shelf: 1}}", ""),
			braceGraph("a := ‸agent(\"finder\", shelf=1)", ""), `with has no "title", which the agent requires`},
		{"budget of a node", yamlPolicy("budget_tokens: 10", "budget_tokens: ‸11"),
			bracePolicy("budget_tokens: 10", "budget_tokens=‸11"), "the node may spend 11 tokens, more than the 10 of the whole run"},
		{"no confirmation where one is demanded", yamlPolicy("confirm_external: true", "with: {require_human_confirm: ‸false}"),
			bracePolicy("confirm_external: true", "require_human_confirm=‸false"),
			"require_human_confirm: false contradicts policy.confirm_external: true; remove one of the two"},
		{"a template that is none", yamlNode("with: {x: '‸{{env.HOME}}'}"), braceNode("x='‸{{env.HOME}}'"),
			"{{env.HOME}} is not a template: only {{params.<name>}} is"},
		{"a missing parameter", yamlNode("with: {x: 'a ‸{{params.x}}'}"), braceNode("x='a ‸{{params.x}}'"),
			"the parameter x has no value; give it with -p x=…, or a default under params"},
		{"an unknown agent", yamlGraph("{id: a, use: ‸agent:ecko}", ""), braceGraph("a := agent(\"‸ecko\")", ""),
			`there is no agent "ecko"; did you mean "echo"?`},
		{"an unknown opening", yamlGraph("{id: a, use: ‸opening:iner}", ""), braceGraph("a := opening(\"‸iner\")", ""),
			`there is no opening "iner"; did you mean "inner"?`},
		{"an opening in itself", yamlGraph("{id: a, use: ‸opening:x}", ""), braceGraph("a := opening(\"‸x\")", ""),
			"the openings use each other: x → x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			testMistake(t, "x.yaml", c.yaml, c.want)
			testMistake(t, "x.opening", c.brace, c.want)
		})
	}
}

// yamlGraph and braceGraph are openings with the given nodes and edges, yamlNode
// and braceNode with one node that has a key more, yamlPolicy and bracePolicy
// with a policy besides.
func yamlGraph(nodes, edges string) string {
	return "version: 0\nname: x\nnodes: [" + nodes + "]\nedges: [" + edges + "]\n"
}

func braceGraph(nodes, edges string) string {
	return "opening \"x\" {\n  nodes:\n    " + nodes + "\n  edges:\n    " + edges + "\n}\n"
}

func yamlNode(key string) string { return yamlGraph("{id: a, use: agent:echo, "+key+"}", "") }

func braceNode(key string) string { return braceGraph("a := agent(\"echo\", "+key+")", "") }

func yamlPolicy(policy, key string) string { return "policy: {" + policy + "}\n" + yamlNode(key) }

func bracePolicy(policy, key string) string {
	return strings.Replace(braceNode(key), "{\n", "{\n  policy: {"+policy+"}\n", 1)
}

// testMistake expects one problem, where the text is marked.
func testMistake(t *testing.T, file, marked, want string) {
	t.Helper()
	before, after, ok := strings.Cut(marked, "‸")
	if !ok {
		t.Fatalf("nothing is marked in %s", marked)
	}
	at := posOf(marked, len(before))
	_, err := Load(file, []byte(before+after), shelf(), nil)
	var ps Problems
	if !errors.As(err, &ps) || len(ps) != 1 {
		t.Fatalf("%s: got %v", file, err)
	}
	p := ps[0]
	got := strings.TrimPrefix(Problem{Message: p.Message, Hint: p.Hint}.String(), ": ")
	got = strings.Replace(got, "in line 3", "in line N", 1)
	if got != want || p.Line != at.Line || p.Column != at.Column {
		t.Errorf("%s\nwant %d:%d: %s", p, at.Line, at.Column, want)
	}
}
