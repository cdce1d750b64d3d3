//go:build wasip1

package guest

import (
	"encoding/json"
	"errors"
	"os"
	"unsafe"
)

//go:wasmimport runloop hostcall
func hostcall(ptr unsafe.Pointer, length uint32) int32

//go:wasmimport runloop hostcall_read
func hostcallRead(ptr unsafe.Pointer, capacity uint32) int32

// host is the real door.
func host(op string, args json.RawMessage) (json.RawMessage, error) {
	req, err := encodeRequest(op, args)
	if err != nil {
		return nil, err
	}
	n := hostcall(unsafe.Pointer(unsafe.SliceData(req)), uint32(len(req)))
	if n < 0 {
		return nil, errors.New("the host refused the form of the call")
	}
	answer := make([]byte, n)
	if got := hostcallRead(unsafe.Pointer(unsafe.SliceData(answer)), uint32(n)); got != n {
		return nil, errAnswer
	}
	return decodeAnswer(answer)
}

// Main runs a module as a command: the agent that argv[0] names, from stdin to
// stdout. It does not return.
func Main(h Handlers) { os.Exit(Handle(h)) }

// Handle runs one attempt in a module that is built as a reactor, or all of
// them if the agent is a resident; its runloop_handle export returns what
// Handle returns.
func Handle(h Handlers) int {
	if os.Getenv(envLife) == lifeResident {
		return h.Stay(os.Args[0], os.Stderr, host)
	}
	return h.Serve(os.Args[0], os.Stdin, os.Stdout, os.Stderr, host)
}

// Live runs a resident that reads its mailbox itself. It does not return. run
// gives the exit status as a handler does; it ends after [ErrStopping].
func Live(run func(*Inbox) error) { os.Exit(live(run, os.Args[0], os.Stderr, host)) }
