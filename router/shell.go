package router

import (
	"embed"
	"fmt"
	"strings"
)

// shellFiles are the integrations; each names the shell that reads it.
//
//go:embed shell/runloop.*
var shellFiles embed.FS

// ShellScript returns the integration of a shell, for eval in it (spec/08 "The
// widgets"). version is what the script says of itself in
// RUNLOOP_ROUTER_STATE.
func ShellScript(shell Shell, version string) (string, error) {
	text, err := shellFiles.ReadFile("shell/runloop." + string(shell))
	if err != nil {
		return "", fmt.Errorf("there is no integration for the shell %q", shell)
	}
	return strings.ReplaceAll(string(text), "@VERSION@", shellWord(version)), nil
}

// shellWord keeps of a version what is a plain word in every shell.
func shellWord(version string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', strings.ContainsRune(".-_+", r):
			return r
		}
		return '_'
	}, version)
}
