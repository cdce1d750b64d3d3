package runloop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/runloop-os/runloop/router"
	"github.com/runloop-os/runloop/router/shell"
)

// bashPane is a pane with a bash of some version, 502 for 5.2.
type bashPane struct {
	*pane
	version int
}

// eachBash runs a test in the bash of the PATH and in those that
// RUNLOOP_TEST_BASH names, separated by colons: other versions.
func eachBash(t *testing.T, opt paneOptions, test func(t *testing.T, p *bashPane)) {
	t.Helper()
	t.Parallel()
	opt.shell = router.Bash
	for _, binary := range append([]string{"bash"}, filepath.SplitList(os.Getenv("RUNLOOP_TEST_BASH"))...) {
		needPrograms(t, binary)
		out, err := exec.Command(binary, "-c", "echo ${BASH_VERSINFO[0]} ${BASH_VERSINFO[1]}").Output()
		var major, minor int
		if _, serr := fmt.Sscan(string(out), &major, &minor); err != nil || serr != nil {
			t.Fatalf("%s: %v %v", binary, err, serr)
		}
		t.Run(fmt.Sprintf("%d.%d", major, minor), func(t *testing.T) {
			t.Parallel()
			opt := opt
			opt.binary = binary
			opt.env = append(slices.Clone(opt.env), "RUNLOOP_CONFIRM=0") // 4.3 has no bracketed paste
			test(t, &bashPane{newPane(t, opt), major*100 + minor})
		})
	}
}

// prints is what a command of bash prints.
func (p *pane) prints(command string) string {
	p.t.Helper()
	p.Check(os.RemoveAll(p.path("output")))
	p.line("{ " + command + "; } >~/output")
	return p.read("output")
}

// holds waits until bash has said something and shows the line again.
func (p *pane) holds(message, line string) {
	p.t.Helper()
	p.shows(message)
	p.until("the line is there again", func(string) bool { return strings.HasSuffix(p.cursorLine(), line) })
}

// request is a line that goes to agents, and command one that does not.
const request = "find the oldest file in this folder please"

func TestShellBashDiverts(t *testing.T) {
	eachBash(t, paneOptions{agent: `echo "agents got: $RLP_PROMPT"; exit 3`}, func(t *testing.T, p *bashPane) {
		if status := p.line(request); status != 3 {
			t.Errorf("the status of rlp run is %d", status)
		}
		p.shows("@agents # " + request)
		p.shows("agents got: " + request)
		run := p.awaitRun(1)
		if strings.Join(run.args, " ") != "run --prompt-env=RLP_PROMPT" || !strings.HasPrefix(run.tty, "/dev/") {
			t.Errorf("rlp %q on %s", run.args, run.tty)
		}
		if status := p.line("sh -c 'exit 5'"); status != 5 {
			t.Errorf("the status of a command is %d", status)
		}
		p.line("RUNLOOP_ROUTER_OPENING_PATH='a b.yaml'")
		p.line(request)
		if args := strings.Join(p.awaitRun(2).args, "|"); args != "run|--prompt-env=RLP_PROMPT|a b.yaml" {
			t.Errorf("with an opening: rlp %s", args)
		}
		if env := p.runs()[1].env; env["_rl_prompt"] != "" || env["RLP_PROMPT"] != request {
			t.Errorf("it is given %q", env)
		}
		if got := p.prints("env | grep -c RLP_PROMPT"); got != "0\n" {
			t.Errorf("the prompt stays in the environment: %s", got)
		}
	})
}

// TestShellBashLeavesNoTrace: what a line finds in the shell's own variables is
// what the line before left there.
func TestShellBashLeavesNoTrace(t *testing.T) {
	eachBash(t, paneOptions{}, func(t *testing.T, p *bashPane) {
		p.line("sleep 1000 & job=$!")
		p.line(`(exit 7) | false | sh -c "exit 3"`)
		p.line(`printf '%s\n' "$?" "${PIPESTATUS[*]}" $(($! == job)) >~/left`)
		if got := p.read("left"); got != "3\n7 1 3\n1\n" {
			t.Errorf("left: %q", got)
		}
		p.line(`: "a word"`)
		p.line(`printf '%s\n' "$_" >~/left`)
		if got := p.read("left"); got != "a word\n" {
			t.Errorf("left: %q", got)
		}
		p.line(`set -- x y; shopt -s nocasematch; IFS=/`)
		p.line(`printf '%s\n' "$*" "$IFS" "$SHELLOPTS" >~/left`)
		if got := p.read("left"); !strings.HasPrefix(got, "x/y\n/\n") || !strings.Contains(got, ":history:") {
			t.Errorf("left: %q", got)
		}
		p.line("kill %1")
		p.line(request)
		p.wantRuns(request)
		for _, name := range strings.Fields(p.prints("compgen -v")) {
			if regexp.MustCompile(`^[a-z]+$`).MatchString(name) && name != "job" && name != "prompts" {
				t.Errorf("a variable %s is left behind", name)
			}
		}
	})
}

