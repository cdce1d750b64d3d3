package runloop

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/runloop-os/runloop/router"
	"github.com/runloop-os/runloop/router/shell"
)

// Bounds of the check of rlp route.
const (
	routeTries = 15
	routeSlow  = 20 * time.Millisecond // of half the tries; it runs at every Enter
)

// route measures rlp route as a shell starts it.
func (e *examination) route(ctx context.Context) {
	const name = "route"
	self, err := os.Executable()
	if err != nil {
		return // program says so
	}
	var took []time.Duration
	for range routeTries {
		cmd := exec.CommandContext(ctx, self, "route", "--stdin")
		cmd.Args[0], cmd.Stdin, cmd.Env = "rlp", strings.NewReader("git status --short"), e.io.Environ
		began := time.Now()
		_, err := cmd.Output()
		took = append(took, time.Since(began))
		if code := cmd.ProcessState.ExitCode(); code != router.ExitShell {
			e.fail(name, "try it: rlp route git status", "it exits with %d for a command (%v)", code, err)
			return
		}
	}
	slices.Sort(took)
	half, most := took[len(took)/2], took[len(took)-1]
	if half > routeSlow {
		e.warn(name, "look what else the machine does; each Enter waits for it", "%s, at most %s", half.Round(100*time.Microsecond),
			most.Round(100*time.Microsecond))
		return
	}
	e.ok(name, "decides in %s, at most %s", half.Round(100*time.Microsecond), most.Round(100*time.Microsecond))
}

// shell looks at the startup file of the user's shell and, where that loads the
// integration, at what comes of it.
func (e *examination) shell(ctx context.Context, start bool) {
	const name = "shell"
	edit := &startupEdit{}
	if loaded := loadedShell(e.io); loaded != nil {
		edit.shell = loaded.Shell
	}
	if err := edit.complete(e.io); err != nil {
		e.add(name, checkNote, "", "the integration is for %s; SHELL is %q", strings.Join(shells, " and "), e.io.getenv("SHELL"))
		return
	}
	block := e.startupFile(edit)
	if block == nil && loadedShell(e.io) == nil || !start {
		return
	}
	if _, err := exec.LookPath(edit.shell); err != nil {
		e.fail(name, "install it", "%s is not there", edit.shell)
		return
	}
	found, err := e.io.probeShell(ctx, edit.shell, edit.rcPath)
	if err != nil {
		e.warn(name, "start it yourself, and type: runloop_router_status", "%s could not be looked at: %v", edit.shell, err)
		return
	}
	e.loaded(edit, found)
}

// startupFile looks for the block in the startup file.
func (e *examination) startupFile(edit *startupEdit) *shell.Block {
	const name = "startup file"
	f, err := openStartupFile(edit.rcPath)
	var block *shell.Block
	if err == nil {
		block, err = shell.FindBlock(f.text)
	}
	switch {
	case err != nil:
		e.fail(name, "mend it, then: rlp shell enable", "%s: %v", edit.rcPath, err)
	case block == nil:
		e.add(name, checkNote, "rlp shell enable", "%s does not load the integration", edit.rcPath)
	default:
		e.ok(name, "%s loads the integration in lines %d to %d", edit.rcPath, block.Lines[0], block.Lines[1])
		if rest := bytes.TrimSpace(f.text[block.To:]); len(rest) > 0 && bytes.Contains(rest, []byte("ble.sh")) {
			e.warn(name, "move the block behind it", "ble.sh is loaded after the integration")
		}
	}
	return block
}

// loaded judges what a shell said of itself.
func (e *examination) loaded(edit *startupEdit, found map[string]string) {
	const name = "shell"
	shell := edit.shell + " " + found["version"]
	state := strings.SplitN(found["state"], " ", 5)
	switch {
	case len(state) < 4:
		e.fail(name, "see that it stands where it is reached in "+edit.rcPath, "%s did not load the integration", shell)
		return
	case state[1] != version:
		e.warn(name, "see which rlp is first on the PATH of new shells", "%s loads version %s, and this is %s", shell, state[1], version)
	}
	if state[3] != "on" {
		why := "it was switched off"
		if len(state) == 5 {
			why = state[4]
		}
		e.warn(name, "RUNLOOP_ROUTER_FORCE=1 has it on in any case", "%s has loaded it, and it is off: %s", shell, why)
		return
	}
	e.ok(name, "%s has loaded it, and it is on", shell)
	e.key(edit, found)
	e.hook(edit, found)
	e.paste(edit, found)
	if found["rlp"] == "" {
		e.fail("shell path", "put its folder on the PATH in "+edit.rcPath, "%s does not find rlp, so each line runs in the shell", edit.shell)
	}
}

// key looks what Enter is bound to.
func (e *examination) key(edit *startupEdit, found map[string]string) {
	const name = "shell key"
	enter := found["enter"]
	switch {
	case found["key"] != "" && found["key"] != "^M":
		e.add(name, checkNote, "", "the router has the key %s (RUNLOOP_ROUTER_BINDKEY), Enter is the shell's", found["key"])
	case found["blesh"] != "":
		e.ok(name, "ble.sh %s has the keys, and asks the router", found["blesh"])
	case edit.shell == string(router.Zsh) && enter == "_rl_accept",
		edit.shell == string(router.Bash) && strings.Contains(enter, "_R1") && found["decider"] != "0":
		e.ok(name, "Enter goes to the router")
	default:
		e.fail(name, "let rlp's lines stand last in "+edit.rcPath+": something after them took the key",
			"Enter is bound to %s", orText(enter, "something else"))
	}
}

// hook looks whether the hook runs that tells a first line from the others.
func (e *examination) hook(edit *startupEdit, found map[string]string) {
	const name = "shell hook"
	want := []string{"_rl_ps1"}
	if edit.shell == string(router.Zsh) {
		want = []string{"_rl_addhistory", "_rl_precmd"}
	}
	for _, hook := range want {
		if !strings.Contains(found["hooks"], hook) && !strings.Contains(found["hooks"], "_rl_run_ps1") && found["blesh"] == "" {
			e.fail(name, "let rlp's lines stand last in "+edit.rcPath+": something after them replaced the hooks", "%s is not called", hook)
			return
		}
	}
	e.ok(name, "called at each prompt")
}

// paste looks whether a text of several lines is one text.
func (e *examination) paste(edit *startupEdit, found map[string]string) {
	const name = "shell paste"
	if found["paste"] == "on" {
		e.ok(name, "a pasted text is one text")
		return
	}
	fix := `bind "set enable-bracketed-paste on" in ` + edit.rcPath
	if edit.shell == string(router.Zsh) {
		fix = "do not unset zle_bracketed_paste in " + edit.rcPath
	}
	e.warn(name, fix, "bracketed paste is off, so each line is asked about before it goes to agents")
}
