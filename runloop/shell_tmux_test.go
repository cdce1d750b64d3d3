package runloop

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/runloop-os/runloop/router"
	"github.com/runloop-os/runloop/router/shell"
)

// The shell's integration is tested in real shells in a real terminal: each
// test has a tmux server of its own with one pane, types into it, and waits for
// what it shows or for what lands in a file. Nothing is slept for.

// paneOptions say which shell is in a pane, and with what.
type paneOptions struct {
	shell router.Shell
	// binary is the shell's program, by default the one on the PATH.
	binary string
	// before and after are lines of the startup file around the integration.
	before, after string
	// bare leaves the integration out.
	bare bool
	// agent is what `rlp run` does after it was recorded: lines of sh, which
	// find the prompt in $RLP_PROMPT.
	agent string
	// route takes the place of `rlp route`: lines of sh. By default the real one
	// answers.
	route string
	// real lets the real rlp run, too.
	real bool
	env  []string
	// ownPrompt: the startup file has another prompt, which is not waited for.
	ownPrompt bool
	// rows and columns, by default 40 and 100.
	rows, columns int
}

// pane is a shell in a terminal. What it calls rlp is a script that passes
// everything on to the real one, but records each `rlp run`.
type pane struct {
	*home
	server  string // the name of the tmux server
	prompts int    // how many prompts were seen
}

var paneCount atomic.Int64

// promptLine is how a prompt of the startup file looks: a number that grows,
// and the exit status of the last command.
var promptLine = regexp.MustCompile(`^(\d+)=(\d+)> ?$`)

// newPane starts a shell and waits for its first prompt.
func newPane(t *testing.T, opt paneOptions) *pane {
	t.Helper()
	needPrograms(t, "tmux", string(opt.shell))
	p := &pane{
		home:   newHome(t, "LANG=C.UTF-8", "SHELL=/bin/sh", "RUNLOOP_ROUTER_TIMEOUT_MS=20000"),
		server: fmt.Sprintf("rl-%d-%d", os.Getpid(), paneCount.Add(1)),
	}
	p.installPrograms(opt)
	p.env = append(p.env, opt.env...)
	p.env = append(p.env, "PATH="+p.path("bin")+":"+os.Getenv("PATH"), "CI=", "ZDOTDIR="+p.dir,
		"TMUX_TMPDIR="+p.dir)
	p.start(opt)
	if !opt.ownPrompt {
		p.prompt()
	}
	return p
}

// needPrograms skips a test where something is not installed.
func needPrograms(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed: apt-get install zsh bash fish tmux mandoc", name)
		}
	}
}

func (p *pane) path(name string) string { return filepath.Join(p.dir, name) }

// write makes a file of the home.
func (p *pane) write(name, text string, mode os.FileMode) {
	p.t.Helper()
	p.Check(os.MkdirAll(filepath.Dir(p.path(name)), 0o755))
	p.Check(os.WriteFile(p.path(name), []byte(text), mode))
}

// read returns a file of the home, and nothing if it is not there.
func (p *pane) read(name string) string {
	p.t.Helper()
	text, err := os.ReadFile(p.path(name))
	if !errors.Is(err, os.ErrNotExist) {
		p.Check(err)
	}
	return string(text)
}

// rlpStandIn is what the shell calls rlp. The folder of a run is complete when it is there.
const rlpStandIn = `#!/bin/sh
case $1 in
run) ;;
route) %[2]s ;;
*) exec %[1]s "$@" ;;
esac
n=1
until mkdir "$HOME/runs/$n.new" 2>/dev/null; do n=$((n + 1)); done
cat /proc/$$/cmdline >"$HOME/runs/$n.new/argv"
cat /proc/$$/environ >"$HOME/runs/$n.new/environ"
tty >"$HOME/runs/$n.new/tty"
mkdir "$HOME/runs/$n"
cp "$HOME/runs/$n.new"/* "$HOME/runs/$n"
touch "$HOME/runs/$n/done"
%[3]s
`

func (p *pane) installPrograms(opt paneOptions) {
	p.t.Helper()
	rlp, err := exec.LookPath("rlp")
	p.Check(err)
	p.Check(os.MkdirAll(p.path("bin"), 0o755))
	p.Check(os.MkdirAll(p.path("runs"), 0o755))
	switch {
	case opt.real:
		p.Check(os.Symlink(rlp, p.path("bin/rlp")))
	default:
		route := "exec " + rlp + ` "$@"`
		if opt.route != "" {
			route = opt.route
		}
		agent := opt.agent
		if agent == "" {
			agent = `printf 'agents got: %s\n' "$RLP_PROMPT"`
		}
		p.write("bin/rlp", fmt.Sprintf(rlpStandIn, rlp, route, agent), 0o755)
	}
	script, err := shell.Script(opt.shell, "test")
	p.Check(err)
	p.write("runloop."+string(opt.shell), script, 0o644)
}

