package runloop

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/runloop-os/runloop/router"
)

// TestPromptAsks: on a terminal a line that may destroy something is asked about,
// and no is the default.
func TestPromptAsks(t *testing.T) {
	h := newHome(t, "SHELL=/bin/sh")
	keep := filepath.Join(h.dir, "words.txt")
	h.Check(os.WriteFile(keep, []byte("some words"), 0o600))
	for _, tt := range []struct {
		answer string
		code   int
		gone   bool
	}{{"\r", exitDeclined, false}, {"n\r", exitDeclined, false}, {"y\r", exitOK, true}} {
		p := h.terminal("rlp", "rm -rf the words.txt file")
		p.expect("Run this in the shell?")
		p.expect("[y/N] ")
		p.typed(tt.answer)
		code := p.wait()
		_, err := os.Stat(keep)
		if text := p.shown.String(); code != tt.code || os.IsNotExist(err) != tt.gone ||
			!strings.Contains(text, "shell: rm -rf the words.txt file · /bin/sh") {
			t.Errorf("%q: exit %d, %v\n%s", tt.answer, code, err, text)
		}
	}
}

// TestPromptShellIsForeground: Ctrl-C and the terminal belong to the line that is
// run.
func TestPromptShellIsForeground(t *testing.T) {
	h := newHome(t, "SHELL=/bin/sh")
	p := h.terminal("rlp", `trap 'echo caught; exit 5' INT; tty; echo ready; read line; echo "got $line"; read line`)
	p.expect("ready")
	if strings.Contains(p.shown.String(), "not a tty") {
		t.Error("stdin is no terminal")
	}
	p.typed("some words\r")
	p.expect("got some words")
	p.typed("\x03")
	p.expect("caught")
	if code := p.wait(); code != 5 {
		t.Errorf("exit %d", code)
	}
}

// TestPromptOnTerminal: the first line says where a prompt goes, then the run is
// shown and its action asked about.
func TestPromptOnTerminal(t *testing.T) {
	h := newHome(t)
	h.people()
	p := h.terminal("rlp", "--local", "write John Okafor about the Q4 plan")
	p.expect("Go ahead? [y/N] ")
	p.typed("y\r")
	code := p.wait()
	text := p.shown.String()
	if first, _, _ := strings.Cut(text, "\r\n"); code != exitOK || !strings.HasPrefix(first, "agents: compose_email · model local:") {
		t.Errorf("exit %d, first %q", code, first)
	}
	if !strings.Contains(text, "okafor@example.org") {
		t.Error("the recipient was not shown")
	}
}

// TestPromptVariableIsTaken: what this process starts does not find the prompt in
// its environment.
func TestPromptVariableIsTaken(t *testing.T) {
	t.Setenv("ASK_ME", "what now?")
	io := &IO{Environ: os.Environ()}
	text, err := io.takeVariable("--prompt-env", "ASK_ME")
	if err != nil || text != "what now?" {
		t.Fatal(text, err)
	}
	if _, ok := os.LookupEnv("ASK_ME"); ok || slices.Contains(io.Environ, "ASK_ME=what now?") {
		t.Error("the variable is still there")
	}
}

func TestCleanPrompt(t *testing.T) {
	for in, want := range map[string]string{
		" a\r\nb\rc\td ":                   "a\nb\nc\td",
		"\x1b[31mred\x1b[0m \x00\x07":      "[31mred [0m",
		"c1 \u009b here":                   "c1   here",
		"日本 é \u200d":                      "日本 é \u200d",
		"\uFFFD is a character":            "\uFFFD is a character",
		strings.Repeat("x", promptMax):     strings.Repeat("x", promptMax),
		strings.Repeat("x", promptMax+1):   "!at most 65536",
		"broken \xc3(":                     "!not valid UTF-8 at byte 8",
		"\x00 \x1b\n":                      "!empty",
		"":                                 "!empty",
		"say \"$(reboot)\" `reboot` ; & |": "say \"$(reboot)\" `reboot` ; & |",
	} {
		got, err := cleanPrompt("", in)
		if msg, fails := strings.CutPrefix(want, "!"); fails {
			if err == nil || exitCode(err) != exitUsage || !strings.Contains(err.Error(), msg) {
				t.Errorf("%.20q: %.20q %v", in, got, err)
			}
		} else if err != nil || got != want {
			t.Errorf("%.20q: %.20q %v", in, got, err)
		}
	}
}

func TestIsPromptLine(t *testing.T) {
	for _, tt := range []struct {
		args           []string
		prompt, dashed bool
	}{
		{[]string{"write John"}, true, false},
		{[]string{"write\nJohn"}, true, false},
		{[]string{"--dry-run", "write John"}, true, false},
		{[]string{"--opening", "a b", "write John"}, true, false},
		{[]string{"--opening=x", "--verbose", "write John"}, true, false},
		{[]string{"--color", "never", "write John"}, true, false},
		{[]string{"--", "run"}, true, true},
		{[]string{"--local", "--", "run", "x"}, true, true},
		{[]string{"--"}, true, true},
		{[]string{"--dry-run"}, true, false},
		{[]string{"--local", "run"}, true, false},
		{[]string{"--nonsense", "write John"}, true, false},
		{[]string{"run", "a b"}, false, false},
		{[]string{"run", "--", "a b"}, false, false},
		{[]string{"--color", "never", "run"}, false, false},
		{[]string{"--help"}, false, false},
		{[]string{"rnu"}, false, false},
		{[]string{"-"}, false, false},
		{nil, false, false},
	} {
		if prompt, dashed := isPromptLine(tt.args); prompt != tt.prompt || dashed != tt.dashed {
			t.Errorf("%q: %v %v", tt.args, prompt, dashed)
		}
	}
}

func TestShellLine(t *testing.T) {
	forced := &router.Decision{Rule: router.RuleForced}
	for _, tt := range []struct {
		d    *router.Decision
		args []string
		want string
	}{
		{&router.Decision{}, []string{" ls -l "}, "ls -l"},
		{&router.Decision{}, []string{"ls", "a b", "$HOME", "|", "it's", ""}, `ls 'a b' '$HOME' '|' "it's" ''`},
		{&router.Decision{}, []string{"grep", ":budget", "notes"}, "grep :budget notes"},
		{&router.Decision{}, []string{"!x"}, "!x"},
		{forced, []string{"!ls -l"}, "ls -l"},
		{forced, []string{"! grep x y"}, "! grep x y"},
		{forced, []string{"!!"}, "!!"},
		{forced, []string{"!"}, "!"},
		{forced, []string{"!ls", "a b"}, "ls 'a b'"},
	} {
		if got, err := shellLine(tt.d, tt.args); err != nil || got != tt.want {
			t.Errorf("%q: %s %v", tt.args, got, err)
		}
	}
	if got, err := shellLine(&router.Decision{}, []string{"ls :budget 3x"}); err == nil {
		t.Errorf("a budget for the shell: %s", got)
	}
}
