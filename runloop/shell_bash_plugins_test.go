package runloop

import (
	"strings"
	"testing"

	"github.com/runloop-os/runloop/router"
)

var bashPlugins = []shellPlugin[*bashPane]{
	{name: "bash-preexec", file: "bash-preexec/bash-preexec.sh",
		setup: "source $plugin\n" + recordsCommands, works: func(p *bashPane) { p.wantCommands() }},
	{name: "bash-completion", file: "bash-completion/bash_completion",
		packaged: "/usr/share/bash-completion/bash_completion", setup: "source $plugin", since: 402,
		works: func(p *bashPane) {
			p.typed("touch --no-cr\t")
			p.shows("touch --no-create")
			p.typed("\x15")
		}},
	{name: "fzf", packaged: "/usr/share/doc/fzf/examples/key-bindings.bash",
		setup: "source $plugin", works: func(p *bashPane) {
			needPrograms(p.t, "fzf")
			p.typed("\x12oldest")
			p.until("fzf found the request", chosenInFzf.MatchString)
			p.typed("\r")
			p.until("the request is in the line", func(string) bool { return strings.HasSuffix(p.cursorLine(), request) })
			n := len(p.runs())
			p.typed("\r")
			p.awaitRun(n + 1)
		}},
	{name: "starship", file: "starship/src/init/starship.bash", setup: starshipStandIn + `
eval "$(sed 's/::STARSHIP::/starship/g' $plugin)"`},
	{name: "starship-preexec", file: "starship/src/init/starship.bash", setup: starshipStandIn + `
source ${plugin%starship/*}bash-preexec/bash-preexec.sh
eval "$(sed 's/::STARSHIP::/starship/g' $plugin)"
` + recordsCommands, works: func(p *bashPane) { p.wantCommands() }},
	{name: "atuin", file: "atuin/crates/atuin/src/shell/atuin.bash", setup: `
cat >~/bin/atuin <<'END'
#!/bin/sh
case "$1 $2" in
"history start") shift 4; printf '%s\n' "$*" >>~/commands; echo id ;;
search*) echo "__atuin_accept__:` + request + `" >&2 ;;
uuid*) echo uuid ;;
esac
END
chmod +x ~/bin/atuin; export ATUIN_TMUX_POPUP=false __atuin_bind_ctrl_r=true
source ${plugin%atuin/crates/*}bash-preexec/bash-preexec.sh
source $plugin`, works: func(p *bashPane) {
		p.wantCommands()
		n := len(p.runs())
		p.typed("\x12") // Ctrl-R: the request is chosen, and Enter is pressed for it
		if run := p.awaitRun(n + 1); run.prompt != request {
			p.t.Errorf("agents got %q", run.prompt)
		}
	}},
	{name: "oh-my-bash", file: "oh-my-bash/oh-my-bash.sh", setup: `
OSH=${plugin%/*} OSH_THEME=font DISABLE_AUTO_UPDATE=true OMB_USE_SUDO=false
completions=(git) aliases=(general) plugins=(git bashmarks)
source $plugin`, works: func(p *bashPane) {
		p.typed("type ll >~/type\r")
		eventually(p.t, "its aliases are there", func() bool { return strings.Contains(p.read("type"), "alias") })
	}},
}

const starshipStandIn = `
cat >~/bin/starship <<'END'
#!/bin/sh
case "$*" in
time) date +%s ;;
*--right*) printf 'right' ;;
*--continuation*) printf 'more> ' ;;
*--status=3*) printf '\n~ failed\nx ' ;;
*) printf '\n~ in bash\n> ' ;;
esac
END
chmod +x ~/bin/starship`

// recordsCommands is what those do that wait for bash-preexec.
const recordsCommands = `records() { printf '%s\n' "$1" >>~/commands; }; preexec_functions+=(records)`

// wantCommands: what waits for commands is told of each that was typed, as it was
// typed, the very first one included.
func (p *pane) wantCommands() {
	p.t.Helper()
	got := p.read("commands")
	if !strings.HasPrefix(got, "printf 'one\\n' >>~/out\n"+request+"\nfor i in 1 2") || strings.Contains(got, "@agents") {
		p.t.Errorf("a hook is told of\n%s", got)
	}
}

// TestShellBashPlugins loads each plugin before the integration and after it (T10).
func TestShellBashPlugins(t *testing.T) { inBothOrders(t, bashPlugins, behavesInBash) }

// countsPrompts is a hook that writes down the status of the last command, and
// how many prompts there were.
const countsPrompts = `
counts() { local s=$?; printf '%s\n' $s >|~/status; printf '%s\n' $((++prompts)) >|~/prompted; return $s; }
PROMPT_COMMAND="counts${PROMPT_COMMAND:+; $PROMPT_COMMAND}"`

