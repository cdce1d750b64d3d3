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

// starts is how often each program is started.
const starts = 500

// startRows measure what is over at once, most of all `rlp route`, which a shell
// waits for on every Enter: each in turn with a Go program that does nothing.
func startRows() ([]row, error) {
	h, err := newHome()
	if err != nil {
		return nil, err
	}
	defer h.remove()
	built, err := buildProgram(h.dir, "exit")
	if err != nil {
		return nil, err
	}
	exit := filepath.Join(h.bin, "exit")
	if err := copyProgram(exit, built); err != nil {
		return nil, err
	}
	configured, err := newConfiguredHome()
	if err != nil {
		return nil, err
	}
	defer configured.remove()
	line := []string{"route", "git status --short"}
	mebibyte := bytes.Repeat([]byte("word "), 1<<20/5)
	figures, err := inTurns(starts, []func() *exec.Cmd{
		func() *exec.Cmd { return exec.Command(exit) },
		func() *exec.Cmd { return h.command("rlp", line...) },
		func() *exec.Cmd { return configured.command("rlp", line...) },
		func() *exec.Cmd { return h.command("rlp", "version") },
		func() *exec.Cmd { return h.command("rlp", "--help") },
		func() *exec.Cmd {
			cmd := h.command("rlp", "route", "--stdin")
			cmd.Stdin = bytes.NewReader(mebibyte)
			return cmd
		},
	})
	if err != nil {
		return nil, err
	}
	reference, route, withConfig := figures[0], figures[1], figures[2]
	const against = "reference a Go program that exits at once"
	return []row{
		ratioAtMost("rlp route, a process, p50; "+against, "ms", route, reference, 2.5),
		atMost("rlp route, a process, p50", "ms", median(route), 5),
		noted("rlp route, a process, p99; "+against, "ms", quantile(route, 0.99), quantile(reference, 0.99)),
		ratioAtMost("rlp route with a configuration file, p50; "+against, "ms", withConfig, reference, 2.5),
		noted("rlp route with a configuration file, p99; "+against, "ms", quantile(withConfig, 0.99), quantile(reference, 0.99)),
		atMost("rlp route, a line of 1 MiB on stdin, p50", "ms", median(figures[5]), 50),
		noted("rlp version, p50; "+against, "ms", median(figures[3]), median(reference)),
		noted("rlp --help, p50; "+against, "ms", median(figures[4]), median(reference)),
	}, nil
}

// newConfiguredHome has a configuration with patterns for the router, and waits
// until `rlp route` remembers it: a file that changed just now it reads again.
func newConfiguredHome() (*home, error) {
	h, err := newHome()
	if err != nil {
		return nil, err
	}
	config := "logging: {level: warn}\nrouter:\n  denylist: [mkfs, \"rm -rf /\"]\n  allowlist: [jira]\n"
	if err := os.WriteFile(filepath.Join(h.dir, ".runloop", "config.yaml"), []byte(config), 0o600); err != nil {
		return nil, errors.Join(err, os.RemoveAll(h.dir))
	}
	for range 200 {
		_ = h.command("rlp", "route", "ls").Run() // 10 means shell
		if _, err := os.Stat(filepath.Join(h.dir, ".cache", "runloop", "router-settings")); err == nil {
			return h, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	h.remove()
	return nil, errors.New("rlp route does not remember its configuration")
}

// inTurns runs programs n times each, one after the other, and returns the wall
// times in ms. A decision ends with 10 or 11.
func inTurns(n int, programs []func() *exec.Cmd) ([][]float64, error) {
	out := make([][]float64, len(programs))
	for range n {
		for i, program := range programs {
			cmd := program()
			ms, err := milliseconds(cmd.Run)
			if code := cmd.ProcessState.ExitCode(); code != 0 && code != 10 && code != 11 {
				return nil, fmt.Errorf("%v: %w", cmd.Args, err)
			}
			out[i] = append(out[i], ms)
		}
	}
	return out, nil
}
