package runloop

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var zshPlugins = []shellPlugin[*pane]{
	{name: "ohmyzsh", file: "ohmyzsh/oh-my-zsh.sh", setup: `
ZSH=${plugin:h} ZSH_CACHE_DIR=~/cache ZSH_COMPDUMP=~/compdump ZSH_THEME=robbyrussell
ZSH_DISABLE_COMPFIX=true plugins=(git sudo history-substring-search magic-enter dirhistory)
zstyle ':omz:update' mode disabled; MAGIC_ENTER_OTHER_COMMAND='print -r magic >>~/magic'
source $plugin`, works: func(p *pane) {
		p.typed("\r")
		eventually(p.t, "Enter at an empty line does what the plugin wants", func() bool { return p.read("magic") == "magic\n" })
	}},
	{name: "powerlevel10k", file: "powerlevel10k/powerlevel10k.zsh-theme", setup: `
POWERLEVEL9K_DISABLE_GITSTATUS=true POWERLEVEL9K_DISABLE_CONFIGURATION_WIZARD=true
POWERLEVEL9K_TRANSIENT_PROMPT=always POWERLEVEL9K_PROMPT_ADD_NEWLINE=true POWERLEVEL9K_MODE=ascii
POWERLEVEL9K_LEFT_PROMPT_ELEMENTS=(dir newline prompt_char) POWERLEVEL9K_RIGHT_PROMPT_ELEMENTS=(status)
source $plugin`},
	{name: "zsh-autosuggestions", file: "zsh-autosuggestions/zsh-autosuggestions.zsh",
		packaged: "/usr/share/zsh-autosuggestions/zsh-autosuggestions.zsh", setup: "source $plugin", works: suggests},
	{name: "zsh-syntax-highlighting", file: "zsh-syntax-highlighting/zsh-syntax-highlighting.zsh",
		packaged: "/usr/share/zsh-syntax-highlighting/zsh-syntax-highlighting.zsh", setup: "source $plugin", works: colours},
	{name: "fast-syntax-highlighting", file: "fast-syntax-highlighting/fast-syntax-highlighting.plugin.zsh",
		setup: "FAST_WORK_DIR=~/fast; mkdir -p ~/fast; source $plugin", works: colours},
	{name: "zsh-vi-mode", file: "zsh-vi-mode/zsh-vi-mode.plugin.zsh", setup: "source $plugin", works: changesALine},
	{name: "zsh-vi-mode-sourcing", file: "zsh-vi-mode/zsh-vi-mode.plugin.zsh",
		setup: "ZVM_INIT_MODE=sourcing; source $plugin", works: changesALine},
	{name: "atuin", file: "atuin/crates/atuin/src/shell/atuin.zsh", setup: `
cat >~/bin/atuin <<'END'
#!/bin/sh
case "$1 $2" in
"history start") shift 4; printf '%s\n' "$*" >>~/atuin; echo id ;;
search*) echo "print -r found >>~/atuin" >&2 ;;
uuid*) echo uuid ;;
esac
END
chmod +x ~/bin/atuin; export ATUIN_TMUX_POPUP=false; source $plugin
bindkey -M emacs '^r' atuin-search`, works: func(p *pane) {
		p.typed("\x12") // Ctrl-R
		p.shows("> print -r found >>~/atuin")
		p.typed("\r")
		eventually(p.t, "the line that was found is run", func() bool { return strings.HasSuffix(p.read("atuin"), "\nfound\n") })
		if log := p.read("atuin"); !strings.Contains(log, ask+"\n") || strings.Contains(log, "@agents") {
			p.t.Errorf("atuin remembers\n%s", log)
		}
	}},
	{name: "fzf", packaged: "/usr/share/doc/fzf/examples/key-bindings.zsh",
		setup: "source $plugin", works: func(p *pane) {
			needPrograms(p.t, "fzf")
			p.typed("\x12oldest")
			p.until("fzf found the request", chosenInFzf.MatchString)
			p.typed("\r")
			p.until("the request is in the line", func(string) bool { return strings.HasSuffix(p.cursorLine(), "> "+ask) })
			n := len(p.runs())
			p.typed("\r")
			p.awaitRun(n + 1)
		}},
	{name: "starship", file: "starship/src/init/starship.zsh", setup: `
cat >~/bin/starship <<'END'
#!/bin/sh
case "$*" in
*--right*) printf 'right' ;;
*--continuation*) printf 'more> ' ;;
*--status=3*) printf '\n~ failed\nx ' ;;
*) printf '\n~ in zsh\n> ' ;;
esac
END
chmod +x ~/bin/starship; eval "$(sed 's/::STARSHIP::/starship/g' $plugin)"`},
}

