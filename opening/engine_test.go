package opening

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/rmp"
)

// act is what a fake agent does in one attempt.
type act func(ctx context.Context, req *Request, obs Observer) *Response

// fakeExecutor runs agents written as functions, by node; a node without one
// puts its inputs out again.
type fakeExecutor struct {
	acts map[string]act
	mu   sync.Mutex
	seen []string // node#attempt, in the order in which they began
}

func (f *fakeExecutor) Execute(ctx context.Context, req *Request, obs Observer) *Response {
	f.mu.Lock()
	f.seen = append(f.seen, fmt.Sprintf("%s#%d", req.Node, req.Attempt))
	f.mu.Unlock()
	if a := f.acts[req.Node]; a != nil {
		return a(ctx, req, obs)
	}
	return ports("out", string(mustJSON(req.Inputs)), "ok", "true")
}

// ports is a successful response with the given names and JSON values.
func ports(kv ...string) *Response {
	r := &Response{Status: rmp.StatusOK, Digest: "d", Ports: map[string]json.RawMessage{}}
	for i := 0; i < len(kv); i += 2 {
		r.Ports[kv[i]] = json.RawMessage(kv[i+1])
	}
	return r
}

func answers(kv ...string) act {
	return func(context.Context, *Request, Observer) *Response { return ports(kv...) }
}

// fails gives the same failure at every attempt.
func fails(code string, retryable bool) act {
	return func(context.Context, *Request, Observer) *Response {
		return failure(code, retryable, "it did not work")
	}
}

// takes succeeds after a time, unless it is stopped before.
func takes(d time.Duration) act {
	return func(ctx context.Context, _ *Request, _ Observer) *Response {
		select {
		case <-time.After(d):
			return ports("out", "1", "ok", "true")
		case <-ctx.Done():
			return failure("stopped", false, "stopped by the executor")
		}
	}
}

// memStore keeps records in memory and fails from the append on that failAt
// counts to.
type memStore struct {
	mu      sync.Mutex
	records []Record
	appends int
	failAt  int
}

func (s *memStore) Append(_ context.Context, records []Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.appends++; s.failAt > 0 && s.appends >= s.failAt {
		return errors.New("the disk is full")
	}
	s.records = append(s.records, records...)
	return nil
}

// Records implements History.
func (s *memStore) Records(_ context.Context, trace uuid.UUID) ([]Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Record
	for _, r := range s.records {
		var p struct {
			TraceID string `json:"trace_id"`
		}
		if json.Unmarshal(r.Payload, &p) == nil && p.TraceID == traceName(trace) {
			out = append(out, r)
		}
	}
	return out, nil
}

// kinds lists the records as kind, or kind:node status.
func (s *memStore) kinds() []string {
	var out []string
	for _, r := range s.records {
		out = append(out, r.Kind+suffix(r.Payload))
	}
	return out
}

func suffix(raw json.RawMessage) string {
	var m struct{ Node, Status string }
	_ = json.Unmarshal(raw, &m)
	out := ""
	if m.Node != "" {
		out += ":" + m.Node
	}
	if m.Status != "" {
		out += " " + m.Status
	}
	return out
}

// run is everything one run of a test did.
type run struct {
	rep    *Report
	err    error
	store  *memStore
	exec   *fakeExecutor
	events []Event
}

// trail lists the events as kind, or kind:node status.
func (r *run) trail() []string {
	var out []string
	for _, e := range r.events {
		out = append(out, e.Kind+suffix(e.Meta))
	}
	return out
}

func (r *run) states() string {
	var out []string
	for _, n := range r.rep.Nodes {
		out = append(out, n.Node+":"+string(n.State))
	}
	return strings.Join(out, " ")
}

// plan makes a plan without a catalog out of YAML.
func plan(t testing.TB, yaml string) *Plan {
	t.Helper()
	p, err := Load("test.yaml", []byte(yaml), nil, nil)
	if err != nil {
		t.Fatal(err.(Problems).Text())
	}
	return p
}

