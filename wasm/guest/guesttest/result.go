package guesttest

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/runloop-os/runloop/wasm/guest"
)

// exitTempfail is the exit status of an attempt that may be tried again
// (EX_TEMPFAIL of sysexits.h).
const exitTempfail = 75

// Asked is one hostcall that the agent made.
type Asked struct {
	Op   string
	Args json.RawMessage
}

// Result is how an attempt ended and what it did. Its Want methods fail the
// test with what was there instead.
type Result struct {
	Status int      // exit status: 0 done, 75 failed but may be retried
	Stderr string   // what went wrong
	Asked  []Asked  // hostcalls but log, in their order
	Logs   []string // messages of log

	t     testing.TB
	host  *Host
	used  map[string]int // answers that were taken, by op
	ports map[string]json.RawMessage
}

func (r *Result) run(handlers guest.Handlers, agent string, doc []byte) {
	r.t.Helper()
	var stdout, stderr bytes.Buffer
	r.Status = handlers.Serve(agent, bytes.NewReader(doc), &stdout, &stderr, r.door)
	r.Stderr = stderr.String()
	if r.Status != 0 {
		return
	}
	if err := json.Unmarshal(stdout.Bytes(), &r.ports); err != nil {
		r.t.Errorf("the agent wrote %q, which is no object of ports: %v", stdout.String(), err)
	}
}

// door answers by the script.
func (r *Result) door(op string, args json.RawMessage) (json.RawMessage, error) {
	if op == "log" {
		var line struct{ Message string }
		_ = json.Unmarshal(args, &line) // the SDK wrote it
		r.Logs = append(r.Logs, line.Message)
		return json.RawMessage("null"), nil
	}
	r.Asked = append(r.Asked, Asked{op, bytes.Clone(args)})
	script := r.host.answers[op]
	if len(script) == 0 {
		return nil, denied(op)
	}
	next := min(r.used[op], len(script)-1)
	r.used[op]++
	v, err := script[next](args)
	if err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

// OK stops the test if the attempt failed.
func (r *Result) OK() *Result {
	r.t.Helper()
	if r.Status != 0 {
		r.t.Fatalf("the agent failed with status %d: %s", r.Status, r.Stderr)
	}
	return r
}

// WantFailure checks that the attempt failed, whether it may be retried, and
// that text is in what it said.
func (r *Result) WantFailure(retryable bool, text string) {
	r.t.Helper()
	switch {
	case r.Status == 0:
		r.t.Errorf("the agent did not fail")
	case (r.Status == exitTempfail) != retryable:
		r.t.Errorf("status %d; want retryable %v", r.Status, retryable)
	case !strings.Contains(r.Stderr, text):
		r.t.Errorf("it said %q; want %q in it", r.Stderr, text)
	}
}

// Out reads what the agent gave out on port into v.
func (r *Result) Out(port string, v any) {
	r.t.Helper()
	raw, ok := r.ports[port]
	if !ok {
		r.t.Fatalf("nothing came out on %s; there is %v", port, r.ports)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		r.t.Fatalf("port %s: %v: %s", port, err, raw)
	}
}

// WantOut checks what the agent gave out on port; want is compared as JSON.
func (r *Result) WantOut(port string, want any) {
	r.t.Helper()
	var got any
	r.Out(port, &got)
	if want = asJSON(r.t, want); !reflect.DeepEqual(got, want) {
		r.t.Errorf("port %s gave %v; want %v", port, got, want)
	}
}

// WantAsked checks the hostcalls that were made, log apart, by name and in
// their order.
func (r *Result) WantAsked(ops ...string) {
	r.t.Helper()
	var got []string
	for _, a := range r.Asked {
		got = append(got, a.Op)
	}
	if strings.Join(got, " ") != strings.Join(ops, " ") {
		r.t.Errorf("the agent asked for %v; want %v", got, ops)
	}
}

// WantArgs checks the arguments of the i-th hostcall, from 0; want is compared
// as JSON.
func (r *Result) WantArgs(i int, want any) {
	r.t.Helper()
	if i >= len(r.Asked) {
		r.t.Fatalf("there were %d hostcalls", len(r.Asked))
	}
	got := asJSON(r.t, r.Asked[i].Args)
	if want = asJSON(r.t, want); !reflect.DeepEqual(got, want) {
		r.t.Errorf("%s was asked with %v; want %v", r.Asked[i].Op, got, want)
	}
}

// asJSON is v as it comes back from JSON.
func asJSON(t testing.TB, v any) (out any) {
	t.Helper()
	raw, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		t.Fatalf("guesttest: %v", err)
	}
	return out
}