var chosenInFzf = regexp.MustCompile(`(?m)^> +[0-9]+ +` + ask)

// suggests: what a suggestion shows is not typed.
func suggests(p *pane) {
	p.typed("find the old")
	p.until("the rest is suggested", func(string) bool { return strings.HasSuffix(strings.TrimSpace(p.cursorLine()), ask) })
	n := len(p.runs())
	p.typed("\x05\r") // Ctrl-E takes it
	p.awaitRun(n + 1)
	if got := p.runs()[n].prompt; got != ask {
		p.t.Errorf("agents got %q", got)
	}
}

// colours: a command that is not there is red.
func colours(p *pane) {
	p.typed("nosuchcommand")
	p.until("the word is red", func(string) bool {
		return redWord.MatchString(p.tmux("capture-pane", "-p", "-e", "-t", "pane"))
	})
	p.typed("\x15")
}

var redWord = regexp.MustCompile(`\x1b\[[0-9;]*\b31m(\x1b\[[0-9;]*m)*nosuchcommand`)

// changesALine is how vi changes one.
func changesALine(p *pane) {
	p.typed("print -r wrong")
	p.shows("print -r wrong")
	column := p.cursorColumn()
	p.typed("\x1b")
	p.until("the cursor goes back one", func(string) bool { return p.cursorColumn() == column-1 })
	p.typed("ccprint -r vi >~/vi\r")
	eventually(p.t, "the changed line is run", func() bool { return p.read("vi") == "vi\n" })
}

// TestShellZshPlugins loads each plugin before the integration and after it (T10).
func TestShellZshPlugins(t *testing.T) { inBothOrders(t, zshPlugins, behavesInZsh) }

// behaves works for a while in a shell with the plugin, which may have a prompt of
// its own.
func behavesInZsh(t *testing.T, z *shellPlugin[*pane], opt paneOptions) {
	opt.before = "precmd() { print -r -- $? >~/status; prompts+=1; print -r -- $prompts >~/prompted }\n" + opt.before
	opt.agent, opt.ownPrompt = `echo "agents got: $RLP_PROMPT"; exit 3`, true
	p := zshPane(t, opt)
	p.edits()
	p.plainLine("print -r one >>~/out")
	p.plainLine(ask)
	p.shows("agents got: " + ask)
	if got := p.read("status"); got != "3\n" {
		t.Errorf("the status of the run is %s", got)
	}
	p.shows(ask + "  @agents")
	if z.name != "atuin" { // its Up is its own
		p.typed("\x1b[A")
		p.until("Up brings the request", func(string) bool { return strings.Contains(p.cursorLine(), ask) })
		p.typed("\x15") // Ctrl-U
	}
	p.typed("for i in 1 2\r")
	p.typed("do print -r please find number $i >>~/out\r")
	p.plainLine("done")
	prose := "please look at this:\n\nit's $(touch ~/bad) and `touch ~/bad` too"
	p.paste(prose)
	p.shows("touch ~/bad` too")
	p.plainLine("")
	if got := p.read("out"); got != "one\nplease find number 1\nplease find number 2\n" {
		t.Errorf("out is %q", got)
	}
	p.wantRuns(ask, prose)
	if isThere(p.path("bad")) {
		t.Error("a part of a request was carried out")
	}
	if z.works != nil {
		z.works(p)
	}
	screen := p.everything()
	for _, bad := range []string{"nested function", "not found", "error", "bad pattern", "No such", "_rl_"} {
		if strings.Contains(screen, bad) {
			t.Errorf("the screen shows %q", bad)
		}
	}
}

// plainLine types a line and Enter, and waits until zsh edits the next.
func (p *pane) plainLine(text string) {
	p.t.Helper()
	p.typed(text + "\r")
	p.edits()
}

// edits waits until zsh is at a new prompt, whatever that looks like: it counts
// its prompts in a file, and the terminal is in the mode of the line editor.
func (p *pane) edits() {
	p.t.Helper()
	name := strings.TrimSpace(p.tmux("display-message", "-p", "-t", "pane", "#{pane_tty}"))
	tty, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOCTTY, 0)
	p.Check(err)
	defer tty.Close()
	seen := p.read("edited")
	p.until("zsh is at its next prompt", func(string) bool {
		mode, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
		p.Check(err)
		return p.read("prompted") != seen && mode.Lflag&unix.ICANON == 0
	})
	p.write("edited", p.read("prompted"), 0o644)
}
