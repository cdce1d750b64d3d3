package opening

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
)

// countingReader is a source of randomness that can be predicted, and ends.
type countingReader struct{ left int }

func (r *countingReader) Read(p []byte) (int, error) {
	if r.left < len(p) {
		return 0, errors.New("no more randomness")
	}
	r.left -= len(p)
	for i := range p {
		p[i] = byte(i + 1)
	}
	return len(p), nil
}

func TestRunOptions(t *testing.T) {
	p := plan(t, small("a", "", ""))
	exec := &fakeExecutor{}
	at := time.UnixMilli(1_700_000_000_123)
	run := func(left int, opt RunOptions) (*Report, []Event, error) {
		var events []Event
		e := &Engine{Executor: exec, Rand: &countingReader{left}, Now: func() time.Time { return at },
			Sink: func(ev Event) { events = append(events, ev) }}
		rep, err := e.Run(t.Context(), p, opt)
		return rep, events, err
	}
	rep, events, err := run(48, RunOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if rep.TraceID != "trace:01020304-0506-4708-890a-0b0c0d0e0f10" {
		t.Errorf("the trace id is %s", rep.TraceID)
	}
	if rep.Trace.Seed != (Seed{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32}) {
		t.Errorf("the seed is %v", rep.Trace.Seed)
	}
	for _, ev := range events {
		if ev.TSMillis != at.UnixMilli() || ev.TraceID != rep.TraceID || ev.RunID != rep.TraceID || ev.OpeningID != rep.OpeningID {
			t.Errorf("an event is odd: %+v", ev)
		}
	}
	for name, c := range map[string]struct {
		left int
		opt  RunOptions
	}{
		"no randomness for the id":   {0, RunOptions{}},
		"no randomness for the seed": {16, RunOptions{}},
		"flags that are not JSON":    {48, RunOptions{Flags: json.RawMessage("{")}},
	} {
		if _, _, err := run(c.left, c.opt); err == nil {
			t.Errorf("%s: it ran", name)
		}
	}
	if _, err := (&Engine{}).Run(t.Context(), p, RunOptions{}); err == nil {
		t.Error("an engine without an executor ran")
	}
}

func TestFlagsAreRecorded(t *testing.T) {
	store := &memStore{}
	e := &Engine{Executor: &fakeExecutor{}, Store: store}
	if _, err := e.Run(t.Context(), plan(t, small("a", "", "")), RunOptions{Flags: json.RawMessage(`{ "yes" : true }`)}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(store.records[0].Payload, []byte(`"flags":{"yes":true}`)) {
		t.Errorf("the record is %s", store.records[0].Payload)
	}
}

// TestOpeningID pins that the id follows from the opening alone.
func TestOpeningID(t *testing.T) {
	o, err := Parse("x", []byte(small("a", "", "")))
	if err != nil {
		t.Fatal(err)
	}
	id := OpeningID(o.Hash())
	text, _ := strings.CutPrefix(id, "opening:")
	if u, err := uuid.Parse(text); err != nil || u.Version() != 8 || u.Variant() != uuid.RFC4122 {
		t.Errorf("%s is not a UUID of version 8", id)
	}
	if id != OpeningID(o.Hash()) || id == OpeningID(hashHex(nil)) {
		t.Error("the id does not follow from the hash")
	}
}

// TestStopTwice cancels a run whose time is up while its agent is slow to stop:
// the first reason counts.
func TestStopTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		p := plan(t, small("a", "", "policy: {timeout_ms: 1000}"))
		r := runPlan(ctx, p, &Engine{}, map[string]act{"a": func(ctx context.Context, _ *Request, _ Observer) *Response {
			<-ctx.Done()
			time.Sleep(time.Second)
			return failure("x", false, "x")
		}})
		if r.rep.Status != StatusTimeout || r.rep.DurationMS != 2000 {
			t.Errorf("%s after %d ms", r.rep.Status, r.rep.DurationMS)
		}
	})
}

