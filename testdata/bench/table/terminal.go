package main

import (
	"errors"
	"os"
	"os/exec"
	"strconv"

	"golang.org/x/sys/unix"
)

// terminal is a program in a pseudo-terminal, seen from the other end
// (pty(7)).
type terminal struct {
	*os.File
	cmd *exec.Cmd
}

// startInTerminal starts a program with a terminal of 80 by 24 as its own.
func startInTerminal(cmd *exec.Cmd) (*terminal, error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("open /dev/ptmx", err)
	}
	t := &terminal{os.NewFile(uintptr(fd), "/dev/ptmx"), cmd}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	err = errors.Join(err, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0),
		unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}))
	if err != nil {
		t.Close()
		return nil, err
	}
	end, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Close()
		return nil, err
	}
	defer end.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = end, end, end
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// close hangs up, which ends the program.
func (t *terminal) close() {
	t.Close()
	_ = t.cmd.Process.Kill()
	_ = t.cmd.Wait()
}
