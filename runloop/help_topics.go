package runloop

import (
	"fmt"
	"io"
	"strings"
)

// topic is something that rlp help explains and that is no command.
type topic struct {
	name  string
	usage string
	rows  [][2]string
	about string
}

// topics are what help, the man pages and docs/cli.md have in common.
func topics() []topic {
	return []topic{
		{name: "prompt", usage: "rlp PROMPT does what a sentence asks for", rows: flagRows(docOfFlags(promptFlags())), about: promptAbout},
		{name: "exit-codes", usage: "what the exit code of a command says", rows: exitCodeRows},
		{name: "flags", usage: "flags that every command knows", rows: flagRows(docOfFlags(commonFlagList())), about: flagsAbout},
		{name: "environment", usage: "variables that are looked at", rows: environmentRows},
		{name: "output", usage: "what goes where, and in which form", about: outputAbout},
	}
}

func topicNames() []string {
	var names []string
	for _, t := range topics() {
		names = append(names, t.name)
	}
	return names
}

var exitCodeRows = [][2]string{
	{"0", "done"},
	{"1", "the run or the check failed"},
	{"2", "wrong usage; an opening, parameters or a configuration that are not valid"},
	{"3", "the daemon cannot be reached"},
	{"4", "denied by a policy, or declined by a person"},
	{"5", "there is no such thing"},
	{"10", "rlp route: for the shell"},
	{"11", "rlp route: for agents"},
	{"12", "rlp route: no decision in time"},
	{"130", "interrupted"},
	{"141", "who read the output went away"},
}

var environmentRows = [][2]string{
	{"RUNLOOP_CONFIG", "a file of configuration in place of the system's and the user's"},
	{"RUNLOOP__SECTION__KEY", "one key of the configuration, such as RUNLOOP__LOGGING__LEVEL=debug"},
	{"RLP_PROGRESS", "as --progress"},
	{"RLP_DEBUG", "set: a mistake in the program itself shows where it is"},
	{"NO_COLOR", "no colours, unless --color says otherwise"},
	{"FORCE_COLOR, CLICOLOR_FORCE", "colours without a terminal, unless 0; NO_COLOR and --color go before"},
	{"TERM", "dumb: no colours, nothing that redraws itself, no questions"},
	{"CI", "nothing that redraws itself"},
	{"SHELL", "what runs a prompt that is for the shell"},
	{"HOME", "below it lies .runloop, with configuration and state"},
	{"XDG_CACHE_HOME", "where compiled modules are kept, in runloop/modules"},
	{"RUNLOOP_ROUTER_TIMEOUT_MS", "as rlp route --timeout-ms"},
	{"RUNLOOP_ROUTER_FIRST_KIND", "as rlp route --first-kind"},
	{"GO, CC, RUSTC", "compilers for rlp agent build"},
}

const flagsAbout = `They may stand anywhere on the line before "--", which ends all flags. Flags and
arguments may come in any order; a value follows its flag as the next word or after
"=". An argument "-" is stdin, or stdout for --output.`

const outputAbout = `Results go to stdout; progress, questions, warnings and errors go to stderr.

On a terminal a list is a table under a heading. Elsewhere its columns are separated by
tabs, without a heading, and nothing is cut off or coloured. With --json every command
that prints a result prints JSON; fields are only ever added.

A run on a terminal is a view that redraws itself, with a summary at the end. Elsewhere,
and with --json, it is NDJSON: one event a line, from run.started to run.finished.

Questions are asked only where stdin and stderr are terminals. Where nobody can be
asked, or with --no-input, what needs a yes fails with exit code 4 and names the flag
that agrees in advance.

An error is one line: what, where, what to do next. Control characters that come from
models, agents or files never reach the terminal as they are.`

// text is the topic as help shows it.
func (t *topic) text(width int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\n", t.name, t.usage)
	if len(t.rows) > 0 {
		writeList(&b, t.rows, width)
	}
	if len(t.rows) > 0 && t.about != "" {
		b.WriteByte('\n')
	}
	if t.about != "" {
		b.WriteString(reflow(t.about, width) + "\n")
	}
	return b.String()
}

// showTopic prints a topic and reports whether there is one of that name.
func (o *IO) showTopic(name string) (bool, error) {
	for _, t := range topics() {
		if t.name == name {
			_, err := io.WriteString(o.Stdout, t.text(helpWidth))
			return true, err
		}
	}
	return false, nil
}
