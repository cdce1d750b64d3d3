package wasm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
)

// fakeBackend is every service at once; it notes who asked for what.
type fakeBackend struct {
	mu     sync.Mutex
	asked  []string
	audits []CapAudit
	fail   error
	reply  *Decision
}

func (f *fakeBackend) note(c Caller, format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, c.Agent+" "+fmt.Sprintf(format, args...))
	return f.fail
}

func (f *fakeBackend) Query(_ context.Context, c Caller, q KBQuery) (*KBRows, error) {
	err := f.note(c, "query %s %v", q.SQL, q.Params)
	return &KBRows{Columns: []string{"n"}, Rows: [][]any{{1}, {"x"}, {nil}}}, err
}

func (f *fakeBackend) Search(_ context.Context, c Caller, q KBSearch) ([]KBHit, error) {
	return nil, f.note(c, "search %s", q.Text)
}

func (f *fakeBackend) Why(_ context.Context, c Caller, entity string) (json.RawMessage, error) {
	return json.RawMessage(`{"why":true}`), f.note(c, "why %s", entity)
}

func (f *fakeBackend) Propose(_ context.Context, c Caller, d KBDelta) (int64, error) {
	return 99, f.note(c, "propose %s %s", d.Kind, d.Payload)
}

func (f *fakeBackend) DomainOf(kind string) (string, bool) {
	domain, ok := map[string]string{"note.added": "notes", "email.sent": "email"}[kind]
	return domain, ok
}

func (f *fakeBackend) Complete(_ context.Context, c Caller, r ModelRequest) (*ModelResponse, error) {
	return &ModelResponse{Text: "hi", Usage: rmp.Usage{TokensIn: 3, TokensOut: 4, USD: 0.5}}, f.note(c, "model %s", r.Prompt)
}

func (f *fakeBackend) Embed(_ context.Context, c Caller, r EmbedRequest) (*EmbedResponse, error) {
	return &EmbedResponse{Vectors: [][]float32{{0.5, -1}}, Model: "m", Usage: rmp.Usage{TokensIn: 2}}, f.note(c, "embed %q", []string(r.Input))
}

func (f *fakeBackend) Save(_ context.Context, c Caller, a Artifact) (*SavedArtifact, error) {
	return &SavedArtifact{ArtifactID: "artifact:1"}, f.note(c, "save %s %q", a.Name, a.Bytes)
}

func (f *fakeBackend) Confirm(_ context.Context, c Caller, a Action) (*Decision, error) {
	return f.reply, f.note(c, "confirm %s %s", a.Kind, a.Details)
}

func (f *fakeBackend) services() Services {
	return Services{
		KB: f, Models: f, Artifacts: f, Actions: f,
		Now: func() time.Time { return time.UnixMicro(1_800_000_000_000_001) },
		Audit: func(_ context.Context, a CapAudit) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.audits = append(f.audits, a)
		},
	}
}

const allCaps = "time = true\nmodel = true\nkb_read = true\nkb_write = [\"notes\", \"artifacts\"]\n"

// everyCall is one call of each operation.
const everyCall = `[
	{"Op":"time.now","Args":{}},
	{"Op":"kb.query","Args":{"sql":"SELECT 1","params":[1,"x"]}},
	{"Op":"kb.search","Args":{"text":"plan","domains":["notes"]}},
	{"Op":"kb.why","Args":{"entity":"note:1"}},
	{"Op":"kb.propose","Args":{"kind":"note.added","payload":{"title":"t"}}},
	{"Op":"model.complete","Args":{"prompt":"say hi"}},
	{"Op":"artifact.save","Args":{"kind":"k","name":"n","bytes":"aGk=","encoding":"base64"}},
	{"Op":"action.confirm","Args":{"kind":"send","summary":"s","details":{"to":"x"}}},
	{"Op":"log","Args":{"level":"info","message":"hello","fields":{"n":1}}}
]`

func callRequest(r *rig, calls string) *rmp.AgentRequest {
	return r.request("probe", `{"Do":"calls","Calls":`+calls+`}`, nil)
}

