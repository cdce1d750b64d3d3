package runloop

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runloop-os/runloop/router"
)

//go:embed probe
var probeFiles embed.FS

// probeTime is how long a shell may take to read its startup files.
const probeTime = 10 * time.Second

// probeShell starts a shell of the user's on a terminal of its own, with the
// startup file rc, and returns what it says of itself at its first prompt. No
// line is typed into it, so nothing gets into its history.
func (o *IO) probeShell(ctx context.Context, shell, rc string) (map[string]string, error) {
	dir, err := os.MkdirTemp("", "runloop-doctor-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	args, err := layProbe(shell, dir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, shell, args...)
	cmd.Env = o.probeEnviron(shell, rc, dir)
	if err := runOnTerminal(cmd); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("no prompt came within %s", probeTime)
		}
		return nil, err
	}
	said, err := readFileLimited(filepath.Join(dir, "out"), 1<<20)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errors.New("it ended before its first prompt")
	}
	found := map[string]string{}
	for line := range strings.SplitSeq(string(said), "\n") {
		if key, value, ok := strings.Cut(line, "="); ok {
			found[key] = value
		}
	}
	return found, err
}

// layProbe writes the probe's files into dir and returns the shell's arguments.
func layProbe(shell, dir string) ([]string, error) {
	files := map[string]string{"bash": "bash"}
	args := []string{"--rcfile", filepath.Join(dir, "bash"), "-i"}
	if shell == string(router.Zsh) {
		files = map[string]string{"zshenv": ".zshenv", "zshrc": ".zshrc"}
		args = []string{"-i"}
	}
	for from, to := range files {
		text, err := probeFiles.ReadFile("probe/" + from)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, to), text, 0o600); err != nil {
			return nil, err
		}
	}
	return args, nil
}

// probeEnviron is the environment with what the probe is told, and without what
// another shell said of itself.
func (o *IO) probeEnviron(shell, rc, dir string) []string {
	var env []string
	for _, kv := range o.Environ {
		name, value, _ := strings.Cut(kv, "=")
		if name == stateVariable || name == "ZDOTDIR" || name == "TERM" && (value == "" || value == "dumb") {
			continue
		}
		env = append(env, kv)
	}
	if term := o.getenv("TERM"); term == "" || term == "dumb" {
		env = append(env, "TERM=xterm-256color")
	}
	env = append(env, "RL_DOCTOR_RC="+rc, "RL_DOCTOR_DIR="+dir, "RL_DOCTOR_OUT="+filepath.Join(dir, "out"))
	if shell == string(router.Zsh) {
		env = append(env, "ZDOTDIR="+dir, "RL_DOCTOR_ZDOTDIR="+o.getenv("ZDOTDIR"))
	}
	return env
}

// runOnTerminal runs a program on a new pseudo-terminal (pty(7)) whose output
// nobody looks at, in a session of its own, and ends what is left of that.
func runOnTerminal(cmd *exec.Cmd) error {
	master, terminal, err := openTerminal()
	if err != nil {
		return err
	}
	defer master.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err = cmd.Start()
	terminal.Close()
	if err != nil {
		return err
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, master) // ends with the session, or when master is closed
	}()
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		err = nil // its status is what the startup file left
	}
	master.Close()
	<-drained
	return err
}

// openTerminal opens a pseudo-terminal: both its sides.
func openTerminal() (master, terminal *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("a terminal to start the shell on: %w", err)
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		master.Close()
		return nil, nil, fmt.Errorf("a terminal to start the shell on: %w", err)
	}
	_ = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}) // some startup files look
	return master, terminal, nil
}
