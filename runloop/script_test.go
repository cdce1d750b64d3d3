package runloop

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"lukechampine.com/blake3"

	"github.com/runloop-os/runloop/agents"
)

// TestScripts runs the transcripts in testdata/script: what people type and
// what they see. Each has a HOME of its own; compiled modules are shared.
func TestScripts(t *testing.T) {
	testdata, err := filepath.Abs(filepath.Join(root, "testdata"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("XDG_CACHE_HOME", moduleCache)
			env.Setenv("TESTDATA", testdata)
			env.Setenv("TERM", "dumb")
			env.Setenv("GOCACHE", goCache())
			env.Setenv("RUSTUP_HOME", rustupHome()) // which is below the real HOME
			return os.Mkdir(filepath.Join(env.WorkDir, "home"), 0o755)
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "rust": // one that rustup only stands in for may have no toolchain
				return exec.Command("rustc", "--version").Run() == nil, nil
			case "rusttarget":
				return hasRustTarget(), nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"events": cmdEvents, "bundle": cmdBundle, "crew": cmdCrew, "pick": cmdPick, "stays": cmdStays,
			"model": cmdModel, "walk": cmdWalk, "exits": cmdExits,
		},
	})
}

// goCache is where Go keeps what it compiled, so that a script that builds an
// agent does not compile the standard library anew.
func goCache() string {
	if dir := os.Getenv("GOCACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "off"
	}
	return filepath.Join(dir, "go-build")
}

func rustupHome() string {
	if dir := os.Getenv("RUSTUP_HOME"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".rustup")
}

// hasRustTarget reports whether rustc can build for wasm32-wasip1: it knows the
// target's name even where its library is missing.
func hasRustTarget() bool {
	dir, err := exec.Command("rustc", "--print=target-libdir", "--target=wasm32-wasip1").Output()
	if err != nil {
		return false
	}
	libs, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "libstd-*"))
	return err == nil && len(libs) > 0
}

// cmdEvents is `events FILE KIND...`: FILE is NDJSON of run events whose kinds,
// output apart, are these, in this order; one in parentheses may come any
// number of times.
func cmdEvents(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: events FILE KIND...")
	}
	var kinds []string
	lines := bufio.NewScanner(bytes.NewReader([]byte(ts.ReadFile(args[0]))))
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var ev struct {
			TS    int64           `json:"ts_ms"`
			Trace string          `json:"trace_id"`
			Run   string          `json:"run_id"`
			Of    string          `json:"opening_id"`
			Kind  string          `json:"kind"`
			Level string          `json:"level"`
			Meta  json.RawMessage `json:"meta"`
		}
		d := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		ts.Check(d.Decode(&ev))
		if ev.TS == 0 || ev.Trace == "" || ev.Run != ev.Trace || !strings.HasPrefix(ev.Of, "opening:") ||
			!slices.Contains([]string{"info", "warn", "error"}, ev.Level) || !bytes.HasPrefix(ev.Meta, []byte("{")) {
			ts.Fatalf("not a run event: %s", lines.Text())
		}
		if ev.Kind != "node.stdout" && ev.Kind != "node.stderr" {
			kinds = append(kinds, ev.Kind)
		}
	}
	ts.Check(lines.Err())
	if got, want := strings.Join(kinds, " "), strings.Join(args[1:], " "); got != want {
		ts.Fatalf("events %s\nwant   %s", got, want)
	}
}

// cmdBundle is `bundle DIR NAME MODULE [CAPS]`: it makes the bundle DIR/NAME of
// a WebAssembly file, with any ports.
func cmdBundle(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: bundle DIR NAME MODULE [CAPS]")
	}
	module, err := os.ReadFile(ts.MkAbs(args[2]))
	ts.Check(err)
	caps := "[capabilities]\n" + strings.Join(args[3:], "\n")
	writeTestBundle(ts, ts.MkAbs(filepath.Join(args[0], args[1])), args[1], module, caps, "[ports.in]\nin = \"any\"\n[ports.out]\nout = \"any\"\n")
}

