package guest

import (
	"encoding/json"
	"errors"
	"fmt"
)

// With reads the node's with map into a T. Keys that the map does not have
// leave their fields as they are.
func With[T any](c *Call) (v T, err error) {
	return v, c.Bind(&v)
}

// One reads the first value that came in on port. It is an error if there is
// none.
func One[T any](c *Call, port string) (v T, err error) {
	return v, c.Need(port, &v)
}

// All reads every value that came in on port, in the order of the opening.
func All[T any](c *Call, port string) ([]T, error) {
	out := make([]T, len(c.Inputs[port]))
	for i, raw := range c.Inputs[port] {
		if err := json.Unmarshal(raw, &out[i]); err != nil {
			return nil, fmt.Errorf("input %s, value %d: %w", port, i+1, err)
		}
	}
	return out, nil
}

// CodeOf is the code with which the host refused a hostcall, or "" for any
// other error.
func CodeOf(err error) string {
	var refused *Error
	if errors.As(err, &refused) {
		return refused.Code
	}
	return ""
}

// Denied reports whether err is the host's "not granted". A good agent goes on
// with what it has.
func Denied(err error) bool { return CodeOf(err) == "denied" }

// Logf sends a line to the run's log; level is debug, info, warn or error. It
// never fails the agent.
func (c *Call) Logf(level, format string, args ...any) {
	c.Log(level, fmt.Sprintf(format, args...), nil)
}

// Why tells the events that an entity of the knowledge base rests on, as JSON.
func (c *Call) Why(entity string) (json.RawMessage, error) {
	var res json.RawMessage
	args := struct {
		Entity string `json:"entity"`
	}{entity}
	return res, c.Ask("kb.why", args, &res)
}
