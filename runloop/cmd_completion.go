package runloop

import (
	"embed"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/urfave/cli/v2"
)

//go:embed completion
var completionScripts embed.FS

// completionShells are those with a script in completion/.
var completionShells = []string{"bash", "zsh", "fish"}

func cmdCompletion(io *IO) *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print the completion script of a shell", ArgsUsage: strings.Join(completionShells, "|"),
		UsageText: `eval "$(rlp completion bash)"      # in ~/.bashrc
eval "$(rlp completion zsh)"       # in ~/.zshrc, after compinit
rlp completion fish | source       # in ~/.config/fish/config.fish`,
		Description: `The script completes commands, flags and their values, runs, openings, agents and
nodes, for rlp, runloopd and agtop. It starts no daemon and writes nothing.`,
		Action: func(c *cli.Context) error { return completionCommand(io, c.Args().Slice()) },
	}
}

func completionCommand(io *IO, args []string) error {
	if len(args) != 1 {
		return usageErrorf("for which shell? %s (see rlp completion --help)", strings.Join(completionShells, ", "))
	}
	if !slices.Contains(completionShells, args[0]) {
		return usageErrorf("no completion for %q%s: %s", args[0], didYouMean(args[0], completionShells),
			strings.Join(completionShells, ", "))
	}
	script, err := completionScripts.ReadFile("completion/" + args[0])
	if err != nil {
		return err
	}
	_, err = io.Stdout.Write(script)
	return err
}

// completeCommand is what the scripts call, as `rlp __complete SHELL ...`.
const completeCommand = "__complete"

// completeFor answers a script: the first line says which files fit, each
// further line is a word, a tab and what it means. It never fails and never says
// anything else: a line is being typed.
//
// zsh and fish give the words up to the place. bash gives its word breaks and
// the line, because outside of quotes it takes words apart at ":" and "=".
func (o *IO) completeFor(args []string) {
	if len(args) == 0 {
		return
	}
	shell, words := args[0], args[1:]
	quiet := &IO{Stdin: strings.NewReader(""), Stdout: o.Stdout, Stderr: io.Discard, Environ: o.Environ, Warn: func(string) {}}
	cut, quote := 0, rune(0)
	if shell == "bash" {
		if len(words) != 2 {
			return
		}
		breaks := words[0]
		if words, quote = shellWords(words[1]); quote == 0 {
			cut = strings.LastIndexAny(words[len(words)-1], breaks) + 1
		}
	}
	c := quiet.complete(words)
	var b strings.Builder
	fmt.Fprintln(&b, c.files)
	for _, item := range c.items {
		if len(item.value) <= cut || printable(item.value) != item.value {
			continue
		}
		value, ok := item.value[cut:], true
		if shell == "bash" {
			value, ok = bashQuoted(value, quote)
		}
		if ok {
			fmt.Fprintf(&b, "%s\t%s\n", value, printable(item.about))
		}
	}
	_, _ = io.WriteString(o.Stdout, b.String()) // nobody is there to be told
}

// bashQuoted gives text as it stands for itself behind an open quote, 0 for none.
// Bash puts a completion into the line as it is, where zsh and fish quote it, and
// whoever names an opening must not write the user's commands. It returns false
// for what nothing stands for.
func bashQuoted(text string, quote rune) (string, bool) {
	var b strings.Builder
	for _, r := range text {
		special := !strings.ContainsRune("_./:=@%+,-", r) && r < unicode.MaxASCII && !unicode.IsLetter(r) && !unicode.IsDigit(r)
		switch {
		case quote == '\'' && r == '\'', quote == '"' && r == '!': // history expansion
			return "", false
		case quote == 0 && special, quote == '"' && strings.ContainsRune("$`\\\"", r):
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String(), true
}

// shellWords splits a line as a shell does, as far as quotes and backslashes
// go. The last word is the one that is being typed: it may be empty, and open is
// the quote in it that is open, or 0.
func shellWords(line string) (words []string, open rune) {
	words = []string{""}
	var quote rune
	escaped, between := false, true
	put := func(r rune) {
		words[len(words)-1] += string(r)
		between = false
	}
	for _, r := range line {
		switch {
		case escaped:
			put(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped = true
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			put(r)
		case r == '\'' || r == '"':
			quote, between = r, false
		case r == ' ' || r == '\t':
			if !between {
				words = append(words, "")
			}
			between = true
		default:
			put(r)
		}
	}
	return words, quote
}
