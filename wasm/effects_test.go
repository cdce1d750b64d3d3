package wasm

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/runloop-os/runloop/rmp"
)

// journal is an Effects in memory.
type journal struct {
	begun  map[string]bool
	done   map[string]rmp.Hostcall
	events []string
}

func newJournal() *journal {
	return &journal{begun: map[string]bool{}, done: map[string]rmp.Hostcall{}}
}

func (j *journal) Begin(_ context.Context, _ Caller, e Effect) (Begun, error) {
	j.events = append(j.events, "begin "+e.Op+" "+e.Target)
	if known, ok := j.done[e.Key]; ok {
		return Begun{Known: &known}, nil
	}
	b := Begun{InDoubt: j.begun[e.Key]}
	j.begun[e.Key] = true
	return b, nil
}

func (j *journal) Done(_ context.Context, _ Caller, e Effect, answer rmp.Hostcall) error {
	j.events = append(j.events, "done "+e.Op)
	if answer.Err != nil && answer.Err.Retryable {
		delete(j.begun, e.Key)
		return nil
	}
	j.done[e.Key] = answer
	return nil
}

// TestActionsAreDoneOnce makes attempts of one node that ask for the same.
func TestActionsAreDoneOnce(t *testing.T) {
	var served atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := served.Add(1)
		if r.URL.Path == "/break" {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprintf(w, "%d %s", n, r.Header.Get("Authorization"))
	}))
	srv.Config.ErrorLog = discardLog()
	defer srv.Close()
	j := newJournal()
	s := Services{Effects: j, Secrets: fakeSecrets{"a/b": "CANARY"}}
	attempt := func() *door {
		return testDoor(t, fmt.Sprintf("net = [%q]\nallow_http = true\nexec = [\"sh\"]\nsecrets = [\"a/b\"]", hostPort(t, srv.URL)), s)
	}
	post := func(d *door, path string, extra map[string]any) string {
		headers := map[string]any{"Authorization": getHandle(t, d, "a/b")}
		for k, v := range extra {
			headers[k] = v
		}
		return ask(t, d, "http.request", map[string]any{"method": "POST", "url": srv.URL + path, "headers": headers, "body": "x"})
	}
	d := attempt()
	first, second := post(d, "/", nil), post(d, "/", nil)
	if !strings.Contains(first, "1 [secret a/b]") || !strings.Contains(second, "2 [secret a/b]") {
		t.Errorf("two of the same: %s %s", first, second)
	}
	d = attempt() // its handles are others
	if a, b, c := post(d, "/", nil), post(d, "/", nil), post(d, "/", nil); a != first || b != second || !strings.Contains(c, "3 ") {
		t.Errorf("the next attempt: %s %s %s", a, b, c)
	}
	// Nobody knows what came of this one.
	if got := post(attempt(), "/break", nil); !strings.HasPrefix(got, "protocol_error") {
		t.Error(got)
	}
	if got := post(attempt(), "/break", nil); !strings.HasPrefix(got, "in_doubt: ") || served.Load() != 4 {
		t.Error(got, served.Load())
	}
	key := map[string]any{"Idempotency-Key": "k"}
	post(attempt(), "/break", key)
	post(attempt(), "/break", key)
	if n := served.Load(); n != 6 {
		t.Errorf("%d requests: one with a key may go out again", n)
	}
	// What was never begun may begin again; what reads is in no journal.
	j.events = nil
	gone := map[string]any{"method": "POST", "url": srv.URL}
	srv.Close()
	for range 2 {
		if got := ask(t, attempt(), "http.request", gone); !strings.HasPrefix(got, "connect_failed") {
			t.Error(got)
		}
	}
	ask(t, attempt(), "http.request", map[string]any{"url": srv.URL})
	if got := strings.Join(j.events, ", "); strings.Count(got, "begin") != 2 || strings.Count(got, "done") != 2 {
		t.Error(got)
	}
}

func TestProgramsRunOnce(t *testing.T) {
	j := newJournal()
	s := Services{Effects: j}
	file := t.TempDir() + "/count"
	run := func(script string) string {
		return ask(t, testDoor(t, `exec = ["sh", "none"]`, s), "exec.run", argv("sh", "-c", script))
	}
	script := "echo $RUNLOOP_IDEMPOTENCY_KEY >> " + file + "; wc -l < " + file
	a, b := run(script), run(script)
	if a != b || !strings.Contains(a, `"stdout":"1\n"`) {
		t.Errorf("%s %s", a, b)
	}
	for range 2 { // it could not start, and may try again
		if got := ask(t, testDoor(t, `exec = ["none"]`, s), "exec.run", argv("none")); !strings.HasPrefix(got, "spawn_failed") {
			t.Error(got)
		}
	}
	if got := strings.Join(j.events, ", "); got != "begin exec.run sh, done exec.run, begin exec.run sh" {
		t.Error(got)
	}
	for k := range j.done {
		if len(k) != 64 {
			t.Errorf("key %q", k)
		}
	}
}
