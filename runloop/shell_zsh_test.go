package runloop

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/runloop-os/runloop/router"
	"github.com/runloop-os/runloop/router/shell"
)

// ask is a line that goes to agents.
const ask = "find the oldest file in this folder please"

// zshPane starts zsh for a test that runs beside others.
func zshPane(t *testing.T, opt paneOptions) *pane {
	t.Helper()
	t.Parallel()
	opt.shell = router.Zsh
	return newPane(t, opt)
}

// zshPrints checks what a command prints.
func (p *pane) zshPrints(command, want string) {
	p.t.Helper()
	if got := p.output(command); got != want {
		p.t.Errorf("%s printed %q, want %q", command, got, want)
	}
}

func TestShellZshDiverts(t *testing.T) {
	p := zshPane(t, paneOptions{agent: `echo "agents got: $RLP_PROMPT"; exit 3`})
	if status := p.line(ask); status != 3 {
		t.Errorf("the status of the run is %d", status)
	}
	p.shows(ask + "  @agents\nagents got: " + ask)
	p.zshPrints("print -r -- $((6 * 7))", "42\n")
	p.wantRuns(ask)
	run := p.runs()[0]
	if got := strings.Join(run.args, " "); got != "run --prompt-env RLP_PROMPT" {
		t.Errorf("rlp %s", got)
	}
	if !strings.HasPrefix(run.tty, "/dev/") {
		t.Errorf("stdin is %s", run.tty)
	}
}

// TestShellZshOpening: the opening that the user named, whatever its name.
func TestShellZshOpening(t *testing.T) {
	name := `$HOME/my opening's *.yaml`
	p := zshPane(t, paneOptions{env: []string{"RUNLOOP_ROUTER_OPENING_PATH=" + name}, before: "setopt sh_word_split glob_subst"})
	p.line(ask)
	p.wantRuns(ask)
	if got := p.runs()[0].args; !slices.Equal(got, []string{"run", "--prompt-env", "RLP_PROMPT", name}) {
		t.Errorf("rlp %q", got)
	}
}

// TestShellZshLeavesNoTrace: Enter changes nothing that the next command could
// see (T1).
func TestShellZshLeavesNoTrace(t *testing.T) {
	p := zshPane(t, paneOptions{})
	if status := p.line("(exit 7)"); status != 7 {
		t.Errorf("the prompt shows %d", status)
	}
	p.line("(exit 7)")
	p.zshPrints("print -r -- $?", "7\n")
	p.line("true | (exit 4) | (exit 5)")
	p.zshPrints("print -r -- $pipestatus", "0 4 5\n")
	p.line("print -r one two >/dev/null")
	p.line("print -r -- $_ >~/out")
	if got := p.read("out"); got != "two\n" {
		t.Errorf("$_ is %q", got)
	}
	p.line("sleep 1000 & first=$!")
	p.line(ask)
	p.line("true")
	p.zshPrints("(( first == $! )) && print same; kill $first", "same\n")
	p.line("before=$(typeset +m '*' | sort) shown=$(set -o)")
	p.line("true")
	p.line(ask)
	p.zshPrints(`diff <(print -r -- "$before") <(typeset +m '*' | sort) | grep '^[<>]'; [[ $shown == $(set -o) ]] && print same`,
		"> before\n> shown\nsame\n")
	p.zshPrints(`(( ${+parameters[RLP_PROMPT]} )) || print none`, "none\n")
}

