package wasm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// programPath is where programs that are granted by name are looked for, and
// the PATH that they get: the host's own has no say.
const programPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// executable is a program that was opened and checked; what is open is what
// runs, whatever happens to its name afterwards.
type executable struct {
	*os.File
	path   string // without symbolic links
	script bool   // its interpreter opens it by name
}

// openProgram finds and opens what argv[0] names, if that is granted.
func (d *door) openProgram(ctx context.Context, p *program, args []byte) error {
	name := p.argv[0]
	found, ok := d.caller.Caps.programFor(name)
	if !ok {
		return d.deny(ctx, capExec, p.op, printable(clipText(name, 128)), args)
	}
	file, err := openExecutable(found)
	if err != nil {
		return errorf(CodeSpawn, "%s: %s: %v", p.op, name, err)
	}
	if why := d.caller.Caps.unsafeProgram(file); why != "" {
		file.Close()
		return d.refuse(ctx, refusal{family: capExec, op: p.op, target: name, reason: why}, args)
	}
	p.file = file
	return nil
}

// programFor is the absolute path that argv[0] stands for, if the capabilities
// grant it: as it stands, or as the last part of a path that is granted. A name
// is looked for in programPath only, and only if it is granted; anything else
// with a slash in it is nobody's.
func (c *Caps) programFor(name string) (path string, granted bool) {
	listed := c.Exec.All || slices.Contains(c.Exec.List, name)
	switch {
	case strings.Contains(name, "/"):
		return name, listed && filepath.IsAbs(name) && filepath.Clean(name) == name
	case name == "." || name == "..":
		return "", false
	case listed:
		return lookUpProgram(name), true
	}
	for _, path := range c.Exec.List {
		if filepath.IsAbs(path) && filepath.Base(path) == name {
			return path, true
		}
	}
	return "", false
}

func lookUpProgram(name string) string {
	for _, dir := range filepath.SplitList(programPath) {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// openExecutable opens a program and looks at what was opened.
func openExecutable(path string) (*executable, error) {
	if path == "" {
		return nil, errors.New("no such program")
	}
	if within(path, "/proc") || within(path, "/dev") {
		return nil, errors.New("not a file of the file system")
	}
	// Nonblocking, or opening a FIFO would wait.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, reason(err)
	}
	e := &executable{File: f}
	if err := e.check(); err != nil {
		f.Close()
		return nil, err
	}
	return e, nil
}

func (e *executable) check() error {
	st, err := e.Stat()
	if err != nil {
		return reason(err)
	}
	if !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
		return errors.New("not an executable file")
	}
	if e.path, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", e.Fd())); err != nil {
		return reason(err)
	}
	if !filepath.IsAbs(e.path) {
		return errors.New("not a file of the file system")
	}
	head := make([]byte, 2)
	n, err := e.ReadAt(head, 0)
	e.script = n == 2 && string(head) == "#!"
	if n < 2 && err != nil {
		return errors.New("not an executable file")
	}
	return nil
}

// unsafeProgram says why a granted program is not run all the same, or "".
func (c *Caps) unsafeProgram(e *executable) string {
	st, err := e.Stat()
	switch {
	case err != nil:
		return "it cannot be looked at"
	case st.Mode()&(os.ModeSetuid|os.ModeSetgid) != 0:
		return "it runs with the rights of another user"
	case st.Mode().Perm()&0o002 != 0:
		return "anybody may change it"
	}
	for _, g := range c.FS {
		if g.Write && within(e.path, g.Path) {
			return "the agent may change it"
		}
	}
	return ""
}
