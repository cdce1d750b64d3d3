package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// idleFor is how long an idle daemon is looked at.
const idleFor = 10 * time.Second

// daemonRows starts a daemon, lets it be idle, and looks at what it takes.
func daemonRows() (rows []row, err error) {
	h, err := newHome()
	if err != nil {
		return nil, err
	}
	defer h.remove()
	cmd := h.command("runloopd")
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		err = errors.Join(err, cmd.Wait())
	}()
	if err := waitFor(filepath.Join(h.dir, ".runloop/sock/rmp.sock")); err != nil {
		return nil, err
	}
	time.Sleep(3 * time.Second) // until what it does at its start is done
	before, err := switches(cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	time.Sleep(idleFor)
	after, err := switches(cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	rss, err := statusField(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid), "VmRSS:")
	return []row{
		atMost("idle daemon, memory", "MiB", float64(rss)/1024, 40),
		atMost("idle daemon, wake-ups", "per s", float64(after-before)/idleFor.Seconds(), 1),
	}, err
}

func waitFor(file string) error {
	for range 200 {
		if _, err := os.Stat(file); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("%s did not appear", file)
}

// switches counts how often the threads of a process went to sleep, and so
// were woken.
func switches(pid int) (n int, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		return 0, err
	}
	for _, t := range tasks {
		x, err := statusField(t, "voluntary_ctxt_switches:")
		if err != nil {
			return 0, err
		}
		n += x
	}
	return n, nil
}

// statusField reads a number out of /proc/<pid>/status.
func statusField(file, name string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strconv.Atoi(strings.Fields(rest)[0])
		}
	}
	return 0, fmt.Errorf("%s has no %s", file, name)
}
