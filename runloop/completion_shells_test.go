package runloop

import (
	"strings"
	"testing"

	"github.com/runloop-os/runloop/router"
)

// TestCompletionAtTheKeyboard presses Tab in real shells.
func TestCompletionAtTheKeyboard(t *testing.T) {
	for shell, load := range map[router.Shell]string{
		router.Bash: `eval "$(rlp completion bash)"; bind "set bell-style none"`,
		router.Zsh:  `autoload -U compinit; compinit -D; eval "$(rlp completion zsh)"; unsetopt beep`,
	} {
		t.Run(string(shell), func(t *testing.T) {
			t.Parallel()
			p := newPane(t, paneOptions{shell: shell, bare: true, real: true, after: load})
			p.write("there/run.rlrun", "", 0o644)
			for typed, want := range map[string]string{
				"rlp kb se\t":                         "rlp kb search ",
				"rlp run compo\t-p rec\tAda":          "rlp run compose_email -p recipient=Ada",
				"rlp kb search --dom\tno\tQ4":         "rlp kb search --domain notes Q4",
				"rlp kb search --domain=no\tQ4":       "rlp kb search --domain=notes Q4",
				"rlp runs verify the\t\t":             "rlp runs verify there/run.rlrun ",
				"rlp agent build the\tx":              "rlp agent build there/x",
				"rlp help exit\t":                     "rlp help exit-codes ",
				"runloopd --soc\tx":                   "runloopd --socket x",
				"agtop --inp\tthe\t\t":                "agtop --input there/run.rlrun ",
				"runloop kb se\t":                     "runloop kb search ",
				"rlp opening graph --format=mer\tx":   "rlp opening graph --format=mermaid x",
				"rlp --no-in\tagent show wri\t--js\t": "rlp --no-input agent show writer --json ",
			} {
				p.typed(typed)
				p.until("Tab makes of "+typed+": "+want, func(string) bool {
					_, line, _ := strings.Cut(p.cursorLine(), "> ")
					return strings.TrimRight(line, " ") == strings.TrimRight(want, " ")
				})
				p.emptyLine()
			}
		})
	}
}

// emptyLine takes back what is typed: by Ctrl-U, which waits for its turn, while
// Ctrl-C would end a completion that is still at work.
func (p *pane) emptyLine() {
	p.t.Helper()
	p.typed("\x15")
	p.until("the line is empty", func(string) bool { return promptLine.MatchString(p.cursorLine()) })
}

// TestCompletionOfRuns completes ids in shells that take words apart at ":".
func TestCompletionOfRuns(t *testing.T) {
	for shell, load := range map[router.Shell]string{
		router.Bash: `eval "$(rlp completion bash)"`,
		router.Zsh:  `autoload -U compinit; compinit -D; eval "$(rlp completion zsh)"`,
	} {
		t.Run(string(shell), func(t *testing.T) {
			t.Parallel()
			p := newPane(t, paneOptions{shell: shell, bare: true, real: true, after: load})
			p.recordRun("0684fb4c-07ec-4457-b35d-6d643e2e8f3e")
			for typed, want := range map[string]string{
				"rlp trace 06\tx":             "rlp trace 0684fb4c-07ec-4457-b35d-6d643e2e8f3e x",
				"rlp trace trace:06\tx":       "rlp trace trace:0684fb4c-07ec-4457-b35d-6d643e2e8f3e x",
				"rlp runs show tr\tx":         "rlp runs show trace:0684fb4c-07ec-4457-b35d-6d643e2e8f3e x",
				"rlp replay \"trace:0684f\tx": "rlp replay \"trace:0684fb4c-07ec-4457-b35d-6d643e2e8f3e\" x",
			} {
				p.typed(typed)
				p.until("Tab makes of "+typed+": "+want, func(string) bool {
					_, line, _ := strings.Cut(p.cursorLine(), "> ")
					return strings.ReplaceAll(strings.TrimRight(line, " "), `\:`, ":") == want
				})
				p.emptyLine()
			}
		})
	}
}

// TestCompletionInFish asks fish itself what Tab would offer.
func TestCompletionInFish(t *testing.T) {
	needPrograms(t, "fish")
	h := newHome(t)
	h.recordRun("0684fb4c-07ec-4457-b35d-6d643e2e8f3e")
	for line, want := range map[string]string{
		"rlp kb se":                    "search\tfind contacts, notes and artifacts by words\n",
		"rlp kb search --domain=n":     "--domain=notes\n",
		"rlp run compose_email -p rec": "recipient=\tdefault \"\"\n",
		"rlp runs show trace:06":       "trace:0684fb4c-07ec-4457-b35d-6d643e2e8f3e\t",
		"rlp runs show 06":             "0684fb4c-07ec-4457-b35d-6d643e2e8f3e\t",
		"rlp completion ":              "bash\nzsh\nfish\n",
		"runloopd --soc":               "--socket\tlisten on PATH\n",
		"rlp kb add nothing ":          "",
		"rlp 'kb' se":                  "search\t",
	} {
		cmd := h.command("fish", "--no-config", "-c", `rlp completion fish | source; complete -C "$argv[1]"`, line)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), want) || want == "" && len(out) > 0 {
			t.Errorf("%q: %q, want %q; %v", line, out, want, err)
		}
	}
}

// TestCompletionFromFiles: the scripts work as files where packages put them.
func TestCompletionFromFiles(t *testing.T) {
	p := newPane(t, paneOptions{
		shell: router.Zsh, bare: true, real: true,
		after: "mkdir -p ~/functions; rlp completion zsh >~/functions/_rlp\n" +
			"fpath=(~/functions $fpath); autoload -U compinit; compinit -D",
	})
	for typed, want := range map[string]string{"rlp kb se\t": "rlp kb search", "agtop --inp\t": "agtop --input"} {
		p.typed(typed)
		p.until("Tab makes of "+typed+": "+want, func(string) bool { return strings.Contains(p.cursorLine(), want) })
		p.emptyLine()
	}
}