// TestLateDecision has an agent that goes on for a while after the decision:
// the rest of its timeout counts then.
func TestLateDecision(t *testing.T) {
	for _, c := range []struct {
		work   time.Duration // after the decision
		states string
		tookMS int64
	}{
		{2 * time.Second, "a:Succeeded", 24_000},
		{4 * time.Second, "a:Failed", 25_000}, // 2 s before, 20 s of waiting, 3 s of the 5 s are left
	} {
		onBus(t, func(t *testing.T, b *bus.Bus) {
			startHost(t, b, "echo", func(ctx context.Context, h *host, q *rmp.AgentRequest) *rmp.AgentResponse {
				id, _ := rmp.ParseTraceID(q.TraceID)
				pause := func(d time.Duration) {
					select {
					case <-time.After(d):
					case <-ctx.Done():
					}
				}
				pause(2 * time.Second)
				for _, action := range []string{"one", "two"} { // both at once
					h.publish(id, topicActions, rmp.CTActionRequest, &rmp.ActionRequest{ActionID: action, TraceID: q.TraceID,
						Node: q.Node, Attempt: q.Attempt, Digest: action, ExpiresAtMS: time.Now().Add(time.Hour).UnixMilli()})
				}
				pause(20 * time.Second)
				for _, action := range []string{"two", "one", "one", "three"} { // once again, and one that nobody asked
					h.publish(id, topicActions, rmp.CTActionDecision, &rmp.ActionDecision{ActionID: action, TraceID: q.TraceID, Digest: action})
				}
				pause(c.work)
				if ctx.Err() != nil {
					return &rmp.AgentResponse{Status: rmp.StatusCancelled, Digest: "d"}
				}
				return okResponse(t, `{"out":1}`)
			})
			r, _ := runOnBus(t, t.Context(), b, plan(t, small("a, timeout_ms: 5000", "", "")))
			if r.states() != c.states || r.rep.DurationMS != c.tookMS {
				t.Errorf("%s after %d ms: %s", r.states(), r.rep.DurationMS, r.rep.Reason)
			}
			if n := strings.Count(strings.Join(r.trail(), " "), "action.decided"); n != 2 {
				t.Errorf("%d decisions are reported", n)
			}
		})
	}
}

// TestRequestsOfNobody publishes requests for confirmation that no attempt of
// the run can have made.
func TestRequestsOfNobody(t *testing.T) {
	onBus(t, func(t *testing.T, b *bus.Bus) {
		startHost(t, b, "echo", func(_ context.Context, h *host, q *rmp.AgentRequest) *rmp.AgentResponse {
			if q.Node == "b" {
				return okResponse(t, `{"out":1}`)
			}
			id, _ := rmp.ParseTraceID(q.TraceID)
			for _, a := range []rmp.ActionRequest{
				{ActionID: "1", Node: "nobody", Attempt: 1}, {ActionID: "2", Node: q.Node, Attempt: 7}, {ActionID: "3", Node: "b", Attempt: 1},
			} {
				h.publish(id, topicActions, rmp.CTActionRequest, &a)
			}
			h.publish(rmp.TraceID{9}, topicActions, rmp.CTActionRequest, &rmp.ActionRequest{ActionID: "4", Node: q.Node, Attempt: 1})
			h.publish(id, topicActions, rmp.CTErrorReport, &rmp.ErrorReport{})
			return okResponse(t, `{"out":1}`)
		})
		r, _ := runOnBus(t, t.Context(), b, plan(t, small("a; b", "a.out -> b.in", "")))
		if !r.rep.Success || strings.Contains(strings.Join(r.trail(), " "), "action") {
			t.Errorf("%s: %q", r.rep.Reason, r.trail())
		}
	})
}

