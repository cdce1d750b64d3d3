package runloop

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Limits on what is initialised before a line is decided: packages, and what
// they allocate. All of it is done on every Enter.
const (
	earlyPackages = 80
	earlyBytes    = 80 << 10
	earlyAllocs   = 300
)

// initLine is one of GODEBUG=inittrace=1 (see package runtime).
var initLine = regexp.MustCompile(`(?m)^init (\S+) @.* clock, (\d+) bytes, (\d+) allocs$`)

// TestRouteIsEarly: `rlp route` ends before the large libraries are initialised.
// If it fails, package router or router/enter has come to import, by whatever
// way, a package that is initialised late: see the comment on package enter.
func TestRouteIsEarly(t *testing.T) {
	route := func(args ...string) *exec.Cmd {
		cmd := asRLP(t, append([]string{"route"}, args...)...)
		cmd.Env = append(cmd.Env, "GODEBUG=inittrace=1")
		return cmd
	}
	var trace bytes.Buffer
	cmd := route("git", "status", "--short")
	cmd.Stderr = &trace
	if out, err := cmd.Output(); exitOf(err) != 10 {
		t.Fatalf("%v: %s%s", err, out, trace.Bytes())
	}
	packages, size, allocs := 0, 0, 0
	for _, m := range initLine.FindAllStringSubmatch(trace.String(), -1) {
		packages++
		n, _ := strconv.Atoi(m[2])
		size += n
		n, _ = strconv.Atoi(m[3])
		allocs += n
		if late.MatchString(m[1]) {
			t.Errorf("package %s is initialised before a line is decided", m[1])
		}
	}
	t.Logf("%d packages, %d bytes, %d allocations", packages, size, allocs)
	if packages < 10 || packages > earlyPackages || size > earlyBytes || allocs > earlyAllocs {
		t.Errorf("%d packages, %d bytes and %d allocations, want at most %d, %d, %d",
			packages, size, allocs, earlyPackages, earlyBytes, earlyAllocs)
	}

	// The check sees something: the same program, when main has to decide.
	trace.Reset()
	cmd = route("(cd build && make)")
	cmd.Stderr = &trace
	if out, err := cmd.Output(); exitOf(err) != 10 || !bytes.Contains(out, []byte(`"syntax"`)) {
		t.Fatalf("%v: %s", err, out)
	}
	if !strings.Contains(trace.String(), "wazero") {
		t.Error("main was not traced")
	}
}

// late are packages that this program has, and that take long to initialise.
var late = regexp.MustCompile(`^(regexp|net|net/http|text/template|html/template)$|wazero|sqlite|jsonschema|` +
	`urfave|mvdan|koanf|/runloop/(runloop|wasm|pog|opening|bus|broker|tui)$`)

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
