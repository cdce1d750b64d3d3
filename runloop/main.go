// Package runloop is the application: it picks the applet, reads the
// configuration and wires the rooms together. It has no business logic.
package runloop

import (
	"context"
	"os"

	"github.com/runloop-os/runloop/router/enter"
	"github.com/runloop-os/runloop/wasm"
)

// version is set by the linker.
var version = "dev"

// Main runs the applet that args name and returns its exit code (spec/06).
// args[0] is the name the program was called by.
func Main(args []string) int {
	if code, ok := wasm.RunChild(args); ok {
		return code
	}
	return dispatch(context.Background(), osIO(), args)
}

// osIO is the process's own streams.
func osIO() *IO {
	return &IO{Stdin: enter.Stdin(), Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ()}
}