// small is an opening in YAML: nodes such as "a; b, timeout_ms: 50", which all
// use agent:echo, and edges such as "a.out -> b.in; b.out -> c.in".
func small(nodes, edges, rest string) string {
	var b strings.Builder
	b.WriteString("version: 0\nname: small\nnodes:\n")
	for n := range strings.SplitSeq(nodes, "; ") {
		fmt.Fprintf(&b, "  - {use: agent:echo, id: %s}\n", n)
	}
	if edges == "" {
		return b.String() + "edges: []\n" + rest
	}
	b.WriteString("edges:\n")
	for e := range strings.SplitSeq(edges, "; ") {
		from, to, _ := strings.Cut(e, " -> ")
		fmt.Fprintf(&b, "  - {from: '%s', to: '%s'}\n", from, to)
	}
	return b.String() + rest
}

var testTrace = uuid.MustParse("0194a1b2-0000-7000-8000-0123456789ab")

// runPlan runs a plan to its end with fake agents.
func runPlan(ctx context.Context, p *Plan, e *Engine, acts map[string]act) *run {
	r := &run{store: &memStore{}, exec: &fakeExecutor{acts: acts}}
	if s, ok := e.Store.(*memStore); ok {
		r.store = s
	}
	e.Store, e.Executor = r.store, r.exec
	e.Sink = func(ev Event) { r.events = append(r.events, ev) }
	if e.MaxParallel == 0 {
		e.MaxParallel = 4
	}
	r.rep, r.err = e.Run(ctx, p, RunOptions{TraceID: testTrace, Seed: Seed{1}})
	return r
}

