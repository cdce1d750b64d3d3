package opening

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestGraph draws one opening in all forms.
func TestGraph(t *testing.T) {
	data, err := os.ReadFile(testdata + "/good/order_book.yaml")
	if err != nil {
		t.Fatal(err)
	}
	o, err := Parse("order_book.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range GraphFormats {
		var b bytes.Buffer
		if err := o.Graph(&b, format); err != nil {
			t.Fatal(err)
		}
		golden(t, testdata+"/graph/order_book."+format, b.Bytes())
	}
	if err := o.Graph(&bytes.Buffer{}, "svg"); err == nil || !strings.Contains(err.Error(), "text, mermaid, dot") {
		t.Errorf("got %v", err)
	}
}

// TestGraphIsData: nothing in an opening ends a label or becomes markup.
func TestGraphIsData(t *testing.T) {
	text := `opening "x" { nodes: end := agent("echo") graph := opening("x") edges: end.out == "\"]; <b> | \\ \u202e" -> graph.in }`
	o, err := Parse("x", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for format, want := range map[string]string{
		"mermaid": `n0 -.->|"out #61;#61; #34;#92;#34;#93;#59; #60;b#62; #124; #92;#92; #92;u202e#34; → in"| n1`,
		"dot":     `"end" -> "graph" [label="out == \"\\\"]; <b> | \\\\ \\u202e\" → in", style=dashed];`,
	} {
		var b bytes.Buffer
		if err := o.Graph(&b, format); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s: got %s", format, b.String())
		}
	}
}

// TestStarter makes openings of agents that fit each other, and of those that do
// not; all of them can be run as they are.
func TestStarter(t *testing.T) {
	for _, refs := range [][]string{
		{"people", "notes", "scribe", "judge", "post"}, {"finder", "reader", "printer", "reader"}, {"echo"}, {"reader@large", "silent"},
	} {
		o, err := Starter("begun", crew(), refs)
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range []Syntax{YAML, Brace} {
			text, _ := o.Print(to)
			if _, err := Load("begun", text, crew(), nil); err != nil {
				t.Errorf("%v: %v\n%s", refs, err, text)
			}
		}
		if refs[0] == "people" {
			golden(t, testdata+"/starter.opening", o.Brace())
		}
	}
	for name, refs := range map[string][]string{"Begun": {"echo"}, "begun": {"ekho"}} {
		if _, err := Starter(name, crew(), refs); err == nil {
			t.Errorf("%s of %v was made", name, refs)
		}
	}
}
