// Package guesttest runs an agent against a fake host, in the test's own
// process and in milliseconds. What the agent asks for is answered by a script;
// whatever the script does not answer is denied, as on a host where nothing is
// granted.
//
//	func TestGreet(t *testing.T) {
//		host := guesttest.New(t)
//		host.Answer("kb.search", map[string]any{"hits": []any{}})
//		got := host.Run(Greet, guesttest.Input{With: map[string]any{"name": "Ada"}})
//		got.OK()
//		got.WantOut("out", "hello Ada")
//		got.WantAsked("kb.search")
//	}
package guesttest

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/runloop-os/runloop/wasm/guest"
)

// Host is a fake host. It is not safe for several goroutines, as an agent has
// only one.
type Host struct {
	t       testing.TB
	answers map[string][]answer
}

// answer is what a hostcall gets.
type answer func(args json.RawMessage) (any, error)

// New makes a host that denies everything but log.
func New(t testing.TB) *Host {
	return &Host{t: t, answers: map[string][]answer{}}
}

// Answer scripts the answer to a hostcall, such as "kb.search". With several
// answers for one op each call takes the next; the last one stays.
func (h *Host) Answer(op string, value any) *Host {
	return h.AnswerFunc(op, func(json.RawMessage) (any, error) { return value, nil })
}

// AnswerFunc scripts an answer that depends on the arguments, which are JSON.
// An error that is a *[guest.Error] reaches the agent with its code.
func (h *Host) AnswerFunc(op string, f func(args json.RawMessage) (any, error)) *Host {
	h.answers[op] = append(h.answers[op], f)
	return h
}

// Refuse scripts an error as the answer to a hostcall.
func (h *Host) Refuse(op string, e guest.Error) *Host {
	return h.AnswerFunc(op, func(json.RawMessage) (any, error) { return nil, &e })
}

// Input is what an attempt is given. Zero fields get values that make sense.
type Input struct {
	Agent   string           // name; "agent"
	Node    string           // "node"
	Attempt int              // 1
	With    any              // the with map
	Inputs  map[string]any   // one value for each port
	Many    map[string][]any // several values for a port
	Budget  guest.Budget
}

// document is what the agent finds on stdin (docs/agents.md).
func (in *Input) document() ([]byte, error) {
	ports := map[string][]any{}
	for port, v := range in.Inputs {
		ports[port] = append(ports[port], v)
	}
	for port, values := range in.Many {
		ports[port] = append(ports[port], values...)
	}
	with := in.With
	if with == nil {
		with = struct{}{}
	}
	return json.Marshal(map[string]any{
		"v": 1, "agent": in.Agent, "node": in.Node, "attempt": in.Attempt,
		"trace_id": "trace:00000000-0000-4000-8000-000000000001", "opening_id": "opening:test",
		"with": with, "inputs": ports, "budget": in.Budget,
	})
}

// Run runs one attempt of a handler. State of the agent's own package lives on
// between runs here, while on a real host each attempt has an instance of its
// own.
func (h *Host) Run(handler guest.Handler, in Input) *Result {
	h.t.Helper()
	return h.RunNamed(guest.Handlers{"agent": handler}, in)
}

// RunNamed is Run for a module that serves several agents; Input.Agent says
// which.
func (h *Host) RunNamed(handlers guest.Handlers, in Input) *Result {
	h.t.Helper()
	in.Agent, in.Node, in.Attempt = orElse(in.Agent, "agent"), orElse(in.Node, "node"), orElse(in.Attempt, 1)
	doc, err := in.document()
	if err != nil {
		h.t.Fatalf("guesttest: the input is no JSON: %v", err)
	}
	r := &Result{t: h.t, host: h, used: map[string]int{}}
	r.run(handlers, in.Agent, doc)
	return r
}

func orElse[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// denied is how a host without the grant answers.
func denied(op string) error {
	return &guest.Error{Code: "denied", Message: fmt.Sprintf("denied:%s:not scripted in this test", op)}
}
