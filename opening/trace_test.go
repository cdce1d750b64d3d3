package opening

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/runloop-os/runloop/rmp"
)

// bookAgents act out testdata/openings/good/order_book.yaml: a finder that
// makes hostcalls, a reader whose first attempt fails, a printer. In a replay
// they take their answers from the tape, as a host would.
func bookAgents() map[string]act {
	return map[string]act{
		"find": func(_ context.Context, req *Request, obs Observer) *Response {
			tape := []Hostcall{
				{Op: "kb.query", Args: json.RawMessage(`{"sql":"SELECT 1"}`), OK: json.RawMessage(`[[1]]`)},
				{Op: "secret.get", Args: json.RawMessage(`{"id":"x"}`),
					Err: &rmp.HostcallError{Code: "denied", Message: "not\x1b[31m yours"}},
				{Op: "time.now", OK: json.RawMessage("null")},
			}
			if req.Mode == rmp.ModeLive {
				obs.Crossing(Crossing{TSMillis: 1000, Topic: "agent/finder", SchemaID: 4000, FrameLen: 300, BodyLen: 236,
					From: "engine", To: "agent:finder", MsgID: 1, Kind: "intent.executor.agent.request.v1"})
				obs.Crossing(Crossing{TSMillis: 1012, Topic: "rlp/runs/x/\x07", SchemaID: 4001, FrameLen: 400, BodyLen: 336,
					From: "", To: "engine", MsgID: 9, Kind: "toolresult.executor.agent.response.v1"})
			}
			r := ports("book", `{"title":"The Dispossessed","year":1974}`, "score", "0.5", "found", "true")
			r.Tape, r.Digest, r.Micros = tape, "f1", 1234
			r.Usage = rmp.Usage{TokensIn: 10, TokensOut: 20, USD: 0.001}
			return r
		},
		"read": func(_ context.Context, req *Request, _ Observer) *Response {
			if req.Attempt == 1 {
				return failure("busy", true, "later")
			}
			r := ports("out", `{"stars":4}`, "ok", "true")
			r.Digest = "f2"
			return r
		},
		"print": func(context.Context, *Request, Observer) *Response {
			r := ports("ok", "true")
			r.Digest = "f3"
			return r
		},
	}
}

// bookTrace is the trace of a run of order_book.
func bookTrace(t testing.TB) *Trace {
	t.Helper()
	return bookRun(t, &memStore{})
}

