package wasm

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// slowPerson does not decide while an attempt may be parked.
type slowPerson struct{ *fakeBackend }

func (p slowPerson) Confirm(ctx context.Context, c Caller, a Action) (*Decision, error) {
	if !c.MayPark {
		return p.fakeBackend.Confirm(ctx, c, a)
	}
	req, err := actionRequest(c, a, time.Now().Add(time.Hour))
	if err != nil {
		return nil, err
	}
	return nil, &ParkedError{req}
}

// resumed is the request that goes on with a parked attempt.
func resumed(req *rmp.AgentRequest, res *rmp.AgentResponse, approved bool) *rmp.AgentRequest {
	again := *req
	again.ReplyTo += "/again"
	again.Mode, again.Tape = rmp.ModeResume, res.Tape
	again.Decision = &rmp.ActionDecision{
		Op: rmp.OpActionDecision, ActionID: res.Action.ActionID, TraceID: req.TraceID,
		Digest: res.Action.Digest, Approved: approved, By: "user",
	}
	return &again
}

// afterConfirm is a call that comes behind the question.
const afterConfirm = `{"Op":"kb.propose","Args":{"kind":"note.added","payload":{"title":"after"}}},{"Op":"time.now","Args":{}}`

// TestParkedAttempt: an attempt that waits for a person ends, and goes on later as
// if it had waited: nothing is asked or said twice, and its tape replays.
func TestParkedAttempt(t *testing.T) {
	for _, place := range []Isolation{IsolationInline, IsolationWorker} {
		for _, life := range []Life{LifeReactor, LifeCommand} {
			t.Run(fmt.Sprint(place, life), func(t *testing.T) { checkParked(t, place, life) })
		}
	}
}

func checkParked(t *testing.T, place Isolation, life Life) {
	f := &fakeBackend{reply: &Decision{Approved: true, By: "user"}}
	s := f.services()
	s.Actions = slowPerson{f}
	r := newRigIn(t, place, allCaps, s, map[string][]byte{"probe": probeModule(t, life)})
	calls := strings.TrimSuffix(strings.TrimSpace(everyCall), "]") + "," + afterConfirm + "]"
	req := callRequest(r, calls)
	res := r.send(req)
	if res.Status != rmp.StatusParked || res.Action == nil || res.Action.Kind != "send" || res.Error != nil {
		t.Fatalf("status %s, %+v, action %+v", res.Status, res.Error, res.Action)
	}
	asked := len(f.asked)
	logs := len(r.logs)
	again := r.send(resumed(req, res, true))
	got := out(t, again)
	if !strings.Contains(got, `{"approved":true,"by":"user","rationale":""},null,{"event_id":99}`) {
		t.Errorf("out %s", got)
	}
	if rest := strings.Join(f.asked[asked:], "|"); rest != `probe propose note.added {"title":"after"}` {
		t.Errorf("asked again: %s", rest)
	}
	if n := len(r.logs) - logs; n < 1 || r.logs[logs].Chunk != "hello" {
		t.Errorf("%d more logs: %+v", n, r.logs[logs:])
	}
	replay := *req
	replay.ReplyTo += "/replay"
	replay.Mode, replay.Tape = rmp.ModeReplay, again.Tape
	asked = len(f.asked)
	if re := r.send(&replay); out(t, re) != got || re.Diverged != nil || len(f.asked) != asked {
		t.Errorf("replay: %s, diverged %+v", out(t, re), re.Diverged)
	}
	no := resumed(req, res, false)
	no.ReplyTo += "/no"
	if got := out(t, r.send(no)); !strings.Contains(got, `{"approved":false,`) {
		t.Errorf("after a no: %s", got)
	}
}

// TestResumeOfOtherBytes: a decision is for the bytes that it was made about and
// for nothing else.
func TestResumeOfOtherBytes(t *testing.T) {
	f := &fakeBackend{}
	s := f.services()
	s.Actions = slowPerson{f}
	r := probeRig(t, LifeReactor, allCaps, s)
	ask := func(details string) *rmp.AgentRequest {
		return callRequest(r, `[{"Op":"kb.query","Args":{"sql":"SELECT 1"}},
			{"Op":"action.confirm","Args":{"kind":"send","summary":"s","details":`+details+`}}]`)
	}
	req := ask(`{"to":"x"}`)
	res := r.send(req)
	other := resumed(ask(`{"to":"y"}`), res, true)
	forged := resumed(req, res, true)
	forged.Decision.Digest = zeros
	none := resumed(req, res, true)
	none.Decision = nil
	for name, req := range map[string]*rmp.AgentRequest{
		CodeDiverged: other, CodeDiverged + " ": forged, CodeRequest: none,
	} {
		req.ReplyTo += "/" + strings.TrimSpace(strings.ReplaceAll(name, ":", "-")) + fmt.Sprint(len(name))
		got := r.send(req)
		if got.Status != rmp.StatusFailed || got.Error.Code != strings.TrimSpace(name) {
			t.Errorf("%s: %s %+v", name, got.Status, got.Error)
		}
	}
}