func TestHostcalls(t *testing.T) {
	f := &fakeBackend{reply: &Decision{Approved: true, By: "user"}}
	r := probeRig(t, LifeReactor, allCaps, f.services())
	res := r.send(callRequest(r, everyCall))
	want := `[1800000000000001,{"columns":["n"],"cut":false,"rows":[[1],["x"],[null]]},{"hits":[]},{"why":true},` +
		`{"event_id":99},{"cached":false,"model":"","provider":"","text":"hi","usage":{"tokens_in":3,"tokens_out":4,"usd":0.5}},` +
		`{"artifact_id":"artifact:1","blake3":"","event_id":0,"path":"","sha256":""},` +
		`{"approved":true,"by":"user","rationale":""},null]`
	if got := out(t, res); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	wantAsked := "probe query SELECT 1 [1 x]|probe search plan|probe why note:1|probe propose note.added " +
		`{"title":"t"}|probe model say hi|probe save n "hi"|probe confirm send {"to":"x"}`
	if got := strings.Join(f.asked, "|"); got != wantAsked {
		t.Errorf("asked %s\nwant  %s", got, wantAsked)
	}
	if res.Usage != (rmp.Usage{TokensIn: 3, TokensOut: 4, USD: 0.5}) || len(f.audits) != 0 {
		t.Errorf("usage %+v, audits %+v", res.Usage, f.audits)
	}
	if l := r.logs[0]; l.Stream != rmp.StreamLog || l.Level != "info" || l.Chunk != "hello" {
		t.Errorf("log %+v", l)
	}
	// Nine calls and, if the guest looked at it, the clock.
	if n := len(res.Tape); n < 9 || n > 10 || n == 10 && res.Tape[9].Op != opClock {
		t.Errorf("%d calls on the tape", n)
	}
}

func TestHostcallsAreDeniedByDefault(t *testing.T) {
	f := &fakeBackend{reply: &Decision{}}
	r := probeRig(t, LifeReactor, "", f.services())
	var answers []any
	if err := json.Unmarshal([]byte(out(t, r.send(callRequest(r, everyCall)))), &answers); err != nil {
		t.Fatal(err)
	}
	families := []string{"time", "kb.read", "kb.read", "kb.read", "kb.write", "model", "kb.write"}
	for i, family := range families {
		text, _ := answers[i].(string)
		if !strings.HasPrefix(text, "denied: denied:"+family+":") {
			t.Errorf("call %d: %v", i, answers[i])
		}
	}
	f.checkAudits(t, families)
	if len(f.asked) != 1 || !strings.HasPrefix(f.asked[0], "probe confirm") {
		t.Errorf("asked %v: asking a person needs no capability, all else does", f.asked)
	}
}

// checkAudits wants one denial for each of the families, in their order.
func (f *fakeBackend) checkAudits(t *testing.T, families []string) {
	t.Helper()
	if len(f.audits) != len(families) {
		t.Fatalf("%d audits, want %d: %+v", len(f.audits), len(families), f.audits)
	}
	for i, a := range f.audits {
		if a.Cap != families[i] || a.Decision != "deny" || a.Agent != "probe" || a.Node != "n" || len(a.ArgsHash) != 64 {
			t.Errorf("audit %d: %+v", i, a)
		}
	}
}

func TestAuditsOfAGuestThatInsists(t *testing.T) {
	f := &fakeBackend{}
	r := probeRig(t, LifeReactor, "", f.services())
	call := `{"Op":"kb.search","Args":{"text":"x"}},`
	out(t, r.send(callRequest(r, "["+strings.Repeat(call, 199)+strings.TrimSuffix(call, ",")+"]")))
	if len(f.audits) != 2 || !strings.Contains(f.audits[1].Reason, "200 times") {
		t.Errorf("audits %+v", f.audits)
	}
}

func TestAllowedCallsAreAuditedWhenAsked(t *testing.T) {
	f := &fakeBackend{reply: &Decision{}}
	s := f.services()
	s.AuditAllowed = true
	r := probeRig(t, LifeReactor, allCaps, s)
	out(t, r.send(callRequest(r, everyCall)))
	var got []string
	for _, a := range f.audits {
		got = append(got, a.Decision+" "+a.Cap)
	}
	if s := strings.Join(got, ", "); s != "allow time, allow kb.read, allow kb.read, allow kb.read, "+
		"allow kb.write, allow model, allow kb.write" {
		t.Errorf("audits %s", s)
	}
}