func writeTestBundle(ts interface{ Check(error) }, dir, name string, module []byte, caps, rest string) {
	sum := blake3.Sum256(module)
	manifest := "[agent]\nname = \"" + name + "\"\nversion = \"1.0.0\"\nkind = \"wasm32-wasip1\"\n" +
		"entry_wasm = { path = \"" + name + ".wasm\", blake3 = \"" + hex.EncodeToString(sum[:]) + "\" }\n" + rest
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(os.WriteFile(filepath.Join(dir, "manifest.toml"), []byte(manifest), 0o644))
	ts.Check(os.WriteFile(filepath.Join(dir, "policy.caps"), []byte(caps), 0o644))
	ts.Check(os.WriteFile(filepath.Join(dir, name+".wasm"), module, 0o644))
}

// cmdCrew is `crew DIR AGENT [OLD NEW]`: it copies a built-in agent to
// DIR/AGENT, with one text of its module replaced by another of the same
// length.
func cmdCrew(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 && len(args) != 4 {
		ts.Fatalf("usage: crew DIR AGENT [OLD NEW]")
	}
	builtIn, _ := agents.BuiltIn()
	read := func(name string) []byte {
		f, err := builtIn.Open(name)
		ts.Check(err)
		defer f.Close()
		var b bytes.Buffer
		_, err = b.ReadFrom(f)
		ts.Check(err)
		return b.Bytes()
	}
	module := read("crew.wasm")
	if len(args) == 4 {
		changed := bytes.Replace(module, []byte(args[2]), []byte(args[3]), 1)
		if bytes.Equal(changed, module) || len(changed) != len(module) {
			ts.Fatalf("%q cannot be replaced by %q", args[2], args[3])
		}
		module = changed
	}
	_, rest, _ := strings.Cut(string(read(args[1]+"/manifest.toml")), "\nargs = ")
	writeTestBundle(ts, ts.MkAbs(filepath.Join(args[0], args[1])), args[1], module,
		string(read(args[1]+"/policy.caps")), "args = "+rest)
}

// cmdStays is `stays DIR`: it makes the agent of a bundle a resident.
func cmdStays(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: stays DIR")
	}
	file := filepath.Join(ts.MkAbs(args[0]), "manifest.toml")
	manifest := strings.Replace(ts.ReadFile(file), "[agent]\n", "[agent]\nlife = \"resident\"\n", 1)
	ts.Check(os.WriteFile(file, []byte(manifest), 0o644))
}

// cmdWalk is `walk FILE SECTION`: it runs the sh blocks of a section of a page
// of docs, as one script that ends at the first failure.
func cmdWalk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: walk FILE SECTION")
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", args[0]))
	ts.Check(err)
	_, section, found := strings.Cut(string(page), "\n## "+args[1]+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := strings.Split(section, "```sh\n")[1:]
	if !found || len(blocks) == 0 {
		ts.Fatalf("docs/%s has no sh blocks in %q", args[0], args[1])
	}
	for i := range blocks {
		blocks[i], _, _ = strings.Cut(blocks[i], "```")
	}
	ts.Check(ts.Exec("sh", "-exc", strings.Join(blocks, "\n")))
}

// cmdExits is `exits CODE PROGRAM ARG...`: it runs a program, which exits with
// CODE.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG...")
	}
	code := 0
	err := ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, not %s", code, args[0])
	}
}

// cmdPick is `pick VAR FILE PREFIX`: it sets VAR to the first word of FILE that
// begins with PREFIX.
func cmdPick(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: pick VAR FILE PREFIX")
	}
	for _, word := range strings.FieldsFunc(ts.ReadFile(args[1]), func(r rune) bool {
		return strings.ContainsRune(" \t\n\\\",{}[]()", r)
	}) {
		if strings.HasPrefix(word, args[2]) {
			ts.Setenv(args[0], word)
			return
		}
	}
	ts.Fatalf("no word of %s begins with %s", args[1], args[2])
}
