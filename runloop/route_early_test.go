package runloop

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/runloop-os/runloop/router/enter"
)

// Limits on what is initialised before a line is decided: packages, and what
// they allocate. All of it is done on every Enter.
const (
	earlyPackages = 30
	earlyBytes    = 24 << 10
	earlyAllocs   = 80
)

// initLine is one of GODEBUG=inittrace=1 (see package runtime).
var initLine = regexp.MustCompile(`(?m)^init (\S+) @.* clock, (\d+) bytes, (\d+) allocs$`)

// TestRouteIsEarly: `rlp route` ends before the large libraries are initialised.
// If it fails, package router or router/enter has come to import, by whatever
// way, a package that is initialised late, such as strings or fmt: see the comment
// on package enter.
func TestRouteIsEarly(t *testing.T) {
	cmd := asRLP(t, "route", "--timeout-ms", "60000", "git", "status", "--short")
	out, inits := traceInits(t, cmd)
	checkEarly(t, inits)
	if string(out) != `{"version":1,"route":"shell","rule":"score","blocked":false}`+"\n" {
		t.Errorf("%s", out)
	}

	// The same with a configuration that was read before.
	cmd = asRLP(t, "route", "--timeout-ms", "60000", "mkfs", "/dev/sda")
	src := configSource{environ: cmd.Env, home: enter.Getenv(cmd.Env)("HOME"), system: systemConfig}
	if err := os.MkdirAll(filepath.Join(src.home, ".runloop"), 0o700); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(src.home, ".runloop", "config.yaml")
	if err := os.WriteFile(config, []byte("router: {denylist: [mkfs]}"), 0o600); err != nil {
		t.Fatal(err)
	}
	from := enter.Sources{Environ: src.environ, Home: src.home, System: src.system}
	if _, err := loadSettings(src, from, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	out, inits = traceInits(t, cmd)
	checkEarly(t, inits)
	if !bytes.Contains(out, []byte(`"blocked":true`)) {
		t.Errorf("%s", out)
	}

	// The check sees something: the same program, when main has to decide.
	out, inits = traceInits(t, asRLP(t, "route", "--timeout-ms", "60000", "(cd build && make)"))
	if !bytes.Contains(out, []byte(`"syntax"`)) || len(inits) <= earlyPackages {
		t.Errorf("%d packages: %s", len(inits), out)
	}
}

// initOf is what the initialisation of a package took.
type initOf struct {
	pkg           string
	bytes, allocs int
}

// traceInits runs a decision for the shell and returns what was initialised.
func traceInits(t *testing.T, cmd *exec.Cmd) (out []byte, inits []initOf) {
	t.Helper()
	cmd.Env = append(cmd.Env, "GODEBUG=inittrace=1")
	var trace bytes.Buffer
	cmd.Stderr = &trace
	out, err := cmd.Output()
	if exitOf(err) != 10 {
		t.Fatalf("%v: %s%s", err, out, trace.Bytes())
	}
	for _, m := range initLine.FindAllStringSubmatch(trace.String(), -1) {
		size, _ := strconv.Atoi(m[2])
		allocs, _ := strconv.Atoi(m[3])
		inits = append(inits, initOf{m[1], size, allocs})
	}
	return out, inits
}

// checkEarly fails for packages that should come later, and when the sum is much.
func checkEarly(t *testing.T, inits []initOf) {
	t.Helper()
	size, allocs := 0, 0
	for _, i := range inits {
		size += i.bytes
		allocs += i.allocs
		if late.MatchString(i.pkg) {
			t.Errorf("package %s is initialised before a line is decided", i.pkg)
		}
	}
	t.Logf("%d packages, %d bytes, %d allocations", len(inits), size, allocs)
	if len(inits) < 10 || len(inits) > earlyPackages || size > earlyBytes || allocs > earlyAllocs {
		t.Errorf("%d packages, %d bytes and %d allocations, want at most %d, %d, %d",
			len(inits), size, allocs, earlyPackages, earlyBytes, earlyAllocs)
	}
}

// late are packages that this program has, and that take long to initialise.
var late = regexp.MustCompile(`^(reflect|regexp|net|net/http|text/template|html/template)$|cpuid|wazero|sqlite|` +
	`jsonschema|urfave|mvdan|koanf|/runloop/(runloop|wasm|pog|opening|bus|broker|tui)$`)

// TestRouteTimeout: a line that does not come is given up.
func TestRouteTimeout(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	defer r.Close()
	cmd := asRLP(t, "route", "--stdin", "--timeout-ms", "50")
	cmd.Stdin = r
	if out, err := cmd.Output(); exitOf(err) != 12 || !bytes.Contains(out, []byte(`"rule":"timeout"`)) {
		t.Errorf("%v: %q", err, out)
	}
}

// asRLP is this program as rlp, with a HOME of its own.
func asRLP(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Args = append([]string{"rlp"}, args...)
	cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
	return cmd
}

// exitOf is the exit code that an error of exec means, -1 for none.
func exitOf(err error) int {
	var e *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.ExitCode()
	}
	return -1
}
