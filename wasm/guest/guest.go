// Package guest is what a Runloop agent is written against. It has no
// dependency beyond the standard library and builds for GOOS=wasip1, where its
// calls reach the host, and for any other system, where tests put a door of
// their own in the host's place.
//
// An agent is a [Handler]:
//
//	func Greet(c *guest.Call) error {
//		var with struct{ Name string }
//		if err := c.Bind(&with); err != nil {
//			return err
//		}
//		return c.Out("out", "hello "+with.Name)
//	}
//
//	func main() { guest.Main(guest.Handlers{"greet": Greet}) }
//
// The contract behind it (argv, stdin, stdout, exit status, hostcalls) is
// described in docs/agents.md.
package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Handler does the work of one attempt. An error ends the attempt as failed;
// wrap it with [Retry] if another attempt may do better.
type Handler func(*Call) error

// Handlers are the agents that one module serves, by name.
type Handlers map[string]Handler

// Exit statuses (spec/03): 75 is EX_TEMPFAIL of sysexits.h.
const (
	exitOK       = 0
	exitFailed   = 1
	exitTempfail = 75
)

// Budget is what the attempt may still spend; zero means no limit of its own.
type Budget struct {
	Tokens         int64   `json:"tokens"`
	USD            float64 `json:"usd"`
	DeadlineMillis int64   `json:"deadline_ms"`
}

// Call is one attempt: what the agent was given and what it gives back.
type Call struct {
	Agent     string `json:"agent"`
	Node      string `json:"node"`
	Attempt   int    `json:"attempt"`
	TraceID   string `json:"trace_id"`
	OpeningID string `json:"opening_id"`
	Budget    Budget `json:"budget"`

	With   json.RawMessage              `json:"with"`
	Inputs map[string][]json.RawMessage `json:"inputs"`

	door Door
	out  map[string]any
}

// Door carries a hostcall's arguments to the host and brings back the answer,
// both as JSON. An error is an *[Error] when the host has answered with one.
type Door func(op string, args json.RawMessage) (json.RawMessage, error)

// NewCall reads the document a guest gets on stdin; its hostcalls go through
// door.
func NewCall(stdin io.Reader, door Door) (*Call, error) {
	c := &Call{door: door, out: map[string]any{}}
	if err := json.NewDecoder(stdin).Decode(c); err != nil {
		return nil, fmt.Errorf("reading the input: %w", err)
	}
	return c, nil
}

// Bind reads the node's with map into v.
func (c *Call) Bind(v any) error {
	if len(c.With) == 0 {
		return nil
	}
	if err := json.Unmarshal(c.With, v); err != nil {
		return fmt.Errorf("with: %w", err)
	}
	return nil
}

// Input reads the first value that came in on port into v, and reports whether
// there was one.
func (c *Call) Input(port string, v any) (bool, error) {
	values := c.Inputs[port]
	if len(values) == 0 {
		return false, nil
	}
	if err := json.Unmarshal(values[0], v); err != nil {
		return false, fmt.Errorf("input %s: %w", port, err)
	}
	return true, nil
}

// Need is Input for a port without which the agent cannot work.
func (c *Call) Need(port string, v any) error {
	ok, err := c.Input(port, v)
	if err == nil && !ok {
		err = fmt.Errorf("input %s: nothing came in", port)
	}
	return err
}

// Out gives v out on port. The last value for a port counts.
func (c *Call) Out(port string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("output %s: %w", port, err)
	}
	c.out[port] = json.RawMessage(b)
	return nil
}

// Outputs is the document for stdout: an object from port to value.
func (c *Call) Outputs() ([]byte, error) { return json.Marshal(c.out) }

// Retry marks err as one that another attempt may overcome.
func Retry(err error) error { return &retryError{err} }

type retryError struct{ err error }

func (e *retryError) Error() string { return e.err.Error() }
func (e *retryError) Unwrap() error { return e.err }

// Serve runs one attempt of the agent called name from stdin to stdout and
// returns the exit status; what went wrong is on stderr.
func (h Handlers) Serve(name string, stdin io.Reader, stdout, stderr io.Writer, door Door) int {
	err := h.serve(name, stdin, stdout, door)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "%s: %v\n", name, err)
	if worthRetry(err) {
		return exitTempfail
	}
	return exitFailed
}

// worthRetry reports whether another attempt may do better.
func worthRetry(err error) bool {
	var retry *retryError
	var refused *Error
	return errors.As(err, &retry) || errors.As(err, &refused) && refused.Retryable
}

func (h Handlers) serve(name string, stdin io.Reader, stdout io.Writer, door Door) error {
	handle := h[name]
	if handle == nil {
		return fmt.Errorf("this module has no agent of that name")
	}
	c, err := NewCall(stdin, door)
	if err != nil {
		return err
	}
	if err := handle(c); err != nil {
		return err
	}
	doc, err := c.Outputs()
	if err != nil {
		return err
	}
	_, err = stdout.Write(doc)
	return err
}