// startupFile is .zshrc or .bashrc. The prompt counts itself, so that a test
// knows a new one from an old one.
func (o *paneOptions) startupFile() (name, text string) {
	load := fmt.Sprintf("eval \"$(cat ~/runloop.%s)\"\n", o.shell)
	if o.bare {
		load = ""
	}
	if o.shell == router.Zsh {
		return ".zshrc", `bindkey -e
setopt prompt_subst
typeset -gi prompts=${first_prompt:-0}
precmd() { prompts+=1 }
PS1='${prompts}=%?> ' PS2='more> '
HISTFILE=~/history HISTSIZE=1000 SAVEHIST=1000
` + o.before + "\n" + load + o.after + "\n"
	}
	return ".bashrc", `set -o emacs
prompts=0
PROMPT_COMMAND='prompts=$((prompts + 1))'
PS1='${prompts}=$?> ' PS2='more> '
HISTFILE=~/history HISTSIZE=1000
` + o.before + "\n" + load + o.after + "\n"
}

func (p *pane) start(opt paneOptions) {
	p.t.Helper()
	name, text := opt.startupFile()
	p.write(name, text, 0o644)
	if opt.rows == 0 {
		opt.rows, opt.columns = 40, 100
	}
	if opt.binary == "" {
		opt.binary = string(opt.shell)
	}
	shell := []string{opt.binary, "-d", "-i"}
	if opt.shell == router.Bash {
		shell = []string{opt.binary, "--noprofile", "--rcfile", p.path(name), "-i"}
	}
	p.t.Cleanup(func() {
		if p.t.Failed() {
			p.t.Logf("the terminal shows:\n%s", p.everything())
		}
		p.stop()
	})
	p.tmux(append([]string{"start-server", ";", "set", "-g", "default-terminal", "screen-256color", ";",
		"set", "-s", "escape-time", "0", ";", "set", "-g", "status", "off", ";",
		"new-session", "-d", "-s", "pane", "-c", p.dir,
		"-x", strconv.Itoa(opt.columns), "-y", strconv.Itoa(opt.rows), "--"}, shell...)...)
}

