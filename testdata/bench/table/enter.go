package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// enters is how often Enter is pressed in each shell.
const enters = 200

// enterRows measure what a person at a shell waits for: from Enter to the next
// prompt, with the integration and without it. The line is a command that does
// nothing, so the difference is the decision and all that the shell does for it.
// Shells that are not there are left out.
func enterRows() (rows []row, err error) {
	h, err := newHome()
	if err != nil {
		return nil, err
	}
	defer h.remove()
	for _, shell := range []string{"zsh", "bash"} {
		if _, err := exec.LookPath(shell); err != nil {
			fmt.Fprintln(os.Stderr, "table: no", shell)
			continue
		}
		plain, ours, err := enterTimes(h, shell)
		if err != nil {
			return rows, fmt.Errorf("%s: %w", shell, err)
		}
		const what = "Enter in %s to the next prompt, %s; reference without the integration"
		rows = append(rows,
			noted(fmt.Sprintf(what, shell, "p50"), "ms", median(ours), median(plain)),
			noted(fmt.Sprintf(what, shell, "p99"), "ms", quantile(ours, 0.99), quantile(plain, 0.99)))
	}
	return rows, nil
}

// enterTimes presses Enter in two shells in turns.
func enterTimes(h *home, shell string) (plain, ours []float64, err error) {
	without, err := startShell(h, shell, "")
	if err != nil {
		return nil, nil, err
	}
	defer without.close()
	with, err := startShell(h, shell, `eval "$(rlp shell init `+shell+`)"`)
	if err != nil {
		return nil, nil, err
	}
	defer with.close()
	for range enters {
		for _, s := range []struct {
			*terminal
			times *[]float64
		}{{without, &plain}, {with, &ours}} {
			ms, err := milliseconds(func() error { return s.command("true") })
			if err != nil {
				return nil, nil, err
			}
			*s.times = append(*s.times, ms)
		}
	}
	// The integration was on: a request comes back as one.
	if err := with.command("RUNLOOP_CONFIRM=1"); err != nil {
		return nil, nil, err
	}
	if err := with.typeUntil("what is eating my disk?\r", "agents? Enter"); err != nil {
		return nil, nil, fmt.Errorf("the integration is not on: %w", err)
	}
	return plain, ours, nil
}

// prompt is what the shells show when they wait.
const prompt = "<ready>"

// startShell starts a shell with a line in its startup file, in a terminal of its
// own, and waits for its prompt.
func startShell(h *home, shell, line string) (*terminal, error) {
	dir, err := os.MkdirTemp(h.dir, shell)
	if err != nil {
		return nil, err
	}
	rc := filepath.Join(dir, "."+shell+"rc")
	cmd := exec.Command(shell, "--rcfile", rc, "-i")
	text := "PS1='" + prompt + " '\n" + line + "\n"
	if shell == "zsh" {
		cmd = exec.Command(shell, "-i")
		text = "unsetopt prompt_sp\n" + text
	}
	if err := os.WriteFile(rc, []byte(text), 0o600); err != nil {
		return nil, err
	}
	cmd.Env = []string{"HOME=" + h.dir, "ZDOTDIR=" + dir, "TERM=xterm", "PATH=" + h.bin + ":" + os.Getenv("PATH")}
	t, err := startInTerminal(cmd)
	if err != nil {
		return nil, err
	}
	if err := t.typeUntil("", prompt); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// command runs a command and waits for the next prompt.
func (t *terminal) command(line string) error { return t.typeUntil(line+"\r", prompt) }

// shellPatience is how long a shell may take to answer.
const shellPatience = 20 * time.Second

// typeUntil types and reads until the terminal has shown a text.
func (t *terminal) typeUntil(keys, want string) error {
	if _, err := t.WriteString(keys); err != nil {
		return err
	}
	if err := t.SetReadDeadline(time.Now().Add(shellPatience)); err != nil {
		return err
	}
	var shown []byte
	for buf := make([]byte, 4096); ; {
		n, err := t.Read(buf)
		shown = append(shown, buf[:n]...)
		switch {
		case bytes.Contains(shown, []byte(want)):
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("no %q within %v, but %q", want, shellPatience, shown)
		case err != nil:
			return fmt.Errorf("after %q: %w", shown, err)
		}
	}
}
