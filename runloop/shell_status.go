package runloop

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/runloop-os/runloop/router/shell"
)

// stateVariable is where a shell says that the integration is loaded: the
// shell's name, the version, the shell's process, and on, or off and why.
const stateVariable = "RUNLOOP_ROUTER_STATE"

// shellReport is what `rlp shell status --json` prints.
type shellReport struct {
	Shell   string       `json:"shell"`
	RCPath  string       `json:"rc_path"`
	Enabled bool         `json:"enabled"`
	Lines   *[2]int      `json:"lines,omitempty"` // of the startup file
	Problem string       `json:"problem,omitempty"`
	Loaded  *shellLoaded `json:"loaded,omitempty"`
	Version string       `json:"version"` // of this binary
	OnPath  bool         `json:"rlp_on_path"`
}

// shellLoaded is what a shell says of itself.
type shellLoaded struct {
	Shell   string `json:"shell"`
	Version string `json:"version"`
	PID     int    `json:"pid"`
	// Here is false when the shell that said so is not the one that asks, but
	// one that it was started from.
	Here   bool   `json:"here"`
	On     bool   `json:"on"`
	Reason string `json:"reason,omitempty"`
}

// loadedShell reads what the shell says of itself, nil if it says nothing.
func loadedShell(io *IO) *shellLoaded {
	f := strings.SplitN(io.getenv(stateVariable), " ", 5)
	if len(f) < 4 {
		return nil
	}
	l := &shellLoaded{Shell: f[0], Version: f[1], On: f[3] == "on"}
	l.PID, _ = strconv.Atoi(f[2])
	l.Here = l.PID == os.Getppid()
	if len(f) == 5 {
		l.Reason = f[4]
	}
	if off := io.getenv("RUNLOOP_ROUTER_DISABLE"); l.On && off != "" && off != "0" && io.getenv("RUNLOOP_ROUTER_FORCE") != "1" {
		l.On, l.Reason = false, "RUNLOOP_ROUTER_DISABLE is set"
	}
	return l
}

func shellStatus(io *IO, e *startupEdit) error {
	loaded := loadedShell(io)
	if e.shell == "" && e.rcPath == "" && loaded != nil {
		e.shell = loaded.Shell
	}
	if err := e.complete(io); err != nil {
		return err
	}
	r := shellReport{Shell: e.shell, RCPath: e.rcPath, Loaded: loaded, Version: version}
	_, err := exec.LookPath("rlp")
	r.OnPath = err == nil || errors.Is(err, exec.ErrDot)
	f, err := openStartupFile(e.rcPath)
	var block *shell.Block
	if err == nil {
		block, err = shell.FindBlock(f.text)
	}
	if err != nil {
		r.Problem = err.Error()
	}
	if block != nil {
		r.Enabled, r.Lines = true, &block.Lines
	}
	if e.json {
		return printJSON(io.Stdout, r)
	}
	_, err = fmt.Fprint(io.Stdout, r.text())
	return err
}

// text is the report for a person.
func (r *shellReport) text() string {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-8s %s\n", name, printable(fmt.Sprintf(format, args...)))
	}
	row("shell", "%s", r.Shell)
	switch {
	case r.Problem != "":
		row("startup", "%s: %s", r.RCPath, r.Problem)
	case r.Enabled:
		row("startup", "%s, lines %d to %d", r.RCPath, r.Lines[0], r.Lines[1])
	default:
		row("startup", "not in %s; rlp shell enable", r.RCPath)
	}
	switch l := r.Loaded; {
	case l == nil:
		row("loaded", "no")
	case !l.Here:
		row("loaded", "in %s, process %d, which this shell was started from, but not here", l.Shell, l.PID)
	case !l.On:
		row("loaded", "%s, off: %s; runloop_router_on", l.Version, l.Reason)
	default:
		row("loaded", "%s, on", l.Version)
	}
	if l := r.Loaded; l != nil && l.Here && l.Version != r.Version {
		row("version", "%s; open a new shell to load it", r.Version)
	} else {
		row("version", "%s", r.Version)
	}
	if !r.OnPath {
		row("path", "rlp is not on it, so each line runs in the shell")
	}
	return b.String()
}