// stop ends the shells and then their server. A shell that only lost its terminal may
// go on: zsh in a menu of completions asks for a key for ever then, and takes all
// memory.
func (p *pane) stop() {
	list, _ := p.command("tmux", "-L", p.server, "list-panes", "-a", "-F", "#{pane_pid}").Output()
	for field := range strings.FieldsSeq(string(list)) {
		if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	_ = p.command("tmux", "-L", p.server, "kill-server").Run()
}

// tmux runs commands of tmux, separated by ";".
func (p *pane) tmux(args ...string) string {
	p.t.Helper()
	return p.tmuxInput("", args...)
}

func (p *pane) tmuxInput(stdin string, args ...string) string {
	p.t.Helper()
	cmd := p.command("tmux", append([]string{"-L", p.server, "-f", "/dev/null"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil {
		p.t.Fatalf("tmux %q: %v\n%s", args, err, errs.String())
	}
	return out.String()
}

// typed types, byte by byte: "\r" is Enter, "\x03" Ctrl-C, "\x1b\r" Alt-Enter.
func (p *pane) typed(keys string) {
	p.t.Helper()
	p.tmuxInput(keys, "load-buffer", "-b", "keys", "-", ";", "paste-buffer", "-d", "-r", "-b", "keys", "-t", "pane")
}

// paste pastes at an empty prompt as a terminal does: in brackets if the shell asked
// for them, and with Enter between the lines. A shell asks when it has shown its
// prompt, and before it reads a key: one is typed and taken back.
func (p *pane) paste(text string) {
	p.t.Helper()
	p.typed("x")
	p.until("a key shows", func(string) bool { return strings.HasSuffix(p.beforeCursor(), "x") })
	p.typed("\x7f")
	p.until("it is gone", func(string) bool { return !strings.HasSuffix(p.beforeCursor(), "x") })
	p.tmuxInput(text, "load-buffer", "-b", "paste", "-", ";", "paste-buffer", "-d", "-p", "-b", "paste", "-t", "pane")
}

// screen is what the terminal shows. Lines that are wrapped are one, and blanks
// at their ends are left out.
func (p *pane) screen() string {
	p.t.Helper()
	return trailingBlanks.ReplaceAllString(p.tmux("capture-pane", "-p", "-J", "-t", "pane"), "")
}

// everything is the screen and what has left it.
func (p *pane) everything() string {
	p.t.Helper()
	return trailingBlanks.ReplaceAllString(p.tmux("capture-pane", "-p", "-J", "-S", "-", "-t", "pane"), "")
}

var trailingBlanks = regexp.MustCompile(`(?m)[ \t]+$|\n+\z`)

// until waits until the screen is as it should be.
func (p *pane) until(what string, cond func(screen string) bool) {
	p.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if cond(p.screen()) {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("it did not happen: %s", what)
		}
	}
}

// shows waits until the screen shows a text.
func (p *pane) shows(text string) {
	p.t.Helper()
	p.until("the terminal shows "+text, func(screen string) bool { return strings.Contains(screen, text) })
}

// prompt waits for a new prompt with nothing typed behind it, and returns the
// exit status that it shows.
func (p *pane) prompt() int {
	p.t.Helper()
	status := 0
	p.until(fmt.Sprintf("prompt %d comes", p.prompts+1), func(string) bool {
		line := p.cursorLine()
		m := promptLine.FindStringSubmatch(line)
		if m == nil {
			return false
		}
		n, _ := strconv.Atoi(m[1])
		status, _ = strconv.Atoi(m[2])
		if n <= p.prompts {
			return false
		}
		p.prompts = n
		return true
	})
	return status
}

// cursorLine is the line of the screen that the cursor is in.
func (p *pane) cursorLine() string {
	p.t.Helper()
	_, line := p.cursor()
	return line
}

// cursorColumn is where in its line the cursor is, from 0.
func (p *pane) cursorColumn() int {
	p.t.Helper()
	column, _ := p.cursor()
	return column
}

// beforeCursor is the line up to the cursor, if no character takes two columns.
func (p *pane) beforeCursor() string {
	p.t.Helper()
	column, line := p.cursor()
	text := []rune(line)
	return string(text[:min(column, len(text))])
}

func (p *pane) cursor() (column int, line string) {
	p.t.Helper()
	at, screen, _ := strings.Cut(p.tmux("display-message", "-p", "-t", "pane", "#{cursor_x} #{cursor_y}", ";",
		"capture-pane", "-p", "-t", "pane"), "\n")
	row := 0
	_, err := fmt.Sscan(at, &column, &row)
	p.Check(err)
	if lines := strings.Split(screen, "\n"); row < len(lines) {
		line = lines[row]
	}
	return column, line
}

// line types a line and Enter, and waits for the next prompt. It returns the
// exit status.
func (p *pane) line(text string) int {
	p.t.Helper()
	p.typed(text + "\r")
	return p.prompt()
}

// output runs a command in the shell and returns what it prints.
func (p *pane) output(command string) string {
	p.t.Helper()
	p.Check(os.RemoveAll(p.path("output")))
	p.line("{ " + command + " } >~/output")
	return p.read("output")
}

// recordedRun is one `rlp run`: what the program was given.
type recordedRun struct {
	args   []string
	env    map[string]string
	prompt string
	tty    string // of its stdin
}

// runs returns the runs so far.
func (p *pane) runs() []recordedRun {
	p.t.Helper()
	var all []recordedRun
	for n := 1; ; n++ {
		dir := fmt.Sprintf("runs/%d", n)
		if _, err := os.Stat(p.path(dir + "/done")); err != nil {
			return all
		}
		r := recordedRun{env: map[string]string{}, tty: strings.TrimSpace(p.read(dir + "/tty"))}
		argv := strings.Split(strings.TrimSuffix(p.read(dir+"/argv"), "\x00"), "\x00")
		r.args = argv[2:] // behind the interpreter and the script
		for kv := range strings.SplitSeq(p.read(dir+"/environ"), "\x00") {
			name, value, _ := strings.Cut(kv, "=")
			r.env[name] = value
		}
		r.prompt = r.env["RLP_PROMPT"]
		all = append(all, r)
	}
}

// wantRuns checks which prompts were sent to agents so far.
func (p *pane) wantRuns(prompts ...string) {
	p.t.Helper()
	var got []string
	for _, r := range p.runs() {
		got = append(got, r.prompt)
	}
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", prompts) {
		p.t.Errorf("agents got\n%q\nwant\n%q", got, prompts)
	}
}

// awaitRun waits for run n, counted from 1.
func (p *pane) awaitRun(n int) recordedRun {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("run %d starts", n), func() bool { return len(p.runs()) >= n })
	return p.runs()[n-1]
}