// bookRun is bookTrace with a store for what is recorded.
func bookRun(t testing.TB, store *memStore) *Trace {
	t.Helper()
	data, err := os.ReadFile(testdata + "/good/order_book.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Load("order_book.yaml", data, crew(), json.RawMessage(`{"title":"Ice"}`))
	if err != nil {
		t.Fatal(err)
	}
	p.Opening.Nodes[1].Retry.InitialMS = 0
	p.IR = p.Opening.IR()
	p.IRHash = p.Opening.Hash()
	r := runPlan(context.Background(), p, &Engine{Store: store}, bookAgents())
	if r.err != nil || !r.rep.Success {
		t.Fatal(r.err, r.rep.Reason)
	}
	return r.rep.Trace
}

func TestTraceRoundTrip(t *testing.T) {
	tr := bookTrace(t)
	for i := range tr.Nodes { // the only things that differ from run to run
		tr.Nodes[i].FinalAttempt.Budget.DeadlineMillis = 5000
		tr.Nodes[i].FinalAttempt.TSMillis = 0
	}
	raw := tr.JSON()
	golden(t, testdata+"/trace/order_book.json", append(bytes.Clone(raw), '\n'))
	back, err := ParseTrace(raw)
	if err != nil {
		t.Fatal(err)
	}
	if got := back.JSON(); !bytes.Equal(got, raw) {
		t.Errorf("read back it is\n%s\nwant\n%s", got, raw)
	}
	for _, format := range []string{FormatText, FormatTable, FormatMermaid, FormatHTML} {
		var b bytes.Buffer
		if err := back.Render(&b, format); err != nil {
			t.Fatal(err)
		}
		golden(t, testdata+"/trace/order_book."+format, b.Bytes())
		if i := bytes.IndexFunc(b.Bytes(), func(r rune) bool { return r < ' ' && r != '\n' }); i >= 0 {
			t.Errorf("%s holds the control character %q", format, b.Bytes()[i])
		}
	}
	checkPage(t, tr)
	if err := tr.Render(&bytes.Buffer{}, "pdf"); err == nil {
		t.Error("an unknown format was taken")
	}
}

// checkPage holds the HTML page against what makes it safe: nothing in it runs,
// nothing is fetched, and what agents wrote is text.
func checkPage(t *testing.T, tr *Trace) {
	t.Helper()
	evil := `</pre><script>alert(1)</script><img src="https://example.com/x" onerror='x'>`
	bad := *tr
	bad.Nodes = slices.Clone(tr.Nodes)
	a := *bad.Nodes[0].FinalAttempt
	a.Hostcalls = []Hostcall{{Op: evil, Args: mustJSON(evil), Err: &rmp.HostcallError{Code: evil, Message: evil}}}
	a.Outputs = map[string]json.RawMessage{evil: mustJSON(map[string]string{evil: evil})}
	bad.Nodes[0] = TraceNode{NodeID: evil, Agent: evil, State: TraceState{State: Failed, Reason: evil}, FinalAttempt: &a}
	bad.OpeningName, bad.Reason, bad.Status = evil, evil, Status(`ok" onload="x`)
	bad.Ladder = append(slices.Clone(tr.Ladder), Crossing{From: evil, To: evil, Topic: evil, Kind: evil})
	var b bytes.Buffer
	if err := bad.Render(&b, FormatHTML); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, no := range []string{"<script", "<img", ` onload="`, " onerror='", "<link", "@import", "url("} {
		if i := strings.Index(page, no); i >= 0 {
			t.Errorf("the page holds %s: %.80q", no, page[max(0, i-30):])
		}
	}
	_, style, _ := strings.Cut(page, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	sum := sha256.Sum256([]byte(style))
	want := "style-src &#39;sha256-" + strings.ReplaceAll(base64.StdEncoding.EncodeToString(sum[:]), "+", "&#43;") + "&#39;"
	if !strings.Contains(page, want) {
		t.Errorf("the policy does not allow the style: want %s", want)
	}
	b.Reset()
	if err := bad.Render(&b, FormatMermaid); err != nil || strings.ContainsAny(b.String(), `<"';&`) && strings.Contains(b.String(), "<script") {
		t.Errorf("the diagram is not safe: %v %s", err, b.String())
	}
}

// TestTraceRefused changes one thing at a time in a good trace.
func TestTraceRefused(t *testing.T) {
	good := string(bookTrace(t).JSON())
	if _, err := ParseTrace([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{`"trace_id":"trace:`, `"trace_id":"run:`, "is not trace:<uuid>"},
		{`"opening_ir_hash":"`, `"opening_ir_hash":"0`, "opening_ir_hash"},
		{`"title":"The Dispossessed"}`, `"title":"Other"}`, "opening_ir_hash"},
		{`"stars":4`, `"stars":5`, "output_hash"},
		{`"node_id":"read"`, `"node_id":"raed"`, `the opening has "read"`},
		{`"state":"Succeeded"`, `"state":"Failed"`, "is not the state of a node"},
		{`"state":"Succeeded"`, `"state":{"Failed":{"why":"x"}}`, "neither a name nor a failure"},
		{`"state":"Succeeded"`, `"state":"Skipped"`, "final_hash"},
		{`"status":"ok","ts_ms"`, `"status":"fine","ts_ms"`, "is not the status of an attempt"},
		{`"status":"ok","ts_ms"`, `"status":"failed","ts_ms"`, "either outputs or an error"},
		{`"success":true`, `"success":true,"more":1`, "unknown"},
		{`"success":true`, `"success":true,"success":true`, "duplicate"},
		{`"success":true`, `"success":"yes"`, "bool"},
		{`"attempt":2`, `"attempt":0`, "there is no attempt 0"},
		{`"op":"kb.query"`, `"op":""`, "it has no op"},
		{`"ok":[[1]]`, `"err":{"code":"a","message":"b","retryable":false},"ok":1`, "either ok or err"},
		{`"params":{`, `"params":[],"x":{`, "params"},
		{`"seed":"01`, `"seed":"1`, "a seed is 64 hex digits"},
		{`"ladder":[`, `"ladder":[` + strings.Repeat(`{},`, maxLadder), "the ladder has"},
	} {
		bad := strings.Replace(good, c.old, c.new, 1)
		if bad == good {
			t.Errorf("%s is not in the trace", c.old)
		}
		_, err := ParseTrace([]byte(bad))
		if !errors.Is(err, ErrTrace) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s → %.60s: got %v, want %q", c.old, c.new, err, c.want)
		}
	}
}

func TestTraceHostile(t *testing.T) {
	for name, data := range map[string]string{
		"empty":     "",
		"null":      "null",
		"list":      "[]",
		"deep":      strings.Repeat("[", 1_000_000),
		"deep maps": strings.Repeat(`{"a":`, 1_000_000),
		"wide":      `{"nodes":[` + strings.Repeat("{},", 3_000_000) + `{}]}`,
		"large":     strings.Repeat(" ", maxTraceSize+1),
		"unclosed":  `{"nodes":"` + strings.Repeat("x", 1000),
		"escape":    `{"nodes":"\`,
		"binary":    "\x00\xff\xfe",
	} {
		if _, err := ParseTrace([]byte(data)); !errors.Is(err, ErrTrace) {
			t.Errorf("%s: got %v", name, err)
		} else if len(err.Error()) > 400 || strings.ContainsRune(err.Error(), '\n') {
			t.Errorf("%s: the error is %d bytes long or has several lines", name, len(err.Error()))
		}
	}
}

func replayWith(t *testing.T, tr *Trace, change func(map[string]act), opt ReplayOptions) *ReplayReport {
	t.Helper()
	acts := bookAgents()
	if change != nil {
		change(acts)
	}
	rep, err := Replay(t.Context(), tr, &fakeExecutor{acts: acts}, opt)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func TestReplayIdentical(t *testing.T) {
	raw := bookTrace(t).JSON()
	tr, err := ParseTrace(raw)
	if err != nil {
		t.Fatal(err)
	}
	exec := &fakeExecutor{acts: bookAgents()}
	exec.acts["find"] = func(_ context.Context, req *Request, obs Observer) *Response {
		id, _ := tr.TraceUUID()
		switch {
		case req.Mode != rmp.ModeReplay, req.Digest != "", req.TraceID != id, req.Seed != tr.Seed,
			req.OpeningID != tr.OpeningID, len(req.Tape) != 3, string(req.Tape[2].OK) != "null",
			string(req.With) != `{"shelf":4,"title":"Ice"}`:
			t.Errorf("the request is not the recorded one: %+v", req)
		}
		return bookAgents()["find"](t.Context(), req, obs)
	}
	rep, err := Replay(t.Context(), tr, exec, ReplayOptions{MaxParallel: 4})
	if err != nil {
		t.Fatal(err)
	}
	if !rep.Same() || rep.Identical != 3 || rep.Different+rep.NotReplayable != 0 {
		t.Errorf("got\n%s", rep.Text())
	}
}

func TestReplayDifferences(t *testing.T) {
	tr := bookTrace(t)
	rep := replayWith(t, tr, func(acts map[string]act) {
		acts["find"] = func(_ context.Context, req *Request, _ Observer) *Response {
			r := ports("book", `{"title":"The Dispossessed","year":1975,"x":"\u202e"}`, "score", "0.5", "found", "true")
			r.Digest = "f1b"
			r.Diverged = &Divergence{Index: 1, Want: &req.Tape[1],
				Got: &Hostcall{Op: "http.request", Args: json.RawMessage(`{"url":"https://example.com"}`)}}
			return r
		}
		acts["read"] = func(context.Context, *Request, Observer) *Response {
			r := failure("trap", false, "out of bounds")
			r.Digest, r.ExitCode = "f2", 3
			return r
		}
		acts["print"] = func(context.Context, *Request, Observer) *Response {
			return failure(codeNoHost, true, "nobody is there")
		}
	}, ReplayOptions{})
	if rep.Same() || rep.Different != 2 || rep.NotReplayable != 1 {
		t.Errorf("%d different, %d not replayable", rep.Different, rep.NotReplayable)
	}
	golden(t, testdata+"/trace/replay_different.txt", []byte(rep.Text()))
	golden(t, testdata+"/trace/replay_different.json", append(mustJSON(rep), '\n'))
}

// TestReplayOtherCode: a replay under other code is refused with both digests,
// unless that is what is wanted, and then it is no difference by itself.
func TestReplayOtherCode(t *testing.T) {
	tr := bookTrace(t)
	present := map[string]string{"finder": "f1", "reader": "f2b", "printer": "f3"}
	changed := func(acts map[string]act) {
		acts["read"] = func(context.Context, *Request, Observer) *Response {
			r := ports("out", `{"stars":4}`, "ok", "true")
			r.Digest = "f2b"
			return r
		}
	}
	opt := ReplayOptions{Present: func(ref string) (string, error) {
		if d, ok := present[ref]; ok {
			return d, nil
		}
		return "", ErrUnknownAgent
	}}
	exec := &fakeExecutor{acts: bookAgents()}
	_, err := Replay(t.Context(), tr, exec, opt)
	var other *OtherCode
	if !errors.As(err, &other) || len(other.Agents) != 1 || !strings.Contains(err.Error(), "agent reader was f2 and is f2b") {
		t.Fatalf("got %v", err)
	}
	opt.Changed = func(ref string) bool { return ref == "reader" }
	rep := replayWith(t, tr, changed, opt)
	if !rep.Same() || rep.Identical != 3 || rep.Nodes[1].Changed == nil || rep.First != nil {
		t.Errorf("got\n%s", rep.Text())
	}
	delete(present, "printer")
	if _, err := Replay(t.Context(), tr, exec, opt); !errors.Is(err, ErrUnknownAgent) {
		t.Errorf("an agent that is gone: %v", err)
	}
}

func TestReplayChoice(t *testing.T) {
	tr := bookTrace(t)
	names := func(opt ReplayOptions) string {
		var out []string
		for _, n := range replayWith(t, tr, nil, opt).Nodes {
			out = append(out, n.Node)
		}
		return strings.Join(out, " ")
	}
	if got := names(ReplayOptions{Until: "read"}); got != "find read" {
		t.Errorf("until read: %s", got)
	}
	if got := names(ReplayOptions{Node: "print"}); got != "print" {
		t.Errorf("node print: %s", got)
	}
	for _, opt := range []ReplayOptions{{Node: "nobody"}, {Until: "nobody"}} {
		if _, err := Replay(t.Context(), tr, &fakeExecutor{}, opt); err == nil {
			t.Errorf("%+v was taken", opt)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Replay(ctx, tr, &fakeExecutor{acts: bookAgents()}, ReplayOptions{}); err == nil {
		t.Error("a cancelled replay gave a report")
	}
}

func TestNotReplayable(t *testing.T) {
	for want, a := range map[string]*Attempt{
		"its answers were too large to record":       {TapeCut: true, Status: rmp.StatusOK, Digest: "d"},
		"it was stopped because it took too long":    {Status: rmp.StatusTimeout, Digest: "d"},
		"it was cancelled":                           {Status: rmp.StatusCancelled, Digest: "d"},
		"it never reached an agent: no_host: nobody": {Status: rmp.StatusFailed, Error: &rmp.AgentError{Code: "no_host", Message: "nobody"}},
	} {
		if got := a.notReplayable(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestLineDiff(t *testing.T) {
	for _, c := range []struct{ a, b, want string }{
		{"a b c", "a b c", ""},
		{"a b c", "a x c", "  a|- b|+ x|  c"},
		{"", "a", "+ a"},
		{"a", "", "- a"},
		{"1 2 3 4 5 6 7", "1 2 3 4 5 6 8", "  …|  5|  6|- 7|+ 8"},
		{"a b c d", "b c d e", "- a|  b|  c|  d|+ e"},
	} {
		got := lineDiff(strings.Fields(c.a), strings.Fields(c.b))
		if c.a == c.b {
			got = slices.DeleteFunc(got, func(l string) bool { return l == "  …" })
		}
		if strings.Join(got, "|") != c.want {
			t.Errorf("%s → %s: %q", c.a, c.b, got)
		}
	}
	var long, other []string
	for i := range 5000 {
		long, other = append(long, fmt.Sprint(i)), append(other, fmt.Sprint(-i-1))
	}
	if got := lineDiff(long, other); len(got) != maxDiffShow+1 {
		t.Errorf("a large difference has %d lines", len(got))
	}
}