func TestHostcallsThatMakeNoSense(t *testing.T) {
	f := &fakeBackend{}
	r := probeRig(t, LifeReactor, allCaps, f.services())
	for _, tt := range []struct{ call, want string }{
		{`{"Op":"kb.drop","Args":{}}`, "unknown_op"},
		{`{"Op":"","Args":{}}`, "refused the form"},
		{`{"Op":"kb.query","Args":{"sq":"x"}}`, `invalid: kb.query: json: unknown field`},
		{`{"Op":"kb.query","Args":[]}`, "refused the form"},
		{`{"Op":"kb.propose","Args":{"kind":"x.y","payload":{}}}`, `unknown kind`},
		{`{"Op":"kb.propose","Args":{"kind":"email.sent","payload":{}}}`, `denied:kb.write:email`},
		{`{"Op":"kb.search","Args":{"text":"x","domains":["contacts_raw"]}}`, `denied:kb.read:contacts_raw`},
		{`{"Op":"action.confirm","Args":{}}`, `kind and summary`},
		{`{"Op":"artifact.save","Args":{"bytes":"*","encoding":"base64"}}`, `invalid: artifact.save`},
		{`{"Op":"log","Args":{"level":"loud","message":"x"}}`, `invalid: log: level`},
	} {
		got := out(t, r.send(callRequest(r, "["+tt.call+"]")))
		if !strings.Contains(got, tt.want) {
			t.Errorf("%s: %s", tt.call, got)
		}
	}
	if len(f.asked) != 0 {
		t.Errorf("a backend was asked: %v", f.asked)
	}
}

func TestBackendErrors(t *testing.T) {
	f := &fakeBackend{}
	r := probeRig(t, LifeReactor, allCaps, f.services())
	call := `[{"Op":"kb.why","Args":{"entity":"note:1"}}]`
	f.fail = &Error{Code: "not_found", Message: "no such entity"}
	if got := out(t, r.send(callRequest(r, call))); got != `["not_found: no such entity"]` {
		t.Error(got)
	}
	f.fail = errors.New("open /home/me/.runloop: permission denied")
	if got := out(t, r.send(callRequest(r, call))); got != `["host_error: the host failed to answer"]` {
		t.Errorf("a fault of the host is told to the guest: %s", got)
	}
	r = probeRig(t, LifeReactor, allCaps, Services{})
	if got := out(t, r.send(callRequest(r, call))); !strings.Contains(got, "unavailable") {
		t.Error(got)
	}
}

// replayOf is req again, answered by the tape of res.
func replayOf(r *rig, req *rmp.AgentRequest, res *rmp.AgentResponse) *rmp.AgentRequest {
	again := *req
	again.Mode, again.Tape = rmp.ModeReplay, res.Tape
	again.ReplyTo = r.request("probe", `{}`, nil).ReplyTo
	return &again
}

func TestReplayAnswersFromTheTape(t *testing.T) {
	eachLife(t, func(t *testing.T, life Life) {
		f := &fakeBackend{reply: &Decision{Approved: true}}
		r := probeRig(t, life, allCaps, f.services())
		req := callRequest(r, everyCall)
		live := r.send(req)
		asked, audits := len(f.asked), len(f.audits)
		replay := r.send(replayOf(r, req, live))
		if out(t, replay) != out(t, live) || replay.Diverged != nil {
			t.Errorf("live   %s\nreplay %s\n%+v", out(t, live), out(t, replay), replay.Diverged)
		}
		if len(f.asked) != asked || len(f.audits) != audits {
			t.Error("a replay reached a backend")
		}
	})
}

func TestReplayOfClocks(t *testing.T) {
	eachLife(t, func(t *testing.T, life Life) {
		for _, caps := range []string{"", "time = true"} {
			r := probeRig(t, life, caps, Services{})
			req := r.request("probe", `{"Do":"clock"}`, nil)
			live := r.send(req)
			replay := r.send(replayOf(r, req, live))
			if out(t, replay) != out(t, live) || replay.Diverged != nil {
				t.Errorf("caps %q: live %s, replay %s, %+v", caps, out(t, live), out(t, replay), replay.Diverged)
			}
		}
	})
}

