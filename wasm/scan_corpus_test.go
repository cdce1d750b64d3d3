package wasm

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// wazeroDir is where the source of wazero lies. Its specification tests come
// as thousands of prebuilt modules.
func wazeroDir(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// specCommand is a line of a specification test.
type specCommand struct {
	Type       string `json:"type"`
	Filename   string `json:"filename"`
	ModuleType string `json:"module_type"`
}

// specModules reads the second edition of the specification tests, by what is
// asserted of a module.
func specModules(t testing.TB) map[string][]string {
	dir := filepath.Join(wazeroDir(t), "internal/integration_test/spectest/v2/testdata")
	scripts, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(scripts) < 100 {
		t.Fatalf("found %d specification tests in %s, %v", len(scripts), dir, err)
	}
	modules := map[string][]string{}
	for _, s := range scripts {
		var script struct{ Commands []specCommand }
		if err := json.Unmarshal(readFile(t, s), &script); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		for _, c := range script.Commands {
			if strings.HasSuffix(c.Filename, ".wasm") && c.ModuleType != "text" {
				modules[c.Type] = append(modules[c.Type], filepath.Join(dir, c.Filename))
			}
		}
	}
	return modules
}

// specRefused is how many legal modules of the specification tests are
// refused: those with table.grow, which no compiler emits for a WASI program.
const specRefused = 8

// TestSpecCorpus holds the scan, and the compiler behind it, against the
// specification tests: whatever they call malformed or invalid is refused.
func TestSpecCorpus(t *testing.T) {
	modules := specModules(t)
	child := newCompileChild(t)
	outcome := func(file string) string {
		module := readFile(t, file)
		if _, err := Scan(module, DefaultScanLimits()); err != nil {
			return err.Error()
		}
		return child.outcome(module)
	}
	for kind, count := range map[string]int{"assert_malformed": 719, "assert_invalid": 2146} {
		if len(modules[kind]) != count {
			t.Errorf("%s: found %d modules, want %d", kind, len(modules[kind]), count)
		}
		for _, f := range modules[kind] {
			if outcome(f) == wantOK {
				t.Errorf("%s passes: %s", kind, filepath.Base(f))
			}
		}
	}
	refused := 0
	for _, f := range modules["module"] {
		switch got := outcome(f); {
		case got == wantOK:
		case strings.Contains(got, "table.grow"):
			refused++
		default:
			t.Errorf("legal module %s: %s", filepath.Base(f), got)
		}
	}
	t.Logf("%d legal modules, %d refused for table.grow", len(modules["module"]), refused)
	if refused != specRefused || child.deaths+child.hangs > 0 {
		t.Errorf("%d legal modules are refused, the compiler died %d times and hung %d times",
			refused, child.deaths, child.hangs)
	}
}

// mutantCount is how many mutants TestMutants makes: 2,000 in a short run,
// 100,000 in a soak, 20,000 otherwise, or what the environment says.
func mutantCount(t *testing.T) int {
	if s := os.Getenv("RUNLOOP_TEST_MUTANTS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if testing.Short() {
		return 2_000
	}
	return soak(20_000, 100_000)
}

// TestMutants damages modules of the specification tests at random. Those
// that pass the scan go to the compiler in a child with little memory, which
// must live and answer in time.
func TestMutants(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(wazeroDir(t), "internal/integration_test/spectest/v*/testdata/*.wasm"))
	if err != nil || len(files) < 5000 {
		t.Fatalf("found %d modules, %v", len(files), err)
	}
	child := newCompileChild(t)
	passed, total := 0, mutantCount(t)
	for i := range total {
		m := mutant(t, files, uint64(i))
		if _, err := Scan(m, DefaultScanLimits()); err != nil {
			continue
		}
		passed++
		if got := child.outcome(m); got != wantOK && got != wantCompiler {
			name := filepath.Join(os.TempDir(), fmt.Sprintf("mutant-%d.wasm", i))
			_ = os.WriteFile(name, m, 0o600)
			t.Errorf("mutant %d: %s, kept in %s", i, got, name)
		}
	}
	t.Logf("%d mutants, %d pass the scan, %d deaths, %d hangs, longest compile %v",
		total, passed, child.deaths, child.hangs, child.slow)
	if passed < total/100 {
		t.Error("hardly any mutant passes the scan: the test tests nothing")
	}
}

// mutant is a damaged module, the same for the same seed.
func mutant(t *testing.T, files []string, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	m := readFile(t, files[r.IntN(len(files))])
	for range 1 + r.IntN(3) {
		if len(m) == 0 {
			return m
		}
		m = damage(r, m, func() []byte { return readFile(t, files[r.IntN(len(files))]) })
	}
	return m
}

// damage changes a module in one place.
func damage(r *rand.Rand, m []byte, other func() []byte) []byte {
	at := r.IntN(len(m))
	n := min(1+r.IntN(16), len(m)-at)
	switch r.IntN(8) {
	case 0:
		m[at] ^= 1 << r.IntN(8)
	case 1:
		m[at] = "\x00\x01\x7f\x80\xff\x40\x0b\x0e"[r.IntN(8)]
	case 2: // a number that promises four thousand million
		m = asmCat(m[:at], []byte{0xff, 0xff, 0xff, 0xff, 0x0f}, m[at:])
	case 3:
		m = asmCat(m[:at], m[at+n:])
	case 4:
		m = asmCat(m[:at], m[at:at+n], m[at:])
	case 5:
		m = m[:at]
	case 6: // part of another module
		if o := other(); len(o) > 0 {
			from := r.IntN(len(o))
			m = asmCat(m[:at], o[from:min(from+n, len(o))], m[at+n:])
		}
	default:
		m[at] = byte(r.Uint32())
	}
	return m
}
