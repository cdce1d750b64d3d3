// Package shell has the integrations of zsh and bash: scripts in which Enter asks
// `rlp route` where a line goes, and the lines of a startup file that load them
// (spec/08 "The widgets").
package shell

import (
	"embed"
	"fmt"
	"strings"

	"github.com/runloop-os/runloop/router"
)

// shellFiles are the integrations; each names the shell that reads it.
//
//go:embed runloop.*
var shellFiles embed.FS

// Script returns the integration of a shell, for eval in it (spec/08 "The
// widgets"). version is what the script says of itself in
// RUNLOOP_ROUTER_STATE.
func Script(shell router.Shell, version string) (string, error) {
	text, err := shellFiles.ReadFile("runloop." + string(shell))
	if err != nil {
		return "", fmt.Errorf("there is no integration for the shell %q", shell)
	}
	script := strings.ReplaceAll(string(text), "@VERSION@", shellWord(version))
	if shell == router.Zsh {
		script = zshLoader(script)
	}
	return script, nil
}

// zshLoader wraps a script of zsh such that it is read under zsh's own options and
// without aliases, whatever those of the user are: eval reads all of its text
// before it carries out any of it, so the script itself would come too late. What
// is outside of the script is quoted where an alias could take it for itself.
func zshLoader(script string) string {
	return "'builtin' 'read' '-r' '-d' '' '_rl_script' <<'RUNLOOP' || 'builtin' 'true'\n" + script + "RUNLOOP\n" +
		"() { 'builtin' 'emulate' '-L' 'zsh' '-o' 'no_aliases'; 'builtin' 'eval' \"$1\"; } \"$_rl_script\"\n" +
		"'builtin' 'unset' '_rl_script'\n"
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