// TestShellZshFirstLinesOnly: what is typed behind another prompt is never
// looked at (T2).
func TestShellZshFirstLinesOnly(t *testing.T) {
	p := zshPane(t, paneOptions{})
	for _, tt := range []struct {
		name  string
		lines []string // the last one ends the command
		want  string
	}{
		{"for", []string{"for i in 1 2", "do", `print -r "please find the oldest file $i" >>~/out`, "done"},
			"please find the oldest file 1\nplease find the oldest file 2\n"},
		{"heredoc", []string{"cat <<X >~/out", ask, "what is eating my disk?", "X"}, ask + "\nwhat is eating my disk?\n"},
		{"backslash", []string{`print -r please \`, `find the oldest file >~/out`}, "please find the oldest file\n"},
		{"quote", []string{"print -r 'please", "find the oldest file' >~/out"}, "please\nfind the oldest file\n"},
		{"pipe", []string{"print -r hello |", "cat >~/out"}, "hello\n"},
		{"function", []string{"please() {", "print -r called $* >~/out", "}; please find it"}, "called find it\n"},
	} {
		p.Check(os.RemoveAll(p.path("out")))
		last := len(tt.lines) - 1
		for i, line := range tt.lines[:last] {
			p.typed(line + "\r")
			p.until(tt.name+" waits for more", func(screen string) bool {
				return strings.Count(screen, "\nmore>") > i && strings.HasPrefix(p.cursorLine(), "more>")
			})
		}
		p.line(tt.lines[last])
		if got := p.read("out"); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		p.line("clear")
	}
	p.wantRuns()
}

// TestShellZshOtherEditors: vared, select and read have the line editor or the
// terminal to themselves (T2).
func TestShellZshOtherEditors(t *testing.T) {
	p := zshPane(t, paneOptions{})
	p.typed("v=; vared -p 'vared> ' v\r")
	p.shows("\nvared>")
	p.line(ask)
	p.zshPrints("print -r -- $v", ask+"\n")

	p.typed("PROMPT3='choose> '; select x in one two; do print -r -- $REPLY >~/out; break; done\r")
	p.shows("\nchoose>")
	p.line(ask)
	if got := p.read("out"); got != ask+"\n" {
		t.Errorf("select read %q", got)
	}
	p.typed("read -r 'v?read> '\r")
	p.shows("\nread>")
	p.line(ask)
	p.zshPrints("print -r -- $v", ask+"\n")
	p.wantRuns()
}

// TestShellZshSearch: Enter in the incremental search is Enter on the line that
// was found.
func TestShellZshSearch(t *testing.T) {
	p := zshPane(t, paneOptions{})
	p.line("print -r searched >>~/out")
	p.line(ask)
	p.typed("\x12searc")
	p.shows("bck-i-search: searc")
	p.typed("\r")
	p.prompt()
	p.typed("\x12oldest")
	p.shows("bck-i-search: oldest")
	p.typed("\r")
	p.prompt()
	if got := p.read("out"); got != "searched\nsearched\n" {
		t.Errorf("the line that was found printed %q", got)
	}
	p.wantRuns(ask, ask)
}

// TestShellZshMenu: Enter in the menu of completions takes the choice only.
func TestShellZshMenu(t *testing.T) {
	p := zshPane(t, paneOptions{before: "autoload -Uz compinit; compinit -u -D; zmodload zsh/complist\n" +
		"zstyle ':completion:*' menu select; setopt no_list_beep"})
	p.write("menu/file.one", "first\n", 0o644)
	p.write("menu/file.two", "second\n", 0o644)
	p.typed("cat menu/\t")
	p.until("the common part is there", func(string) bool { return strings.HasSuffix(p.cursorLine(), "cat menu/file.") })
	p.typed("\t")
	p.shows("file.one  file.two")
	for _, name := range []string{"one", "two"} {
		p.typed("\t")
		p.until("the menu is at "+name, func(string) bool { return strings.HasSuffix(p.cursorLine(), "cat menu/file."+name) })
	}
	p.typed("\r >~/out\r")
	p.prompt()
	if got := p.read("out"); got != "second\n" {
		t.Errorf("cat printed %q", got)
	}
}

// nastyRequests hold what shells like to act upon.
var nastyRequests = []string{
	"\"$HOME\" `touch bad` $(touch bad) ${PATH} !! !x !$ ^a^b \\ ' * ~ ; & | > bad < /etc/passwd # $?",
	"what's \\n \\t %s %d %n $'\\x41' =ls ~root {a,b} [a-z]* ?(x) **/* <(touch bad)",
	"größe 日本語 ελληνικά 🙂 é \u00a0 x",
	"$(touch bad)",
	"';touch bad;'\"; touch bad; \"",
	"  two  blanks   between  ",
	"-n -e --help",
	"@agents @ , ; touch bad",
}

// TestShellZshNasty: agents get what was typed, byte by byte, and nothing of it
// is carried out (T3).
func TestShellZshNasty(t *testing.T) {
	p := zshPane(t, paneOptions{before: "setopt glob_subst sh_word_split interactive_comments extended_glob null_glob bang_hist"})
	var want []string
	for _, text := range nastyRequests {
		p.line(", " + text)
		want = append(want, strings.TrimLeft(text, " "))
	}
	multi := "please look at this:\n\n\tfor x in $(touch bad); do\n`touch bad`\nWhat's wrong?"
	p.paste(", " + multi)
	p.shows("What's wrong?")
	p.line("")
	p.wantRuns(append(want, strings.ReplaceAll(multi, "\t", "\t"))...)
	if _, err := os.Stat(p.path("bad")); err == nil {
		t.Error("a part of a request was carried out")
	}
}

// TestShellZshLong: a request that is longer than a variable may be.
func TestShellZshLong(t *testing.T) {
	p := zshPane(t, paneOptions{agent: `cat "$3" >~/params`})
	text := "please explain \"this\"\\: " + strings.Repeat("all work and no play 日本 ", 6000)
	p.paste(text)
	p.until("all of it is there", func(string) bool { return strings.Contains(p.screen(), "play 日本 ") })
	p.typed("\r")
	p.prompt()
	p.wantRuns("")
	want := "{\"prompt\":\"" + strings.ReplaceAll(strings.ReplaceAll(text, `\`, `\\`), `"`, `\"`) + "\"}"
	if got := p.read("params"); got != want {
		t.Errorf("agents got %d bytes, not %d: %.80s", len(got), len(want), got)
	}
}

// TestShellZshHistory (T4).
func TestShellZshHistory(t *testing.T) {
	p := zshPane(t, paneOptions{before: "setopt inc_append_history hist_ignore_space\n" +
		"zshaddhistory() { [[ $1 != *secret* ]] }"})
	p.line("print -r first")
	p.line(ask)
	p.typed("\x1b[A") // Up
	p.until("the request is back", func(string) bool { return strings.HasSuffix(p.cursorLine(), "> "+ask) })
	p.typed("\x1b[A")
	p.until("the line before is back", func(string) bool { return strings.HasSuffix(p.cursorLine(), "> print -r first") })
	p.typed("\x1b[B\r") // Down: the request again
	p.prompt()
	p.line(" please keep this one for yourself, it is private")
	p.line("please tell me what the secret of this folder is")
	p.line("print -r last")
	p.typed("\x1b[A\x1b[A")
	p.until("the request is back", func(string) bool { return strings.HasSuffix(p.cursorLine(), "> "+ask) })
	p.typed("\x15")
	p.line("fc -W")
	for line := range strings.Lines(p.read("history")) {
		if strings.Contains(line, "agents") || strings.Contains(line, "private") || strings.Contains(line, "secret") {
			t.Errorf("the history has the line %q", line)
		}
	}
	if n := strings.Count(p.read("history"), ask+"\n"); n != 2 {
		t.Errorf("the history has the request %d times", n)
	}
	p.wantRuns(ask, ask, " please keep this one for yourself, it is private", "please tell me what the secret of this folder is")
}

// TestShellZshMarkRecalled: the mark alone sends nothing, and gives back what it
// stood for.
func TestShellZshMarkRecalled(t *testing.T) {
	p := zshPane(t, paneOptions{})
	p.typed("@agents\r")
	p.shows("runloop: @agents is the mark of a request")
	p.typed("\x15")
	p.line(ask)
	p.typed("@agents\r")
	p.shows("runloop: this is what @agents stood for")
	p.wantRuns(ask)
	p.typed("\r")
	p.prompt()
	p.line("@agents uptime")
	p.wantRuns(ask, ask, "uptime")
}

// TestShellZshJobs: the run is a job like any other (T5).
func TestShellZshJobs(t *testing.T) {
	p := zshPane(t, paneOptions{agent: `trap 'exit 130' INT; echo "run $$ is here"; while [ ! -e ~/go ]; do sleep 0.05; done; exit 3`})
	p.typed(ask + "\r")
	p.shows("is here")
	p.typed("\x03")
	if status := p.prompt(); status != 130 {
		t.Errorf("after Ctrl-C the status is %d", status)
	}
	p.zshPrints("stty -a </dev/tty | tr ' ;' '\\n\\n' | grep -x -e icanon -e echo -e isig", "isig\nicanon\necho\n")
	p.line("clear")

	p.typed(ask + "\r")
	p.shows("is here")
	p.typed("\x1a")
	if status := p.prompt(); status != 148 { // 128 + SIGTSTP
		t.Errorf("after Ctrl-Z the status is %d", status)
	}
	if got := p.output("jobs"); !strings.Contains(got, "suspended") || !strings.Contains(got, "rlp run") {
		t.Errorf("jobs: %q", got)
	}
	p.line("bg")
	if got := p.output("jobs"); !strings.Contains(got, "running") {
		t.Errorf("jobs: %q", got)
	}
	p.line("clear")
	p.typed("fg\r")
	p.shows("running")
	p.write("go", "", 0o644)
	if status := p.prompt(); status != 3 {
		t.Errorf("after fg the status is %d", status)
	}
	p.zshPrints("jobs", "")
}

// TestShellZshHooks: for hooks the run is a command like any other. What changes the
// history comes behind all of them: zsh 5.9 gives them a pointer into it.
func TestShellZshHooks(t *testing.T) {
	const hooks = `
%s_preexec() { print -r -- "%s preexec $1" >>~/hooks }; preexec_functions+=(%s_preexec)
%s_precmd() { print -r -- "%s precmd $?" >>~/hooks }; precmd_functions+=(%s_precmd)`
	p := zshPane(t, paneOptions{
		before: strings.ReplaceAll(hooks, "%s", "early"), after: strings.ReplaceAll(hooks, "%s", "late"), agent: "exit 3",
	})
	p.Check(os.Remove(p.path("hooks")))
	p.line(ask)
	if got := p.read("hooks"); got != "early preexec @agents\nlate preexec @agents\nearly precmd 3\nlate precmd 3\n" {
		t.Errorf("the hooks saw\n%s", got)
	}
	p.zshPrints("print -r -- $preexec_functions", "early_preexec late_preexec _rl_remember\n")
}

// TestShellZshTerminalPrograms: others have the terminal for themselves (T6).
func TestShellZshTerminalPrograms(t *testing.T) {
	p := zshPane(t, paneOptions{agent: `printf 'send it? [y/N] ' >/dev/tty; read -r answer </dev/tty; echo "answer: $answer"`})
	p.typed(ask + "\r")
	p.shows("send it? [y/N]")
	p.line("y")
	p.shows("answer: y")
	p.write("text", "alpha\nbeta\n", 0o644)

	if _, err := exec.LookPath("vim"); err == nil {
		p.line("clear")
		p.typed("vim -u NONE -N text\r")
		p.shows("~\n~\n")
		p.typed("ione\x1b\x1a")
		p.prompt()
		p.line("clear")
		p.typed(ask + "\r")
		p.shows("send it? [y/N]")
		p.line("n")
		p.typed("fg\r")
		p.shows("~\n~\n")
		p.typed(":wq\r")
		p.prompt()
		if got := p.read("text"); got != "onealpha\nbeta\n" {
			t.Errorf("vim wrote %q", got)
		}
	}
	if _, err := exec.LookPath("less"); err == nil {
		p.typed("less text\r")
		p.shows("(END)")
		p.typed("q")
		p.prompt()
	}
	if _, err := exec.LookPath("fzf"); err == nil {
		p.typed("print -l please find me | fzf >~/out\r")
		p.shows("3/3")
		p.typed("find")
		p.shows("1/3")
		p.line("")
		if got := p.read("out"); got != "find\n" {
			t.Errorf("fzf chose %q", got)
		}
	}
}

// TestShellZshPaste: what is pasted in brackets is one line, however many it
// has; without brackets each is typed (T7).
func TestShellZshPaste(t *testing.T) {
	p := zshPane(t, paneOptions{})
	prose := "Please look at this for me:\nthe build failed last night.\n\nWhat can I do about it?"
	p.paste(prose)
	p.shows("about it?")
	p.typed("\r")
	p.prompt()
	p.shows("What can I do about it?  @agents")
	p.wantRuns(prose)

	p.paste("print -r one >>~/out\nprint -r two >>~/out\n")
	p.shows("print -r two")
	p.typed("\r")
	p.prompt()
	p.paste("for i in 3 4; do\n  print -r $i >>~/out\ndone")
	p.shows("done")
	p.typed("\r")
	p.prompt()
	p.typed("print -r five >>~/out\r" + ask + "\rprint -r six >>~/out\r")
	p.awaitRun(2)
	p.prompt()
	eventually(t, "the last line has run", func() bool { return strings.HasSuffix(p.read("out"), "six\n") })
	if got := p.read("out"); got != "one\ntwo\n3\n4\nfive\nsix\n" {
		t.Errorf("the commands printed %q", got)
	}
	p.wantRuns(prose, ask)
}

// TestShellZshTypeAhead: what is typed while a command runs waits for its turn.
func TestShellZshTypeAhead(t *testing.T) {
	p := zshPane(t, paneOptions{agent: `echo "$RLP_PROMPT" >>~/out`})
	p.line("mkfifo gate")
	p.typed("cat gate\r")
	p.shows("> cat gate")
	var want strings.Builder
	for i := range 15 {
		if i%3 == 1 {
			p.typed("please count number " + string(rune('a'+i)) + " for me\r")
			want.WriteString("please count number " + string(rune('a'+i)) + " for me\n")
		} else {
			p.typed("print -r " + string(rune('a'+i)) + " >>~/out\r")
			want.WriteString(string(rune('a'+i)) + "\n")
		}
	}
	p.write("gate", "", 0o644)
	eventually(t, "all lines have run: "+want.String(), func() bool { return p.read("out") == want.String() })
}

// TestShellZshFailsOpen: whatever happens to the router, zsh runs the line (T8).
func TestShellZshFailsOpen(t *testing.T) {
	for _, tt := range []struct{ name, route string }{
		{"crashes", "kill -SEGV $$"},
		{"exits with 1", "exit 1"},
		{"exits with 2", `echo '{"route":"agent"}'; exit 2`},
		{"is late by its own clock", "exit 12"},
		{"cannot be run", "exit 126"},
		{"is none", "exit 127"},
		{"says agent and crashes", `echo '{"version":1,"route":"agent","rule":"score","blocked":false}'; kill -SEGV $$`},
		{"says shell", "exit 10"},
		{"says 11 only to the screen", "echo 11 >&2; exit 0"},
		{"writes without end", "yes 11; exit 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := zshPane(t, paneOptions{route: tt.route, env: []string{"RUNLOOP_ROUTER_TIMEOUT_MS=1000"}})
			p.line("print -r please find the oldest file >~/out")
			if got := p.read("out"); got != "please find the oldest file\n" {
				t.Errorf("print wrote %q", got)
			}
			p.wantRuns()
			if screen := p.everything(); strings.Contains(screen, "_rl_") {
				t.Errorf("the screen shows\n%s", screen)
			}
		})
	}
}

// TestShellZshMissing: without rlp nothing is started, and nothing is said.
func TestShellZshMissing(t *testing.T) {
	p := zshPane(t, paneOptions{before: "command_not_found_handler() { print -r -- missing $1 >>~/out; return 127 }"})
	p.line("path=(/usr/bin /bin)")
	p.line("print -r done >>~/out")
	if got := p.read("out"); got != "done\n" {
		t.Errorf("out is %q", got)
	}
	p.zshPrints("runloop_router_status | tail -1", "rlp is not on the PATH, so each line runs in the shell\n")
}

// TestShellZshHangs: a router that hangs is left, and does not stay behind.
func TestShellZshHangs(t *testing.T) {
	p := zshPane(t, paneOptions{route: "echo $$ >~/router; exec sleep 1000", env: []string{"RUNLOOP_ROUTER_TIMEOUT_MS=50"}})
	p.line("print -r done >~/out")
	if got := p.read("out"); got != "done\n" {
		t.Errorf("out is %q", got)
	}
	pid := strings.TrimSpace(p.read("router"))
	eventually(t, "the router ends", func() bool { return !running(pid) })
}

// running reports whether a process is there.
func running(pid string) bool {
	_, err := os.Stat("/proc/" + pid)
	return err == nil
}

// TestShellZshInterruptsRouter: Ctrl-C drops a line that is being looked at.
func TestShellZshInterruptsRouter(t *testing.T) {
	p := zshPane(t, paneOptions{route: "echo $$ >~/router; exec sleep 1000"})
	p.typed("print -r bad >~/out\r")
	eventually(t, "the router is asked", func() bool { return p.read("router") != "" })
	p.typed("\x03")
	p.prompt()
	if p.read("out") != "" {
		t.Error("the line was run")
	}
	pid := strings.TrimSpace(p.read("router"))
	eventually(t, "the router ends", func() bool { return !running(pid) })
	p.typed("\x03")
	p.prompt()
}

// TestShellZshOptions: the user's options are theirs (T9), when the script is read
// and when it works.
func TestShellZshOptions(t *testing.T) {
	for _, tt := range []struct{ name, before, after string }{
		{"err_exit", "", "set -e"},
		{"err_return", "", "setopt err_return"},
		{"no_unset", "set -u", ""},
		{"xtrace", "", "set -x"},
		{"verbose", "", "set -v"},
		{"ksh", "setopt ksh_arrays sh_word_split no_unset ksh_glob sh_glob glob_subst no_nomatch posix_builtins", ""},
		{"warn", "setopt warn_create_global warn_nested_var all_export", ""},
		{"quotes", "setopt rc_quotes ignore_braces no_short_loops posix_identifiers octal_zeroes", ""},
		{"no_monitor", "unsetopt monitor notify", ""},
		{"no_aliases", "", "setopt no_aliases"},
		{"unalias", "", "unalias -a"},
		{"aliases", "alias local=false print=false emulate=false setopt=false zle=false return=false builtin=false " +
			"bindkey=false typeset=false\nalias -g in=' ; false' do='; false' fi=false then='; ' agent=false", ""},
		{"traps", "", "TRAPZERR() { print -r trap $1 >>~/traps }; TRAPDEBUG() { : }"},
		{"no_multibyte", "unsetopt multibyte", ""},
		{"autocd", "setopt auto_cd auto_pushd cdable_vars", ""},
		{"history", "setopt share_history extended_history hist_ignore_all_dups hist_reduce_blanks hist_verify", ""},
		{"twice", "eval \"$(cat ~/runloop.zsh)\"", "eval \"$(cat ~/runloop.zsh)\""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := zshPane(t, paneOptions{before: tt.before, after: tt.after})
			p.line("\\print -r one >~/out")
			p.line(ask)
			p.line("please find größe in here")
			p.typed("\x1b[A\x1b[A")
			p.until("the request is back", func(string) bool { return strings.HasSuffix(p.cursorLine(), "> "+ask) })
			p.typed("\x15") // Ctrl-U
			p.line("\\print -r two >>~/out")
			if got := p.read("out"); got != "one\ntwo\n" {
				t.Errorf("out is %q", got)
			}
			if got := p.read("traps"); got != "" {
				t.Errorf("traps ran: %s", got)
			}
			p.wantRuns(ask, "please find größe in here")
			screen := p.everything()
			for _, bad := range []string{"error", "not found", "_rl_enter:", "_rl_load:", "bad "} {
				if tt.name != "xtrace" && tt.name != "verbose" && strings.Contains(screen, bad) {
					t.Errorf("the screen shows %q", bad)
				}
			}
		})
	}
}

// TestShellZshKeymaps: Enter is ours in all of them (T10).
func TestShellZshKeymaps(t *testing.T) {
	p := zshPane(t, paneOptions{after: "bindkey -v; KEYTIMEOUT=1"})
	p.line(ask)
	p.typed("please find the newest file")
	p.shows("newest file")
	p.typed("\x1b") // to the command mode
	p.until("the cursor goes back one", func(string) bool { return p.cursorColumn() == len("2=0> please find the newest file")-1 })
	p.typed("\r")
	p.prompt()
	p.typed("print -r done >~/out")
	p.shows("~/out")
	p.typed("\x1b")
	p.until("the cursor goes back one", func(string) bool { return p.cursorColumn() == len("3=0> print -r done >~/out")-1 })
	p.typed("\r")
	p.prompt()
	if got := p.read("out"); got != "done\n" {
		t.Errorf("out is %q", got)
	}
	p.wantRuns(ask, "please find the newest file")
}

// TestShellZshKeys: a line can be sent to either side, whatever it looks like.
func TestShellZshKeys(t *testing.T) {
	p := zshPane(t, paneOptions{})
	p.typed("print -r oldest >~/out") // Ctrl-J: the shell
	p.typed("\n")
	p.prompt()
	if got := p.read("out"); got != "oldest\n" {
		t.Errorf("Ctrl-J: out is %q", got)
	}
	p.typed("find the oldest file in this folder, please\n")
	if status := p.prompt(); status == 0 {
		t.Error("Ctrl-J did not run find")
	}
	p.wantRuns()
	p.typed("uptime\x1b\r") // Alt-Enter: agents
	p.prompt()
	p.line(", date")
	p.line("@ cal")
	p.line("  @   who")
	p.wantRuns("uptime", "date", "cal", "who")
	p.typed("for x in a\r") // Alt-Enter elsewhere is what it was, a new line
	p.shows("more>")
	p.typed("do print -r $x >>~/out\x1b\rdone\r")
	p.prompt()
	if got := p.read("out"); got != "oldest\na\n" {
		t.Errorf("out is %q", got)
	}
}

// TestShellZshKeysInVi: Escape and Enter in quick succession are no Alt-Enter, if
// nobody wants it.
func TestShellZshKeysInVi(t *testing.T) {
	for _, tt := range []struct {
		env  []string
		want []string
	}{{nil, nil}, {[]string{"RUNLOOP_ROUTER_AGENTKEY=^[^M"}, []string{"print -r done >~/out"}}} {
		t.Run(strings.Join(tt.env, ""), func(t *testing.T) {
			p := zshPane(t, paneOptions{after: "bindkey -v", env: tt.env})
			p.line("print -r done >~/out\x1b")
			p.wantRuns(tt.want...)
			if got := p.read("out"); (got == "done\n") != (tt.want == nil) {
				t.Errorf("out is %q", got)
			}
		})
	}
}

// TestShellZshConfirm: the first Enter shows where the line would go.
func TestShellZshConfirm(t *testing.T) {
	const question = "agents? Enter = send, Ctrl-J = run in the shell"
	p := zshPane(t, paneOptions{env: []string{"RUNLOOP_CONFIRM=1"}})
	p.typed(ask + "\r")
	p.shows(question)
	p.wantRuns()
	p.typed(" now")
	p.shows("please now")
	p.typed("\r") // another line: another question
	p.shows("please now\n" + question)
	p.wantRuns()
	p.typed("\r")
	p.prompt()
	p.wantRuns(ask + " now")

	p.typed(ask + "\r")
	p.shows(ask + "\n" + question)
	p.typed("\x03") // what was asked is forgotten with the line
	p.prompt()
	p.typed(ask + "\r")
	p.shows(ask + "\n" + question)
	p.typed("\n")
	if status := p.prompt(); status != 1 {
		t.Errorf("find ended with %d", status)
	}
	p.line("print -r done >~/out")
	if got := p.read("out"); got != "done\n" {
		t.Errorf("out is %q", got)
	}
	p.typed("uptime\x1b\r") // who presses this key was asked
	p.prompt()
	p.wantRuns(ask+" now", "uptime")
}

// TestShellZshConfirmsHarm: a request that begins with a destructive command is
// asked about in any case, and so is one when lines that are pasted are typed.
func TestShellZshConfirmsHarm(t *testing.T) {
	p := zshPane(t, paneOptions{})
	p.write("logs", "", 0o644)
	p.typed("rm the old logs please\r")
	p.shows("agents? Enter = send")
	p.wantRuns()
	p.typed("\r")
	p.prompt()
	p.wantRuns("rm the old logs please")
	p.line("unset zle_bracketed_paste")
	p.typed(ask + "\r")
	p.shows(ask + "\nagents?")
	p.typed("\x03")
	p.prompt()
	p.line("rm logs")
	if _, err := os.Stat(p.path("logs")); err == nil {
		t.Error("rm was not run")
	}
}

// TestShellZshBlocked: a line that the user forbids stays where it is.
func TestShellZshBlocked(t *testing.T) {
	p := zshPane(t, paneOptions{})
	p.config("version: 1\nrouter: { denylist: [forbidden] }\n")
	for _, enter := range []string{"\r", "\x1b\r"} {
		p.typed("print -r forbidden >~/out" + enter)
		p.shows("runloop: refused, the line fits router.denylist")
		p.typed("\x15print -r other >~/out\r")
		p.prompt()
		if got := p.read("out"); got != "other\n" {
			t.Errorf("out is %q", got)
		}
		p.Check(os.Remove(p.path("out")))
		p.line("clear")
	}
	p.wantRuns()
}

// TestShellZshWrong: the key for "that was wrong" teaches the router, and gives
// the line back.
func TestShellZshWrong(t *testing.T) {
	p := zshPane(t, paneOptions{before: "alias build='print -r built >>~/out; :'"})
	p.typed("\x18\x17")
	p.shows("runloop: no line was routed yet")
	p.line("build")
	p.line("build release now")
	if got := p.read("out"); got != "built\nbuilt\n" {
		t.Fatalf("out is %q", got)
	}
	p.typed("\x18\x17")
	p.shows("runloop: event:")
	p.shows("> build release now\n")
	p.typed("\r")
	p.prompt()
	p.wantRuns("build release now")
	p.typed("\x18\x17")
	p.until("the router learns", func(screen string) bool { return strings.Count(screen, "runloop: event:") > 0 })
	p.typed("\r")
	p.prompt()
	p.wantRuns("build release now")
	p.typed("print -r kept >>~/out\x18\x17") // what is being typed stays
	p.shows("print -r kept >>~/out\nrunloop: ")
	p.typed("\r")
	p.prompt()
	if got := p.read("out"); got != "built\nbuilt\nbuilt\nkept\n" {
		t.Errorf("out is %q", got)
	}
}

// TestShellZshOnAndOff: the functions, and the variable in a shell that runs.
func TestShellZshOnAndOff(t *testing.T) {
	p := zshPane(t, paneOptions{before: "my-enter() { BUFFER+=' '; zle accept-line }; zle -N my-enter; bindkey '^M' my-enter"})
	status := func(want string) {
		t.Helper()
		p.zshPrints("runloop_router_status; print -r -- ${${=RUNLOOP_ROUTER_STATE}[4]}", "runloop test in zsh "+want+"\n")
	}
	version := strings.TrimSpace(p.output("print -r -- $ZSH_VERSION"))
	status(version + ": on\non")
	p.line("runloop_router_off")
	status(version + ": off (runloop_router_off)\noff")
	p.zshPrints("bindkey '^M'; bindkey '^[^M'; bindkey '^X^W'", "\"^M\" my-enter\n\"^[^M\" self-insert-unmeta\n\"^X^W\" undefined-key\n")
	p.line(ask)
	p.wantRuns()
	p.line("runloop_router_on")
	p.line(ask)
	p.wantRuns(ask)
	p.line("export RUNLOOP_ROUTER_DISABLE=1")
	p.line(ask)
	p.wantRuns(ask)
	status(version + ": off (RUNLOOP_ROUTER_DISABLE is set)\non")
	p.line("RUNLOOP_ROUTER_FORCE=1")
	p.line(ask)
	p.wantRuns(ask, ask)
}

// TestShellZshStaysOff: where nobody types, Enter is left alone.
func TestShellZshStaysOff(t *testing.T) {
	for _, tt := range []struct {
		env string
		on  bool
	}{
		{"TERM=dumb", false}, {"RUNLOOP_ROUTER_DISABLE=1", false}, {"CI=true", false}, {"GITHUB_ACTIONS=true", false},
		{"MC_SID=7", false}, {"INSIDE_EMACS=29.1,comint", false},
		{"RUNLOOP_ROUTER_DISABLE=0", true}, {"SSH_CONNECTION='::1 1 ::1 22'", true},
		{"CI=true RUNLOOP_ROUTER_FORCE=1", true}, {"RUNLOOP_ROUTER_DISABLE=1 RUNLOOP_ROUTER_FORCE=1", true},
	} {
		t.Run(tt.env, func(t *testing.T) {
			p := zshPane(t, paneOptions{before: "export " + tt.env})
			p.line("runloop_router_status >~/status")
			p.line(ask)
			if on := len(p.runs()) == 1; on != tt.on || strings.Contains(p.read("status"), ": on\n") != tt.on {
				t.Errorf("%d runs; %s", len(p.runs()), p.read("status"))
			}
		})
	}
}

// TestShellZshNotInteractive: in a script the text does nothing.
func TestShellZshNotInteractive(t *testing.T) {
	needPrograms(t, "zsh")
	script, err := shell.Script(router.Zsh, "test")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("zsh", "-f", "-e", "-u", "-c", `eval "$1"; print -r -- ${+aliases[@agents]} ${+functions[_rl_precmd]} $?`, "zsh", script)
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "0 0 0\n" {
		t.Errorf("%v: %s", err, out)
	}
}

// TestShellZshOtherKey: the user may keep Enter, and give other keys.
func TestShellZshOtherKey(t *testing.T) {
	p := zshPane(t, paneOptions{env: []string{"RUNLOOP_ROUTER_BINDKEY=^X^A", "RUNLOOP_ROUTER_WRONGKEY=^X^Z", "RUNLOOP_ROUTER_AGENTKEY=^X^B"}})
	p.line(ask)
	p.wantRuns()
	p.typed(ask + "\x18\x01")
	p.prompt()
	p.typed("date\x18\x02")
	p.prompt()
	p.wantRuns(ask, "date")
	p.typed("\x18\x1a")
	p.shows("> date\n")
}

// TestShellZshKind: the router hears what only zsh knows of the first word.
func TestShellZshKind(t *testing.T) {
	p := zshPane(t, paneOptions{
		route: `printf '%s\n' "$*" >>~/asked; exit 10`,
		before: "alias gs='print -r x' '...'='print -r up'\nalias -s txt=cat\nalias -g LL='| cat'\ngreet() { : }\n" +
			"mkdir -p folder bin; hash -d named=$HOME",
	})
	p.write("bin/mytool", "#!/bin/sh\n", 0o755)
	p.write("bin/notes", "", 0o644)
	p.write("a.txt", "", 0o644)
	for line, want := range map[string]string{
		"gs": "alias", "...": "alias", "a.txt": "alias", "LL": "alias", "greet you": "function", "print -r x": "builtin",
		"mytool now": "command", "notes": "none", "if true; then :; fi": "keyword", "[[ -n x ]]": "keyword",
		"./bin/mytool": "command", "~/bin/mytool": "command", "./nothing": "", "~named/bin/mytool": "",
		`\gs`: "none", "'gs' it": "", "$HOME/bin/mytool": "", "folder": "none", "what's that": "",
		"X=1 true": "none", "mytool;true": "command",
	} {
		p.Check(os.WriteFile(p.path("asked"), nil, 0o644))
		p.typed(line + "\r")
		if strings.Contains(line, "what's") { // an open quote
			p.until("zsh waits for more", func(string) bool { return strings.HasPrefix(p.cursorLine(), "more>") })
			p.typed("\x03")
		}
		p.prompt()
		got := strings.TrimSuffix(strings.TrimPrefix(p.read("asked"), "route --stdin --shell zsh"), "\n")
		if want != "" {
			want = " --first-kind " + want
		}
		if got != want {
			t.Errorf("%s: asked with%s, want%s", line, got, want)
		}
	}
}

// TestShellZshFolder: with auto_cd the name of a folder is a command.
func TestShellZshFolder(t *testing.T) {
	p := zshPane(t, paneOptions{before: "setopt auto_cd; mkdir -p ~/please/find"})
	p.line("please")
	p.zshPrints("print -r -- ${PWD:t}", "please\n")
	p.line("find")
	p.line("..")
	p.zshPrints("print -r -- $PWD", p.dir+"\n")
	p.wantRuns()
}

// TestShellZshChain: a widget that had Enter before still has it, for commands;
// one that takes it later shares it.
func TestShellZshChain(t *testing.T) {
	const widget = "enter-%s() { print -r %s >>~/enters; zle accept-line }; zle -N enter-%s\n"
	p := zshPane(t, paneOptions{
		before: strings.ReplaceAll(widget, "%s", "early") + "bindkey '^M' enter-early",
		after: strings.ReplaceAll(widget, "%s", "late") +
			"late() { precmd_functions=(${precmd_functions:#late}); bindkey '^M' enter-late }; precmd_functions+=(late)",
	})
	p.line("true")
	if got := p.read("enters"); got != "late\n" { // Enter was taken behind our back
		t.Errorf("at the first Enter: %q", got)
	}
	p.line("true")
	p.line(ask)
	p.wantRuns(ask)
	p.zshPrints("runloop_router_status", "runloop test in zsh 5.9: on\nEnter was taken back from a plugin\n")
	if got := p.read("enters"); got != "late\nlate\nlate\n" {
		t.Errorf("the widgets that saw a command: %q", got)
	}
	p.line("bindkey '^M' accept-line") // once more, and it is the user's
	p.line("true")
	p.line(ask)
	p.wantRuns(ask)
}

// TestShellZshWrapped: a plugin that calls the widget it found at Enter, which is
// ours, while we call it.
func TestShellZshWrapped(t *testing.T) {
	p := zshPane(t, paneOptions{
		after: "around() { print -r around >>~/around; zle _rl_accept }; zle -N around; bindkey '^M' around\n" +
			"zle -N accept-line accept-wrapped; accept-wrapped() { print -r accept >>~/around; zle .accept-line }",
	})
	p.line("print -r one >>~/out")
	p.line(ask)
	p.line("print -r two >>~/out")
	if got := p.read("out"); got != "one\ntwo\n" {
		t.Errorf("out is %q", got)
	}
	p.wantRuns(ask)
	if got := strings.Count(p.read("around"), "accept"); got != 3 {
		t.Errorf("accept-line was called %d times: %s", got, p.read("around"))
	}
}

// TestShellZshNested: a shell in a shell has its own integration.
func TestShellZshNested(t *testing.T) {
	p := zshPane(t, paneOptions{})
	p.line(ask)
	p.line("first_prompt=100 zsh -d -i")
	p.line("please find the newest file")
	p.typed("exit\r")
	p.until("the outer shell is back", func(string) bool { return strings.HasPrefix(p.cursorLine(), "3=0>") })
	p.prompts = 3
	p.line("please find the smallest file")
	p.wantRuns(ask, "please find the newest file", "please find the smallest file")
	p.line("zsh -f -c 'print -r plain >~/out'")
	if got := p.read("out"); got != "plain\n" {
		t.Errorf("out is %q", got)
	}
}

// TestShellZshResize: the terminal changes its size while a line is typed.
func TestShellZshResize(t *testing.T) {
	p := zshPane(t, paneOptions{})
	long := "please find the oldest of all the files in this folder, and in the folders that are in it, and so on"
	p.typed(long)
	p.shows("so on")
	p.tmux("resize-window", "-t", "pane", "-x", "50", "-y", "20")
	p.until("the line is shown again", func(string) bool { return strings.HasSuffix(p.cursorLine(), "so on") })
	p.typed(" please\r")
	p.prompt()
	p.wantRuns(long + " please")
	p.shows("@agents\nagents got: please find")
}

// TestShellZshExpands: what a line of the history is repeated as goes where it went.
func TestShellZshExpands(t *testing.T) {
	p := zshPane(t, paneOptions{})
	p.line(ask)
	p.line("!!")
	p.line("!fin:s/oldest/newest/")
	p.line("^newest^smallest^")
	p.wantRuns(ask, ask, strings.Replace(ask, "oldest", "newest", 1), strings.Replace(ask, "oldest", "smallest", 1))
	p.line("print -r one >>~/out")
	p.line("!pr")
	if got := p.read("out"); got != "one\none\n" {
		t.Errorf("out is %q", got)
	}
	if p.line("!nothing"); !strings.Contains(p.screen(), "event not found") {
		t.Error("zsh does not complain of an event that is not there")
	}
	p.line("! true")
	p.zshPrints("print -r -- $?", "1\n")
	p.line("setopt hist_verify")
	p.typed("!find\r")
	p.until("the line is shown", func(string) bool { return strings.Contains(p.cursorLine(), "smallest file") })
	p.wantRuns(ask, ask, strings.Replace(ask, "oldest", "newest", 1), strings.Replace(ask, "oldest", "smallest", 1))
	p.typed("\x15")
	p.line("setopt no_bang_hist")
	if status := p.line("!!"); status != 127 {
		t.Errorf("!! as a command ended with %d", status)
	}
}

// TestShellZshRealRun sends a request to the crew, through the daemon.
func TestShellZshRealRun(t *testing.T) {
	p := zshPane(t, paneOptions{real: true})
	p.people()
	p.daemon()
	const request = "write an email to John Okafor about the Q4 plan"
	for answer, want := range map[string]int{"y\r": exitOK, "\r": exitDeclined, "\x03": exitInterrupted} {
		p.typed(request + "\r")
		p.shows("Go ahead? [y/N]")
		p.typed(answer)
		if want == exitInterrupted {
			p.shows("Cancel the run, or leave it to the daemon? [C/l]")
			p.typed("c\r")
		}
		if status := p.prompt(); status != want {
			t.Errorf("answered %q: the run ended with %d, want %d", answer, status, want)
		}
		p.zshPrints("stty -a </dev/tty | tr ' ;' '\\n\\n' | grep -x -e icanon -e echo", "icanon\necho\n")
		p.line("clear")
	}
	p.typed("\x1b[A\x1b[A\x1b[A")
	p.until("Up brings the request", func(string) bool { return strings.HasSuffix(p.cursorLine(), "> "+request) })
}

// TestShellZshHostileFirstWords: what is looked up is text, whatever it contains.
func TestShellZshHostileFirstWords(t *testing.T) {
	p := zshPane(t, paneOptions{route: "cat >/dev/null; exit 11", before: "setopt auto_cd glob_subst; alias -s bad=cat"})
	lines := []string{
		"a[$(touch bad)] b", "a['$(touch bad)'] b", "x[`touch bad`].bad", "(r)*] x", "(e)$(touch bad)", "]] x", "[1,$(touch bad)]",
		"${(e):-$(touch bad)}", "~$(touch bad)/x y", "=$(touch bad)", "\\$(touch bad)", "../*(e:'touch bad':)", "$'\\x00' x",
		"-n", "--", "*", "?", "%s", "'", "\"", "{", "#", "@agents.bad x", "bad.bad; touch bad",
	}
	for _, line := range lines {
		p.line(line)
	}
	p.wantRuns(lines...)
	if isThere(p.path("bad")) {
		t.Error("a part of a line was carried out")
	}
	if screen := p.everything(); strings.Contains(screen, "_rl_") {
		t.Errorf("the screen shows an error")
	}
}
