package wasm

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/runloop-os/runloop/rmp"
)

// everyPlace runs a test with a probe that lives both lives in both places.
func everyPlace(t *testing.T, f func(t *testing.T, place Isolation, life Life)) {
	for _, place := range []Isolation{IsolationInline, IsolationWorker} {
		for _, life := range []Life{LifeReactor, LifeCommand} {
			t.Run(fmt.Sprint(place, life), func(t *testing.T) { f(t, place, life) })
		}
	}
}

// waiter is a probe that uses files or a secret on both sides of a question.
type waiter struct {
	*rig
	dir string
	f   *fakeBackend
}

func newWaiter(t *testing.T, place Isolation, life Life, caps string, change func(*Services)) *waiter {
	t.Helper()
	dir := t.TempDir()
	f := &fakeBackend{reply: &Decision{Approved: true, By: "user"}}
	s := f.services()
	s.Actions = slowPerson{f}
	if change != nil {
		change(&s)
	}
	w := &waiter{rig: newRigIn(t, place, fmt.Sprintf(caps, dir), s, map[string][]byte{"probe": probeModule(t, life)}), dir: dir, f: f}
	w.write("in.txt", "as it was")
	return w
}

func (w *waiter) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *waiter) read(name string) string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Error(err)
	}
	return string(text)
}

// ask is a request for the probe; more is the rest of its with map.
func (w *waiter) ask(more string) *rmp.AgentRequest {
	return w.request("probe", fmt.Sprintf(`{"Do":"waits","Dir":%q%s}`, w.dir, more), nil)
}

// parked sends a request whose attempt has to be parked.
func (w *waiter) parked(req *rmp.AgentRequest) *rmp.AgentResponse {
	w.t.Helper()
	res := w.send(req)
	if res.Status != rmp.StatusParked || res.Action == nil {
		w.t.Fatalf("status %s, %+v, logs %v", res.Status, res.Error, w.logs)
	}
	return res
}

const writable = "fs = [{ path = %q, write = true }]\n"

// TestParkedWithFiles: what an attempt read before it waited it has read as it was,
// what it wrote it has written once, and afterwards it is at the files as they are.
func TestParkedWithFiles(t *testing.T) {
	everyPlace(t, func(t *testing.T, place Isolation, life Life) {
		w := newWaiter(t, place, life, writable, nil)
		req := w.ask("")
		res := w.parked(req)
		if log := w.read("log.txt"); log != "before\n" {
			t.Errorf("log %q", log)
		}
		w.write("in.txt", "as it is")
		w.write("another.txt", "")
		again := w.send(resumed(req, res, true))
		want := `{"after":"as it is","after names":3,"approved":true,"before":"as it was","before names":2}`
		if got := out(t, again); got != want {
			t.Errorf("out %s, want %s", got, want)
		}
		if log := w.read("log.txt"); log != "before\nafter\n" {
			t.Errorf("log %q", log)
		}
		// The recording is that of one attempt, and touches nothing.
		w.write("in.txt", "gone")
		replay := *req
		replay.ReplyTo += "/replay"
		replay.Mode, replay.Tape = rmp.ModeReplay, again.Tape
		if re := w.send(&replay); out(t, re) != want || re.Diverged != nil {
			t.Errorf("replay: %s, diverged %+v", out(t, re), re.Diverged)
		}
		if log := w.read("log.txt"); log != "before\nafter\n" {
			t.Errorf("log %q after a replay", log)
		}
	})
}

// TestNotParkedWithOpenFiles: who holds a file or is in the middle of a listing
// stays where it is.
func TestNotParkedWithOpenFiles(t *testing.T) {
	everyPlace(t, func(t *testing.T, place Isolation, life Life) {
		w := newWaiter(t, place, life, writable, nil)
		for _, hold := range []string{"open", "listing"} {
			req := w.ask(`,"Hold":"` + hold + `"`)
			req.Node = hold
			res := w.send(req)
			if got := out(t, res); hold == "open" && !strings.Contains(got, `"held":"as it was"`) {
				t.Errorf("%s: %s", hold, got)
			}
		}
		req := w.ask("")
		w.parked(req)
	})
}

