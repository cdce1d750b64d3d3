package runloop

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/runloop-os/runloop/router"
	"github.com/runloop-os/runloop/router/shell"
)

// examine runs rlp doctor in a home and returns its checks by name and result.
func (h *home) examine(env ...string) map[string]check {
	h.t.Helper()
	cmd := h.command("rlp", "doctor", "--json")
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatal(err)
	}
	var e examined
	h.Check(json.Unmarshal(out, &e))
	if (err == nil) != e.OK {
		h.t.Errorf("it ends with %v, and ok is %v", err, e.OK)
	}
	found := map[string]check{}
	for _, c := range e.Checks {
		if strings.HasPrefix(c.Name, "shell") || c.Name == "startup file" {
			found[c.Name] = c
		}
	}
	return found
}

// TestDoctorLooksAtShells starts real shells with startup files that are right,
// and some that are not.
func TestDoctorLooksAtShells(t *testing.T) {
	for _, tt := range []struct {
		name   string
		shell  router.Shell
		before string // in the startup file, around the integration
		after  string
		env    string
		want   map[string]string // results
		found  string            // in what was found
	}{
		{"right", router.Bash, "", "", "", map[string]string{
			"startup file": checkOK, "shell": checkOK, "shell key": checkOK, "shell hook": checkOK, "shell paste": checkOK}, ""},
		{"right", router.Zsh, "", "", "", map[string]string{
			"startup file": checkOK, "shell": checkOK, "shell key": checkOK, "shell hook": checkOK, "shell paste": checkOK}, ""},
		{"vi", router.Zsh, "bindkey -v", "", "", map[string]string{"shell key": checkOK}, ""},
		{"vi", router.Bash, "set -o vi", "", "", map[string]string{"shell key": checkOK}, ""},
		{"key taken", router.Bash, "", `bind '"\C-m": accept-line'`, "", map[string]string{"shell key": checkFailed}, ""},
		{"hook gone", router.Bash, "", "PROMPT_COMMAND='true'", "", map[string]string{"shell hook": checkFailed}, "_rl_ps1 is not called"},
		{"hook gone", router.Zsh, "", "zshaddhistory_functions=()", "", map[string]string{"shell hook": checkFailed}, "_rl_addhistory is not called"},
		{"paste off", router.Bash, "", `bind 'set enable-bracketed-paste off'`, "", map[string]string{"shell paste": checkWarning}, ""},
		{"paste off", router.Zsh, "", `unset zle_bracketed_paste`, "", map[string]string{"shell paste": checkWarning}, ""},
		{"off", router.Zsh, "", "", "RUNLOOP_ROUTER_DISABLE=1", map[string]string{"shell": checkWarning}, "it is off: RUNLOOP_ROUTER_DISABLE is set"},
		{"off", router.Bash, "", "runloop_router_off", "", map[string]string{"shell": checkWarning}, "it is off: runloop_router_off"},
		{"not reached", router.Bash, "return", "", "", map[string]string{"startup file": checkOK, "shell": checkFailed}, "did not load"},
		{"noise", router.Zsh, "echo hello; print -u2 there", "", "", map[string]string{"shell": checkOK}, ""},
		{"ends", router.Bash, "", "exit 3", "", map[string]string{"shell": checkWarning}, "it ended before its first prompt"},
		{"other key", router.Zsh, "export RUNLOOP_ROUTER_BINDKEY='^G'", "", "", map[string]string{"shell key": checkNote}, "the key ^G"},
		{"not enabled", router.Zsh, "none", "", "", map[string]string{"startup file": checkNote}, "does not load"},
	} {
		t.Run(tt.name+"/"+string(tt.shell), func(t *testing.T) {
			t.Parallel()
			needPrograms(t, string(tt.shell))
			h := newHome(t, "SHELL=/bin/"+string(tt.shell), "CI=")
			rc := h.dir + "/." + string(tt.shell) + "rc"
			text := "none\n"
			if tt.before != "none" {
				block, err := shell.StartupBlock(tt.shell, "")
				h.Check(err)
				edited, err := shell.WithBlock([]byte(tt.before+"\n"), block)
				h.Check(err)
				text = string(edited) + tt.after + "\n"
			} else {
				text = "true\n"
			}
			writeFiles(t, map[string]string{rc: text})
			got := h.examine(tt.env)
			for name, result := range tt.want {
				if got[name].Result != result {
					t.Errorf("%s is %+v, want %s", name, got[name], result)
				}
			}
			said := ""
			for _, c := range got {
				said += c.Found + "\n"
				if c.Result == checkFailed && c.Fix == "" {
					t.Errorf("%s says nothing of what to do", c.Name)
				}
			}
			if !strings.Contains(said, tt.found) {
				t.Errorf("found %q, want %q", said, tt.found)
			}
			if tt.name != "not reached" && tt.name != "ends" && tt.name != "not enabled" && len(got) < 2 {
				t.Errorf("only %v", got)
			}
		})
	}
}

// TestDoctorForAPerson: a line for each check, what to do below it, and no
// meaning by colour alone.
func TestDoctorForAPerson(t *testing.T) {
	e := &examination{checks: []check{
		{"one", checkOK, "all well", ""}, {"another", checkFailed, "ba\x1bd", "mend it"},
	}}
	want := "+ ok       one      all well\nx failed   another  ba\\x1bd\n                    mend it\n"
	if got := e.text(0, false); got != want {
		t.Errorf("%q", got)
	}
	e.checks[0].Found = "all is as well as it can be here"
	if got := e.text(45, false); !strings.Contains(got, "all is as well as it can\n                    be here\n") {
		t.Errorf("%q", got)
	}
	if got := e.text(80, true); !strings.Contains(got, "\x1b[31mx failed \x1b[0m") {
		t.Errorf("%q", got)
	}
}

func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{"/a/b-c": "/a/b-c", "/a b": "'/a b'", "it's": `'it'\''s'`, "": "''", "~": "'~'", "$x": "'$x'"} {
		if got := shellQuote(in); got != want {
			t.Errorf("%q: %s", in, got)
		}
	}
}
