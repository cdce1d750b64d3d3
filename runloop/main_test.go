package runloop

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/runloop-os/runloop/agents"
	"github.com/runloop-os/runloop/pog"
	"github.com/runloop-os/runloop/wasm"
)

// moduleCache holds the compiled modules of all tests, as XDG_CACHE_HOME.
var moduleCache string

// cached runs the tests with a moduleCache.
type cached struct{ *testing.M }

// Run implements testscript.TestingM.
func (m cached) Run() int {
	var err error
	if moduleCache, err = os.MkdirTemp("", "runloop-cache"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(moduleCache)
	return m.M.Run()
}

// TestMain lets the tests run this test binary as runloop and its applets, which
// are on the PATH.
func TestMain(m *testing.M) {
	if code, ok := wasm.RunChild(os.Args); ok {
		os.Exit(code)
	}
	if _, ok := agents.BuiltIn(); !ok {
		fmt.Fprintln(os.Stderr, "the built-in agents are not compiled: run `make agents` first, or `make test`")
		os.Exit(1)
	}
	ended, end := context.WithCancel(context.Background())
	end() // nothing is to be opened
	if _, err := pog.Open(ended, pog.Options{}); pog.CodeOf(err) == pog.ErrNoFTS5 {
		fmt.Fprintln(os.Stderr, "SQLite is built without full-text search: run `make test`")
		os.Exit(1)
	}
	commands := map[string]func(){"runloop": func() { os.Exit(Main(os.Args)) }}
	for _, a := range applets() {
		commands[a.name] = commands["runloop"]
	}
	testscript.Main(cached{m}, commands)
}