func TestReplayStopsWhereTheGuestDiverges(t *testing.T) {
	f := &fakeBackend{}
	r := probeRig(t, LifeReactor, allCaps, f.services())
	req := callRequest(r, `[{"Op":"kb.why","Args":{"entity":"note:1"}},{"Op":"kb.why","Args":{"entity":"note:2"}}]`)
	live := r.send(req)
	for _, tt := range []struct {
		name, calls string
		index       int
		want, got   bool
	}{
		{"other arguments", `[{"Op":"kb.why","Args":{"entity":"note:1"}},{"Op":"kb.why","Args":{"entity":"note:3"}}]`, 1, true, true},
		{"another op", `[{"Op":"kb.search","Args":{"text":"x"}}]`, 0, true, true},
		{"one more", `[{"Op":"kb.why","Args":{"entity":"note:1"}},{"Op":"kb.why","Args":{"entity":"note:2"}},{"Op":"time.now","Args":{}}]`, 2, false, true},
		{"one less", `[{"Op":"kb.why","Args":{"entity":"note:1"}}]`, 1, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			again := replayOf(r, req, live)
			// The clock is read while the guest runs, so its readings stay.
			again.With = callRequest(r, tt.calls).With
			res := r.send(again)
			d := res.Diverged
			if d == nil || d.Index != tt.index || (d.Want != nil) != tt.want || (d.Got != nil) != tt.got {
				t.Fatalf("status %s, diverged %+v", res.Status, d)
			}
			if tt.got && (res.Status != rmp.StatusFailed || res.Error.Code != CodeDiverged) {
				t.Errorf("status %s %+v", res.Status, res.Error)
			}
		})
	}
}

func TestTapeThatIsTooLong(t *testing.T) {
	var tape tape
	answer := make([]byte, tapeMax/2)
	for range 3 {
		tape.record(rmp.Hostcall{Op: "kb.why", Args: emptyMap, OK: answer})
	}
	if !tape.cut || tape.calls != nil {
		t.Errorf("cut %v with %d calls", tape.cut, len(tape.calls))
	}
}

// inSandbox asks for attempts that cannot be parked.
type inSandbox struct{ *Confirmer }

func (s inSandbox) Confirm(ctx context.Context, c Caller, a Action) (*Decision, error) {
	c.MayPark = false
	return s.Confirmer.Confirm(ctx, c, a)
}

func TestWaitingForAPersonCostsNoTime(t *testing.T) {
	b := bus.New(bus.Config{})
	defer b.Close()
	confirmer, err := NewConfirmer(b.Client("host", bus.KindAgent), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() { confirmer.Serve(ctx) })
	defer serving.Wait()
	defer stop()
	ui := b.Client("ui", bus.KindUI)
	requests, err := ui.Subscribe(TopicActions, bus.SubOptions{})
	if err != nil {
		t.Fatal(err)
	}
	serving.Go(func() { decideSlowly(t, ctx, ui, requests) })

	f := &fakeBackend{}
	s := f.services()
	s.Actions = inSandbox{confirmer}
	r := probeRig(t, LifeReactor, "", s)
	for kind, want := range map[string]string{
		"send":   `[{"approved":true,"by":"user","rationale":"fine"}]`,
		"forged": `[{"approved":false,"by":"policy:digest","rationale":"the decision was about other content"}]`,
	} {
		req := callRequest(r, `[{"Op":"action.confirm","Args":{"kind":"`+kind+`","summary":"s","details":{"to":"x"}}}]`)
		req.Budget.DeadlineMillis = 1000
		if got := out(t, r.send(req)); got != want {
			t.Errorf("%s: %s", kind, got)
		}
	}
}

// decideSlowly approves requests after longer than the agent has, and those of
// kind "forged" at once with the digest of other content.
func decideSlowly(t *testing.T, ctx context.Context, ui *bus.Client, requests *bus.Subscription) {
	for {
		msg, err := requests.Recv(ctx)
		if err != nil {
			return
		}
		var req rmp.ActionRequest
		if msg.SchemaID != rmp.CTActionRequest {
			continue
		}
		if err := msg.Decode(&req); err != nil {
			t.Error(err)
			return
		}
		d := &rmp.ActionDecision{
			Op: rmp.OpActionDecision, ActionID: req.ActionID, TraceID: req.TraceID,
			Digest: req.Digest, Approved: true, Rationale: "fine", By: "user",
		}
		if req.Kind == "forged" {
			d.Digest = zeros
		} else {
			time.Sleep(1200 * time.Millisecond)
		}
		if err := ui.Send(ctx, &rmp.Message{
			SchemaID: rmp.CTActionDecision, TTLMS: 1000, Payload: d, Meta: rmp.Meta{Topic: TopicActions},
		}); err != nil {
			t.Error(err)
		}
	}
}

func TestPacerMakesAGuestWait(t *testing.T) {
	var p pacer
	ctx, cancel := context.WithCancel(context.Background())
	for range callsBurst {
		if !p.wait(ctx) {
			t.Fatal("refused within the burst")
		}
	}
	cancel()
	if p.wait(ctx) {
		t.Error("beyond the burst, a call does not wait for its turn")
	}
}
