package runloop

import (
	"strings"
	"testing"

	"github.com/runloop-os/runloop/router"
)

// TestShellBashReadonly: hardened machines make these variables readonly. To assign
// to one would end the decision, and the request would run as a command.
func TestShellBashReadonly(t *testing.T) {
	t.Run("HISTIGNORE", func(t *testing.T) {
		eachBash(t, paneOptions{before: "readonly HISTIGNORE= HISTCONTROL="}, func(t *testing.T, p *bashPane) {
			p.line(request)
			p.typed("\x1b[A") // the mark, which nothing keeps out of the history here
			p.until("the mark is back", func(string) bool { return strings.Contains(p.cursorLine(), "@agents # "+request) })
			p.typed("\r")
			p.prompt()
			p.wantRuns(request, request)
		})
	})
	t.Run("PROMPT_COMMAND", func(t *testing.T) {
		eachBash(t, paneOptions{before: "readonly PROMPT_COMMAND"}, func(t *testing.T, p *bashPane) {
			p.line("echo a word >~/out")
			p.line("runloop_router_status >>~/out")
			if out := p.read("out"); !strings.HasPrefix(out, "a word\n") || !strings.Contains(out, "off (PROMPT_COMMAND is readonly)") {
				t.Errorf("it printed %q", out)
			}
			if p.screen(); strings.Contains(p.everything(), "readonly variable") {
				t.Error("an error is on the screen")
			}
		})
	})
}

// TestShellBashAliases: aliases are the user's, also those that are called like
// what the integration uses.
func TestShellBashAliases(t *testing.T) {
	aliases := "alias local=false builtin=false command=false exec=false return=false bind=false trap=false shopt=false export=false " +
		"kill=false wait=false declare=false"
	eachBash(t, paneOptions{before: aliases}, func(t *testing.T, p *bashPane) {
		p.line(request)
		p.line(", a second one")
		p.wantRuns(request, "a second one")
		if got := p.prints(`\alias local`); got != "alias local='false'\n" {
			t.Errorf("the user's alias is %q", got)
		}
	})
}

// TestShellBashHistoryExpansion: a line that history expansion refuses, or hands
// back, was no line, and the next one is a first one.
func TestShellBashHistoryExpansion(t *testing.T) {
	eachBash(t, paneOptions{}, func(t *testing.T, p *bashPane) {
		p.typed("echo !nothing\r")
		p.shows("event not found")
		p.line(request)
		p.line("shopt -s histverify")
		p.line("echo before >~/out")
		p.typed("!echo\r")
		p.until("the line is handed back", func(string) bool { return strings.Contains(p.cursorLine(), "> echo before") })
		p.typed("\x15, please\r") // Ctrl-U
		p.prompt()
		p.wantRuns(request, "please")
	})
}

// TestShellStrangersRouter: with "." in the PATH, Enter does not run what the
// current folder calls rlp.
func TestShellStrangersRouter(t *testing.T) {
	for _, shell := range []router.Shell{router.Bash, router.Zsh} {
		t.Run(string(shell), func(t *testing.T) {
			t.Parallel()
			p := newPane(t, paneOptions{shell: shell})
			p.write("theirs/rlp", "#!/bin/sh\necho taken >>~/taken\nexit 11\n", 0o755)
			p.line("PATH=.:$PATH")
			p.line("cd theirs")
			p.line("true please")
			p.line("hash -r")
			p.line("true again")
			p.line("PATH=${PATH#.:}; hash -r")
			p.line(request)
			p.wantRuns(request)
			if taken := p.read("taken"); taken != "" {
				t.Errorf("it ran: %s", taken)
			}
		})
	}
}

// TestShellZshAliasOfCommand: the mark does not care what the user's aliases are.
func TestShellZshAliasOfCommand(t *testing.T) {
	p := newPane(t, paneOptions{shell: router.Zsh, after: "alias command=false rlp=false"})
	p.line(request)
	p.wantRuns(request)
}
