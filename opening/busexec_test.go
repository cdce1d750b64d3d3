package opening

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tinylib/msgp/msgp"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
)

// host is a small agent host: it takes requests for one agent off a real bus
// and runs a function for each.
type host struct {
	t      *testing.T
	client *bus.Client
	act    func(ctx context.Context, h *host, q *rmp.AgentRequest) *rmp.AgentResponse
	wg     sync.WaitGroup
	mu     sync.Mutex
	stops  map[string]context.CancelFunc // by node#attempt
	early  map[string]bool               // cancelled before they came
}

func startHost(t *testing.T, b *bus.Bus, ref string, act func(context.Context, *host, *rmp.AgentRequest) *rmp.AgentResponse) *host {
	h := &host{t: t, client: b.Client("host", bus.KindDaemon), act: act,
		stops: map[string]context.CancelFunc{}, early: map[string]bool{}}
	h.serve("agent/"+ref, h.request)
	h.serve("agent/"+ref+"/cancel", h.cancel)
	t.Cleanup(func() { h.client.Close(); h.wg.Wait() })
	return h
}

func (h *host) serve(topic string, take func(*bus.Msg)) {
	sub, err := h.client.Subscribe(topic, bus.SubOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	h.wg.Go(func() {
		for {
			m, err := sub.Recv(context.Background())
			if err != nil {
				return
			}
			take(m)
		}
	})
}

func (h *host) request(m *bus.Msg) {
	var q rmp.AgentRequest
	if err := m.Decode(&q); err != nil {
		h.t.Errorf("a request cannot be read: %v", err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	key := fmt.Sprintf("%s#%d", q.Node, q.Attempt)
	h.mu.Lock()
	h.stops[key] = cancel
	if h.early[key] {
		cancel()
	}
	h.mu.Unlock()
	h.wg.Go(func() {
		defer cancel()
		resp := h.act(ctx, h, &q)
		if resp == nil {
			return // a host that says nothing
		}
		resp.Node, resp.Attempt, resp.TraceID = q.Node, q.Attempt, q.TraceID
		h.publish(m.TraceID, q.ReplyTo, rmp.CTExecutorAgentResponse, resp)
	})
}

func (h *host) cancel(m *bus.Msg) {
	var c rmp.Cancel
	if err := m.Decode(&c); err != nil {
		h.t.Errorf("a cancel cannot be read: %v", err)
		return
	}
	key := fmt.Sprintf("%s#%d", c.Node, c.Attempt)
	h.mu.Lock()
	defer h.mu.Unlock()
	if stop := h.stops[key]; stop != nil {
		stop()
	} else {
		h.early[key] = true
	}
}

func (h *host) publish(trace rmp.TraceID, topic string, schema uint16, p msgp.Marshaler) {
	_ = h.client.Send(context.Background(), &rmp.Message{
		SchemaID: schema, TraceID: trace, TTLMS: 60_000, Payload: p,
		Meta: rmp.Meta{Topic: topic, From: "agent:echo", To: "engine"},
	})
}

// pack gives JSON in MsgPack.
func pack(t *testing.T, v string) msgp.Raw {
	t.Helper()
	raw, err := rmp.AppendMsgpack(nil, []byte(v))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func okResponse(t *testing.T, outputs string) *rmp.AgentResponse {
	return &rmp.AgentResponse{Status: rmp.StatusOK, Ports: pack(t, outputs), Digest: "d"}
}

// runOnBus runs an opening with an engine and hosts on one bus, and gives the
// run and the events that were published.
func runOnBus(t *testing.T, ctx context.Context, b *bus.Bus, p *Plan) (*run, []Event) {
	t.Helper()
	client := b.Client("engine", bus.KindDaemon)
	x := NewBusExecutor(client)
	sub, err := b.Client("ui", bus.KindUI).Subscribe("rlp/runs/"+testTrace.String()+"/events", bus.SubOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r := &run{store: &memStore{}}
	e := &Engine{Executor: x, Actions: x, Store: r.store, MaxParallel: 4, Sink: func(ev Event) {
		r.events = append(r.events, ev)
		x.Publish(ev)
	}}
	r.rep, r.err = e.Run(ctx, p, RunOptions{TraceID: testTrace, Seed: Seed{1}})
	var published []Event
	done, cancel := context.WithCancel(context.Background())
	cancel()
	for {
		m, err := sub.Recv(done)
		if err != nil {
			break
		}
		var w rmp.RunEvent
		if err := m.Decode(&w); err != nil {
			t.Fatal(err)
		}
		meta, err := rmp.AppendJSON(nil, w.Meta)
		if err != nil {
			t.Fatal(err)
		}
		published = append(published, Event{w.TSMillis, w.TraceID, w.RunID, w.OpeningID, w.Kind, w.Level, w.Message, meta})
	}
	return r, published
}

// onBus runs f in a bubble with a bus of its own.
func onBus(t *testing.T, f func(t *testing.T, b *bus.Bus)) {
	synctest.Test(t, func(t *testing.T) {
		b := bus.New(bus.Config{})
		t.Cleanup(func() { b.Close() })
		f(t, b)
	})
}

func TestRunOnBus(t *testing.T) {
	onBus(t, func(t *testing.T, b *bus.Bus) {
		startHost(t, b, "echo", func(_ context.Context, h *host, q *rmp.AgentRequest) *rmp.AgentResponse {
			id, _ := rmp.ParseTraceID(q.TraceID)
			for _, s := range []string{rmp.StreamStdout, rmp.StreamStderr, rmp.StreamLog} {
				h.publish(id, q.ReplyTo, rmp.CTAgentLogLine, &rmp.AgentLog{TraceID: q.TraceID, Node: q.Node,
					Agent: "echo", Attempt: q.Attempt, Stream: s, Level: "info", Chunk: "to " + s, Fields: pack(t, `{"k":1}`)})
			}
			inputs, err := rmp.AppendJSON(nil, q.Inputs)
			if err != nil || q.Mode != rmp.ModeLive || len(q.Seed) != 32 || q.OpeningID == "" {
				t.Errorf("the request is odd: %v %+v", err, q)
			}
			r := okResponse(t, `{"out":`+string(inputs)+`,"ok":true,"n":1.0}`)
			r.Tape = []rmp.Hostcall{{Op: "time.now", Args: pack(t, "null"), OK: pack(t, "17")}}
			r.Usage, r.Micros = rmp.Usage{TokensIn: 3}, 12
			return r
		})
		p := plan(t, small("a; b", "a.out -> b.in; a.n -> b.n; a.n -> b.n", ""))
		r, published := runOnBus(t, t.Context(), b, p)
		if r.err != nil || !r.rep.Success {
			t.Fatal(r.err, r.rep.Reason)
		}
		if got := string(r.rep.Nodes[1].Outputs["out"]); got != `{"in":[{}],"n":[1,1]}` {
			t.Errorf("b was given %s", got)
		}
		if !slices.EqualFunc(published, r.events, func(a, b Event) bool {
			a.Meta, _ = canonical(a.Meta)
			return bytes.Equal(mustJSON(a), mustJSON(b))
		}) {
			t.Errorf("published\n%s\nsaid\n%s", ndjson(t, published), ndjson(t, r.events))
		}
		want := []string{"run.started", "node.started:a", "node.stdout:a", "node.stderr:a", "node.stderr:a", "node.finished:a ok",
			"node.started:b", "node.stdout:b", "node.stderr:b", "node.stderr:b", "node.finished:b ok", "run.finished ok"}
		if got := r.trail(); !slices.Equal(got, want) {
			t.Errorf("events %q", got)
		}
		ladder(t, r.rep.Trace, "engine>agent:echo:4000 agent:echo>engine:3004 agent:echo>engine:3004 agent:echo>engine:3004 agent:echo>engine:4001 "+
			"engine>agent:echo:4000 agent:echo>engine:3004 agent:echo>engine:3004 agent:echo>engine:3004 agent:echo>engine:4001")
		if _, err := ParseTrace(r.rep.Trace.JSON()); err != nil {
			t.Error(err)
		}
		if r.rep.Usage.TokensIn != 6 {
			t.Errorf("usage %+v", r.rep.Usage)
		}
	})
}

// ladder checks who sent what to whom, and that each rung has its sizes.
func ladder(t *testing.T, tr *Trace, want string) {
	t.Helper()
	var got []string
	for _, c := range tr.Ladder {
		got = append(got, fmt.Sprintf("%s>%s:%d", c.From, c.To, c.SchemaID))
		if c.FrameLen != c.BodyLen+64 || c.BodyLen < 10 || c.TSMillis == 0 || c.MsgID == 0 || c.Topic == "" ||
			!strings.Contains(c.Kind, ".v1") {
			t.Errorf("a rung lacks something: %+v", c)
		}
	}
	if strings.Join(got, " ") != want {
		t.Errorf("ladder\n got %s\nwant %s", strings.Join(got, " "), want)
	}
}

func TestNoHost(t *testing.T) {
	onBus(t, func(t *testing.T, b *bus.Bus) {
		r, _ := runOnBus(t, t.Context(), b, plan(t, small("a", "", "")))
		if r.rep.Reason != "a failed: no_host: nobody runs the agent echo; is it installed?" {
			t.Errorf("got %q", r.rep.Reason)
		}
	})
}

// TestStopOnBus has hosts that stop at once, that answer all the same, and that
// never stop, and ends the run from outside or by a timeout.
func TestStopOnBus(t *testing.T) {
	obeys := func(ctx context.Context, h *host, q *rmp.AgentRequest) *rmp.AgentResponse {
		<-ctx.Done()
		return &rmp.AgentResponse{Status: rmp.StatusCancelled, Digest: "d"}
	}
	late := func(ctx context.Context, h *host, q *rmp.AgentRequest) *rmp.AgentResponse {
		<-ctx.Done()
		time.Sleep(time.Second)
		return okResponse(t, `{"out":1}`)
	}
	deaf := func(ctx context.Context, h *host, q *rmp.AgentRequest) *rmp.AgentResponse {
		<-ctx.Done()
		return nil
	}
	for _, c := range []struct {
		name   string
		act    func(context.Context, *host, *rmp.AgentRequest) *rmp.AgentResponse
		yaml   string
		cancel time.Duration
		states string
		reason string
		tookMS int64
	}{
		{"cancel", obeys, small("a; b", "a.out -> b.in", ""), time.Second, "a:Cancelled b:Cancelled", "the run was cancelled", 1000},
		{"cancel, late answer", late, small("a; b", "a.out -> b.in", ""), time.Second, "a:Succeeded b:Cancelled", "the run was cancelled", 2000},
		{"cancel, no answer", deaf, small("a", "", ""), time.Second, "a:Cancelled", "the run was cancelled", 3000},
		{"timeout", obeys, small("a, timeout_ms: 500", "", ""), time.Hour, "a:Failed", "a failed: timeout: no answer within 500 ms", 500},
		{"timeout, no answer", deaf, small("a, timeout_ms: 500", "", ""), time.Hour, "a:Failed",
			"a failed: timeout: no answer within 500 ms", 2500},
	} {
		t.Run(c.name, func(t *testing.T) {
			onBus(t, func(t *testing.T, b *bus.Bus) {
				startHost(t, b, "echo", c.act)
				ctx, cancel := context.WithCancel(t.Context())
				defer time.AfterFunc(c.cancel, cancel).Stop()
				r, _ := runOnBus(t, ctx, b, plan(t, c.yaml))
				if r.states() != c.states || r.rep.Reason != c.reason || r.rep.DurationMS != c.tookMS {
					t.Errorf("%s, %q after %d ms", r.states(), r.rep.Reason, r.rep.DurationMS)
				}
			})
		})
	}
}

func TestBadHosts(t *testing.T) {
	for name, c := range map[string]struct {
		resp *rmp.AgentResponse
		want string
	}{
		"ports are a list": {&rmp.AgentResponse{Status: rmp.StatusOK, Ports: pack(t, "[1]")},
			"bad_host: the answer of agent echo cannot be used: its outputs are not a map of ports"},
		"ports are an extension": {&rmp.AgentResponse{Status: rmp.StatusOK, Ports: msgp.Raw{0xd4, 1, 1}},
			"bad_host: the answer of agent echo cannot be used: its outputs are not values"},
		"a number JSON cannot keep": {&rmp.AgentResponse{Status: rmp.StatusOK, Ports: pack(t, `{"out":9007199254740993}`)},
			`bad_output: the output "out" holds 9007199254740993`},
		"failed without a reason": {&rmp.AgentResponse{Status: rmp.StatusFailed}, "failed: the host gave no reason"},
		"text that is not UTF-8": {&rmp.AgentResponse{Status: rmp.StatusFailed, Error: &rmp.AgentError{Code: "x\xff", Message: "\x1b[2J"}},
			"x\ufffd: \\x1b[2J"},
	} {
		t.Run(name, func(t *testing.T) {
			onBus(t, func(t *testing.T, b *bus.Bus) {
				startHost(t, b, "echo", func(context.Context, *host, *rmp.AgentRequest) *rmp.AgentResponse { return c.resp })
				r, _ := runOnBus(t, t.Context(), b, plan(t, small("a", "", "")))
				if !strings.HasPrefix(r.rep.Reason, "a failed: "+c.want) {
					t.Errorf("got %q, want %q", r.rep.Reason, c.want)
				}
			})
		})
	}
}

// TestForeignMessages puts messages on the reply topic that do not belong to
// the attempt; they must not end it.
func TestForeignMessages(t *testing.T) {
	onBus(t, func(t *testing.T, b *bus.Bus) {
		startHost(t, b, "echo", func(_ context.Context, h *host, q *rmp.AgentRequest) *rmp.AgentResponse {
			id, _ := rmp.ParseTraceID(q.TraceID)
			for _, w := range []*rmp.AgentResponse{
				{Node: "other", Attempt: q.Attempt, TraceID: q.TraceID, Status: rmp.StatusFailed},
				{Node: q.Node, Attempt: 9, TraceID: q.TraceID, Status: rmp.StatusFailed},
				{Node: q.Node, Attempt: q.Attempt, TraceID: "trace:x", Status: rmp.StatusFailed},
			} {
				h.publish(id, q.ReplyTo, rmp.CTExecutorAgentResponse, w)
			}
			h.publish(id, q.ReplyTo, rmp.CTAgentLogLine, &rmp.AgentLog{Node: "other", Stream: "stdout", Chunk: "x"})
			h.publish(id, q.ReplyTo, rmp.CTErrorReport, &rmp.ErrorReport{})
			return okResponse(t, `{"out":1}`)
		})
		r, _ := runOnBus(t, t.Context(), b, plan(t, small("a", "", "")))
		if !r.rep.Success || slices.Contains(r.trail(), "node.stdout:a") {
			t.Errorf("%s, %q", r.rep.Reason, r.trail())
		}
	})
}

// TestActions has an agent that asks, and a person who decides or does not.
func TestActions(t *testing.T) {
	ask := func(ctx context.Context, h *host, q *rmp.AgentRequest) *rmp.AgentResponse {
		id, _ := rmp.ParseTraceID(q.TraceID)
		sub, err := h.client.Subscribe(topicActions, bus.SubOptions{})
		if err != nil {
			t.Error(err)
		}
		defer sub.Close()
		wait, end := context.WithTimeout(ctx, time.Minute)
		defer end()
		h.publish(id, topicActions, rmp.CTActionRequest, &rmp.ActionRequest{
			Op: rmp.OpActionRequest, ActionID: "act1", TraceID: q.TraceID, Node: q.Node, Agent: "echo", Attempt: q.Attempt,
			Kind: "send", Summary: "a letter\x07", Details: pack(t, `{"to":"b","n":1}`), Digest: "abc",
			ExpiresAtMS: time.Now().Add(time.Minute).UnixMilli()})
		for {
			m, err := sub.Recv(wait)
			if err != nil {
				d := &rmp.ActionDecision{Op: rmp.OpActionDecision, ActionID: "act1", TraceID: q.TraceID, Digest: "abc", By: "timeout"}
				h.publish(id, topicActions, rmp.CTActionDecision, d)
				return &rmp.AgentResponse{Status: rmp.StatusFailed, Error: &rmp.AgentError{Code: "denied", Message: "nobody decided"}}
			}
			var d rmp.ActionDecision
			if m.SchemaID == rmp.CTActionDecision && m.Decode(&d) == nil && d.Digest == "abc" {
				return okResponse(t, fmt.Sprintf(`{"ok":%v}`, d.Approved))
			}
		}
	}
	// person decides after a while, first about other bytes than were shown.
	person := func(t *testing.T, b *bus.Bus, after time.Duration) {
		c := b.Client("person", bus.KindUI)
		time.AfterFunc(after, func() {
			for _, digest := range []string{"other", "abc"} {
				_ = c.Send(context.Background(), &rmp.Message{SchemaID: rmp.CTActionDecision, TraceID: rmp.TraceID(testTrace), TTLMS: 1000,
					Meta: rmp.Meta{Topic: topicActions}, Payload: &rmp.ActionDecision{Op: rmp.OpActionDecision, ActionID: "act1",
						TraceID: traceName(testTrace), Digest: digest, Approved: digest == "abc", By: "user", Rationale: "fine"}})
			}
		})
	}
	t.Run("approved", func(t *testing.T) {
		onBus(t, func(t *testing.T, b *bus.Bus) {
			startHost(t, b, "echo", ask)
			person(t, b, 20*time.Second) // longer than the node's timeout, which stands still
			r, _ := runOnBus(t, t.Context(), b, plan(t, small("a, timeout_ms: 5000", "", "success: {all_of: [a.ok == true]}")))
			if !r.rep.Success || r.rep.DurationMS != 20_000 {
				t.Errorf("%s after %d ms", r.rep.Reason, r.rep.DurationMS)
			}
			want := []string{"run.started", "node.started:a", "action.requested:a", "action.decided:a", "node.finished:a ok", "run.finished ok"}
			if got := r.trail(); !slices.Equal(got, want) {
				t.Errorf("events %q", got)
			}
			records := slices.Insert(slices.Clone(want), len(want), "run.trace ok")
			if got := r.store.kinds(); !slices.Equal(got, records) {
				t.Errorf("records %q", got)
			}
			var d actionDecidedRecord
			if err := json.Unmarshal(r.store.records[3].Payload, &d); err != nil || !d.Approved || d.Digest != "abc" || d.By != "user" {
				t.Errorf("the decision on record is %+v", d)
			}
			ladder(t, r.rep.Trace, "engine>agent:echo:4000 agent:echo>engine:3005 person>actions:3006 person>actions:3006 agent:echo>engine:4001")
		})
	})
	t.Run("expired", func(t *testing.T) {
		onBus(t, func(t *testing.T, b *bus.Bus) {
			startHost(t, b, "echo", ask)
			r, _ := runOnBus(t, t.Context(), b, plan(t, small("a, timeout_ms: 5000", "", "")))
			if r.rep.Reason != "a failed: denied: nobody decided" || r.rep.DurationMS != 60_000 {
				t.Errorf("%s after %d ms", r.rep.Reason, r.rep.DurationMS)
			}
		})
	})
	t.Run("a host that dies while it asks", func(t *testing.T) {
		onBus(t, func(t *testing.T, b *bus.Bus) {
			startHost(t, b, "echo", func(ctx context.Context, h *host, q *rmp.AgentRequest) *rmp.AgentResponse {
				id, _ := rmp.ParseTraceID(q.TraceID)
				h.publish(id, topicActions, rmp.CTActionRequest, &rmp.ActionRequest{Op: rmp.OpActionRequest, ActionID: "x",
					TraceID: q.TraceID, Node: q.Node, Attempt: q.Attempt, ExpiresAtMS: time.Now().Add(time.Minute).UnixMilli()})
				return nil
			})
			r, _ := runOnBus(t, t.Context(), b, plan(t, small("a, timeout_ms: 5000", "", "")))
			// The expiry, the rest of the timeout, and the time a host has to stop.
			if r.states() != "a:Failed" || r.rep.DurationMS != 60_000+5_000+2_000 {
				t.Errorf("%s after %d ms", r.states(), r.rep.DurationMS)
			}
		})
	})
	t.Run("others run meanwhile", func(t *testing.T) {
		onBus(t, func(t *testing.T, b *bus.Bus) {
			startHost(t, b, "echo", func(ctx context.Context, h *host, q *rmp.AgentRequest) *rmp.AgentResponse {
				if q.Node == "a" {
					return ask(ctx, h, q)
				}
				time.Sleep(time.Second)
				return okResponse(t, `{"out":1}`)
			})
			person(t, b, 10*time.Second)
			client := b.Client("engine", bus.KindDaemon)
			x := NewBusExecutor(client)
			e := &Engine{Executor: x, Actions: x, MaxParallel: 1}
			rep, err := e.Run(t.Context(), plan(t, small("a; b; c", "", "")), RunOptions{TraceID: testTrace})
			if err != nil || rep.DurationMS != 10_000 {
				t.Errorf("one place, three nodes: %d ms, %v", rep.DurationMS, err)
			}
		})
	})
}

// TestTapeSurvives records values that JSON cannot say, writes the trace, reads
// it and replays: the host must get back the very bytes it recorded.
func TestTapeSurvives(t *testing.T) {
	big := msgp.AppendUint64(nil, 1<<63+1)
	tape := []rmp.Hostcall{
		{Op: "bytes", Args: msgp.AppendBytes(nil, []byte{0, 1, 255}), OK: msgp.AppendBytes(nil, nil)},
		{Op: "float", Args: msgp.AppendFloat64(nil, 3), OK: msgp.AppendFloat32(nil, 0.1)},
		{Op: "big", Args: big, OK: msgp.AppendInt64(nil, -1<<63)},
		{Op: "ext", Args: msgp.Raw{0xd4, 5, 7}, OK: msgp.AppendNil(nil)},
		{Op: "plain", Args: pack(t, `{"a":[1,-2,0.5,"x",null,true]}`), OK: pack(t, `"é"`)},
		{Op: "err", Args: pack(t, `{}`), OK: msgp.AppendNil(nil), Err: &rmp.HostcallError{Code: "denied", Message: "no", Retryable: true}},
		{Op: "nan", Args: msgp.AppendFloat64(nil, nan()), OK: pack(t, "1")},
	}
	onBus(t, func(t *testing.T, b *bus.Bus) {
		var replayed []rmp.Hostcall
		startHost(t, b, "echo", func(_ context.Context, _ *host, q *rmp.AgentRequest) *rmp.AgentResponse {
			if q.Mode == rmp.ModeReplay {
				replayed = q.Tape
			}
			r := okResponse(t, `{"out":1}`)
			r.Tape = tape
			return r
		})
		r, _ := runOnBus(t, t.Context(), b, plan(t, small("a", "", "")))
		tr, err := ParseTrace(r.rep.Trace.JSON())
		if err != nil {
			t.Fatal(err)
		}
		rep, err := Replay(t.Context(), tr, NewBusExecutor(b.Client("replay", bus.KindDaemon)), ReplayOptions{})
		if err != nil || rep.Identical != 1 {
			t.Fatal(err, rep)
		}
		if len(replayed) != len(tape) {
			t.Fatalf("%d calls came back of %d", len(replayed), len(tape))
		}
		for i, h := range tape {
			g := replayed[i]
			h.OK = bytes.TrimPrefix(h.OK, []byte{0xc0}) // a Raw is empty for nil
			if !bytes.Equal(g.Args, h.Args) || !bytes.Equal(g.OK, h.OK) || (g.Err == nil) != (h.Err == nil) {
				t.Errorf("%s came back as args % x, ok % x", h.Op, g.Args, g.OK)
			}
		}
		calls := tr.Nodes[0].FinalAttempt.Hostcalls
		if got := string(calls[4].Args); got != `{"a":[1,-2,0.5,"x",null,true]}` || calls[4].ArgsRaw != nil {
			t.Errorf("a plain value is kept as %s and % x", got, calls[4].ArgsRaw)
		}
		if got := string(calls[0].Args); got != `"AAH/"` {
			t.Errorf("bytes look like %s", got)
		}
	})
}

func nan() float64 {
	zero := 0.0
	return zero / zero
}
