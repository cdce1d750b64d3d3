package opening

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBad holds the complete list of problems of every bad file against the
// golden text beside it.
func TestBad(t *testing.T) {
	for _, path := range append(files(t, "bad/*.yaml"), files(t, "bad/*.opening")...) {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Load(name, data, crew(), nil)
			var ps Problems
			if !errors.As(err, &ps) {
				t.Fatalf("got %v, want problems", err)
			}
			golden(t, strings.TrimSuffix(path, filepath.Ext(path))+".txt", []byte(ps.Text()))
		})
	}
}

func TestGood(t *testing.T) {
	for _, path := range files(t, "good/*.yaml") {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Load(path, data, crew(), nil)
		if err != nil {
			t.Fatal(err.(Problems).Text())
		}
		golden(t, strings.TrimSuffix(path, ".yaml")+".ir.json", append(p.IR, '\n'))
		testBothForms(t, filepath.Join(testdata, "printed", p.Opening.Name), p.Opening)
	}
}

// testBothForms prints an opening as golden files in both forms, and reads both
// back to the same bytes of IR.
func testBothForms(t *testing.T, path string, o *Opening) {
	t.Helper()
	for to, ext := range map[Syntax]string{YAML: ".yaml", Brace: ".opening"} {
		text, err := o.Print(to)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, path+ext, text)
		back, err := Parse(path+ext, text)
		if err != nil || string(back.IR()) != string(o.IR()) {
			t.Errorf("%s%s does not read back: %v", path, ext, err)
		}
		again, err := back.Print(to)
		if err != nil || string(again) != string(text) {
			t.Errorf("%s%s is printed otherwise once it was read: %v", path, ext, err)
		}
	}
}

// TestSyntaxOf tells the forms apart.
func TestSyntaxOf(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       Syntax
	}{
		{"x.yaml", "version: 0\n", YAML},
		{"x.opening", "version: 0\n", YAML},
		{"x.yaml", "# comment\n\n  opening \"x\" {\n}", Brace},
		{"x.yaml", "\ufeffopening x\n{}", Brace},
		{"x.yaml", "opening: {x: 1}", YAML},
		{"x.yaml", "opening : x", YAML},
		{"x.yaml", "openings {", YAML},
		{"x.opening", "openings {", Brace},
		{"stdin", "opening", Brace},
		{"x.opening", "", Brace},
		{"x.yaml", "", YAML},
	} {
		if got := SyntaxOf(c.name, []byte(c.text)); got != c.want {
			t.Errorf("%s with %q is %s", c.name, c.text, got)
		}
	}
}