// TestParkedWithOtherFolders: a grant that is another by now does not stand in for
// the one that there was.
func TestParkedWithOtherFolders(t *testing.T) {
	everyPlace(t, func(t *testing.T, place Isolation, life Life) {
		w := newWaiter(t, place, life, writable, nil)
		req := w.ask("")
		res := w.parked(req)
		other := newWaiter(t, place, life, writable, nil)
		got := other.send(resumed(req, res, true))
		if got.Status != rmp.StatusFailed || got.Error.Code != CodeDiverged || !strings.Contains(got.Error.Message, other.dir) {
			t.Errorf("%s %+v", got.Status, got.Error)
		}
		if entries, err := os.ReadDir(other.dir); err != nil || len(entries) != 1 {
			t.Errorf("it was there: %v, %v", entries, err)
		}
		// The folder itself is another one.
		if err := errors.Join(os.RemoveAll(w.dir), os.Mkdir(w.dir, 0o700)); err != nil {
			t.Fatal(err)
		}
		if got := w.send(resumed(req, res, true)); got.Status != rmp.StatusFailed {
			t.Errorf("%s", got.Status)
		}
	})
}

// TestParkedLimits: parking gives nothing back of what an attempt may write.
func TestParkedLimits(t *testing.T) {
	w := newWaiter(t, IsolationInline, LifeReactor, writable, nil)
	req := w.ask("")
	res := w.parked(req)
	a, err := newAttempt(resumed(req, res, true), &Bundle{Manifest: &Manifest{Name: "probe"}}, &Caps{}, &w.host.cfg.Services)
	if err != nil {
		t.Fatal(err)
	}
	if got := a.spentBefore(); got != (fsSpent{Created: 1, Written: int64(len("before\n"))}) {
		t.Errorf("spent %+v", got)
	}
}

// TestParkedWithASecret: a handle still stands for its secret, and what was sent
// before the question is not taken for what is sent after it.
func TestParkedWithASecret(t *testing.T) {
	var posts atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(rw, "%d %v", posts.Add(1), r.Header.Get("Authorization") == "CANARY-1")
	}))
	defer srv.Close()
	everyPlace(t, func(t *testing.T, place Isolation, life Life) {
		posts.Store(0)
		j := newJournal()
		w := newWaiter(t, place, life, writable+"secrets = [\"a/b\"]\nnet = [\""+hostPort(t, srv.URL)+"\"]\nallow_http = true\n", func(s *Services) {
			s.Secrets, s.Effects = fakeSecrets{"a/b": "CANARY-1"}, j
		})
		req := w.ask(`,"Secret":"a/b","URL":"` + srv.URL + `"`)
		res := w.parked(req)
		again := w.send(resumed(req, res, true))
		if got := out(t, again); !strings.Contains(got, `"before answer":"1 true"`) || !strings.Contains(got, `"after answer":"2 true"`) {
			t.Errorf("out %s", got)
		}
		if n := posts.Load(); n != 2 || len(j.done) != 2 {
			t.Errorf("%d requests, %d in the journal", n, len(j.done))
		}
		if js, err := again.MarshalMsg(nil); err != nil || strings.Contains(string(js), "CANARY") {
			t.Errorf("the secret is in the response, %v", err)
		}
	})
}

// TestParkedWithAValue: a guest that saw a secret sees it again, or ends.
func TestParkedWithAValue(t *testing.T) {
	everyPlace(t, func(t *testing.T, place Isolation, life Life) {
		secrets := fakeSecrets{"a/raw": "CANARY-2"}
		w := newWaiter(t, place, life, writable+"secrets = [\"a/raw\"]\nsecrets_raw = [\"a/raw\"]\n", func(s *Services) { s.Secrets = secrets })
		req := w.ask(`,"Secret":"a/raw","Value":true,"URL":"CAN"`)
		res := w.parked(req)
		for _, call := range res.Tape {
			if strings.Contains(string(call.OK), "CANARY") {
				t.Errorf("the tape has the secret: %s", call.Op)
			}
		}
		again := w.send(resumed(req, res, true))
		if got := out(t, again); !strings.Contains(got, `"after value":true`) || !strings.Contains(got, `"before value":true`) {
			t.Errorf("out %s", got)
		}
		secrets["a/raw"] = "ANOTHER" // by which it asks for something else
		other := resumed(req, res, true)
		other.ReplyTo += "/other"
		if got := w.send(other); got.Status != rmp.StatusFailed || got.Error.Code != CodeDiverged {
			t.Errorf("another value: %s %+v", got.Status, got.Error)
		}
		delete(secrets, "a/raw")
		none := resumed(req, res, true)
		none.ReplyTo += "/none"
		if got := w.send(none); got.Status != rmp.StatusFailed || got.Error.Code != CodeRevoked || !strings.Contains(got.Error.Message, "a/raw") {
			t.Errorf("no value: %s %+v", got.Status, got.Error)
		}
	})
}