// TestShellBashTraps: traps of the user see what bash runs, and nothing of ours.
func TestShellBashTraps(t *testing.T) {
	traps := `trap 'echo "$BASH_COMMAND" >>~/debug' DEBUG; trap 'echo err >>~/err' ERR; trap 'echo exit >>~/exit' EXIT`
	eachBash(t, paneOptions{after: traps}, func(t *testing.T, p *bashPane) {
		p.line("true")
		p.line("false")
		p.line(request)
		p.wantRuns(request)
		debug := p.read("debug")
		for _, name := range []string{"_rl_enter", "_rl_route", "builtin"} {
			if strings.Contains(debug, name) {
				t.Errorf("the trap on DEBUG saw %s:\n%s", name, debug)
			}
		}
		if !strings.Contains(debug, "rlp run ") {
			t.Errorf("the trap on DEBUG did not see the run:\n%s", debug)
		}
		if got := p.read("err"); got != "err\n" {
			t.Errorf("the trap on ERR saw %q", got)
		}
		if got := p.read("exit"); got != "" {
			t.Errorf("the trap on EXIT saw %q", got)
		}
	})
}

// TestShellBashOnlyFirstLines: only the line behind PS1 is a candidate.
func TestShellBashOnlyFirstLines(t *testing.T) {
	const prose = "what is the time in Lisbon now?"
	eachBash(t, paneOptions{}, func(t *testing.T, p *bashPane) {
		for _, enter := range []string{"\r", "\n"} { // the first line by Enter, and by Ctrl-J
			for _, tt := range []struct {
				name  string
				wait  string // what stands before the cursor from the second line on
				lines []string
				want  string
			}{
				{"loop", "more>", []string{"for i in 1 2", "do echo what is the time", "done >~/got"}, "what is the time\nwhat is the time\n"},
				{"here-document", "more>", []string{"cat >~/got <<END", prose, "and what else?", "END"}, prose + "\nand what else?\n"},
				{"open quote", "more>", []string{"echo 'first", prose, "' >~/got"}, "first\n" + prose + "\n\n"},
				{"backslash", "more>", []string{`echo one \`, `what is the time now \`, ">~/got"}, "one what is the time now\n"},
				{"operator", "more>", []string{"true &&", "echo how are you today >~/got"}, "how are you today\n"},
				{"read -e", "", []string{"read -e x; echo \"$x\" >~/got", prose}, prose + "\n"},
				{"select", "#?", []string{"select x in a b; do echo \"$REPLY\" >~/got; break; done", prose}, prose + "\n"},
			} {
				p.Check(os.RemoveAll(p.path("got")))
				p.typed("\x0c" + tt.lines[0] + enter)
				for i, l := range tt.lines[1:] {
					p.until(tt.name+" waits for another line", func(screen string) bool {
						return strings.Contains(screen, tt.lines[i]) && strings.TrimSpace(p.cursorLine()) == tt.wait
					})
					p.typed(l + "\r")
				}
				p.prompt()
				if got := p.read("got"); got != tt.want {
					t.Errorf("%s after %q: %q, want %q", tt.name, enter, got, tt.want)
				}
			}
		}
		p.wantRuns()
		p.line(request)
		p.wantRuns(request)
	})
}

// TestShellBashAfterInterrupt: Ctrl-C at PS2, in an edited line and in a search
// leads to a first line again.
func TestShellBashAfterInterrupt(t *testing.T) {
	eachBash(t, paneOptions{}, func(t *testing.T, p *bashPane) {
		p.typed("for i in 1 2\r")
		p.shows("more>")
		p.typed("\x03")
		p.prompt()
		p.line(request)
		p.typed("what was I going to")
		p.shows("going to")
		p.typed("\x03")
		p.prompt()
		p.typed("\x12oldest")
		p.shows("reverse-i-search)`oldest'")
		p.typed("\r") // runs what was found, as it did the first time
		p.prompt()
		p.wantRuns(request, request)
	})
}

// nasty are requests that must reach agents to the byte, with nothing of them
// run or expanded on the way.
var nasty = []string{
	`what's in "$HOME", and why is it $(touch ~/EXECUTED) so full of ` + "`touch ~/EXECUTED`?",
	`please tell me: does !! or !x or ^a^b mean anything to you; or & | > < * ~ { } [ ] # % here?`,
	`how do I write a backslash \ or two \\ and a 'quote' before "another", e.g. \n or %s or $'x'?`,
	`was ist größer als die Übergröße, und warum? Ça dépend: 東京 или Москва 🙂?`,
	`can you read -n or --help or -- as the first word of an answer?`,
	`  why is   there more  than one space here?  `,
}

func TestShellBashNastyRequests(t *testing.T) {
	eachBash(t, paneOptions{before: "shopt -s extglob nullglob globstar; set -H"}, func(t *testing.T, p *bashPane) {
		for _, text := range nasty {
			p.line(", " + text)
		}
		var want []string
		for _, text := range nasty {
			want = append(want, strings.TrimLeft(text, " "))
		}
		p.wantRuns(want...)
		if p.read("EXECUTED") != "" {
			t.Error("a part of a request was executed")
		}
		if _, err := os.Stat(p.path("EXECUTED")); err == nil {
			t.Error("a part of a request was executed")
		}
		for i, run := range p.runs() {
			if strings.Contains(strings.Join(run.args, " "), want[i]) {
				t.Errorf("the prompt is an argument: %q", run.args)
			}
		}
	})
}

// TestShellBashHistory: the history has what was typed, as far as the user wants
// it there, and never the mark.
func TestShellBashHistory(t *testing.T) {
	eachBash(t, paneOptions{before: "HISTCONTROL=ignoreboth HISTIGNORE='secret *'"}, func(t *testing.T, p *bashPane) {
		p.line("echo one")
		p.line(request)
		p.line(request) // a duplicate
		p.line(" please do not remember this for me")
		p.line("secret plans, please explain them to me?")
		p.line("echo two")
		if got := p.prints("HISTTIMEFORMAT= history | sed 's/^ *[0-9]* *//'"); got != "echo one\n"+request+"\necho two\n"+
			"{ HISTTIMEFORMAT= history | sed 's/^ *[0-9]* *//'; } >~/output\n" {
			t.Errorf("the history is\n%s", got)
		}
		p.typed("\x1b[A\x1b[A\x1b[A\r") // three lines up
		p.prompt()
		p.wantRuns(request, request, " please do not remember this for me",
			"secret plans, please explain them to me?", request)
		if got := p.prints("echo $HISTIGNORE"); !strings.HasPrefix(got, "secret *:") {
			t.Errorf("HISTIGNORE is %q", got)
		}
		p.line("set +o history")
		p.line("what is it that nobody shall know?")
		p.line("set -o history")
		p.line("history -w")
		if got := p.read("history"); strings.Contains(got, "@agents") || strings.Contains(got, "nobody") ||
			!strings.Contains(got, "echo one\n"+request+"\n") {
			t.Errorf("the file of the history is\n%s", got)
		}
		p.line("!echo") // bash's own expansion still works
		p.shows("\ntwo\n")
		p.line(request)
		n := len(p.runs())
		p.line("!!") // is what was typed, and not a command
		if run := p.awaitRun(n + 1); run.prompt != request {
			t.Errorf("!! sends %q", run.prompt)
		}
	})
}

// TestShellBashJobs: the run is a job like any other.
func TestShellBashJobs(t *testing.T) {
	// No process is started below it, which a signal could meet half done.
	agent := `exec bash -c 'echo started >>~/started; read x <>~/gate; echo passed; exit 3'`
	eachBash(t, paneOptions{agent: agent}, func(t *testing.T, p *bashPane) {
		p.Check(p.command("mkfifo", p.path("gate")).Run())
		before := p.prints("stty -a")
		started := func(n int) {
			p.t.Helper()
			eventually(p.t, fmt.Sprintf("run %d waits", n), func() bool { return strings.Count(p.read("started"), "\n") == n })
		}

		p.typed(request + "\r")
		started(1)
		p.typed("\x03")
		if status := p.prompt(); status != 130 {
			t.Errorf("status %d after Ctrl-C", status)
		}

		p.typed(request + "\r")
		started(2)
		p.typed("\x1a")
		if status := p.prompt(); status != 148 { // SIGTSTP
			t.Errorf("status %d after Ctrl-Z", status)
		}
		if jobs := p.prints("jobs -s"); !strings.Contains(jobs, "rlp run") {
			t.Errorf("the stopped jobs are %q", jobs)
		}
		p.line("bg")
		if jobs := p.prints("jobs -r"); !strings.Contains(jobs, "rlp run") {
			t.Errorf("the running jobs are %q", jobs)
		}
		p.typed("fg\r")
		p.until("the run is in the foreground", func(screen string) bool {
			_, said, ok := strings.Cut(screen, "> fg\n")
			return ok && strings.Contains(said, "rlp run")
		})
		p.write("gate", "\n", 0o600)
		if status := p.prompt(); status != 3 {
			t.Errorf("status %d of the run in the foreground", status)
		}
		p.shows("passed")

		p.typed(request + "\r")
		started(3)
		p.typed("\x1a")
		p.prompt()
		p.line("kill %1; fg")
		if after := p.prints("stty -a"); after != before {
			t.Errorf("the terminal was\n%s\nand is\n%s", before, after)
		}
	})
}

// TestShellBashPrograms: the agent has the terminal, so that it can ask; what
// else takes the terminal gives it back.
func TestShellBashPrograms(t *testing.T) {
	needPrograms(t, "vim", "less", "fzf")
	agent := `printf 'Do it? '; read answer </dev/tty; echo "answer: $answer"`
	eachBash(t, paneOptions{agent: agent}, func(t *testing.T, p *bashPane) {
		p.typed(request + "\r")
		p.shows("Do it?")
		p.typed("y\r")
		p.prompt()
		p.shows("answer: y")

		p.typed("vim -u NONE -N text\r")
		p.shows("[New]")
		p.typed("ihello\x1b")
		p.shows("hello")
		p.typed("\x1a")
		p.prompt()
		p.typed("fg\r")
		p.shows("hello")
		p.typed(":wq\r")
		p.prompt()
		if got := p.read("text"); got != "hello\n" {
			t.Errorf("vim wrote %q", got)
		}
		p.typed("less text\r")
		p.shows("(END)")
		p.typed("q")
		p.prompt()
		p.typed("printf 'one\\ntwo\\n' | fzf >picked\r")
		p.shows("2/2")
		p.typed("two")
		p.shows("1/2")
		p.typed("\r")
		p.prompt()
		if got := p.read("picked"); got != "two\n" {
			t.Errorf("fzf gave %q", got)
		}
		p.wantRuns(request)
	})
}

// TestShellBashPaste: a text that is pasted in brackets is one line for Enter to
// decide about; its lines are not.
func TestShellBashPaste(t *testing.T) {
	const text = "please tell me about these lines:\nrm -rf ~/precious\n\techo is this \"one\"?\nthank you"
	eachBash(t, paneOptions{}, func(t *testing.T, p *bashPane) {
		p.Check(os.Mkdir(p.path("precious"), 0o755))
		if p.version >= 404 {
			p.paste(text)
			p.shows("thank you")
			p.typed("\r")
			p.prompt()
			p.shows("@agents # please tell me about these lines: … +3 lines")
			p.wantRuns(text)
		}
		p.paste("for i in 1 2\ndo echo round $i\ndone")
		p.shows("done")
		p.typed("\r")
		p.prompt()
		p.shows("round 1\nround 2\n")
		// Without brackets each line is typed.
		p.line("bind 'set enable-bracketed-paste off'")
		p.paste("echo first\necho second\n")
		p.shows("second\n")
		if _, err := os.Stat(p.path("precious")); err != nil {
			t.Error("a line of a request was executed")
		}
	})
}

// TestShellBashTypedAhead: what is typed while a command runs is decided about
// like any other line, though the terminal has turned Enter into Ctrl-J.
func TestShellBashTypedAhead(t *testing.T) {
	eachBash(t, paneOptions{}, func(t *testing.T, p *bashPane) {
		p.Check(p.command("mkfifo", p.path("gate")).Run())
		p.typed("cat ~/gate\r")
		p.shows("cat ~/gate")
		p.until("the command has the terminal", func(string) bool { return p.cursorLine() == "" })
		p.typed(request + "\recho between >~/between\rfor i in 1 2\rdo echo what is this\rdone\rwhere did I leave my keys?\r")
		p.shows("keys?")
		p.write("gate", "", 0o600)
		for p.prompts < 6 { // some fly past
			p.prompt()
		}
		p.wantRuns(request, "where did I leave my keys?")
		if got := p.read("between"); got != "between\n" {
			t.Errorf("a command typed ahead: %q", got)
		}
	})
}

// TestShellBashFailsOpen: whatever rlp route does, unless it says agents, bash
// runs the line.
func TestShellBashFailsOpen(t *testing.T) {
	for name, route := range map[string]string{
		"no verdict":   `exit 12`,
		"misuse":       `exit 2`,
		"crash":        `kill -SEGV $$`,
		"killed late":  `printf '{"version":1,"route":"agent"}\n'; kill -KILL $$`,
		"wrong code":   `printf '{"version":1,"route":"agent"}\n'; exit 1`,
		"only a code":  `exit 11`,
		"noise":        `head -c 100000 /dev/urandom; exit 0`,
		"no newline":   `printf '{"version":1,"route":"agent"}'; exit 12`,
		"hangs":        `exec sleep 1000`,
		"hangs after":  `printf '{"version":1,"route":"agent"}\n'; exec sleep 1000`,
		"is not there": "",
	} {
		t.Run(name, func(t *testing.T) {
			opt := paneOptions{route: route, env: []string{"RUNLOOP_ROUTER_TIMEOUT_MS=300"}}
			eachBash(t, opt, func(t *testing.T, p *bashPane) {
				if route == "" {
					p.Check(os.Remove(p.path("bin/rlp")))
					p.line("PATH=/usr/bin:/bin")
				}
				p.line(`find . -name "the oldest file" >~/found; echo please >>~/found`)
				if got := p.read("found"); got != "please\n" {
					t.Errorf("the command did not run: %q", got)
				}
				p.typed("exit 9 please\x1b\r") // Alt-Enter asks for agents, so it stays
				p.holds("rlp route does not answer", "exit 9 please")
				p.typed("\x03")
				p.prompt()
				p.wantRuns()
			})
		})
	}
}

// TestShellBashInterruptedRoute: Ctrl-C while the router thinks drops the line.
func TestShellBashInterruptedRoute(t *testing.T) {
	route := `echo >>~/asked; cat ~/gate; exit 10`
	eachBash(t, paneOptions{route: route}, func(t *testing.T, p *bashPane) {
		p.Check(p.command("mkfifo", p.path("gate")).Run())
		p.typed("touch ran\r")
		eventually(t, "the router is asked", func() bool { return p.read("asked") == "\n" })
		p.typed("\x03")
		if p.version < 500 { // readline 7 notices with the next key
			p.shows("touch ran^C")
			p.typed("\x03")
		}
		p.prompt()
		p.typed("touch other\n")
		p.prompt()
		if p.read("asked") != "\n" {
			t.Error("Ctrl-J asks the router")
		}
		_, err := os.Stat(p.path("ran"))
		if _, other := os.Stat(p.path("other")); err == nil || other != nil {
			t.Errorf("what was dropped ran, or the next did not: %v, %v", err, other)
		}
	})
}

// TestShellBashOptions: the integration lives with the strictest options.
func TestShellBashOptions(t *testing.T) {
	for _, set := range []string{"set -e", "set -u", "set -x", "set -eux", "set -o pipefail -f -C; shopt -s failglob",
		"shopt -s inherit_errexit; set -e", "shopt -u interactive_comments", "histchars='^!'", "IFS=; set -f", "set +H", "set -T; set -E; trap : DEBUG"} {
		t.Run(set, func(t *testing.T) {
			eachBash(t, paneOptions{after: "unset HISTIGNORE PROMPT_DIRTRIM"}, func(t *testing.T, p *bashPane) {
				p.line(set)
				p.line("echo a word")
				p.line(request + "! or what?")
				p.line("true")
				p.line(", once more")
				p.wantRuns(request+"! or what?", "once more")
				if p.screen(); strings.Contains(p.everything(), "unbound") || strings.Contains(p.everything(), "not found") {
					t.Error("something is wrong")
				}
			})
		})
	}
}

// TestShellBashViMode: Enter in all keymaps, and no Escape in vi's is Alt-Enter.
func TestShellBashViMode(t *testing.T) {
	eachBash(t, paneOptions{before: "set -o vi"}, func(t *testing.T, p *bashPane) {
		p.line(request)
		p.typed("where did I leave my keys?\x1b")
		p.typed("0")
		p.typed("\r")
		p.prompt()
		p.typed("echo escape >~/escape\x1b\r")
		p.prompt()
		if got := p.read("escape"); got != "escape\n" {
			t.Errorf("Escape and Enter: %q", got)
		}
		p.typed("cat <<END >~/got\r")
		p.shows("more>")
		p.typed("what is the time now?\x1b\r")
		p.typed("END\r")
		p.prompt()
		p.wantRuns(request, "where did I leave my keys?")
		p.line("set -o emacs")
		p.line(request)
		p.wantRuns(request, "where did I leave my keys?", request)
	})
}

// TestShellBashLoadedTwice: a startup file that is read again changes nothing.
func TestShellBashLoadedTwice(t *testing.T) {
	eachBash(t, paneOptions{}, func(t *testing.T, p *bashPane) {
		before := p.prints("bind -p; bind -s; bind -X; declare -p PROMPT_COMMAND; alias; trap; declare -F")
		p.reload()
		p.line("eval \"$(cat ~/runloop.bash)\"")
		p.line("PROMPT_COMMAND='prompts=$((prompts + 1))'") // someone overwrites it
		p.line("true")                                      // the line that notices
		p.line(request)
		p.wantRuns(request)
		p.line("echo still >~/still")
		if got := p.read("still"); got != "still\n" {
			t.Errorf("a command: %q", got)
		}
		p.reload()
		if after := p.prints("bind -p; bind -s; bind -X; declare -p PROMPT_COMMAND; alias; trap; declare -F"); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
	})
}

// reload reads the startup file again, which counts prompts anew.
func (p *pane) reload() {
	p.t.Helper()
	p.typed(". ~/.bashrc\r")
	p.until("the first prompt", func(string) bool { return strings.HasPrefix(p.cursorLine(), "1=0>") })
	p.prompts = 1
}

const question = "agents? Enter = send, Ctrl-J = run in the shell"

// TestShellBashAsks: RUNLOOP_CONFIRM, and what may destroy something.
func TestShellBashAsks(t *testing.T) {
	eachBash(t, paneOptions{}, func(t *testing.T, p *bashPane) {
		p.line("RUNLOOP_CONFIRM=1")
		p.line("echo no question >~/got")
		if got := p.read("got"); got != "no question\n" {
			t.Errorf("a command: %q", got)
		}
		p.typed(request + "\r")
		p.holds(question, request)
		p.wantRuns()
		p.typed(" and newest\r") // another line, another question
		p.holds(question, request+" and newest")
		p.until("it asked twice", func(screen string) bool { return strings.Count(screen, question) == 2 })
		p.typed("\r")
		p.prompt()
		p.wantRuns(request + " and newest")

		p.line("RUNLOOP_CONFIRM=0")
		p.write("old", "", 0o600)
		p.typed("\x0crm -i the old logs please\r")
		p.holds(question, "please")
		p.typed("\x03")
		p.prompt()
		p.typed("\x0crm the old logs please\r")
		p.holds(question, "please")
		p.typed("\n") // Ctrl-J
		if status := p.prompt(); status == 0 {
			t.Error("rm found a file called please")
		}
		if _, err := os.Stat(p.path("old")); err == nil {
			t.Error("Ctrl-J did not run the line in the shell")
		}
		p.typed("\x0crm the new logs please\r")
		p.holds(question, "please")
		p.typed("\x15echo edited >~/got\r") // Ctrl-U
		p.prompt()
		if got := p.read("got"); got != "edited\n" {
			t.Errorf("the edited line: %q", got)
		}
		p.line(request)
		p.wantRuns(request+" and newest", request)
	})
}

// TestShellBashRefuses: what router.denylist has neither runs nor is sent.
func TestShellBashRefuses(t *testing.T) {
	env := []string{"RUNLOOP__ROUTER__DENYLIST=mkfs,launch code"}
	eachBash(t, paneOptions{env: env}, func(t *testing.T, p *bashPane) {
		for _, enter := range []string{"\r", "\x1b\r"} {
			p.typed("touch ran; mkfs --help" + enter)
			p.holds("refused, the line fits router.denylist", "mkfs --help")
			p.typed("\x03")
			p.prompt()
			p.typed("what is the launch code?" + enter)
			p.holds("refused, the line fits router.denylist", "launch code?")
			p.typed("\x7f\x7f\x7f\x7f\x7f\x7f: green?\r")
			p.prompt()
		}
		p.wantRuns("what is the launch: green?", "what is the launch: green?")
		if _, err := os.Stat(p.path("ran")); err == nil {
			t.Error("it ran")
		}
	})
}

// TestShellBashKeys: prefixes, Alt-Enter and Ctrl-J decide; the keys may be
// others, in the spelling of either shell.
func TestShellBashKeys(t *testing.T) {
	eachBash(t, paneOptions{}, func(t *testing.T, p *bashPane) {
		p.line(", echo one")
		p.line("@ echo two")
		p.line("@agents echo three")
		p.typed("echo four\x1b\r")
		p.prompt()
		p.typed("\x1b\r") // nothing to send
		p.prompt()
		p.wantRuns("echo one", "echo two", "echo three", "echo four")
		p.typed("who is there please\n")
		if status := p.prompt(); status == 0 {
			t.Error("Ctrl-J did not run it in the shell")
		}
		p.wantRuns("echo one", "echo two", "echo three", "echo four")
	})
	t.Run("others", func(t *testing.T) {
		env := []string{"RUNLOOP_ROUTER_BINDKEY=^X^R", `RUNLOOP_ROUTER_AGENTKEY=\C-x\C-a`, "RUNLOOP_ROUTER_WRONGKEY=^[w"}
		eachBash(t, paneOptions{env: env, before: "set -o vi"}, func(t *testing.T, p *bashPane) {
			p.typed(request + "\x18\x12")
			p.prompt()
			p.typed("echo one\x18\x01")
			p.prompt()
			p.line("echo Enter is as it was, please? >~/got")
			if got := p.read("got"); got != "Enter is as it was, please?\n" {
				t.Errorf("Enter: %q", got)
			}
			p.wantRuns(request, "echo one")
		})
	})
}

// TestShellBashWrong: the key tells the router, which decides otherwise then.
func TestShellBashWrong(t *testing.T) {
	eachBash(t, paneOptions{}, func(t *testing.T, p *bashPane) {
		p.typed("\x18\x17")
		p.shows("runloop: no line was routed yet")
		p.line(request)
		p.wantRuns(request)
		p.typed("\x18\x17")
		p.holds("goes to the shell", request)
		p.typed("\r") // find finds nothing of that name
		if status := p.prompt(); status == 0 {
			t.Error("the line did not run in the shell")
		}
		p.wantRuns(request)
		p.typed("\x18\x17")
		p.holds("goes to agents", request)
		p.typed("\r")
		p.prompt()
		p.wantRuns(request, request)
	})
}

// TestShellBashOnAndOff: it can be turned off in a shell, and is off where it
// has to be.
func TestShellBashOnAndOff(t *testing.T) {
	state := regexp.MustCompile(`^bash test \d+ (on|off .*)\n$`)
	wantState := func(t *testing.T, p *bashPane, want string) {
		t.Helper()
		if got := state.FindStringSubmatch(p.prints("printenv RUNLOOP_ROUTER_STATE")); got == nil || got[1] != want {
			t.Errorf("the state is %q, want %q", got, want)
		}
	}
	t.Parallel()
	t.Run("by hand", func(t *testing.T) {
		eachBash(t, paneOptions{}, func(t *testing.T, p *bashPane) {
			wantState(t, p, "on")
			p.line("runloop_router_status")
			p.shows("runloop test in bash " + strings.TrimSpace(p.prints("echo $BASH_VERSION")) + ": on")
			p.line("runloop_router_off")
			wantState(t, p, "off runloop_router_off")
			if p.line(request) == 0 {
				t.Error("the line did not run in the shell")
			}
			if keys := p.prints("bind -s; bind -q accept-line"); strings.Contains(keys, "R1") || !strings.Contains(keys, `\C-m`) {
				t.Errorf("the keys are\n%s", keys)
			}
			p.line("runloop_router_status")
			p.shows(": off (runloop_router_off)")
			p.line("runloop_router_on")
			wantState(t, p, "on")
			p.line(request)
			p.wantRuns(request)
			p.line("RUNLOOP_ROUTER_DISABLE=1")
			p.line(request)
			p.line("RUNLOOP_ROUTER_FORCE=1")
			p.line(request)
			p.wantRuns(request, request)
		})
	})
	for _, tt := range []struct{ env, why string }{
		{"RUNLOOP_ROUTER_DISABLE=1", "RUNLOOP_ROUTER_DISABLE is set"},
		{"CI=true", "CI is set"},
		{"GITHUB_ACTIONS=true", "GITHUB_ACTIONS is set"},
		{"MC_SID=1", "MC_SID is set"},
		{"INSIDE_EMACS=29,comint", "INSIDE_EMACS is set"},
	} {
		t.Run(tt.env, func(t *testing.T) {
			eachBash(t, paneOptions{before: "export " + tt.env}, func(t *testing.T, p *bashPane) {
				wantState(t, p, "off "+tt.why)
				if p.line(request) == 0 {
					t.Error("the line did not run in the shell")
				}
				p.line("runloop_router_on")
				p.line(request)
				if n := len(p.runs()); (n == 1) != (tt.env != "RUNLOOP_ROUTER_DISABLE=1") {
					t.Errorf("%d runs after runloop_router_on", n)
				}
			})
		})
	}
	t.Run("forced", func(t *testing.T) {
		eachBash(t, paneOptions{before: "export CI=true RUNLOOP_ROUTER_FORCE=1 SSH_CONNECTION='1 2 3 4'"}, func(t *testing.T, p *bashPane) {
			wantState(t, p, "on")
		})
	})
}

// TestShellBashWithoutTerminal: in shells that no person types into, the
// integration says nothing and changes nothing.
func TestShellBashWithoutTerminal(t *testing.T) {
	script, err := shell.Script(router.Bash, "test")
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-c"}, {"-euc"}, {"-ic"}, {"--posix", "-ic"}, {"-euic"}} {
		cmd := exec.Command("bash", append(append([]string{"--norc", "--noprofile"}, args...), script+`
printf '%s\n' "${PROMPT_COMMAND[*]-}" "${RUNLOOP_ROUTER_STATE-none none none none}"`)...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TERM=xterm"}
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		want := "\nnone none none none\n"
		if strings.Contains(args[len(args)-1], "i") {
			want = "\nbash test off the shell has no line editing\n"
		}
		pid := regexp.MustCompile(`\d+ `)
		said := regexp.MustCompile("(?m)^bash: (cannot set terminal process group|initialize_job_control|no job control).*\n").
			ReplaceAllString(stderr.String(), "")
		if err != nil || pid.ReplaceAllString(string(out), "") != want || said != "" {
			t.Errorf("%q: %v, %q, %q", args, err, out, said)
		}
	}
}

// TestShellBashNested: a shell in a shell has an integration of its own, or none.
func TestShellBashNested(t *testing.T) {
	eachBash(t, paneOptions{}, func(t *testing.T, p *bashPane) {
		p.line("export PROMPT_COMMAND; outer=$$")
		p.typed("bash --norc --noprofile\r")
		p.shows("bash-5")
		p.typed("PS1='inner> '\r")
		p.shows("\ninner>")
		p.typed("please find nothing here\r")
		p.shows("please: command not found")
		p.wantRuns()
		p.typed("exit\r")
		p.prompt()
		p.line(request)
		p.wantRuns(request)
	})
}

// TestShellBashResized: the terminal changes its size while a line is typed.
func TestShellBashResized(t *testing.T) {
	long := strings.Repeat("please tell me more about the weather and the wind, ", 8) + "or not?"
	eachBash(t, paneOptions{after: `PS1=$'\n--- two lines ---\n'$PS1`}, func(t *testing.T, p *bashPane) {
		p.typed(long)
		p.shows("or not?")
		p.tmux("resize-window", "-t", "pane", "-x", "61", "-y", "20")
		p.typed("\r")
		p.prompt()
		p.tmux("resize-window", "-t", "pane", "-x", "120", "-y", "50")
		p.line(request)
		p.wantRuns(long, request)
		if n := strings.Count(p.everything(), "agents got: "); n != 2 {
			t.Errorf("the output of %d runs is there", n)
		}
	})
}

// TestShellBashLongRequest: what may not fit into a variable goes by a descriptor.
func TestShellBashLongRequest(t *testing.T) {
	agent := `case $2 in --params-file=*) cat "${2#--params-file=}" >~/params ;; esac`
	eachBash(t, paneOptions{agent: agent}, func(t *testing.T, p *bashPane) {
		text := "please sum up: \"\\\t" + strings.Repeat("größer & $HOME ", 3000)
		p.line(`text=$'please sum up: "\\\t'; for i in {1..3000}; do text+='größer & $HOME '; done`)
		p.line(`bind -x '"\C-xz": READLINE_LINE=$text'`)
		p.typed("\x18z\x1b\r")
		p.prompt()
		want := `{"prompt":"please sum up: \"\\\u0009` + strings.Repeat("größer & $HOME ", 3000) + "\"}\n"
		if got := p.read("params"); got != want {
			t.Errorf("%d bytes, want %d: %.100q", len(got), len(want), got)
		}
		if run := p.awaitRun(1); run.prompt != "" || len(text) < 1<<15 {
			t.Errorf("the variable has %d bytes", len(run.prompt))
		}
		p.line(request)
		if run := p.awaitRun(2); run.prompt != request || strings.Join(run.args, " ") != "run --prompt-env=RLP_PROMPT" {
			t.Errorf("the next run is %q with %q", run.args, run.prompt)
		}
		if fds := p.prints("ls /proc/$$/fd | wc -l"); fds != p.prints("ls /proc/$$/fd | wc -l") {
			t.Errorf("descriptors: %s", fds)
		}
	})
}

// TestShellBashRecalledMark: a history of another kind may bring back the mark.
func TestShellBashRecalledMark(t *testing.T) {
	eachBash(t, paneOptions{}, func(t *testing.T, p *bashPane) {
		p.typed("@agents\r")
		p.holds("@agents is the mark of a request", "@agents")
		p.typed("\x03")
		p.prompt()
		p.line(request)
		p.typed("@agents\r")
		p.holds("this is what @agents stood for", request)
		p.wantRuns(request)
		p.typed("\r")
		p.prompt()
		p.wantRuns(request, request)
	})
}
