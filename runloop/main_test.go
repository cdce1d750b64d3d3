package runloop

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/runloop-os/runloop/agents"
	"github.com/runloop-os/runloop/wasm"
)

// TestMain lets the scripts run this test binary as runloop and its applets.
func TestMain(m *testing.M) {
	if code, ok := wasm.RunChild(os.Args); ok {
		os.Exit(code)
	}
	if _, ok := agents.BuiltIn(); !ok {
		fmt.Fprintln(os.Stderr, "the built-in agents are not compiled: run `make agents` first, or `make test`")
		os.Exit(1)
	}
	commands := map[string]func(){"runloop": func() { os.Exit(Main(os.Args)) }}
	for _, a := range applets() {
		commands[a.name] = commands["runloop"]
	}
	testscript.Main(m, commands)
}
