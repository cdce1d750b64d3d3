package runloop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"lukechampine.com/blake3"
)

// sitter is somebody at a terminal, who answers questions in turn.
type sitter struct {
	tty *os.File
	saw strings.Builder
	end chan struct{}
}

// newSitter opens a pseudo-terminal (pty(7)). Each answer is typed when a text
// that ends a question has come: typed before, it would not count.
func newSitter(t *testing.T, answers ...string) *sitter {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no pseudo-terminals: ", err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	p := &sitter{end: make(chan struct{})}
	if p.tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	go p.sit(master, answers)
	t.Cleanup(func() { master.Close() })
	return p
}

func (p *sitter) sit(master *os.File, answers []string) {
	defer close(p.end)
	buf := make([]byte, 4096)
	asked := 0
	for {
		n, err := master.Read(buf)
		if err != nil {
			return // the other side is closed
		}
		p.saw.Write(buf[:n])
		text := p.saw.String()[asked:]
		if len(answers) > 0 && (strings.HasSuffix(text, "] ") || strings.HasSuffix(text, ": ") || strings.HasSuffix(text, "? ")) {
			time.Sleep(20 * time.Millisecond) // what is typed before the question was read is thrown away
			fmt.Fprintln(master, answers[0])
			answers, asked = answers[1:], p.saw.Len()
		}
	}
}

// text is all that was shown.
func (p *sitter) text() string {
	p.tty.Close()
	<-p.end
	return p.saw.String()
}

func (p *sitter) streams(home string, out *strings.Builder) *IO {
	return &IO{Stdin: p.tty, Stdout: out, Stderr: p.tty, Environ: []string{"HOME=" + home, "TERM=xterm"}}
}

const openingOfMine = `version: 0
name: mine
nodes:
  - id: a
    use: agent:mine
edges: []
`

// TestFirstRunAsks: an agent that nobody granted is asked for before anything
// runs; no is the default, and yes is remembered.
func TestFirstRunAsks(t *testing.T) {
	home := t.TempDir()
	t.Chdir(t.TempDir())
	module := []byte("no module")
	writeFiles(t, map[string]string{
		"agents/mine/manifest.toml": fmt.Sprintf("[agent]\nname = \"mine\"\nversion = \"1.0.0\"\nkind = \"wasm32-wasip1\"\n"+
			"entry_wasm = { path = \"m.wasm\", blake3 = \"%x\" }\n", blake3.Sum256(module)),
		"agents/mine/policy.caps": "[capabilities]\nnet = [\"api.example.com\"]\n",
		"agents/mine/m.wasm":      string(module),
		"mine.yaml":               openingOfMine,
	})
	for _, tt := range []struct {
		answer string
		code   int
	}{{"", exitDeclined}, {"n", exitDeclined}, {"y", exitFailed}} { // agreed to, it fails for its module
		p := newSitter(t, tt.answer)
		var out strings.Builder
		err := runRLP(t.Context(), p.streams(home, &out), []string{"run", "mine.yaml", "--local"})
		text := p.text()
		if exitCode(err) != tt.code || !strings.Contains(text, "asks to reach api.example.com") {
			t.Errorf("answered %q: %v, shown %q", tt.answer, err, text)
		}
	}
	p := newSitter(t)
	var out strings.Builder
	err := runRLP(t.Context(), p.streams(home, &out), []string{"run", "mine.yaml", "--local"})
	if text := p.text(); strings.Contains(text, "Grant that?") || exitCode(err) != exitFailed {
		t.Errorf("what was granted is asked for again: %v %q", err, text)
	}
}

// TestFirstRunAsksForNested: an agent deep inside is asked for before anything
// runs as well, once, in the order in which the openings name them.
func TestFirstRunAsksForNested(t *testing.T) {
	home := t.TempDir()
	t.Chdir(t.TempDir())
	use := func(name string, nodes ...string) string {
		text := "version: 0\nname: " + name + "\nnodes:\n"
		for i, n := range nodes {
			text += fmt.Sprintf("  - { id: n%d, use: '%s' }\n", i, n)
		}
		return text + "edges: []\n"
	}
	files := map[string]string{
		"outer.yaml":  use("outer", "opening:middle", "agent:first"),
		"middle.yaml": use("middle", "opening:inner", "agent:second", "opening:inner"),
		"inner.yaml":  use("inner", "agent:third", "agent:first"),
	}
	for _, name := range []string{"first", "second", "third"} {
		files["agents/"+name+"/manifest.toml"] = fmt.Sprintf("[agent]\nname = %q\nversion = \"1.0.0\"\n"+
			"kind = \"wasm32-wasip1\"\nentry_wasm = { path = \"m.wasm\", blake3 = \"%x\" }\n", name, blake3.Sum256([]byte(name)))
		files["agents/"+name+"/policy.caps"] = "[capabilities]\nnet = [\"" + name + ".example.com\"]\n"
		files["agents/"+name+"/m.wasm"] = name
	}
	writeFiles(t, files)
	run := func(answers ...string) (string, string, error) {
		p := newSitter(t, answers...)
		var out strings.Builder
		err := runRLP(t.Context(), p.streams(home, &out), []string{"run", "outer.yaml", "--local"})
		return p.text(), out.String(), err
	}
	text, out, err := run("y", "y", "n")
	at := -1
	for _, name := range []string{"first", "second", "third"} {
		i := strings.Index(text, "asks to reach "+name+".example.com")
		if i < at || i < 0 {
			t.Errorf("%s is not asked for, or too early: %q", name, text)
		}
		at = i
	}
	if exitCode(err) != exitDeclined || out != "" || strings.Count(text, "Grant that?") != 3 {
		t.Errorf("no to the last: %v, %q, shown %q", err, out, text)
	}
	if text, _, err := run("y"); strings.Count(text, "Grant that?") != 1 || exitCode(err) != exitFailed {
		t.Errorf("only that is asked again, and then it runs: %v, shown %q", err, text)
	}
	// Where nobody can be asked nothing begins.
	var errs strings.Builder
	blind := &IO{Stdin: strings.NewReader(""), Stdout: &errs, Stderr: &errs, Environ: []string{"HOME=" + t.TempDir()}}
	err = runRLP(t.Context(), blind, []string{"run", "outer.yaml", "--local", "--grant", "first", "--grant", "second"})
	if exitCode(err) != exitDeclined || !strings.Contains(err.Error(), "rlp agent grant third") || strings.Contains(errs.String(), "run.started") {
		t.Errorf("nobody there: %v, %s", err, errs.String())
	}
}

func TestScaffoldAsks(t *testing.T) {
	t.Chdir(t.TempDir())
	p := newSitter(t, "greeter", "Greets Ada", "c", "")
	var out strings.Builder
	if err := runRLP(t.Context(), p.streams(t.TempDir(), &out), []string{"agent", "scaffold"}); err != nil {
		t.Fatal(err, p.text())
	}
	if got := out.String(); got != "agents/greeter\nopenings/greeter.yaml\n" {
		t.Errorf("wrote %q", got)
	}
	manifest, err := os.ReadFile("agents/greeter/manifest.toml")
	if err != nil || !strings.Contains(string(manifest), `description = "Greets Ada"`) {
		t.Errorf("%v\n%s", err, manifest)
	}
	if _, err := os.Stat("agents/greeter/src/runloop.h"); err != nil {
		t.Error(err)
	}
}

func writeFiles(t *testing.T, files map[string]string) {
	t.Helper()
	for name, content := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
