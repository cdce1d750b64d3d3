//go:build !wasip1

package guest

import (
	"encoding/json"
	"errors"
	"os"
)

// Main runs a module as a command: the agent that argv[0] names, from stdin to
// stdout. It does not return. Outside of a sandbox there is no host.
func Main(h Handlers) { os.Exit(Handle(h)) }

// Handle runs one attempt. Outside of a sandbox every hostcall fails; tests
// use [Handlers.Serve] with a door of their own.
func Handle(h Handlers) int {
	return h.Serve(os.Args[0], os.Stdin, os.Stdout, os.Stderr, nobody)
}

// Live runs a resident that reads its mailbox itself. Outside of a sandbox it
// has none.
func Live(run func(*Inbox) error) { os.Exit(live(run, os.Args[0], os.Stderr, nobody)) }

func nobody(string, json.RawMessage) (json.RawMessage, error) {
	return nil, errors.New("there is no host: this program does not run in a sandbox")
}
