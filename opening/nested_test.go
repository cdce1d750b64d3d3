package opening

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/rmp"
)

// libraryCatalog is a Catalog of the crew with openings, by name.
type libraryCatalog struct {
	mapCatalog
	texts map[string]string
}

func (c libraryCatalog) Opening(name string) (string, []byte, error) {
	text, ok := c.texts[name]
	if !ok {
		return "", nil, fmt.Errorf("opening %s: %w", name, ErrUnknownOpening)
	}
	return name + ".yaml", []byte(text), nil
}

func (c libraryCatalog) OpeningNames() []string { return slices.Collect(maps.Keys(c.texts)) }

// inner is an opening that is used by others: a hands its text to b.
const inner = `version: 0
name: inner
params: {text: "", n: 1, list: []}
nodes:
  - {id: a, use: agent:echo, with: {text: "{{params.text}}", n: "{{params.n}}", list: "{{params.list}}"}}
  - {id: b, use: agent:echo, with: {key: "{{params.key}}"}}
edges:
  - {from: a.out, to: b.in}
`

func shelf(kv ...string) libraryCatalog {
	c := libraryCatalog{crew(), map[string]string{"inner": inner}}
	for i := 0; i < len(kv); i += 2 {
		c.texts[kv[i]] = kv[i+1]
	}
	return c
}

const outer = `opening "outer" {
  params: {n: 7}
  nodes:
    first := agent("echo")
    more  := agent("echo")
    sub   := opening("inner", n="{{params.n}}", key="k")
    last  := agent("echo")
  edges:
    first.out -> sub.text
    first.out -> sub.list
    more.out -> sub.list
    more.ok == true -> sub.in
    sub.b.out -> last.in
    sub.a.ok == true -> last.in
  success: all_of(exists(last.out), exists(sub.b.n))
}`

// speaks is an agent that gives a text, and what its with map and its inputs are.
func speaks(text string) act {
	return func(_ context.Context, req *Request, _ Observer) *Response {
		seen := mustJSON(map[string]any{"with": req.With, "in": req.Inputs})
		return ports("out", string(mustJSON(text)), "ok", "true", "n", string(seen))
	}
}

func TestNestedRun(t *testing.T) {
	p, err := Load("outer.opening", []byte(outer), shelf(), nil)
	if err != nil {
		t.Fatal(err.(Problems).Text())
	}
	exec := &fakeExecutor{acts: map[string]act{}}
	for _, id := range []string{"first", "more", "a", "b", "last"} {
		exec.acts[id] = speaks("I am " + id)
	}
	store := &memStore{}
	var events []Event
	e := &Engine{Executor: exec, Store: store, MaxParallel: 1, Catalog: shelf(), Sink: func(ev Event) { events = append(events, ev) }}
	rep, err := e.Run(t.Context(), p, RunOptions{TraceID: uuid.UUID{1}, Seed: Seed{1}})
	if err != nil || !rep.Success {
		t.Fatalf("%+v %v", rep, err)
	}
	sub := rep.Nodes[2]
	if got := string(mustJSON(sub.Outputs)); got != `{"a.ok":true,"b.n":{"in":{"in":["I am a"]},"with":{"key":"k"}},"b.out":"I am b"}` {
		t.Errorf("the node gave %s", got)
	}
	if got := string(mustJSON(rep.Nodes[3].Outputs["n"])); got != `{"in":{"in":["I am b",true]},"with":{}}` {
		t.Errorf("what comes behind got %s", got)
	}
	nested := rep.Trace.Nodes[2].FinalAttempt.Nested
	if got, want := string(nested.Nodes[0].FinalAttempt.With), `{"list":["I am first","I am more"],"n":7,"text":"I am first"}`; got != want {
		t.Errorf("the inner node was told %s, want %s", got, want)
	}
	if nested.TraceID != traceName(nestedTrace(uuid.UUID{1}, "sub", 1)) || nested.Seed == rep.Trace.Seed {
		t.Errorf("the inner run is %s with seed %x", nested.TraceID, nested.Seed)
	}
	var lines []string
	for _, ev := range events {
		if ev.TraceID != rep.TraceID || ev.OpeningID != rep.OpeningID {
			t.Errorf("an event of another run: %+v", ev)
		}
		lines = append(lines, ev.Kind+suffix(ev.Meta))
	}
	want := "run.started node.started:first node.finished:first ok node.started:more node.finished:more ok node.started:sub " +
		"node.started:sub/a node.finished:sub/a ok node.started:sub/b node.finished:sub/b ok node.finished:sub ok " +
		"node.started:last node.finished:last ok run.finished ok"
	if got := strings.Join(lines, " "); got != want {
		t.Errorf("events\n%s\nwant\n%s", got, want)
	}
	if n := strings.Count(strings.Join(store.kinds(), " "), "run.started"); n != 2 {
		t.Errorf("%d runs are on record: %v", n, store.kinds())
	}
	again, err := ParseTrace(rep.Trace.JSON())
	if err != nil {
		t.Fatal(err)
	}
	if string(again.JSON()) != string(rep.Trace.JSON()) {
		t.Error("the trace does not read back")
	}
	testNestedReplay(t, again, exec)
}

