package runloop

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// module is the path that imports of our own begin with.
const module = "github.com/runloop-os/runloop"

// mayImport says which packages of ours each package may import, tests
// included. docs/architecture.md has the same as a picture.
var mayImport = map[string][]string{
	".": {"runloop"},
	"runloop": {"agents", "broker", "bus", "examples", "opening", "pog", "rmp", "router", "router/enter",
		"router/grammar", "router/shell", "tui", "wasm"},
	"rmp":        {},
	"bus":        {"rmp"},
	"opening":    {"bus", "rmp"},
	"wasm":       {"bus", "rmp"},
	"wasm/guest": {},

	"wasm/guest/guesttest": {"wasm/guest"},

	"router/enter":   {"router", "router/grammar", "router/str"}, // grammar in its tests only: TestRouteIsEarly
	"router/grammar": {},
	"router/shell":   {"router"},
	"router/str":     {},

	"pog":      {},
	"broker":   {},
	"router":   {"router/grammar", "router/str"}, // the first in its tests only: TestRouteIsEarly
	"tui":      {"bus", "rmp"},
	"agents":   {},
	"examples": {},

	"agents/crew":         {"wasm/guest"},
	"agents/stamp":        {"wasm"},
	"wasm/testdata/probe": {"wasm/guest"},
}

// root is the top of the checkout.
const root = ".."

// goFiles calls f for every Go file of this module, by path from the root.
func goFiles(t *testing.T, f func(file string)) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil && name != root {
				return fs.SkipDir // a module of its own
			}
			if strings.HasPrefix(d.Name(), ".") && d.Name() != root {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(name, ".go") {
			n++
			f(filepath.ToSlash(strings.TrimPrefix(name, root+string(filepath.Separator))))
		}
		return nil
	})
	if err != nil || n == 0 {
		t.Fatalf("%d Go files: %v", n, err)
	}
}

func TestHouseImportsPointOneWay(t *testing.T) {
	goFiles(t, func(file string) {
		pkg := filepath.ToSlash(filepath.Dir(file))
		allowed, known := mayImport[pkg]
		if !known {
			t.Errorf("%s: package %s has no place in the house (see mayImport)", file, pkg)
			return
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.ImportsOnly)
		if err != nil {
			t.Error(err)
			return
		}
		for _, spec := range parsed.Imports {
			path := strings.Trim(spec.Path.Value, `"`)
			of, ours := strings.CutPrefix(path, module+"/")
			if ours && of != pkg && !slices.Contains(allowed, of) {
				t.Errorf("%s imports %s, which %s may not", file, of, pkg)
			}
		}
	})
}

// early are the packages that those of `rlp route` may import, besides each other:
// they are initialised before package reflect (see package router/enter, and
// TestRouteIsEarly).
var early = strings.Fields(`bytes embed errors hash/crc32 io io/fs iter os slices strconv sync sync/atomic syscall
	time unicode unicode/utf8 unsafe`)

func TestHouseRouteImportsLittle(t *testing.T) {
	goFiles(t, func(file string) {
		switch filepath.ToSlash(filepath.Dir(file)) {
		case "router", "router/enter", "router/str":
		default:
			return
		}
		if strings.HasSuffix(file, "_test.go") {
			return
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			path := strings.Trim(spec.Path.Value, `"`)
			of, ours := strings.CutPrefix(path, module+"/")
			if !slices.Contains(early, path) && !(ours && (of == "router" || of == "router/str")) {
				t.Errorf("%s imports %s, which is initialised too late for rlp route: see the comment on "+
					"package router/enter; package router/str stands in for strings", file, path)
			}
		}
	})
}

// TestHouseAgentsAreNotKnownByName keeps the host free of special cases for
// built-in agents.
func TestHouseAgentsAreNotKnownByName(t *testing.T) {
	bundles, err := filepath.Glob(filepath.Join(root, "agents", "bundles", "*"))
	if err != nil || len(bundles) == 0 {
		t.Fatal("no bundles", err)
	}
	var names []string
	for _, b := range bundles {
		names = append(names, filepath.Base(b))
	}
	named := regexp.MustCompile(`^"(agent:)?(` + strings.Join(names, "|") + `)"$`)
	goFiles(t, func(file string) {
		if strings.HasPrefix(file, "agents/") || strings.HasSuffix(file, "_test.go") {
			return
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && named.MatchString(lit.Value) {
				t.Errorf("%s knows the agent %s", file, lit.Value)
			}
			return true
		})
	})
}

func TestHousePackagesAreDocumentedOnce(t *testing.T) {
	docs := map[string]int{}
	goFiles(t, func(file string) {
		pkg := filepath.Dir(file)
		docs[pkg] += 0
		if strings.HasSuffix(file, "_test.go") {
			return
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil,
			parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if parsed.Doc != nil {
			docs[pkg]++
		}
	})
	for pkg, n := range docs {
		if n != 1 {
			t.Errorf("package %s has %d package comments", pkg, n)
		}
	}
}

func TestHouseTopLevel(t *testing.T) {
	want := strings.Fields(`main.go runloop rmp bus opening wasm pog broker router tui agents examples docs
		testdata packaging Makefile go.mod go.sum README.md LICENSE bin`)
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(want, e.Name()) {
			t.Errorf("%s does not belong at the top level", e.Name())
		}
	}
}

// generateLine is how this project generates code.
var generateLine = regexp.MustCompile(`(?m)^//go:generate go tool msgp (.*)$`)

// TestGeneratedCodeIsFresh generates anew, in a copy, and compares.
func TestGeneratedCodeIsFresh(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a generator")
	}
	generated := 0
	goFiles(t, func(file string) {
		src, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		if line := generateLine.FindSubmatch(src); line != nil {
			generated++
			checkFresh(t, file, src, strings.Fields(string(line[1])))
		}
	})
	if generated == 0 {
		t.Error("no generated code was found")
	}
}

// checkFresh runs the generator with args on a copy of file and compares what
// comes out with what lies beside file.
func checkFresh(t *testing.T, file string, src []byte, args []string) {
	t.Helper()
	dir := t.TempDir()
	in := filepath.Join(dir, filepath.Base(file))
	if err := os.WriteFile(in, src, 0o644); err != nil {
		t.Fatal(err)
	}
	var name string
	for i := range args {
		switch {
		case i > 0 && args[i-1] == "-file":
			args[i] = in
		case i > 0 && args[i-1] == "-o":
			name = args[i]
			args[i] = filepath.Join(dir, name)
		}
	}
	cmd := exec.Command("go", append([]string{"tool", "msgp"}, args...)...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", file, err, text)
	}
	fresh, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile(filepath.Join(root, filepath.Dir(file), name))
	if err != nil {
		t.Fatal(err)
	}
	if string(fresh) != string(have) {
		t.Errorf("%s is not what the generator makes of %s; run make generate", name, file)
	}
}
