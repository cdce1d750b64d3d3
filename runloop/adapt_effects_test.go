package runloop

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/runloop-os/runloop/pog"
	"github.com/runloop-os/runloop/rmp"
	"github.com/runloop-os/runloop/wasm"
)

// effectRun is a journal of its own and the caller whose actions it keeps.
func effectRun(t *testing.T) (effectJournal, wasm.Caller) {
	store, err := pog.Open(t.Context(), pog.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return effectJournal{store}, wasm.Caller{TraceID: "trace:0b51d2c0-9a55-4e0e-8f3a-000000000001", Node: "n", Agent: "a"}
}

func numberedEffect(i int) wasm.Effect {
	return wasm.Effect{Key: fmt.Sprintf("%064x", i), Op: "exec.run", Target: "sh"}
}

// TestEffectJournal follows one action through all that can become of it.
func TestEffectJournal(t *testing.T) {
	j, c := effectRun(t)
	ctx := context.Background()
	begin := func(e wasm.Effect, want string) {
		t.Helper()
		got, err := j.Begin(ctx, c, e)
		is := fmt.Sprint(got.InDoubt)
		if got.Known != nil {
			is = string(got.Known.OK)
		}
		if err != nil || is != want {
			t.Errorf("begin: %s, %v; want %s", is, err, want)
		}
	}
	done := func(e wasm.Effect, answer rmp.Hostcall) {
		t.Helper()
		if err := j.Done(ctx, c, e, answer); err != nil {
			t.Fatal(err)
		}
	}
	text, err := rmp.AppendMsgpack(nil, []byte(`"`+strings.Repeat("large", 2000)+`"`))
	if err != nil {
		t.Fatal(err)
	}
	a, b := numberedEffect(1), numberedEffect(2)
	begin(a, "false")
	begin(b, "false")
	begin(a, "true") // nobody knows whether it ended
	again := rmp.Hostcall{Op: "exec.run", Err: &rmp.HostcallError{Code: "spawn_failed", Retryable: true}}
	done(b, again)
	begin(b, "false") // the first time nothing was carried out
	done(b, again)    // which is another event than the first one like it
	begin(b, "false")
	done(b, rmp.Hostcall{Op: "exec.run", OK: text})
	begin(b, string(text))
	begin(a, "true")
	if events, err := j.store.RunEvents(ctx, c.TraceID); err != nil || len(events) != 7 {
		t.Errorf("%d events of the run, %v", len(events), err)
	}
}

// TestEffectJournalIsNoMoreWorkInALongRun: what one action costs does not grow
// with those that came before it.
func TestEffectJournalIsNoMoreWorkInALongRun(t *testing.T) {
	j, c := effectRun(t)
	act := func(i int) {
		e := numberedEffect(i)
		if b, err := j.Begin(t.Context(), c, e); err != nil || b != (wasm.Begun{}) {
			t.Fatal(b, err)
		}
		if err := j.Done(t.Context(), c, e, rmp.Hostcall{Op: e.Op, OK: []byte{0xc0}}); err != nil {
			t.Fatal(err)
		}
	}
	// Asking allocates for each event that is looked at.
	ask := func() float64 {
		return testing.AllocsPerRun(20, func() {
			if b, err := j.Begin(t.Context(), c, numberedEffect(0)); err != nil || b.Known == nil {
				t.Fatal(b, err)
			}
		})
	}
	act(0)
	few := ask()
	for i := range 300 {
		act(i + 1)
	}
	if many := ask(); many > 2*few {
		t.Errorf("%v allocations in a run with 1 action, %v with 301", few, many)
	}
}