// testNestedReplay replays a trace with a run in it, unchanged and changed.
func testNestedReplay(t *testing.T, tr *Trace, exec *fakeExecutor) {
	t.Helper()
	rep, err := Replay(t.Context(), tr, exec, ReplayOptions{MaxParallel: 1})
	if err != nil || !rep.Same() || rep.Identical != 6 {
		t.Errorf("%+v %v", rep, err)
	}
	exec.acts["a"] = speaks("I am somebody else")
	rep, err = Replay(t.Context(), tr, exec, ReplayOptions{MaxParallel: 1})
	if err != nil || rep.Different != 1 || rep.Nodes[3].Node != "sub/a" || rep.Nodes[3].Verdict != Different {
		t.Errorf("%+v %v", rep, err)
	}
}

// nested runs an opening that uses inner as its only node.
func nestedOnly(t *testing.T, args, policy string, exec *fakeExecutor, more ...string) (*Report, []Event) {
	t.Helper()
	text := "opening \"outer\" {\n" + policy + "\nnodes:\n  sub := opening(\"inner\", key=1" + args + ")\n}"
	cat := shelf(more...)
	p, err := Load("outer.opening", []byte(text), cat, nil)
	if err != nil {
		t.Fatal(err.(Problems).Text())
	}
	var events []Event
	e := &Engine{Executor: exec, Catalog: cat, Sink: func(ev Event) { events = append(events, ev) }}
	rep, err := e.Run(t.Context(), p, RunOptions{TraceID: uuid.UUID{1}, Seed: Seed{1}})
	if err != nil {
		t.Fatal(err)
	}
	return rep, events
}

func TestNestedFailure(t *testing.T) {
	exec := &fakeExecutor{acts: map[string]act{"b": fails("broken", false)}}
	rep, _ := nestedOnly(t, ", retry={max_attempts: 3, initial_ms: 0}", "", exec)
	if rep.Success || !strings.Contains(rep.Reason, "sub failed on attempt 1 of 3: opening_failed: inner: b failed: broken") {
		t.Errorf("%+v", rep)
	}
	// What can be tried again is, in a run of its own.
	var traces []uuid.UUID
	exec = &fakeExecutor{acts: map[string]act{"b": func(_ context.Context, req *Request, _ Observer) *Response {
		traces = append(traces, req.TraceID)
		if len(traces) < 3 {
			return failure("flaky", true, "not now")
		}
		return ports("out", "1")
	}}}
	rep, _ = nestedOnly(t, ", retry={max_attempts: 3, initial_ms: 0}", "", exec)
	if !rep.Success || rep.Nodes[0].Attempt != 3 || traces[0] == traces[1] || traces[1] == traces[2] {
		t.Errorf("%+v %v", rep, traces)
	}
}

func TestNestedTimeAndCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exec := &fakeExecutor{acts: map[string]act{"b": takes(time.Hour)}}
		rep, _ := nestedOnly(t, ", timeout=2s", "", exec)
		if rep.Success || rep.Nodes[0].Error.Code != codeTimedOut {
			t.Errorf("its own timeout: %+v", rep)
		}
		rep, _ = nestedOnly(t, "", "budget: 3s", exec)
		if rep.Status != StatusTimeout || rep.Nodes[0].State != Cancelled {
			t.Errorf("the timeout of the outer run: %+v", rep)
		}
		// Its agents have the default timeout, the node has none.
		rep, _ = nestedOnly(t, "", "", exec)
		if rep.Success || !strings.Contains(rep.Reason, "b failed: timeout: no answer within 30000 ms") {
			t.Errorf("the timeout of an agent inside: %+v", rep)
		}
		short := strings.Replace(inner, "nodes:", "policy: {timeout_ms: 1500}\nnodes:", 1)
		rep, _ = nestedOnly(t, "", "", exec, "inner", short)
		if rep.Success || rep.Nodes[0].Error.Code != codeTimedOut ||
			!strings.Contains(rep.Reason, "policy.timeout_ms of 1500 ms") {
			t.Errorf("the timeout of the opening: %+v", rep)
		}
	})
}

