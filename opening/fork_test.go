package opening

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/runloop-os/runloop/rmp"
)

// forkWorld is the code, the rights and the parameters that a run has: what can
// change between a run and its fork.
type forkWorld struct {
	o      *Opening
	code   map[string]int // of an agent; what two versions do is often the same
	caps   map[string]string
	params map[string]int
}

// drawFork makes a random opening and a world to run it in.
func drawFork(t *rapid.T) *forkWorld {
	w := &forkWorld{code: map[string]int{}, caps: map[string]string{}, params: map[string]int{}}
	w.o = &Opening{Name: "forked", Params: json.RawMessage(`{"p0":0,"p1":0}`)}
	for i := range rapid.IntRange(1, 9).Draw(t, "nodes") {
		n := Node{ID: fmt.Sprintf("n%d", i), Use: fmt.Sprintf("agent:a%d", rapid.IntRange(0, 3).Draw(t, "agent"))}
		if rapid.Bool().Draw(t, "told") {
			n.With = json.RawMessage(fmt.Sprintf(`{"k":"{{params.p%d}}"}`, rapid.IntRange(0, 1).Draw(t, "param")))
		}
		w.o.Nodes = append(w.o.Nodes, n)
		for from := range i {
			if rapid.IntRange(0, 2).Draw(t, "edge") > 0 {
				continue
			}
			e := Edge{From: PortRef{fmt.Sprintf("n%d", from), "out"}, To: PortRef{n.ID, "in"}}
			if rapid.IntRange(0, 3).Draw(t, "guarded") == 0 {
				e.From.Port = "ok"
				e.Guard = &Test{Op: "==", Value: json.RawMessage("true")}
			}
			w.o.Edges = append(w.o.Edges, e)
		}
	}
	for i := range 4 {
		w.code[fmt.Sprintf("a%d", i)], w.caps[fmt.Sprintf("a%d", i)] = 0, "c0"
	}
	return w
}

// changed is the world with a few things otherwise.
func (w *forkWorld) changed(t *rapid.T) *forkWorld {
	out := &forkWorld{o: w.o, code: map[string]int{}, caps: map[string]string{}, params: map[string]int{}}
	for _, ref := range sortedKeys(w.code) {
		out.code[ref], out.caps[ref] = w.code[ref], w.caps[ref]
		if rapid.IntRange(0, 4).Draw(t, "other code") == 0 {
			out.code[ref] = rapid.IntRange(1, 3).Draw(t, "version")
		}
		if rapid.IntRange(0, 9).Draw(t, "other caps") == 0 {
			out.caps[ref] = "c1"
		}
	}
	if rapid.IntRange(0, 2).Draw(t, "other param") == 0 {
		out.params["p0"] = 1
	}
	return out
}

// agent is what the agents of a world do: a function of what they are told and
// of their code, with few different results, so that changes often end somewhere.
func (w *forkWorld) agent(ref string, with json.RawMessage, inputs map[string][]json.RawMessage) *Response {
	code := w.code[ref] / 2 // versions 0 and 1 do the same
	sum := hashHex(mustJSON([]any{ref, code, string(orEmpty(with)), inputs}))
	pick, _ := strconv.ParseUint(sum[:8], 16, 64)
	if pick%13 == 0 {
		r := failure("broken", false, "it did not work")
		r.Digest, r.Caps = w.digest(ref), w.caps[ref]
		return r
	}
	r := ports("out", strconv.FormatUint(pick%3, 10), "ok", strconv.FormatBool(pick%4 > 0))
	r.Digest, r.Caps = w.digest(ref), w.caps[ref]
	r.Usage = rmp.Usage{TokensIn: 1}
	r.Tape = []Hostcall{{Op: "time.now", Args: json.RawMessage("{}"), OK: json.RawMessage(`1`)}}
	return r
}

func (w *forkWorld) digest(ref string) string { return fmt.Sprintf("%s-v%d", ref, w.code[ref]) }

