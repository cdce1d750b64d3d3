package runloop

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/runloop-os/runloop/router"
)

// TestWatch: what is watched is printed again when it is otherwise, and only
// then; Ctrl-C ends it.
func TestWatch(t *testing.T) {
	h := newHome(t)
	h.recordRun("0684aaaa-0000-4000-8000-000000000000")
	cmd := h.command("rlp", "runs", "list", "--watch")
	out, err := cmd.StdoutPipe()
	h.Check(err)
	h.Check(cmd.Start())
	lines := bufio.NewScanner(out)
	next := func() string {
		if !lines.Scan() {
			t.Fatal("it ended", lines.Err())
		}
		return lines.Text()
	}
	if l := next(); !strings.HasPrefix(l, "trace:0684aaaa") {
		t.Errorf("first %q", l)
	}
	h.recordRun("17000000-0000-4000-8000-000000000000")
	if l := next(); !strings.HasPrefix(l, "trace:17000000") {
		t.Errorf("then %q", l)
	}
	if l := next(); !strings.HasPrefix(l, "trace:0684aaaa") {
		t.Errorf("and %q", l)
	}
	h.Check(cmd.Process.Signal(os.Interrupt))
	for lines.Scan() {
		t.Errorf("after all %q", lines.Text())
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitInterrupted {
		t.Errorf("it ended with %v", err)
	}
}

// TestWatchOnTerminal: the new takes the place of the old, cut to the width.
func TestWatchOnTerminal(t *testing.T) {
	p := newPane(t, paneOptions{shell: router.Bash, bare: true, real: true, rows: 12, columns: 40})
	p.recordRun("0684aaaa-0000-4000-8000-000000000000")
	p.typed("rlp runs list -w\r")
	p.shows("trace:0684aaaa")
	p.recordRun("17000000-0000-4000-8000-000000000000")
	p.shows("trace:17000000")
	screen := p.screen()
	if strings.Count(screen, "0684aaaa") != 1 || strings.Count(screen, "TRACE") != 1 {
		t.Errorf("the old is still there:\n%s", screen)
	}
	p.typed("\x03")
	if status := p.prompt(); status != exitInterrupted {
		t.Errorf("it ended with %d", status)
	}
}

func TestRunsWait(t *testing.T) {
	h := newHome(t)
	h.recordRun("0684aaaa-0000-4000-8000-000000000000")
	run := func(args ...string) (string, int) {
		out, err := h.command("rlp", append([]string{"runs", "wait"}, args...)...).CombinedOutput()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return string(out), exit.ExitCode()
		}
		h.Check(err)
		return string(out), 0
	}
	for _, tt := range []struct {
		args string
		out  string
		code int
	}{
		{"0684 --for running", "running\n", 0},
		{"0684 --for running --json", `"state": "running"`, 0},
		{"0684 --timeout 300ms", "rlp: the run is running after 300ms; it goes on\n", exitFailed},
		{"0684 --for over", `--for "over"`, exitUsage},
		{"17", "no run begins with", exitNotFound},
	} {
		if out, code := run(strings.Fields(tt.args)...); !strings.Contains(out, tt.out) || code != tt.code {
			t.Errorf("%s: %d %q", tt.args, code, out)
		}
	}
}

// TestBusyLine: a line on a terminal that goes away; none where nobody looks.
func TestBusyLine(t *testing.T) {
	p := newSitter(t)
	io := &IO{Stdin: p.tty, Stderr: p.tty, Environ: []string{"TERM=xterm"}}
	io.line.draw(io, "checking, 2s")
	io.warnf("careful")
	io.busy("quick")() // done before it takes long
	if got := p.text(); got != eraseLine+"checking, 2s"+eraseLine+"runloop: careful\r\n" {
		t.Errorf("%q", got)
	}
	for _, env := range [][]string{{"TERM=dumb"}, {"TERM=xterm", "CI=1"}, {"TERM=xterm", "RLP_PROGRESS=none"}, {"TERM=xterm", "RLP_PROGRESS=plain"}} {
		q := newSitter(t)
		if (&IO{Stderr: q.tty, Environ: env}).showsProgress() {
			t.Errorf("%q shows progress", env)
		}
		q.tty.Close()
	}
	if (&IO{Stderr: &bytes.Buffer{}}).showsProgress() {
		t.Error("a pipe gets progress")
	}
}

func TestPoll(t *testing.T) {
	n := 0
	err := poll(t.Context(), time.Millisecond, func() (bool, error) { n++; return n == 3, nil })
	if err != nil || n != 3 {
		t.Errorf("%d times, %v", n, err)
	}
}

// TestColour: --color goes before NO_COLOR, that before FORCE_COLOR, and that
// before what the stream is.
func TestColour(t *testing.T) {
	p := newSitter(t)
	defer p.tty.Close()
	for _, tt := range []struct {
		flag, env string
		terminal  bool
		want      bool
	}{
		{"", "TERM=xterm", true, true}, {"", "TERM=xterm", false, false}, {"", "TERM=dumb", true, false},
		{"", "TERM=xterm NO_COLOR=1", true, false}, {"", "TERM=xterm NO_COLOR=", true, true},
		{"", "FORCE_COLOR=1", false, true}, {"", "FORCE_COLOR=0", false, false}, {"", "CLICOLOR_FORCE=1", false, true},
		{"", "NO_COLOR=1 FORCE_COLOR=1", true, false}, {"always", "NO_COLOR=1 TERM=dumb", false, true},
		{"never", "FORCE_COLOR=1 TERM=xterm", true, false}, {"auto", "NO_COLOR=1 TERM=xterm", true, false},
	} {
		io := &IO{Environ: strings.Fields(tt.env), common: commonFlags{color: tt.flag}}
		var stream any = &bytes.Buffer{}
		if tt.terminal {
			stream = p.tty
		}
		if io.colour(stream) != tt.want {
			t.Errorf("--color %q %s, terminal %v: %v", tt.flag, tt.env, tt.terminal, !tt.want)
		}
	}
}

func TestGuard(t *testing.T) {
	boom := func() error { panic("boom") }
	err := guard(&IO{}, boom)
	if exitCode(err) != exitFailed || !strings.HasPrefix(err.Error(), "this is a mistake in runloop dev: boom; RLP_DEBUG=1") {
		t.Error(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("RLP_DEBUG hides where it was")
		}
	}()
	_ = guard(&IO{Environ: []string{"RLP_DEBUG=1"}}, boom)
}

// TestNoInput: nobody is asked with --no-input, and the error says why.
func TestNoInput(t *testing.T) {
	p := newSitter(t, "y")
	io := &IO{Stdin: p.tty, Stdout: p.tty, Stderr: p.tty, Environ: []string{"TERM=xterm"}, common: commonFlags{noInput: true}}
	ok, err := io.askYes("Grant that?")
	if ok || exitCode(err) != exitDeclined || err.Error() != "--no-input keeps from asking; add --yes to agree" {
		t.Errorf("%v, %v", ok, err)
	}
	if text := p.text(); text != "" {
		t.Errorf("it says %q", text)
	}
}
