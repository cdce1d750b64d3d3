package runloop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/runloop-os/runloop/router/shell"
)

// change is one thing that is on this machine because of the program.
type change struct {
	What string `json:"what"`
	Path string `json:"path"`
	Undo string `json:"undo"` // a command, or what to do
}

// showChanges lists what was installed, written and enabled here, and how to
// undo it. The program sends nothing anywhere, so this is all.
func (o *IO) showChanges(asJSON bool) error {
	changes, err := o.changes()
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(o.Stdout, changes)
	}
	t := &table{head: []string{"WHAT", "WHERE", "UNDO"}}
	for _, c := range changes {
		t.add(c.What, c.Path, c.Undo)
	}
	return o.showTable(t)
}

func (o *IO) changes() ([]change, error) {
	cfg, err := o.configSource().load()
	if err != nil {
		return nil, err
	}
	out := append([]change{}, o.changedStartupFiles()...)
	add := func(what, undo string, paths ...string) {
		for _, path := range paths {
			if _, err := os.Lstat(path); path != "" && err == nil {
				out = append(out, change{what, path, undo + " " + shellQuote(path)})
			}
		}
	}
	p := o.places(cfg)
	add("daemon's socket", "stop the daemon; it takes it away:", socketPath(cfg))
	add("state: ledger, agents, grants, configuration", "rm -r", p.work)
	if !within(p.pog, p.work) {
		add("ledger and views", "rm -r", p.pog)
	}
	if !within(cfg.Security.Secrets.Root, p.work) {
		add("secrets", "rm -r", cfg.Security.Secrets.Root)
	}
	if cfg.Logging.File != "" {
		add("log", "rm", cfg.Logging.File)
	}
	add("compiled modules", "rm -r", p.cache)
	add("service of the user", "systemctl --user disable --now runloopd; rm", o.below("HOME",
		".config/systemd/user/runloopd.service", ".config/systemd/user/runloopd.socket")...)
	add("service of the machine", "systemctl disable --now runloopd; rm", "/etc/systemd/system/runloopd.service",
		"/etc/systemd/system/runloopd.socket")
	add("configuration of the machine", "rm", systemConfig)
	add("state of the machine's daemon", "rm -r", "/var/lib/runloop", "/run/runloop")
	return append(out, o.installedPrograms()...), nil
}

// below are files below the folder that a variable names, none if it is unset.
func (o *IO) below(variable string, names ...string) []string {
	var out []string
	if dir := o.getenv(variable); dir != "" {
		for _, n := range names {
			out = append(out, filepath.Join(dir, n))
		}
	}
	return out
}

// changedStartupFiles are those with the integration's lines, and the copies that
// were kept of them.
func (o *IO) changedStartupFiles() []change {
	var out []change
	for _, name := range shells {
		e := &startupEdit{shell: name}
		if e.complete(o) != nil {
			continue
		}
		if f, err := openStartupFile(e.rcPath); err == nil {
			if block, err := shell.FindBlock(f.text); err == nil && block != nil {
				out = append(out, change{fmt.Sprintf("lines %d to %d of a startup file", block.Lines[0], block.Lines[1]),
					e.rcPath, "rlp shell disable --shell " + name})
			}
		}
		copies, _ := filepath.Glob(e.rcPath + ".runloop-*") // fails on bad patterns only
		for _, c := range copies {
			out = append(out, change{"copy of a startup file", c, "rm " + shellQuote(c)})
		}
	}
	return out
}

// installedPrograms are the executable, its names, and what make install put
// beside it.
func (o *IO) installedPrograms() []change {
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	var out []change
	seen := map[string]bool{}
	add := func(what, path string) {
		if _, err := os.Lstat(path); !seen[path] && err == nil {
			seen[path] = true
			out = append(out, change{what, path, "rm " + shellQuote(path)})
		}
	}
	for _, dir := range filepath.SplitList(o.getenv("PATH")) {
		for _, a := range append([]applet{{name: "runloop"}}, applets()...) {
			path := filepath.Join(dir, a.name)
			if filepath.IsAbs(dir) && sameFile(path, self) && (a.link || a.name == "runloop") {
				add("program", path)
			}
		}
	}
	add("program", self)
	share := filepath.Join(filepath.Dir(filepath.Dir(self)), "share")
	for _, pattern := range []string{"man/man1/rlp.1", "man/man1/agtop.1", "man/man8/runloopd.8", "man/man5/runloop-opening.5"} {
		add("manual", filepath.Join(share, pattern))
	}
	for _, a := range append([]applet{{name: "runloop"}}, applets()...) {
		add("completion", filepath.Join(share, "bash-completion/completions", a.name))
		add("completion", filepath.Join(share, "fish/vendor_completions.d", a.name+".fish"))
	}
	add("completion", filepath.Join(share, "zsh/site-functions/_rlp"))
	return out
}

// within reports whether path lies at or below dir.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// shellQuote writes a path as a word of sh.
func shellQuote(path string) string {
	plain := func(r rune) bool {
		return r < 0x80 && (r == '/' || r == '.' || r == '-' || r == '_' || r == '+' || r == ':' || r == ',' ||
			'0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
	}
	if path != "" && strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