// plan plans a run in the world.
func (w *forkWorld) plan(t *rapid.T) *Plan {
	cat := mapCatalog{}
	for ref := range w.code {
		cat[ref] = &Manifest{Digest: w.digest(ref), In: map[string]string{"in": Any}, Out: map[string]string{"out": Any, "ok": Any}}
	}
	p, err := NewPlan(w.o, cat, mustJSON(w.params))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// run runs the world, as a fork or from nothing, and tells which nodes ran.
func (w *forkWorld) run(t *rapid.T, fork *Fork) (*Report, []string) {
	x := &worldExecutor{w: w}
	e := &Engine{Executor: x, Store: &memStore{}, MaxParallel: 3}
	id := testTrace
	if fork != nil {
		id = uuid.MustParse("0194a1b2-0000-7000-8000-0123456789ff")
	}
	rep, err := e.Run(context.Background(), w.plan(t), RunOptions{TraceID: id, Seed: Seed{7}, Fork: fork})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(x.ran)
	return rep, x.ran
}

type worldExecutor struct {
	w   *forkWorld
	mu  sync.Mutex
	ran []string
}

func (x *worldExecutor) Execute(_ context.Context, req *Request, _ Observer) *Response {
	x.mu.Lock()
	x.ran = append(x.ran, req.Node)
	x.mu.Unlock()
	r := x.w.agent(req.Ref, req.With, req.Inputs)
	if req.Mode == rmp.ModeReplay {
		r.Tape = nil
	}
	return r
}

// wantRan works out which nodes of a fork have to run, from nothing but the two
// worlds: those that would not be told, or could not do, the same as before, and
// those that --from asks for.
func wantRan(t *rapid.T, before, after *Report, was, is *forkWorld, from string) []string {
	var ran []string
	forced := map[string]bool{from: true}
	for i, n := range is.o.Nodes { // edges lead forward
		for _, e := range is.o.Edges {
			if e.To.Node == n.ID && forced[e.From.Node] {
				forced[n.ID] = true
			}
		}
		a, b := before.Trace.Nodes[i].FinalAttempt, after.Trace.Nodes[i].FinalAttempt
		switch {
		case b == nil: // it did not run at all
		case a == nil, a.Status != rmp.StatusOK, forced[n.ID], was.code[n.Ref()] != is.code[n.Ref()],
			was.caps[n.Ref()] != is.caps[n.Ref()], string(a.With) != string(b.With),
			string(mustJSON(a.Inputs)) != string(mustJSON(b.Inputs)):
			ran = append(ran, n.ID)
		}
	}
	return ran
}

// TestForkModel holds forks of random runs against the dependency closure: what
// is taken over is exactly what nothing has changed for, what comes out is what a
// run from nothing gives, and the fork can be replayed and forked again.
func TestForkModel(t *testing.T) {
	cases := 300
	if os.Getenv("RUNLOOP_SOAK") != "" {
		cases = 20_000
	}
	reused := 0
	for seed := range cases {
		gen := rapid.Custom(func(t *rapid.T) int {
			was := drawFork(t)
			source, _ := was.run(t, nil)
			is := was.changed(t)
			from := ""
			if rapid.Bool().Draw(t, "from") {
				from = rapid.SampledFrom(is.o.Nodes).Draw(t, "node").ID
			}
			fresh, _ := is.run(t, nil)
			fork := &Fork{Source: source.Trace, From: from,
				Caps: func(ref string) (string, error) { return is.caps[ref], nil }}
			rep, ran := is.run(t, fork)
			if want := wantRan(t, source, fresh, was, is, from); !slices.Equal(ran, want) {
				t.Fatalf("ran %v, want %v (from %q)\n%s", ran, want, from, rep.Fork.Text())
			}
			if rep.Trace.FinalHash != fresh.Trace.FinalHash || rep.Status != fresh.Status {
				t.Fatalf("the fork gave something else than a run from nothing\n%s", rep.Fork.Text())
			}
			checkForked(t, rep, is)
			again, ran := is.run(t, &Fork{Source: rep.Trace, Caps: fork.Caps})
			for _, n := range rep.Trace.Nodes { // only what failed is tried again
				if n.State.State == Succeeded && slices.Contains(ran, n.NodeID) {
					t.Fatalf("a fork without a change ran %s\n%s", n.NodeID, again.Fork.Text())
				}
			}
			return rep.Fork.Reused
		})
		reused += gen.Example(seed)
	}
	if reused < cases {
		t.Errorf("only %d steps were reused in %d forks", reused, cases)
	}
}

// checkForked reads the trace of a fork back and replays it.
func checkForked(t *rapid.T, rep *Report, is *forkWorld) {
	back, err := ParseTrace(rep.Trace.JSON())
	if err != nil {
		t.Fatal(err)
	}
	if back.ForkedFrom != traceName(testTrace) {
		t.Fatalf("forked from %q", back.ForkedFrom)
	}
	if rep.Fork.Reused+rep.Fork.Ran == 0 {
		return
	}
	x := &replayWorld{w: is}
	r, err := Replay(context.Background(), back, x, ReplayOptions{})
	if err != nil || !r.Same() || r.Identical != rep.Fork.Reused+rep.Fork.Ran {
		t.Fatalf("the fork does not replay: %v %+v", err, r)
	}
	if x.old != rep.Fork.Reused {
		t.Fatalf("%d steps were replayed under the name of the earlier run, want %d", x.old, rep.Fork.Reused)
	}
}

// replayWorld counts the steps that are told the name of the earlier run.
type replayWorld struct {
	w   *forkWorld
	mu  sync.Mutex
	old int
}

func (x *replayWorld) Execute(_ context.Context, req *Request, _ Observer) *Response {
	if req.TraceID == testTrace {
		x.mu.Lock()
		x.old++
		x.mu.Unlock()
	}
	return x.w.agent(req.Ref, req.With, req.Inputs)
}

// TestForkReport shows what a person sees, and what is on record.
func TestForkReport(t *testing.T) {
	tr := bookTrace(t)
	for i := range tr.Nodes {
		tr.Nodes[i].FinalAttempt.Caps = "c"
	}
	o, err := ParseIR(tr.OpeningIR)
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPlan(o, crew(), tr.Params)
	if err != nil {
		t.Fatal(err)
	}
	acts := bookAgents()
	acts["read"] = func(context.Context, *Request, Observer) *Response {
		r := ports("out", `{"stars":5}`, "ok", "true")
		r.Digest, r.Usage, r.Micros = "f2", rmp.Usage{TokensIn: 7, TokensOut: 8, USD: 0.5}, 1500
		return r
	}
	store := &memStore{}
	e := &Engine{Executor: &fakeExecutor{acts: acts}, Store: store}
	caps := func(string) (string, error) { return "c", nil }
	rep, err := e.Run(t.Context(), p, RunOptions{Fork: &Fork{Source: tr, From: "read", Caps: caps}})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, testdata+"/trace/fork.txt", []byte(rep.Fork.Text()))
	var records strings.Builder
	for _, r := range store.records {
		records.Write(r.Payload)
	}
	for _, want := range []string{`"forked_from":"` + tr.TraceID, `"reused_from":{"attempt":1,"node":"find"`} {
		if !strings.Contains(records.String(), want) {
			t.Errorf("%s is not on record", want)
		}
	}
	if rep.Usage.TokensIn != 7 {
		t.Errorf("the fork cost %+v", rep.Usage)
	}
	for want, fork := range map[string]*Fork{
		"has no node": {Source: tr, From: "raed"},
		"redacted":    {Source: &Trace{TraceID: tr.TraceID, Redacted: true}},
	} {
		if _, err := e.Run(t.Context(), p, RunOptions{Fork: fork}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
