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
)

// eachBash runs a test in the bash of the PATH and in those that
// RUNLOOP_TEST_BASH names, separated by colons: other versions.
func eachBash(t *testing.T, opt paneOptions, test func(t *testing.T, p *pane)) {
	t.Helper()
	opt.shell = router.Bash
	t.Parallel()
	t.Run("bash", func(t *testing.T) { test(t, newPane(t, opt)) })
	for _, binary := range filepath.SplitList(os.Getenv("RUNLOOP_TEST_BASH")) {
		t.Run(bashVersion(t, binary), func(t *testing.T) {
			t.Parallel()
			opt := opt
			opt.binary = binary
			opt.env = append(slices.Clone(opt.env), "RUNLOOP_CONFIRM=0") // 4.3 has no bracketed paste
			test(t, newPane(t, opt))
		})
	}
}

func bashVersion(t *testing.T, binary string) string {
	t.Helper()
	out, err := exec.Command(binary, "-c", "echo $BASH_VERSION").Output()
	if err != nil {
		t.Fatalf("RUNLOOP_TEST_BASH: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// version is that of the pane's bash, as 502 for 5.2.
func (p *pane) version() int {
	p.t.Helper()
	var major, minor int
	if _, err := fmt.Sscan(p.prints("echo ${BASH_VERSINFO[0]} ${BASH_VERSINFO[1]}"), &major, &minor); err != nil {
		p.t.Fatal(err)
	}
	return major*100 + minor
}

// prints is what a command of bash prints.
func (p *pane) prints(command string) string {
	p.t.Helper()
	p.Check(os.RemoveAll(p.path("output")))
	p.line("{ " + command + "; } >~/output")
	return p.read("output")
}

// request is a line that goes to agents, and command one that does not.
const request = "find the oldest file in this folder please"

func TestShellBashDiverts(t *testing.T) {
	eachBash(t, paneOptions{agent: `echo "agents got: $RLP_PROMPT"; exit 3`}, func(t *testing.T, p *pane) {
		if status := p.line(request); status != 3 {
			t.Errorf("the status of rlp run is %d", status)
		}
		p.shows("@agents # " + request)
		p.shows("agents got: " + request)
		run := p.awaitRun(1)
		if strings.Join(run.args, " ") != "run --prompt-env RLP_PROMPT" || !strings.HasPrefix(run.tty, "/dev/") {
			t.Errorf("rlp %q on %s", run.args, run.tty)
		}
		if status := p.line("sh -c 'exit 5'"); status != 5 {
			t.Errorf("the status of a command is %d", status)
		}
		p.line("RUNLOOP_ROUTER_OPENING_PATH='a b.yaml'")
		p.line(request)
		if args := strings.Join(p.awaitRun(2).args, "|"); args != "run|--prompt-env|RLP_PROMPT|a b.yaml" {
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
	eachBash(t, paneOptions{}, func(t *testing.T, p *pane) {
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
	eachBash(t, paneOptions{after: traps}, func(t *testing.T, p *pane) {
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
		if !strings.Contains(debug, "rlp run --prompt-env") {
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
	eachBash(t, paneOptions{}, func(t *testing.T, p *pane) {
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
	eachBash(t, paneOptions{}, func(t *testing.T, p *pane) {
		p.typed("for i in 1 2\r")
		p.shows("more> ")
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
	eachBash(t, paneOptions{before: "shopt -s extglob nullglob globstar; set -H"}, func(t *testing.T, p *pane) {
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
