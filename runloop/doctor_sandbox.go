package runloop

import (
	"bytes"
	"context"
	"strings"
	"time"

	"github.com/runloop-os/runloop/wasm"
)

// kernel looks which of the walls around workers it has (docs/sandbox.md).
func (e *examination) kernel() {
	const name = "kernel"
	k := wasm.Kernel()
	var lacks []string
	if k.Landlock == 0 {
		lacks = append(lacks, "Landlock (Linux 5.13; it may be switched off with lsm=)")
	}
	if !k.Seccomp {
		lacks = append(lacks, "seccomp filters")
	}
	if len(lacks) > 0 {
		e.warn(name, "agents that nobody vouches for are less confined here; use another kernel for them",
			"it lacks %s", strings.Join(lacks, " and "))
		return
	}
	found := "Landlock %d, seccomp"
	if k.Landlock < 4 {
		e.add(name, checkNote, "Linux 6.7 has Landlock 4, which keeps workers from TCP as well", found, k.Landlock)
		return
	}
	e.ok(name, found, k.Landlock)
}

// selfTest is a WASI command that ends at once: a module with a memory and a
// function _start that returns.
var selfTest = []byte("\x00asm\x01\x00\x00\x00" + // magic, version
	"\x01\x04\x01\x60\x00\x00" + // type 0: () -> ()
	"\x03\x02\x01\x00" + // function 0 has it
	"\x05\x03\x01\x00\x01" + // a memory of one page
	"\x07\x13\x02\x06memory\x02\x00\x06_start\x00\x00" + // exports
	"\x0a\x04\x01\x02\x00\x0b") // the body: end

// workerTime is how long the self-test may take, the compiling included.
const workerTime = 20 * time.Second

// worker runs a program in a worker, through all that an agent goes through.
func (e *examination) worker(ctx context.Context) {
	const name = "worker"
	var said bytes.Buffer
	r := wasm.NewRuntime(wasm.RuntimeConfig{Warn: func(err error) { said.WriteString(err.Error() + "; ") }})
	ctx, cancel := context.WithTimeout(ctx, workerTime)
	defer cancel()
	began := time.Now()
	res, err := r.RunWASI(ctx, wasm.WASIConfig{
		Module: selfTest, Args: []string{"self-test"}, Isolation: wasm.IsolationWorker,
		Stdin: strings.NewReader(""), Stdout: &said, Stderr: &said,
	})
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	switch {
	case err != nil:
		e.fail(name, "see docs/sandbox.md; with runtime.isolation inline agents run without one", "none can be started: %v", err)
	case res.Exit != 0 || said.Len() > 0:
		e.fail(name, "see docs/sandbox.md", "the self-test ended with %d: %s", res.Exit, said.String())
	default:
		e.ok(name, "a program ran confined in %s", time.Since(began).Round(time.Millisecond))
	}
}