// TestNestedBudgets looks at what agents inside are told of the budgets around
// them.
func TestNestedBudgets(t *testing.T) {
	var got []OuterNode
	var budget, run rmp.Budget
	exec := &fakeExecutor{acts: map[string]act{"b": func(_ context.Context, req *Request, _ Observer) *Response {
		got, budget, run = req.Outer, req.Budget, req.RunBudget
		return &Response{Status: rmp.StatusOK, Digest: "d", Usage: rmp.Usage{TokensIn: 3, TokensOut: 4, USD: 0.5}}
	}}}
	middle := "opening \"inner\" {\n budget: 300 tokens\n params: {key: 0}\n nodes:\n  x := opening(\"deep\", key=\"{{params.key}}\", budget_tokens=200)\n}"
	deep := strings.Replace(inner, "name: inner", "name: deep", 1)
	rep, _ := nestedOnly(t, ", budget_tokens=500", "budget: $0.05, 800 tokens", exec, "inner", middle, "deep", deep)
	if !rep.Success || rep.Usage.TokensIn != 3 || rep.Usage.USD != 0.5 {
		t.Fatalf("%+v", rep)
	}
	want := []OuterNode{
		{uuid.UUID{1}, "sub", rmp.Budget{Tokens: 500, DeadlineMillis: maxTimeout.Milliseconds()}, rmp.Budget{Tokens: 800, USD: 0.05}},
		{nestedTrace(uuid.UUID{1}, "sub", 1), "x", rmp.Budget{Tokens: 200, DeadlineMillis: maxTimeout.Milliseconds()}, rmp.Budget{Tokens: 300}},
	}
	if !slices.Equal(got, want) || budget.Tokens != 0 || run.Tokens != 0 {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestNestedChecks holds every mistake about openings in openings against its
// message.
func TestNestedChecks(t *testing.T) {
	head := "opening \"outer\" {\n  nodes:\n"
	for _, c := range []struct{ name, node, edges, want string }{
		{"no such opening", `sub := opening("iner", key=1)`, "",
			`outer.opening:3:21: there is no opening "iner"; did you mean "inner"?`},
		{"not a name", `sub := opening("In ner", key=1)`, "",
			`outer.opening:3:21: "In ner" is not the name of an opening: it must be ` + identifierRule},
		{"unknown parameter", `sub := opening("inner", key=1, txt="x")`, "",
			`outer.opening:3:36: the opening inner has no parameter txt; did you mean "text"?`},
		{"missing parameter", `sub := opening("inner")`, "",
			`outer.opening:3:21: the opening inner needs the parameter key; give it under with, or by an edge to sub.key`},
		{"wrong type", `sub := opening("inner", key=1, n="x")`, "",
			`outer.opening:3:39: the parameter n of the opening inner must be a number, as its default is, not a string`},
		{"given twice", `sub := opening("inner", key=1)`, "e.n -> sub.key",
			`outer.opening:3:29: the parameter key is given here and by an edge to sub.key`},
		{"no such input", `sub := opening("inner", key=1)`, "e.n -> sub.txet",
			`outer.opening:6:12: the node sub has no input port "txet"; did you mean "text"?`},
		{"type of an edge", `sub := opening("inner", key=1)`, "r.ok -> sub.text",
			`outer.opening:6:13: r.ok gives bool, but sub.text takes string`},
		{"several values", `sub := opening("inner", key=1)`, "e.n -> sub.n\n    e.out -> sub.n",
			"outer.opening:6:12: 2 edges give sub.n a list, but it takes number"},
		{"no such node inside", `sub := opening("inner", key=1)`, "sub.c.out -> e.in",
			`outer.opening:6:5: the node sub has no output port "c.out"; did you mean "a.out"?`},
		{"no such port inside", `sub := opening("inner", key=1)`, "sub.a.uot -> e.in",
			`outer.opening:6:5: the node sub has no output port "a.uot"; did you mean "a.out"?`},
		{"a node and no port", `sub := opening("inner", key=1)`, "sub.a -> e.in",
			`outer.opening:6:5: the node sub has no output port "a"; it has a.n, a.ok, a.out, b.n, b.ok, b.out`},
		{"itself", `sub := opening("outer")`, "",
			`outer.opening:3:21: the openings use each other: outer → outer`},
		{"by another", `sub := opening("round")`, "",
			`round.yaml:1:60: the openings use each other: outer → round → outer`},
		{"under another name", `sub := opening("named")`, "",
			`outer.opening:3:21: the file named.yaml holds the opening "other", not "named"`},
		{"a mistake inside", `sub := opening("wrong")`, "",
			`wrong.yaml:1:60: there is no agent "ecko"; did you mean "echo"?`},
		{"does not parse", `sub := opening("torn")`, "",
			`torn.yaml:1:1: the opening must be a map, not a string ("torn")`},
		{"what an agent inside gets", `sub := opening("strict", order="red")`, "",
			`outer.opening:3:12: the opening strict cannot take this: with.order must be one of "title", "author", "year", not "red"`},
		{"a confirmation that is demanded outside", `sub := opening("sends", ask=false)`, "",
			`outer.opening:3:12: the opening sends cannot take this: require_human_confirm: false contradicts policy.confirm_external: true of an opening that uses this one; remove one of the two`},
		{"the same, always", `sub := opening("never")`, "",
			`never.yaml:1:106: require_human_confirm: false contradicts policy.confirm_external: true of an opening that uses this one; remove one of the two`},
	} {
		t.Run(c.name, func(t *testing.T) {
			head := head
			if strings.Contains(c.name, "confirm") || c.name == "the same, always" {
				head = strings.Replace(head, "\n", " policy: {confirm_external: true}\n", 1)
			}
			text := head + "    " + c.node + "; e := agent(\"echo\")\n    r := agent(\"reader\")\n  edges:\n    " + c.edges + "\n}"
			_, err := Load("outer.opening", []byte(text), shelf(
				"round", `{version: 0, name: round, edges: [], nodes: [{id: o, use: "opening:outer"}]}`,
				"named", `{version: 0, name: other, edges: [], nodes: [{id: o, use: "agent:echo"}]}`,
				"wrong", `{version: 0, name: wrong, edges: [], nodes: [{id: o, use: "agent:ecko"}]}`,
				"torn", "torn",
				"sends", `{version: 0, name: sends, params: {ask: true}, edges: [], nodes: [{id: o, use: "agent:printer", with: {require_human_confirm: "{{params.ask}}"}}]}`,
				"never", `{version: 0, name: never, edges: [], nodes: [{id: o, use: "agent:printer", with: {require_human_confirm: false}}]}`,
				"strict", `{version: 0, name: strict, edges: [], nodes: [{id: o, use: "agent:finder", with: {title: t, order: "{{params.order}}"}}]}`,
			), nil)
			var ps Problems
			if !errors.As(err, &ps) {
				t.Fatalf("got %v", err)
			}
			if got := ps.Text(); got != c.want+"\n" {
				t.Errorf("got  %swant %s", got, c.want)
			}
		})
	}
}

// TestNestedLimits: openings that are too deep or too many in each other are
// refused before anything is built of them.
func TestNestedLimits(t *testing.T) {
	var kv []string
	for i := range 20 {
		kv = append(kv, fmt.Sprintf("deep%d", i),
			fmt.Sprintf(`{version: 0, name: deep%d, edges: [], nodes: [{id: o, use: "opening:deep%d"}]}`, i, i+1))
	}
	wide := func(i int) string {
		var b strings.Builder
		fmt.Fprintf(&b, "opening \"wide%d\" {\n nodes:\n", i)
		for n := range 100 {
			fmt.Fprintf(&b, "  n%d := opening(\"wide%d\")\n", n, i+1)
		}
		return b.String() + "}"
	}
	for i := range 7 {
		kv = append(kv, fmt.Sprintf("wide%d", i), wide(i))
	}
	kv = append(kv, "wide7", `{version: 0, name: wide7, edges: [], nodes: [{id: o, use: "agent:echo"}]}`)
	for name, want := range map[string]string{
		"deep0": "deep7.yaml:1:60: openings are in each other more than 8 deep",
		"wide0": "the opening wide5 has 20100 nodes with those of the openings that it uses; 20000 are allowed",
	} {
		_, err := Load("x.opening", []byte("opening \"outer\" {\n nodes:\n  a := opening(\""+name+"\")\n}"), shelf(kv...), nil)
		var ps Problems
		if !errors.As(err, &ps) || !strings.Contains(ps.Text(), want) {
			t.Errorf("%s: got %.600s", name, ps.Text())
		}
	}
}

// TestNestedDigest: the digest of an opening that is used follows its own text
// and the code of all agents in it.
func TestNestedDigest(t *testing.T) {
	digest := func(cat libraryCatalog) string {
		p, err := Load("outer.opening", []byte(outer), cat, nil)
		if err != nil {
			t.Fatal(err)
		}
		return p.Digests["opening:inner"]
	}
	base := digest(shelf())
	changed := shelf("inner", strings.Replace(inner, "n: 1", "n: 2", 1))
	other := shelf()
	echo := *other.mapCatalog["echo"]
	echo.Digest = "other"
	other.mapCatalog["echo"] = &echo
	if base == "" || base == digest(changed) || base == digest(other) || base != digest(shelf()) {
		t.Error("the digest does not follow what it names")
	}
	var rec runStartedRecord
	p, _ := Load("outer.opening", []byte(outer), shelf(), nil)
	rec.Openings = p.nestedIRs()
	if o, err := ParseIR(rec.Openings["inner"]); err != nil || o.Name != "inner" {
		t.Errorf("the record has %s, %v", rec.Openings["inner"], err)
	}
	if got := fmt.Sprint(p.Refs()); got != "[echo]" {
		t.Errorf("the agents are %s", got)
	}
}

// TestNestedFork: a fork goes into the runs inside, and takes over each step that
// is as it was.
func TestNestedFork(t *testing.T) {
	ran := map[string]int{}
	exec := execFunc(func(_ context.Context, req *Request, obs Observer) *Response {
		ran[req.Node]++
		resp := speaks("I am "+req.Node)(t.Context(), req, obs)
		resp.Digest, resp.Caps = req.Digest, "c"
		return resp
	})
	run := func(cat libraryCatalog, params string, fork *Fork) *Report {
		p, err := Load("outer.opening", []byte(outer), cat, []byte(params))
		if err != nil {
			t.Fatal(err.(Problems).Text())
		}
		clear(ran)
		e := &Engine{Executor: exec, Catalog: cat, MaxParallel: 1}
		rep, err := e.Run(t.Context(), p, RunOptions{Seed: Seed{1}, Fork: fork})
		if err != nil || !rep.Success {
			t.Fatalf("%+v %v", rep, err)
		}
		return rep
	}
	source := run(shelf(), "", nil).Trace
	fork := func(from string) *Fork {
		return &Fork{Source: source, From: from, Caps: func(string) (string, error) { return "c", nil }}
	}
	run(shelf(), "", fork(""))
	if len(ran) != 0 {
		t.Errorf("nothing had changed, and %v ran", ran)
	}
	run(shelf(), `{"n":8}`, fork("")) // a is told of n, and b gets what a gives
	if ran["a"] != 1 || len(ran) != 1 {
		t.Errorf("what a is told had changed, and %v ran", ran)
	}
	run(shelf("inner", strings.Replace(inner, "{key:", "{more: 1, key:", 1)), "", fork(""))
	if ran["b"] != 1 || ran["last"] != 0 || ran["a"] != 0 {
		t.Errorf("the opening inside had changed for b, and %v ran", ran)
	}
	run(shelf(), "", fork("sub"))
	if ran["a"] != 1 || ran["b"] != 1 || ran["last"] != 1 || len(ran) != 3 {
		t.Errorf("from sub on, and %v ran", ran)
	}
}

// execFunc is an executor that is a function.
type execFunc func(context.Context, *Request, Observer) *Response

func (f execFunc) Execute(ctx context.Context, req *Request, obs Observer) *Response {
	return f(ctx, req, obs)
}
