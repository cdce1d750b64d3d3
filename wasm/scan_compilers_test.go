package wasm

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// goGuest builds a Go program for wasip1 and returns the module.
func goGuest(t testing.TB, source string, flags ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"build", "-o", "out.wasm"}, append(flags, "main.go")...)
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GO111MODULE=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return readFile(t, filepath.Join(dir, "out.wasm"))
}

const goReactor = `package main

//go:wasmexport runloop_handle
func handle(n int32) int32 { return n + 1 }

func main() {}
`

// TestGoModules loads what the Go compiler makes.
func TestGoModules(t *testing.T) {
	if testing.Short() {
		t.Skip("builds Go programs")
	}
	known := testHost(t)
	command := goGuest(t, "package main\nimport \"fmt\"\nfunc main() { fmt.Println(1) }\n")
	if got, err := load(command, DefaultScanLimits(), known); got != "command" {
		t.Errorf("command: %s, %v", got, err)
	}
	reactor := goGuest(t, goReactor, "-buildmode=c-shared")
	if got, err := load(reactor, DefaultScanLimits(), known); got != "reactor" {
		t.Errorf("reactor: %s, %v", got, err)
	}
}

// TestCompilerModules scans modules that Rust, Zig, TinyGo, AssemblyScript
// and Emscripten made: the examples and tests in wazero's source.
func TestCompilerModules(t *testing.T) {
	dir := wazeroDir(t)
	var files []string
	for _, part := range []string{"examples", "imports", "cmd", "internal/testing", "internal/integration_test/bench"} {
		files = append(files, findModules(t, filepath.Join(dir, part))...)
	}
	if len(files) < 35 {
		t.Fatalf("found %d modules", len(files))
	}
	for _, f := range files {
		if _, err := Scan(readFile(t, f), DefaultScanLimits()); err != nil {
			t.Errorf("%s: %v", strings.TrimPrefix(f, dir), err)
		}
	}
}

func findModules(t *testing.T, dir string) (files []string) {
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(path, ".wasm") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestLargeModules scans the largest modules at hand, named by the
// environment, such as cmd/compile and cmd/go built for wasip1.
func TestLargeModules(t *testing.T) {
	files := strings.Fields(os.Getenv("RUNLOOP_TEST_MODULES"))
	if len(files) == 0 {
		t.Skip("RUNLOOP_TEST_MODULES is not set")
	}
	for _, f := range files {
		info, err := Scan(readFile(t, f), DefaultScanLimits())
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		t.Logf("%s: %d functions, estimate %d us, largest function %d us",
			f, info.Functions, info.Time, info.FunctionTime)
	}
}
