package wasm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
)

// quick is a configuration for residents that does not make tests wait.
var quick = ResidentConfig{
	ReadyTimeout: 10 * time.Second, StopGrace: 500 * time.Millisecond,
	BackoffLeast: 5 * time.Millisecond, BackoffMost: 20 * time.Millisecond,
}

// residentRig is a rig whose modules are residents, but for the agent "probe"
// if it is not among them.
func residentRig(t testing.TB, cfg ResidentConfig, caps string, services Services, modules map[string][]byte) *rig {
	t.Helper()
	return newRigWith(t, services, func(h *HostConfig) {
		h.Residents = cfg
		var sources []Source
		for name, module := range modules {
			sources = append(sources, Source{Name: name, FS: residentBundle(name, caps, module), BuiltIn: true})
		}
		if modules["probe"] == nil {
			sources = append(sources, Source{
				Name: "probe", FS: bundleFiles("probe", "", probeModule(t, LifeReactor)), BuiltIn: true,
			})
		}
		h.Catalog = NewCatalog(sources...)
	})
}

func residentBundle(name, caps string, module []byte) fstest.MapFS {
	files := bundleFiles(name, caps, module)
	manifest := files[name+"/"+ManifestFile]
	manifest.Data = []byte(strings.Replace(string(manifest.Data), "[agent]\n", "[agent]\nargs = [\"probe\"]\nlife = \"resident\"\n", 1))
	return files
}