// behaves works for a while in a shell with the plugin, which may have a prompt of
// its own.
func behavesInBash(t *testing.T, b *shellPlugin[*bashPane], opt paneOptions) {
	opt.before = "unset PROMPT_COMMAND; export USER=tester\n" + opt.before
	opt.after += countsPrompts
	opt.agent, opt.ownPrompt = `echo "agents got: $RLP_PROMPT"; exit 3`, true
	eachBash(t, opt, func(t *testing.T, p *bashPane) {
		if p.version < b.since {
			t.Skipf("it needs a newer bash")
		}
		p.edits()
		p.plainLine(`printf 'one\n' >>~/out`)
		p.plainLine(request)
		p.shows("@agents # " + request)
		p.shows("agents got: " + request)
		if got := p.read("status"); got != "3\n" {
			t.Errorf("the status of the run is %s", got)
		}
		p.typed("for i in 1 2\r")
		p.typed("do echo please find number $i >>~/out\r")
		p.plainLine("done")
		if p.version >= 404 {
			p.paste("please look at this:\n\nit's $(touch ~/bad) and `touch ~/bad` too")
			p.shows("touch ~/bad` too")
			p.plainLine("")
			p.wantRuns(request, "please look at this:\n\nit's $(touch ~/bad) and `touch ~/bad` too")
		}
		if got := p.read("out"); got != "one\nplease find number 1\nplease find number 2\n" {
			t.Errorf("out is %q", got)
		}
		if b.works != nil {
			b.works(p)
		}
		screen := p.everything()
		for _, bad := range []string{"not found", "rror", "No such", "_rl_", "readonly"} {
			if strings.Contains(screen, bad) {
				t.Errorf("the screen shows %q", bad)
			}
		}
		if isThere(p.path("bad")) {
			t.Error("a part of a request was carried out")
		}
	})
}

// TestShellBashBlesh: ble.sh is an editor of its own in the place of readline.
func TestShellBashBlesh(t *testing.T) {
	blesh := shellPlugin[*bashPane]{file: "ble.sh/out/ble.sh"}
	file := blesh.path()
	if file == "" {
		t.Skip("ble.sh is not there, or not built: see docs/shell.md, Plugins")
	}
	load := "export USER=tester\nsource '" + file + "' --norc --attach=none\n"
	for name, opt := range map[string]paneOptions{
		"first":    {before: load, after: "ble-attach"},
		"last":     {after: load + "ble-attach"},
		"first vi": {before: "set -o vi\n" + load, after: "ble-attach"},
		"last vi":  {before: "set -o vi", after: load + "ble-attach"},
	} {
		t.Run(name, func(t *testing.T) {
			opt.agent, opt.shell = `echo "agents got: $RLP_PROMPT"; exit 3`, router.Bash
			t.Parallel()
			p := newPane(t, opt)
			p.line("echo one >>~/out")
			if status := p.line(request); status != 3 {
				t.Errorf("the status of the run is %d", status)
			}
			p.shows("agents got: " + request)
			p.line("what's in here?")
			p.wantRuns(request, "what's in here?")
			p.typed("for i in 1 2\r")
			p.until("Return is a new line", func(screen string) bool {
				return strings.Contains(screen, "> for i in 1 2") && p.cursorLine() == ""
			})
			p.typed("do echo please find number $i >>~/out\r")
			p.typed("done")
			p.shows("done")
			p.typed("\n")
			p.prompt()
			if got := p.read("out"); got != "one\nplease find number 1\nplease find number 2\n" {
				t.Errorf("out is %q", got)
			}
			want := []string{request, "what's in here?", "echo two please"}
			if strings.HasSuffix(name, "vi") {
				p.line(", echo two please")
			} else {
				p.typed("echo two please\x1b\r") // Alt-Enter
				p.prompt()
			}
			p.typed("who is there please")
			p.shows("there please")
			p.typed("\n")
			p.prompt()
			p.wantRuns(want...)
			p.line("RUNLOOP_CONFIRM=1")
			p.typed(request)
			p.shows("> " + request)
			p.typed("\r")
			p.shows(question)
			p.typed("\r")
			p.prompt()
			p.wantRuns(append(want, request)...)
			p.line("history | tail -n 12 >~/history.txt")
			if got := p.read("history.txt"); strings.Contains(got, "@agents") || !strings.Contains(got, "what's in here?") {
				t.Errorf("the history is\n%s", got)
			}
		})
	}
}