// TestWatchHammer publishes actions from several sides while a watch drains:
// each message comes once, and those published before a drain are in it.
func TestWatchHammer(t *testing.T) {
	b := bus.New(bus.Config{})
	defer b.Close()
	x := NewBusExecutor(b.Client("engine", bus.KindDaemon))
	w, err := x.Watch(testTrace)
	if err != nil {
		t.Fatal(err)
	}
	const publishers, each = 4, 100
	var wg sync.WaitGroup
	seen := map[string]int{}
	var mu sync.Mutex
	for p := range publishers {
		c := b.Client("p", bus.KindDaemon)
		wg.Go(func() {
			for i := range each {
				id := string(rune('a'+p)) + string(rune('A'+i%26)) + string(rune('0'+i/26))
				if err := c.Send(context.Background(), &rmp.Message{SchemaID: rmp.CTActionRequest, TraceID: rmp.TraceID(testTrace),
					TTLMS: 60_000, Meta: rmp.Meta{Topic: topicActions}, Payload: &rmp.ActionRequest{ActionID: id}}); err != nil {
					t.Error(err)
				}
				mu.Lock()
				for _, m := range w.Drain() {
					seen[m.Request.ID]++
				}
				if seen[id] != 1 {
					t.Errorf("%s was drained %d times right after it was published", id, seen[id])
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != publishers*each {
		t.Errorf("%d of %d messages came", len(seen), publishers*each)
	}
	w.Stop()
	w.Stop()
	if left := w.Drain(); left != nil {
		t.Errorf("a stopped watch gives %v", left)
	}
}

// TestClosedBus runs on a bus that is gone.
func TestClosedBus(t *testing.T) {
	b := bus.New(bus.Config{})
	client := b.Client("engine", bus.KindDaemon)
	b.Close()
	x := NewBusExecutor(client)
	x.Publish(Event{TraceID: "trace:" + testTrace.String()})
	x.Publish(Event{TraceID: "nonsense"})
	resp := x.Execute(t.Context(), &Request{Ref: "echo", TraceID: testTrace}, deaf{})
	if resp.Status != rmp.StatusFailed || resp.Error.Code != codeBus {
		t.Errorf("got %+v", resp)
	}
	e := &Engine{Executor: x, Actions: x}
	if _, err := e.Run(t.Context(), plan(t, small("a", "", "")), RunOptions{}); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// TestRequestThatCannotBeSent has inputs beyond what the codec takes.
func TestRequestThatCannotBeSent(t *testing.T) {
	b := bus.New(bus.Config{})
	defer b.Close()
	x := NewBusExecutor(b.Client("engine", bus.KindDaemon))
	deep := json.RawMessage(strings.Repeat("[", 100) + strings.Repeat("]", 100))
	large := json.RawMessage(`"` + strings.Repeat("x", 9<<20) + `"`)
	for name, req := range map[string]*Request{
		"deep with":   {With: deep},
		"deep input":  {Inputs: map[string][]json.RawMessage{"in": {deep}}},
		"deep tape":   {Tape: []Hostcall{{Op: "x", Args: deep}}},
		"large input": {Inputs: map[string][]json.RawMessage{"in": {large}}},
	} {
		req.Ref, req.TraceID = "echo", testTrace
		if resp := x.Execute(t.Context(), req, deaf{}); resp.Status != rmp.StatusFailed || resp.Error.Code != codeBus {
			t.Errorf("%s: got %+v", name, resp.Error)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	begin := time.Now()
	if resp := x.Execute(ctx, &Request{Ref: "echo", TraceID: testTrace}, deaf{}); resp.Error.Code != codeCancelled || time.Since(begin) > time.Second {
		t.Errorf("stopped before it was sent: %+v", resp.Error)
	}
}

// TestRefs lists what a catalogue has to find.
func TestRefs(t *testing.T) {
	p := plan(t, "version: 0\nname: x\nnodes: [{id: a, use: agent:b@2}, {id: c, use: agent:a}, {id: d, use: agent:b@2}]\nedges: []\n")
	if got := strings.Join(p.Refs(), " "); got != "a b@2" {
		t.Errorf("got %s", got)
	}
}

// TestShorten cuts in the middle of a character.
func TestShorten(t *testing.T) {
	raw := json.RawMessage(`"` + strings.Repeat("é", 100) + `"`)
	for most := range 12 {
		if got := shorten(raw, most+1); !strings.HasSuffix(got, "…") || strings.Contains(got, `\x`) {
			t.Errorf("cut at %d: %s", most+1, got)
		}
	}
}