// eventually waits for something that takes a while on a loaded machine.
func eventually(t testing.TB, done func() bool) {
	t.Helper()
	for range 6000 {
		if done() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("it never came to pass")
}

// state is what the host says of an agent.
func (r *rig) state(ref string) AgentState {
	for _, s := range r.host.Agents() {
		if s.Agent == ref {
			return s
		}
	}
	return AgentState{}
}

func eachResident(t *testing.T, f func(t *testing.T, module []byte)) {
	eachLife(t, func(t *testing.T, life Life) { f(t, probeModule(t, life)) })
}

func TestResidentKeepsWhatItHolds(t *testing.T) {
	eachResident(t, func(t *testing.T, module []byte) {
		r := residentRig(t, quick, "", Services{}, map[string][]byte{"probe": module})
		for want := 1; want <= 5; want++ {
			if got := out(t, r.do("count")); got != fmt.Sprint(want) {
				t.Errorf("run %d of it says %s", want, got)
			}
		}
		s := r.state("probe")
		if s.Life != "resident" || s.State != StateReady || s.Messages != 5 || s.Attempts[rmp.StatusOK] != 5 ||
			s.Restarts != 0 || s.MemoryBytes == 0 || s.BusyMicros == 0 || s.Hostcalls == 0 {
			t.Errorf("state %+v", s)
		}
		if was, err := r.host.StopAgent(t.Context(), "probe"); !was || err != nil {
			t.Errorf("stop: %v %v", was, err)
		}
		if s := r.state("probe"); s.State != StateStopped {
			t.Errorf("state %+v", s)
		}
		if got := out(t, r.do("count")); got != "1" {
			t.Errorf("after a stop a node starts it anew, and it says %s", got)
		}
	})
}

// TestResidentIsLookedAtEarly: it can be asked about before it has begun.
func TestResidentIsLookedAtEarly(t *testing.T) {
	r := residentRig(t, quick, "", Services{}, map[string][]byte{"probe": probeModule(t, LifeCommand)})
	b, err := r.host.cfg.Catalog.Bundle("probe")
	if err != nil {
		t.Fatal(err)
	}
	early := &resident{state: StateStarting, since: time.Now().Add(-time.Second), count: &agentCounters{}}
	if early.box, err = newMailbox(r.engine, "early", 1, 1, early.count); err != nil {
		t.Fatal(err)
	}
	var s AgentState
	if early.describe(&s); s.State != StateStarting || s.Working != "" || s.PID != 0 {
		t.Errorf("state %+v", s)
	}
	if _, err := r.host.residents.ensure(t.Context(), "probe", b); err != nil {
		t.Fatal(err)
	}
	r.host.Agents()
}

func TestResidentSeesItsAttempt(t *testing.T) {
	r := residentRig(t, quick, "", Services{}, map[string][]byte{"probe": probeModule(t, LifeCommand)})
	res := r.send(r.request("probe", `{"Do":"echo","n":1}`, func(q *rmp.AgentRequest) {
		q.Node, q.Attempt, q.Inputs = "x", 3, pack(t, `{"in":["two"]}`)
	}))
	if got, want := out(t, res), `{"attempt":3,"inputs":{"in":["two"]},"node":"x","with":{"Do":"echo","n":1}}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if len(r.logs) != 1 || r.logs[0].Node != "x" || r.logs[0].Attempt != 3 || r.logs[0].Chunk != "a line of log\n" {
		t.Errorf("logs %+v", r.logs)
	}
	for _, tt := range []struct{ probe, code, text string }{
		{"fail", CodeReply, "never"}, {"retry", CodeReply, "not now"},
	} {
		res := r.do(tt.probe)
		if res.Status != rmp.StatusFailed || res.Error.Code != tt.code || res.Error.Message != tt.text ||
			res.Error.Retryable != (tt.probe == "retry") {
			t.Errorf("%s: %s %+v", tt.probe, res.Status, res.Error)
		}
	}
	if s := r.state("probe"); s.Restarts != 0 {
		t.Errorf("a failure that it reports is no reason to start it again: %+v", s)
	}
}

// TestResidentActsForTheAttempt: what it asks while it works on a message is
// asked by that attempt.
func TestResidentActsForTheAttempt(t *testing.T) {
	f := &fakeBackend{}
	r := residentRig(t, quick, allCaps, f.services(), map[string][]byte{"probe": probeModule(t, LifeCommand)})
	for _, node := range []string{"first", "second"} {
		call := callRequest(r, `[{"Op":"kb.search","Args":{"text":"x"}},{"Op":"time.now","Args":{}}]`)
		call.Node = node
		res := r.send(call)
		out(t, res)
		if len(res.Tape) < 2 || res.Tape[len(res.Tape)-1].Op != opClock && res.Tape[len(res.Tape)-1].Op != "time.now" {
			t.Fatalf("tape of %s: %+v", node, res.Tape)
		}
		replay := *call
		replay.Mode, replay.Tape, replay.ReplyTo = rmp.ModeReplay, res.Tape, call.ReplyTo+"/replay"
		again := r.send(&replay)
		if out(t, again) != out(t, res) || again.Diverged != nil {
			t.Errorf("replay of %s: %s %+v", node, out(t, again), again.Diverged)
		}
	}
}

// TestResidentReplayTellsOfState: an answer that came from earlier messages
// does not come again.
func TestResidentReplayOfState(t *testing.T) {
	r := residentRig(t, quick, "", Services{}, map[string][]byte{"probe": probeModule(t, LifeCommand)})
	out(t, r.do("count"))
	req := r.request("probe", `{"Do":"count"}`, nil)
	res := r.send(req)
	if got := out(t, res); got != "2" {
		t.Errorf("it says %s", got)
	}
	replay := *req
	replay.Mode, replay.Tape = rmp.ModeReplay, res.Tape
	if got := out(t, r.send(&replay)); got != "1" {
		t.Errorf("the replay says %s", got)
	}
}

func TestResidentThatCrashes(t *testing.T) {
	r := residentRig(t, quick, "", Services{}, map[string][]byte{"probe": probeModule(t, LifeCommand)})
	out(t, r.do("count"))
	for _, tt := range []struct{ probe, status, code string }{
		{"panic", rmp.StatusFailed, CodeExit},
		{"exit", rmp.StatusFailed, CodeExit},
		{"memory", rmp.StatusFailed, CodeExit},
	} {
		if res := r.do(tt.probe); res.Status != tt.status || res.Error == nil || res.Error.Code != tt.code {
			t.Errorf("%s: %s %+v", tt.probe, res.Status, res.Error)
		}
	}
	if got := out(t, r.do("count")); got != "1" {
		t.Errorf("after a crash it says %s", got)
	}
	if s := r.state("probe"); s.Restarts != 3 || s.Crashes != 3 || s.State != StateReady {
		t.Errorf("state %+v", s)
	}
}

// TestResidentDeadline: who does not wait any more is gone at once; the agent
// itself dies when its own time is over.
func TestResidentDeadline(t *testing.T) {
	r := residentRig(t, quick, "", Services{}, map[string][]byte{"probe": probeModule(t, LifeCommand)})
	out(t, r.do("count"))
	res := r.send(r.request("probe", `{"Do":"forever"}`, func(q *rmp.AgentRequest) { q.Budget.DeadlineMillis = 100 }))
	if res.Status != rmp.StatusTimeout || res.Error.Code != CodeDeadline {
		t.Errorf("%s %+v", res.Status, res.Error)
	}
	if s := r.state("probe"); s.State != StateReady || s.Working == "" || s.Restarts != 0 {
		t.Errorf("state %+v", s)
	}
	began := time.Now()
	if _, err := r.host.StopAgent(t.Context(), "probe"); err != nil || time.Since(began) > 10*time.Second {
		t.Errorf("stop: %v after %s", err, time.Since(began))
	}
}

// blockingKB takes until the end of the attempt for some searches.
type blockingKB struct{ *fakeBackend }

func (b blockingKB) Search(ctx context.Context, c Caller, q KBSearch) ([]KBHit, error) {
	hits, err := b.fakeBackend.Search(ctx, c, q)
	if q.Text == "block" {
		<-ctx.Done()
		err = ctx.Err()
	}
	return hits, err
}

// TestResidentCancelledMidway: a run that is gone can have nothing more done
// in its name.
func TestResidentCancelledMidway(t *testing.T) {
	f := &fakeBackend{}
	services := f.services()
	services.KB = blockingKB{f}
	r := residentRig(t, quick, allCaps, services, map[string][]byte{"probe": probeModule(t, LifeCommand)})
	req := callRequest(r, `[{"Op":"kb.search","Args":{"text":"block"}},{"Op":"kb.search","Args":{"text":"late"}}]`)
	req.Budget.DeadlineMillis = 200
	if res := r.send(req); res.Status != rmp.StatusTimeout {
		t.Errorf("%s %+v", res.Status, res.Error)
	}
	out(t, r.do("count"))
	for _, asked := range f.asked {
		if strings.Contains(asked, "late") {
			t.Errorf("asked %v", f.asked)
		}
	}
	if s := r.state("probe"); s.Restarts != 0 {
		t.Errorf("state %+v", s)
	}
}

func TestResidentMail(t *testing.T) {
	r := residentRig(t, quick, "", Services{}, map[string][]byte{"probe": probeModule(t, LifeCommand)})
	if err := r.host.StartAgent(t.Context(), "probe"); err != nil {
		t.Fatal(err)
	}
	replies, err := r.engine.Subscribe(replyPrefix("probe")+"+", bus.SubOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct{ payload, want string }{
		{`{"reply_to":"rlp/agents/probe/replies/1"}`, `"ok"`},
		{`{"reply_to":"rlp/agents/other/replies/1"}`, ""},
		{`{"reply_to":"rlp/ctrl"}`, ""},
		{`{}`, ""}, {`"x"`, ""}, {`null`, ""},
	} {
		r.mail("probe", tt.payload)
		eventually(t, func() bool { s := r.state("probe"); return s.Messages == uint64(i+1) && s.Working == "" })
		if tt.want == "" {
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		msg, err := replies.Recv(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if js, err := rmp.AppendJSON(nil, msg.Payload); err != nil || !strings.Contains(string(js), "error") {
			t.Errorf("reply %s %v", js, err)
		}
	}
	if n := replies.Queued(); n != 0 {
		t.Errorf("%d replies went where they should not", n)
	}
	if s := r.state("probe"); s.Restarts != 0 {
		t.Errorf("state %+v", s)
	}
}

// mail publishes to the mailbox of an agent.
func (r *rig) mail(ref, payload string) {
	r.t.Helper()
	if _, err := r.engine.Publish(context.Background(), &rmp.Message{
		SchemaID: rmp.CTObservation, TTLMS: 60_000, Raw: pack(r.t, payload), Meta: rmp.Meta{Topic: topicMail(ref)},
	}); err != nil && !errors.Is(err, bus.ErrBackpressure) {
		r.t.Error(err)
	}
}

// TestResidentsThatAreHostile: each ends as it should, and a well-behaved one
// goes on beside it.
func TestResidentsThatAreHostile(t *testing.T) {
	for _, tt := range []struct {
		guest, code string
	}{
		{"spin", CodeNotReady},
		{"sleep_forever", CodeNotReady},
		{"start_loop", CodeNotReady},
		{"ok_hello", CodeEnded},
		{"abort_trap", CodeTrap},
		{"mutual_recursion", CodeStackOverflow},
		{"stdout_flood", CodeEnded},
		{"membomb", CodeEnded},
	} {
		t.Run(tt.guest, func(t *testing.T) {
			cfg := quick
			if tt.code == CodeNotReady {
				cfg.ReadyTimeout = 100 * time.Millisecond
			}
			r := residentRig(t, cfg, "", Services{}, map[string][]byte{"bad": hostileGuest(t, tt.guest)})
			var failed *Error
			if err := r.host.StartAgent(t.Context(), "bad"); !errors.As(err, &failed) || failed.Code != tt.code {
				t.Errorf("start: %v", err)
			}
			eventually(t, func() bool { return r.state("bad").State == StateQuarantined })
			if s := r.state("bad"); s.Crashes != 5 {
				t.Errorf("state %+v", s)
			}
			if err := r.host.StartAgent(t.Context(), "bad"); !errors.Is(err, &Error{Code: CodeQuarantined}) {
				t.Errorf("start in quarantine: %v", err)
			}
			res := r.send(r.request("bad", `{}`, nil))
			if res.Status != rmp.StatusFailed || res.Error.Code != CodeQuarantined ||
				!strings.Contains(res.Error.Message, "rlp agent release bad") {
				t.Errorf("a node: %s %+v", res.Status, res.Error)
			}
			out(t, r.do("echo"))
			if was, err := r.host.ReleaseAgent("bad"); !was || err != nil {
				t.Errorf("release: %v %v", was, err)
			}
			if err := r.host.StartAgent(t.Context(), "bad"); errors.Is(err, &Error{Code: CodeQuarantined}) {
				t.Errorf("start after the release: %v", err)
			}
		})
	}
}

// TestResidentThatIgnoresTheWishToEnd is stopped within its grace.
func TestResidentThatIgnoresTheWishToEnd(t *testing.T) {
	for _, guest := range []string{"exit_while_call"} {
		r := residentRig(t, quick, "", Services{}, map[string][]byte{"bad": hostileGuest(t, guest)})
		if err := r.host.StartAgent(t.Context(), "bad"); err != nil {
			t.Fatal(err)
		}
		r.mail("bad", `{"hello":"you"}`)
		eventually(t, func() bool { return r.state("bad").Messages == 1 })
		r.mail("bad", fmt.Sprintf("%q", strings.Repeat("x", 100_000))) // it has room for 1024 bytes
		began := time.Now()
		if was, err := r.host.StopAgent(t.Context(), "bad"); !was || err != nil || time.Since(began) > 10*time.Second {
			t.Errorf("stop: %v %v after %s", was, err, time.Since(began))
		}
		if s := r.state("bad"); s.State != StateStopped || s.Crashes != 0 {
			t.Errorf("state %+v", s)
		}
	}
}

// TestMailboxIsBounded floods a resident that does not come to its mailbox: the
// flood is slowed down and dropped, told of, and the bus goes on.
func TestMailboxIsBounded(t *testing.T) {
	cfg := quick
	cfg.MailMessages = 4
	r := residentRig(t, cfg, "", Services{}, map[string][]byte{"slow": probeModule(t, LifeCommand)})
	if err := r.host.StartAgent(t.Context(), "slow"); err != nil {
		t.Fatal(err)
	}
	drops, err := r.engine.Subscribe(bus.TopicDrops, bus.SubOptions{})
	if err != nil {
		t.Fatal(err)
	}
	req := r.request("slow", `{"Do":"forever"}`, func(q *rmp.AgentRequest) { q.Ref = "slow"; q.Budget.DeadlineMillis = 60_000 })
	req.Ref = "slow"
	for range 1 + cfg.MailMessages {
		if _, err := r.engine.Publish(t.Context(), &rmp.Message{
			SchemaID: rmp.CTExecutorAgentRequest, TTLMS: 60_000, Payload: req, Meta: rmp.Meta{Topic: "agent/slow"},
		}); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { return r.state("slow").Working != "" })
	}
	eventually(t, func() bool { return r.state("slow").Mailbox == cfg.MailMessages })
	res := r.send(req)
	if res.Status != rmp.StatusFailed || res.Error.Code != CodeMailboxFull || !res.Error.Retryable {
		t.Errorf("a request too many: %s %+v", res.Status, res.Error)
	}
	for range 3 * cfg.MailMessages {
		r.mail("slow", `1`)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	msg, err := drops.Recv(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var notice rmp.DropNotice
	if err := msg.Decode(&notice); err != nil || notice.Reason != "backpressure" || notice.Topic != topicMail("slow") {
		t.Errorf("notice %+v %v", notice, err)
	}
	if n := r.state("slow").Mailbox; n > 2*cfg.MailMessages+1 {
		t.Errorf("%d messages wait", n)
	}
	out(t, r.do("echo"))
}

// TestMailThatIsTooLarge is refused and told of.
func TestMailThatIsTooLarge(t *testing.T) {
	r := residentRig(t, quick, "", Services{}, map[string][]byte{"box": probeModule(t, LifeCommand)})
	if err := r.host.StartAgent(t.Context(), "box"); err != nil {
		t.Fatal(err)
	}
	r.mail("box", fmt.Sprintf("%q", strings.Repeat("x", mailMax)))
	eventually(t, func() bool { return r.state("box").Dropped == 1 })
	r.mail("box", `"small"`)
	eventually(t, func() bool { return r.state("box").Messages == 1 })
}

// TestResidentsDoNotTakePlaces: however many wait for a slow resident, others
// run.
func TestResidentsDoNotTakePlaces(t *testing.T) {
	r := residentRig(t, quick, "", Services{}, map[string][]byte{"slow": probeModule(t, LifeCommand)})
	req := r.request("slow", `{"Do":"forever"}`, nil)
	for range 3 * defaultSlots {
		if _, err := r.engine.Publish(t.Context(), &rmp.Message{
			SchemaID: rmp.CTExecutorAgentRequest, TTLMS: 60_000, Payload: req, Meta: rmp.Meta{Topic: "agent/slow"},
		}); err != nil {
			t.Fatal(err)
		}
	}
	out(t, r.do("echo"))
}

func TestResidentOfAnotherBundle(t *testing.T) {
	first, second := probeModule(t, LifeCommand), probeModule(t, LifeReactor)
	files := residentBundle("probe", "", first)
	r := newRigWith(t, Services{}, func(h *HostConfig) {
		h.Residents = quick
		h.Catalog = NewCatalog(Source{Name: "here", FS: files})
		h.Policy = &Policy{GrantNames: []string{"probe"}}
	})
	out(t, r.do("count"))
	before := r.state("probe").Digest
	for name, f := range residentBundle("probe", "", second) {
		files[name] = f
	}
	if got := out(t, r.do("count")); got != "1" {
		t.Errorf("the new bundle says %s", got)
	}
	if after := r.state("probe").Digest; after == before {
		t.Error("it is still the old bundle")
	}
}

// TestResidentsManyAtOnce is a hammer: many callers, stops and crashes at once.
func TestResidentsManyAtOnce(t *testing.T) {
	cfg := quick
	r := newRigWith(t, Services{}, func(h *HostConfig) {
		h.Residents, h.Breaker = cfg, BreakerConfig{ResidentCrashes: -1}
		h.Catalog = NewCatalog(Source{Name: "x", FS: residentBundle("probe", "", probeModule(t, LifeCommand)), BuiltIn: true})
	})
	var callers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			engine := r.bus.Client("engine", bus.KindAgent)
			defer engine.Close()
			for j := range 10 {
				do := []string{"count", "echo", "exit", "count"}[(i+j)%4]
				req := &rmp.AgentRequest{
					Ref: "probe", Node: fmt.Sprint(i), Attempt: uint32(j + 1), TraceID: "trace:00000000-0000-4000-8000-000000000001",
					Seed: make([]byte, 32), Mode: rmp.ModeLive, ReplyTo: fmt.Sprintf("rlp/test/many/%d/%d", i, j),
					With: pack(t, fmt.Sprintf(`{"Do":%q}`, do)), Budget: rmp.Budget{DeadlineMillis: 30_000},
				}
				replies, err := engine.Subscribe(req.ReplyTo, bus.SubOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				_ = engine.Send(context.Background(), &rmp.Message{
					SchemaID: rmp.CTExecutorAgentRequest, TTLMS: 60_000, Payload: req, Meta: rmp.Meta{Topic: "agent/probe"},
				})
				for {
					ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
					msg, err := replies.Recv(ctx)
					cancel()
					if err != nil {
						t.Error(err)
						return
					}
					if msg.SchemaID == rmp.CTExecutorAgentResponse {
						break
					}
				}
				replies.Close()
				if i == 0 && j%3 == 0 {
					if _, err := r.host.StopAgent(context.Background(), "probe"); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	callers.Wait()
	out(t, r.do("echo"))
}

func TestQuarantineIsOnDisk(t *testing.T) {
	dir := t.TempDir() + "/quarantine"
	q := &Quarantine{Dir: dir}
	if r, err := q.Get("a", ""); r != nil || err != nil {
		t.Errorf("%+v %v", r, err)
	}
	if err := q.Add(QuarantineRecord{Agent: "a", Digest: "d", Since: time.Now(), Count: 3, Last: "trap"}); err != nil {
		t.Fatal(err)
	}
	again := &Quarantine{Dir: dir}
	if r, err := again.Get("a", "d"); err != nil || r == nil || r.Count != 3 {
		t.Errorf("%+v %v", r, err)
	}
	if r, err := again.Get("a", "other"); r != nil || err != nil {
		t.Errorf("another bundle: %+v %v", r, err)
	}
	for _, bad := range []string{"../a", "/etc/passwd", "a/b", "", "A", "a@", "\x1b[31m"} {
		if _, err := again.Release(bad); !errors.Is(err, &Error{Code: CodeUnknownAgent}) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, want := range []bool{true, false} {
		if was, err := again.Release("a"); was != want || err != nil {
			t.Errorf("release: %v %v", was, err)
		}
	}
}

// TestBreakerOfCommands: crashes count, failures do not, and what goes well
// forgives.
func TestBreakerOfCommands(t *testing.T) {
	r := newRigWith(t, Services{}, func(h *HostConfig) {
		h.Breaker = BreakerConfig{Crashes: 3}
		h.Catalog = NewCatalog(
			Source{Name: "p", FS: bundleFiles("probe", "", probeModule(t, LifeCommand)), BuiltIn: true},
			Source{Name: "t", FS: bundleFiles("trap", "", hostileGuest(t, "abort_trap")), BuiltIn: true},
		)
	})
	for range 5 {
		if res := r.do("fail"); res.Error == nil || res.Error.Code != CodeExit {
			t.Errorf("%+v", res.Error)
		}
	}
	slow := func() *rmp.AgentRequest {
		return r.request("probe", `{"Do":"busy"}`, func(q *rmp.AgentRequest) { q.Budget.DeadlineMillis = 20 })
	}
	for range 5 {
		if res := r.send(slow()); res.Error == nil || res.Error.Code != CodeDeadline {
			t.Errorf("%+v", res.Error)
		}
	}
	out(t, r.do("echo"))
	for i := range 4 {
		want := CodeTrap
		if i == 3 {
			want = CodeQuarantined
		}
		if res := r.send(r.request("trap", `{}`, nil)); res.Error == nil || res.Error.Code != want {
			t.Errorf("trap %d: %+v", i, res.Error)
		}
	}
	if s := r.state("trap"); s.State != StateQuarantined || s.Crashes != 3 || s.Life != "command" {
		t.Errorf("state %+v", s)
	}
}

func TestBackoffGrows(t *testing.T) {
	b := backoff{least: 100 * time.Millisecond, most: time.Second}
	for _, want := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
		want *= time.Millisecond
		if d := b.wait(); d < want/2 || d > want {
			t.Errorf("%s is not in %s…%s", d, want/2, want)
		}
	}
	b.reset()
	if d := b.wait(); d > 100*time.Millisecond {
		t.Errorf("%s after a reset", d)
	}
}

func TestManifestLife(t *testing.T) {
	for life, want := range map[string]string{"command": "", "reactor": "the module is a command", "forever": "none of command"} {
		files := residentBundle("probe", "", probeModule(t, LifeCommand))
		m := files["probe/"+ManifestFile]
		m.Data = []byte(strings.Replace(string(m.Data), `"resident"`, `"`+life+`"`, 1))
		r := newRigWith(t, Services{}, func(h *HostConfig) {
			h.Catalog = NewCatalog(Source{Name: "x", FS: files, BuiltIn: true})
		})
		res := r.do("count")
		if want == "" {
			out(t, res)
		} else if res.Error == nil || res.Error.Code != CodeBundle || !strings.Contains(res.Error.Message, want) {
			t.Errorf("%s: %+v", life, res.Error)
		}
	}
}

// TestResidentInWorker leads the same life in a process of its own, and is
// started again when that is killed.
func TestResidentInWorker(t *testing.T) {
	f := &fakeBackend{}
	r := newRigWith(t, f.services(), func(h *HostConfig) {
		h.Residents, h.Isolation = quick, IsolationWorker
		h.Catalog = NewCatalog(Source{
			Name: "x", FS: residentBundle("probe", allCaps, probeModule(t, LifeCommand)), BuiltIn: true,
		})
	})
	for want := 1; want <= 3; want++ {
		if got := out(t, r.do("count")); got != fmt.Sprint(want) {
			t.Errorf("run %d of it says %s", want, got)
		}
	}
	call := callRequest(r, `[{"Op":"kb.search","Args":{"text":"x"}},{"Op":"time.now","Args":{}}]`)
	res := r.send(call)
	replay := *call
	replay.Mode, replay.Tape = rmp.ModeReplay, res.Tape
	if again := r.send(&replay); out(t, again) != out(t, res) || again.Diverged != nil {
		t.Errorf("replay: %s %+v", out(t, again), again.Diverged)
	}
	s := r.state("probe")
	if s.Placement != "worker" || s.PID == os.Getpid() || s.PID == 0 || s.MemoryBytes == 0 || s.State != StateReady {
		t.Errorf("state %+v", s)
	}
	if err := syscall.Kill(s.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { now := r.state("probe"); return now.State == StateReady && now.PID != s.PID })
	if got := out(t, r.do("count")); got != "1" {
		t.Errorf("after its process was killed it says %s", got)
	}
	if s := r.state("probe"); s.Restarts != 1 || s.Crashes != 1 || !strings.Contains(s.Error, CodeWorkerDied) {
		t.Errorf("state %+v", s)
	}
	if was, err := r.host.StopAgent(t.Context(), "probe"); !was || err != nil {
		t.Errorf("stop: %v %v", was, err)
	}
}