func TestRun(t *testing.T) {
	ok, no := answers("ok", "true", "out", "1"), answers("ok", "false", "out", "1", "n", "3")
	chain := "a.out -> b.in; b.out -> c.in"
	for _, c := range []struct {
		name   string
		yaml   string
		acts   map[string]act
		states string
		status Status
		reason string
	}{
		{"one node", small("a", "", ""), nil, "a:Succeeded", StatusOK, ""},
		{"a chain", small("a; b; c", chain, ""), nil, "a:Succeeded b:Succeeded c:Succeeded", StatusOK, ""},
		{"a failure skips what needs it, others go on",
			small("a; b; c; d", chain, ""), map[string]act{"b": fails("broken", false)},
			"a:Succeeded b:Failed c:Skipped d:Succeeded", StatusError, "b failed: broken: it did not work"},
		{"a guard that does not hold skips the rest of the branch",
			small("a; b; c", "a.ok == true -> b.in; b.out -> c.in", ""), map[string]act{"a": no},
			"a:Succeeded b:Skipped c:Skipped", StatusOK, ""},
		{"a guard that holds does not",
			small("a; b", "a.ok == true -> b.in", ""), map[string]act{"a": ok}, "a:Succeeded b:Succeeded", StatusOK, ""},
		{"a guard on a port without value does not hold",
			small("a; b", "a.none != true -> b.in", ""), nil, "a:Succeeded b:Skipped", StatusOK, ""},
		{"success that holds although a node failed",
			small("a; b", "", "success: {any_of: [a.ok == true, b.ok == true]}"),
			map[string]act{"b": fails("broken", false)}, "a:Succeeded b:Failed", StatusOK, ""},
		{"all_of that does not hold",
			small("a", "", "success: {all_of: [exists(a.out), a.n >= 4]}"), map[string]act{"a": no},
			"a:Succeeded", StatusError, "a.n >= 4 does not hold: a.n is 3"},
		{"all_of that does not hold, and an agent that warned why",
			small("a", "", "success: {all_of: [a.n >= 4]}"), map[string]act{
				"a": func(ctx context.Context, req *Request, obs Observer) *Response {
					resp := no(ctx, req, obs)
					resp.Tape = []Hostcall{
						{Op: "log", Args: json.RawMessage(`{"level":"warn","message":"only \u001b3 are there"}`)},
						{Op: "log", Args: json.RawMessage(`{"level":"info","message":"bye"}`)},
					}
					return resp
				}},
			"a:Succeeded", StatusError, `a.n >= 4 does not hold: a.n is 3; a says: only \x1b3 are there`},
		{"all_of on a skipped node goes back to the guard",
			small("a; b; c", "a.ok == true -> b.in; b.out -> c.in", "success: {all_of: [c.ok == true]}"),
			map[string]act{"a": no}, "a:Succeeded b:Skipped c:Skipped", StatusError,
			"c.ok == true does not hold: c was skipped because a.ok == true does not hold (a.ok is false)"},
		{"all_of on a skipped node goes back to the failure",
			small("a; b; c", chain, "success: {all_of: [exists(c.out)]}"),
			map[string]act{"a": fails("broken", true)}, "a:Failed b:Skipped c:Skipped", StatusError,
			"exists(c.out) does not hold: c was skipped because a failed: broken: it did not work"},
		{"any_of names everything it looked at",
			small("a", "", `success: {any_of: [a.n > 3, 'a.ok == true', 'a.out == "x"', a.gone == 1]}`),
			map[string]act{"a": no}, "a:Succeeded", StatusError,
			`none of any_of holds: a.n > 3 (a.n is 3); a.ok == true (a.ok is false); ` +
				`a.out == "x" (a.out is 1); and 1 more`},
		{"retries are used up",
			small("a, retry: {max_attempts: 3, backoff_ms: 10}", "", ""), map[string]act{"a": fails("busy", true)},
			"a:Failed", StatusError, "a failed on attempt 3 of 3: busy: it did not work"},
		{"what is not retryable is not tried again",
			small("a, retry: {max_attempts: 3}", "", ""), map[string]act{"a": fails("bad", false)},
			"a:Failed", StatusError, "a failed on attempt 1 of 3: bad: it did not work"},
		{"a timeout", small("a, timeout_ms: 50", "", ""), map[string]act{"a": takes(time.Hour)},
			"a:Failed", StatusError, "a failed: timeout: no answer within 50 ms"},
		{"an output that would change on the way", small("a", "", ""),
			map[string]act{"a": answers("out", `{"id": 9007199254740993}`)}, "a:Failed", StatusError,
			`a failed: bad_output: the output "out" holds 9007199254740993: a number too large to be kept exactly; send it as a string`},
		{"a host that answers nonsense", small("a", "", ""), map[string]act{
			"a": func(context.Context, *Request, Observer) *Response { return &Response{Status: "fine"} }},
			"a:Failed", StatusError, `a failed: bad_host: the host answered with the status "fine"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := runPlan(t.Context(), plan(t, c.yaml), &Engine{}, c.acts)
				if r.err != nil {
					t.Fatal(r.err)
				}
				if r.states() != c.states || r.rep.Status != c.status || r.rep.Reason != c.reason {
					t.Errorf("got  %s\n     %s\n     %s\nwant %s\n     %s\n     %s",
						r.states(), r.rep.Status, r.rep.Reason, c.states, c.status, c.reason)
				}
				if r.rep.Success != (c.status == StatusOK) {
					t.Errorf("success is %v", r.rep.Success)
				}
			})
		})
	}
}

// TestSkippedNamesTheCause: for a node that never ran, the node that failed is told,
// however far away; a guard that did not hold is nobody's failure.
func TestSkippedNamesTheCause(t *testing.T) {
	for _, c := range []struct {
		yaml string
		a    act
		want string
	}{
		{small("a; b; c", "a.out -> b.in; b.out -> c.in", ""), fails("broken", false), "a: b:a c:a"},
		{small("a; b; c", "a.ok == true -> b.in; b.out -> c.in", ""), answers("ok", "false"), "a: b: c:"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var got []string
			for _, e := range runPlan(t.Context(), plan(t, c.yaml), &Engine{}, map[string]act{"a": c.a}).events {
				var m nodeFinishedMeta
				if e.Kind == kindNodeFinished && json.Unmarshal(e.Meta, &m) == nil {
					got = append(got, m.Node+":"+m.Cause)
				}
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("%s, not %s", s, c.want)
			}
		})
	}
}

// TestEvents holds the whole trail of a run that has a bit of everything.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := plan(t, `
version: 0
name: trail
params: {who: you}
nodes:
  - {id: a, use: agent:echo, retry: {max_attempts: 2, backoff_ms: 100}}
  - {id: b, use: agent:echo}
  - {id: c, use: agent:echo}
edges:
  - {from: a.out, to: b.in}
  - {from: a.ok == false, to: c.in}
artifacts: {save: [b.out, c.out]}
`)
		keep := &memArtifacts{}
		r := runPlan(t.Context(), p, &Engine{Artifacts: keep}, map[string]act{
			"a": func(_ context.Context, req *Request, obs Observer) *Response {
				obs.Log(Log{Stream: rmp.StreamStderr, Text: "thinking\x1b[2J\nmore\n"})
				if req.Attempt == 1 {
					return failure("busy", true, "later")
				}
				return ports("out", "1", "ok", "true")
			},
		})
		want := []string{
			"run.started", "node.started:a", "node.stderr:a", "node.retry:a", "node.started:a", "node.stderr:a",
			"node.finished:a ok", "node.finished:c skipped", "node.started:b", "node.finished:b ok", "run.finished ok",
		}
		if got := r.trail(); !slices.Equal(got, want) {
			t.Errorf("events\n got %q\nwant %q", got, want)
		}
		wantRecords := []string{
			"run.started", "node.started:a", "node.retry:a", "node.started:a", "node.finished:a ok",
			"node.finished:c skipped", "node.started:b", "node.finished:b ok", "run.finished ok", "run.trace ok",
		}
		if got := r.store.kinds(); !slices.Equal(got, wantRecords) {
			t.Errorf("records\n got %q\nwant %q", got, wantRecords)
		}
		if got := r.events[2].Message; got != `a: thinking\x1b[2J` {
			t.Errorf("the message of a chunk is %q", got)
		}
		if got := fmt.Sprint(keep.saved); got != "[b.out={\"in\":[1]}]" {
			t.Errorf("saved %s", got)
		}
		golden(t, testdata+"/engine/trail.ndjson", ndjson(t, r.events))
	})
}

type memArtifacts struct {
	saved []string
	err   error
}

func (m *memArtifacts) SaveArtifact(_ context.Context, a Artifact) (string, error) {
	m.saved = append(m.saved, a.Port.String()+"="+string(a.Value))
	return "artifact:" + a.Port.String(), m.err
}

func ndjson(t *testing.T, events []Event) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, e := range events {
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	return b.Bytes()
}

func TestArtifactThatCannotBeKept(t *testing.T) {
	p := plan(t, small("a", "", "artifacts: {save: [a.out]}"))
	r := runPlan(t.Context(), p, &Engine{Artifacts: &memArtifacts{err: errors.New("no room")}}, nil)
	if r.rep.Success || r.rep.Reason != "the output a.out could not be kept: no room" {
		t.Errorf("got %v, %q", r.rep.Success, r.rep.Reason)
	}
}

// TestParallel shows that independent nodes overlap, but no more of them than
// may, and that a node that waits for a person leaves its place to others.
func TestParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		second := takes(time.Second)
		acts := map[string]act{"a": second, "b": second, "c": second, "d": second, "e": second}
		begin := time.Now()
		r := runPlan(t.Context(), plan(t, small("a; b; c; d; e", "", "")), &Engine{MaxParallel: 2}, acts)
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("five seconds of work, two at a time, took %v", took)
		}
		if got := fmt.Sprint(r.exec.seen); !strings.HasSuffix(got, "e#1]") {
			t.Errorf("the last node did not start last: %s", got)
		}
	})
}

func TestRetryTiming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := plan(t, small("a", "", ""))
		p.Opening.Nodes[0].Retry = &Retry{MaxAttempts: 5, InitialMS: 100, MaxMS: 300, Multiplier: 2, Jitter: 0.2}
		r := runPlan(t.Context(), p, &Engine{}, map[string]act{"a": fails("busy", true)})
		var delays []int64
		for _, e := range r.events {
			var m nodeRetryMeta
			if e.Kind == kindNodeRetry && json.Unmarshal(e.Meta, &m) == nil {
				delays = append(delays, m.DelayMS)
			}
		}
		want := []int64{100, 200, 300, 300}
		if len(delays) != len(want) {
			t.Fatalf("delays %v", delays)
		}
		var sum int64
		for i, d := range delays {
			sum += d
			if lo, hi := want[i]*8/10, want[i]*12/10; d < lo || d > hi {
				t.Errorf("wait %d is %d ms, want %d ± 20%%", i+1, d, want[i])
			}
		}
		if r.rep.DurationMS != sum {
			t.Errorf("the run took %d ms, its waits %d", r.rep.DurationMS, sum)
		}
	})
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		begin := time.Now()
		p := plan(t, small("a; b; c", "a.out -> b.in", ""))
		r := runPlan(ctx, p, &Engine{}, map[string]act{"a": takes(time.Hour)})
		if took := time.Since(begin); took != time.Second {
			t.Errorf("cancelling took %v", took-time.Second)
		}
		if r.states() != "a:Cancelled b:Cancelled c:Succeeded" || r.rep.Status != StatusCancelled {
			t.Errorf("%s, %s", r.states(), r.rep.Status)
		}
		if r.rep.Reason != "the run was cancelled" {
			t.Errorf("reason %q", r.rep.Reason)
		}
	})
}

func TestCancelBeforeTheStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := runPlan(ctx, plan(t, small("a", "", "")), &Engine{}, nil)
	if len(r.exec.seen) != 0 || r.rep.Status != StatusCancelled {
		t.Errorf("ran %v, status %s", r.exec.seen, r.rep.Status)
	}
}

func TestCancelDuringBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		p := plan(t, small("a", "", ""))
		p.Opening.Nodes[0].Retry = &Retry{MaxAttempts: 2, InitialMS: 60_000, MaxMS: 60_000, Multiplier: 1}
		r := runPlan(ctx, p, &Engine{}, map[string]act{"a": fails("busy", true)})
		if r.states() != "a:Cancelled" || r.rep.DurationMS != 50 {
			t.Errorf("%s after %d ms", r.states(), r.rep.DurationMS)
		}
	})
}

func TestRunTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := plan(t, small("a; b", "a.out -> b.in", "policy: {timeout_ms: 3000}"))
		var told []int64
		slow := func(ctx context.Context, req *Request, obs Observer) *Response {
			told = append(told, req.Budget.DeadlineMillis, req.RunBudget.DeadlineMillis)
			return takes(2*time.Second)(ctx, req, obs)
		}
		r := runPlan(t.Context(), p, &Engine{}, map[string]act{"a": slow, "b": slow})
		if r.states() != "a:Succeeded b:Cancelled" || r.rep.Status != StatusTimeout || r.rep.DurationMS != 3000 {
			t.Errorf("%s, %s after %d ms", r.states(), r.rep.Status, r.rep.DurationMS)
		}
		if r.rep.Reason != "the run took longer than its policy.timeout_ms of 3000 ms" {
			t.Errorf("reason %q", r.rep.Reason)
		}
		if want := []int64{3000, 3000, 1000, 1000}; !slices.Equal(told, want) {
			t.Errorf("deadlines %v, want %v", told, want)
		}
	})
}

// TestStoreFails lets every append of a run fail in turn. Nothing may be
// reported then that is not on record, and no agent run that the record does
// not know of.
func TestStoreFails(t *testing.T) {
	p := plan(t, small("a; b; c", "a.out -> b.in; b.out -> c.in", ""))
	whole := runPlan(t.Context(), p, &Engine{}, nil)
	for failAt := 1; failAt <= whole.store.appends; failAt++ {
		synctest.Test(t, func(t *testing.T) {
			store := &memStore{failAt: failAt}
			r := runPlan(t.Context(), p, &Engine{Store: store}, nil)
			if r.err == nil || r.rep.Success || r.rep.Status != StatusError {
				t.Fatalf("append %d failed: error %v, success %v", failAt, r.err, r.rep.Success)
			}
			last := len(r.events) - 1
			if got := r.trail()[last]; got != "run.finished error" {
				t.Errorf("append %d failed: the last event is %s", failAt, got)
			}
			known := store.kinds()
			for _, ev := range r.trail()[:last] {
				if !slices.Contains(known, ev) {
					t.Errorf("append %d failed: %s was reported and is not on record", failAt, ev)
				}
			}
			if ran, recorded := len(r.exec.seen), strings.Count(strings.Join(known, "\n"), "node.started"); ran > recorded {
				t.Errorf("append %d failed: %d attempts ran, %d are on record", failAt, ran, recorded)
			}
		})
	}
}

// TestDeterminism runs one thing with random timing many times. The report,
// the trace and the records of the nodes must not depend on it.
func TestDeterminism(t *testing.T) {
	p := plan(t, small("a; b; c; d; e; f", "a.out -> d.in; b.out -> d.in; c.out -> d.in; d.out -> e.a; a.ok==false -> f.in", ""))
	var first []byte
	for i := range 40 {
		synctest.Test(t, func(t *testing.T) {
			acts := map[string]act{}
			for k, n := range []string{"a", "b", "c"} {
				acts[n] = func(_ context.Context, req *Request, _ Observer) *Response {
					time.Sleep(time.Duration((i*7+k*13)%5) * time.Millisecond)
					return ports("out", `"`+req.Node+`"`, "ok", "true")
				}
			}
			r := runPlan(t.Context(), p, &Engine{}, acts)
			r.rep.DurationMS = 0
			for k := range r.rep.Nodes {
				r.rep.Nodes[k].DurationMS = 0
				if a := r.rep.Trace.Nodes[k].FinalAttempt; a != nil {
					a.TSMillis = 0
				}
			}
			got := append(mustJSON(r.rep), mustJSON(r.rep.Trace)...)
			if first == nil {
				first = got
			}
			if !bytes.Equal(got, first) {
				t.Fatalf("run %d differs\n%s\n%s", i, got, first)
			}
		})
	}
	if !bytes.Contains(first, []byte(`"inputs":{"in":["a","b","c"]}`)) {
		t.Errorf("fan-in is not in the order of the edges: %s", first)
	}
}

func TestChunks(t *testing.T) {
	for _, text := range []string{"", "short", strings.Repeat("x", 4096), strings.Repeat("é", 5000),
		"a" + strings.Repeat("€", 4000), "bad \xff\xfe utf8", strings.Repeat("\xf0", 9000)} {
		var all strings.Builder
		for c := range chunks(text) {
			if len(c) > maxChunk || c == "" || toValid(c) != c {
				t.Errorf("a chunk of %d bytes", len(c))
			}
			all.WriteString(c)
		}
		if all.String() != toValid(text) {
			t.Errorf("the chunks of %.20q do not add up", text)
		}
	}
}

// TestLadderLimit lets an agent talk without end.
func TestLadderLimit(t *testing.T) {
	r := runPlan(t.Context(), plan(t, small("a", "", "")), &Engine{}, map[string]act{
		"a": func(_ context.Context, _ *Request, obs Observer) *Response {
			for range maxLadder + 10 {
				obs.Crossing(Crossing{})
			}
			return ports()
		}})
	if n := len(r.rep.Trace.Ladder); n != maxLadder || !r.rep.Trace.LadderCut {
		t.Errorf("%d crossings are kept, cut is %v", n, r.rep.Trace.LadderCut)
	}
}

// TestLetter runs an opening in the shape of the one that comes with the
// program: a chain with side branches and a guard in front of the last step.
// However early the rest has delivered, the guard alone lets it start.
func TestLetter(t *testing.T) {
	data, err := os.ReadFile(testdata + "/good/letter.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Load("letter.yaml", data, crew(), json.RawMessage(`{"to":"Ursula"}`))
	if err != nil {
		t.Fatal(err.(Problems).Text())
	}
	for _, c := range []struct {
		ok, states, reason string
	}{
		{"true", "who:Succeeded notes:Succeeded write:Succeeded judge:Succeeded post:Succeeded", ""},
		{"false", "who:Succeeded notes:Succeeded write:Succeeded judge:Succeeded post:Skipped",
			"post.ok == true does not hold: post was skipped because judge.ok == true does not hold (judge.ok is false)"},
		{`"true"`, "who:Succeeded notes:Succeeded write:Succeeded judge:Succeeded post:Skipped",
			`post.ok == true does not hold: post was skipped because judge.ok == true does not hold (judge.ok is "true")`},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := runPlan(t.Context(), p, &Engine{}, map[string]act{
				"who": func(_ context.Context, req *Request, _ Observer) *Response {
					return ports("out", `{"name":`+string(valueOf(t, req.With, "query"))+`}`)
				},
				"judge": func(context.Context, *Request, Observer) *Response {
					time.Sleep(time.Second) // everything else that reaches post is there long before
					return ports("ok", c.ok, "review", `{"notes":[]}`)
				},
				"post": func(_ context.Context, req *Request, _ Observer) *Response {
					return ports("ok", "true", "out", string(mustJSON(req.Inputs)))
				},
			})
			if r.states() != c.states || r.rep.Reason != c.reason {
				t.Errorf("%s: %s", r.states(), r.rep.Reason)
			}
			if c.ok != "true" {
				return
			}
			want := `{"in":[true],"letter":[{"notes":[{"person":[{"name":"Ursula"}]}],"to":[{"name":"Ursula"}]}],` +
				`"review":[{"notes":[]}],"to":[{"name":"Ursula"}]}`
			if got := string(r.rep.Nodes[4].Outputs["out"]); got != want {
				t.Errorf("the last node was given\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// valueOf gives one value of a JSON map.
func valueOf(t *testing.T, raw json.RawMessage, key string) json.RawMessage {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	return m[key]
}
