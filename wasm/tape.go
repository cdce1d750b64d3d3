package wasm

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/runloop-os/runloop/rmp"
)

// tapeMax bounds what one attempt records, in bytes of arguments and answers.
// An attempt that says more goes on, but cannot be replayed.
const tapeMax = 4 << 20

// opClock is the tape entry that holds the clock readings of an attempt.
const opClock = "wasi.clock"

// tape is the record of what crossed the sandbox wall in one attempt. While
// recording it grows; in a replay it is read and gives the answers. An attempt
// that was parked does both: what it asked before is answered from the tape,
// and what follows is recorded behind it.
type tape struct {
	calls    []rmp.Hostcall
	size     int
	cut      bool
	replay   bool
	off      bool // nothing is to be recorded
	next     int  // of calls, in a replay
	prefix   int  // calls that were made before the attempt was parked
	diverged *rmp.Divergence
}

// record adds an answered call.
func (t *tape) record(call rmp.Hostcall) {
	if t.off {
		return
	}
	t.size += tapeSize(&call)
	if t.cut || t.size > tapeMax {
		t.cut, t.calls = true, nil
		return
	}
	t.calls = append(t.calls, call)
	t.next = len(t.calls)
}

// entryCost is what an entry costs beside its text, in bytes.
const entryCost = 32

// tapeSize is what a call takes of tapeMax.
func tapeSize(c *rmp.Hostcall) int {
	n := entryCost + len(c.Op) + len(c.Args) + len(c.OK)
	if c.Err != nil {
		n += entryCost + len(c.Err.Code) + len(c.Err.Message)
	}
	return n
}

// given reports whether the next answer comes from the tape.
func (t *tape) given() bool { return t.replay || t.next < t.prefix }

// answer returns the recorded answer to the call that comes next, or false
// when the guest asked for something else than was recorded.
func (t *tape) answer(op string, args []byte) (rmp.Hostcall, bool) {
	got := &rmp.Hostcall{Op: op, Args: args}
	if t.next >= len(t.calls) {
		t.diverge(nil, got)
		return rmp.Hostcall{}, false
	}
	want := &t.calls[t.next]
	if want.Op != op || !sameValue(want.Args, args) {
		t.diverge(want, got)
		return rmp.Hostcall{}, false
	}
	t.next++
	return *want, true
}

// sameValue compares two MsgPack values by what they say: a tape that was kept
// as JSON comes back with other widths and another order of keys.
func sameValue(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, errX := canonicalJSON(a)
	y, errY := canonicalJSON(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// canonicalJSON is a MsgPack value as canonical JSON (RFC 8785).
func canonicalJSON(msgpack []byte) ([]byte, error) {
	js, err := rmp.AppendJSON(nil, msgpack)
	if err != nil {
		return nil, err
	}
	return canonicalText(js)
}

// canonicalText is JSON in its canonical form (RFC 8785).
func canonicalText(js []byte) ([]byte, error) {
	v := jsontext.Value(bytes.Clone(js))
	err := v.Canonicalize()
	return v, err
}

// finish notes calls that were recorded but not asked for again.
func (t *tape) finish() {
	if t.replay && t.next < len(t.calls) {
		t.diverge(&t.calls[t.next], nil)
	}
}

func (t *tape) diverge(want, got *rmp.Hostcall) {
	if t.diverged == nil {
		t.diverged = &rmp.Divergence{Index: t.next, Want: want, Got: got}
	}
}
