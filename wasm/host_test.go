package wasm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
)

// probes are the two builds of testdata/probe, made once for all tests.
var probes = sync.OnceValue(func() map[Life]probeBuild {
	out := map[Life]probeBuild{}
	for life, mode := range map[Life]string{LifeCommand: "default", LifeReactor: "c-shared"} {
		out[life] = buildProbe(mode)
	}
	return out
})

type probeBuild struct {
	module []byte
	err    error
}

func buildProbe(mode string) probeBuild {
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		return probeBuild{err: err}
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "probe.wasm")
	cmd := exec.Command("go", "build", "-buildmode="+mode, "-trimpath", "-ldflags=-s -w", "-o", file, "./testdata/probe")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return probeBuild{err: fmt.Errorf("building the probe: %v\n%s", err, out)}
	}
	module, err := os.ReadFile(file)
	return probeBuild{module, err}
}

func probeModule(t testing.TB, life Life) []byte {
	t.Helper()
	p := probes()[life]
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.module
}

// rig is a host on a bus of its own with one client that plays the engine.
type rig struct {
	t      testing.TB
	bus    *bus.Bus
	engine *bus.Client
	host   *Host
	logs   []rmp.AgentLog
}

// testRuntime is shared by the tests of the package, so that each module is
// compiled once.
var testRuntime = sync.OnceValue(func() *Runtime {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("runloop-test-code-%d", os.Geteuid()))
	return NewRuntime(RuntimeConfig{CacheDir: dir, Max: Limits{MemoryMB: 64}, Files: FileLimits{Written: 64 << 20, Created: 1000}})
})

func newRig(t testing.TB, caps string, services Services, modules map[string][]byte) *rig {
	return newRigIn(t, rigPlace, caps, services, modules)
}

// rigPlace is where the agents of new rigs run; see eachLife.
var rigPlace = IsolationInline

// newRigIn is newRig with all agents in one kind of place.
func newRigIn(t testing.TB, where Isolation, caps string, services Services, modules map[string][]byte) *rig {
	t.Helper()
	var sources []Source
	for name, module := range modules {
		sources = append(sources, Source{Name: name, FS: bundleFiles(name, caps, module), BuiltIn: true})
	}
	return newRigWith(t, services, func(h *HostConfig) { h.Catalog, h.Isolation = NewCatalog(sources...), where })
}

// newRigWith is newRig with a configuration of the host of its own.
func newRigWith(t testing.TB, services Services, change func(*HostConfig)) *rig {
	t.Helper()
	b := bus.New(bus.Config{})
	cfg := HostConfig{
		Client: b.Client("host", bus.KindAgent), Runtime: testRuntime(), Policy: &Policy{}, Services: services,
		Warn: func(err error) { t.Logf("host: %v", err) },
	}
	change(&cfg)
	host, err := NewHost(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- host.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-served, b.Close()); err != nil {
			t.Error(err)
		}
	})
	return &rig{t: t, bus: b, engine: b.Client("engine", bus.KindAgent), host: host}
}

func probeRig(t testing.TB, life Life, caps string, services Services) *rig {
	return newRig(t, caps, services, map[string][]byte{"probe": probeModule(t, life)})
}

var requestCount int

// request is a request for agent; change may alter it before it goes out.
func (r *rig) request(agent, with string, change func(*rmp.AgentRequest)) *rmp.AgentRequest {
	r.t.Helper()
	requestCount++
	req := &rmp.AgentRequest{
		Ref: agent, Node: "n", Attempt: 1, TraceID: "trace:00000000-0000-4000-8000-000000000001",
		OpeningID: "opening:x", Seed: bytes.Repeat([]byte{7}, 32), Mode: rmp.ModeLive,
		ReplyTo: fmt.Sprintf("rlp/test/reply/%d", requestCount),
		With:    pack(r.t, with), Budget: rmp.Budget{DeadlineMillis: 10_000},
	}
	if change != nil {
		change(req)
	}
	return req
}

func pack(t testing.TB, js string) []byte {
	t.Helper()
	b, err := rmp.AppendMsgpack(nil, []byte(js))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// send publishes a request and waits for its response; the logs that came
// before it are in r.logs.
func (r *rig) send(req *rmp.AgentRequest) *rmp.AgentResponse {
	r.t.Helper()
	replies, err := r.engine.Subscribe(req.ReplyTo, bus.SubOptions{MaxMessages: 1 << 16, MaxBytes: 64 << 20})
	if err != nil {
		r.t.Fatal(err)
	}
	defer replies.Close()
	n, err := r.engine.Publish(context.Background(), &rmp.Message{
		SchemaID: rmp.CTExecutorAgentRequest, TTLMS: 60_000, Payload: req,
		Meta: rmp.Meta{Topic: "agent/" + req.Ref},
	})
	if err != nil || n != 1 {
		r.t.Fatalf("%d hosts: %v", n, err)
	}
	return r.collect(replies)
}

func (r *rig) collect(replies *bus.Subscription) *rmp.AgentResponse {
	r.t.Helper()
	r.logs = nil
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		msg, err := replies.Recv(ctx)
		if err != nil {
			r.t.Fatal(err)
		}
		if msg.SchemaID == rmp.CTAgentLogLine {
			var l rmp.AgentLog
			if err := msg.Decode(&l); err != nil {
				r.t.Fatal(err)
			}
			r.logs = append(r.logs, l)
			continue
		}
		res := &rmp.AgentResponse{}
		if err := msg.Decode(res); err != nil {
			r.t.Fatal(err)
		}
		return res
	}
}

// do runs one probe and returns the response.
func (r *rig) do(probe string) *rmp.AgentResponse {
	r.t.Helper()
	return r.send(r.request("probe", fmt.Sprintf(`{"Do":%q}`, probe), nil))
}

// out is the value of port out, as JSON.
func out(t testing.TB, res *rmp.AgentResponse) string {
	t.Helper()
	if res.Status != rmp.StatusOK {
		t.Fatalf("status %s: %+v", res.Status, res.Error)
	}
	js, err := rmp.AppendJSON(nil, res.Ports)
	if err != nil {
		t.Fatal(err)
	}
	var ports map[string]json.RawMessage
	if err := json.Unmarshal(js, &ports); err != nil {
		t.Fatal(err)
	}
	return string(ports["out"])
}

// eachLife runs a test for both lives that a module may lead, in both places.
func eachLife(t *testing.T, f func(t *testing.T, life Life)) {
	for _, where := range []Isolation{IsolationInline, IsolationWorker} {
		for _, life := range []Life{LifeCommand, LifeReactor} {
			t.Run(string(where)+"/"+life.String(), func(t *testing.T) {
				rigPlace = where
				defer func() { rigPlace = IsolationInline }()
				f(t, life)
			})
		}
	}
}

func TestAttempt(t *testing.T) {
	eachLife(t, func(t *testing.T, life Life) {
		r := probeRig(t, life, "", Services{})
		res := r.send(r.request("probe", `{"Do":"echo","n":1}`, func(q *rmp.AgentRequest) {
			q.Node, q.Attempt, q.Inputs = "x", 3, pack(t, `{"in":[{"b":2,"a":1},"two"]}`)
		}))
		want := `{"attempt":3,"inputs":{"in":[{"a":1,"b":2},"two"]},"node":"x","with":{"Do":"echo","n":1}}`
		if got := out(t, res); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if len(r.logs) != 2 || r.logs[0].Stream != rmp.StreamStderr || r.logs[0].Chunk != "a line of log\n" ||
			r.logs[1].Stream != rmp.StreamStdout {
			t.Errorf("logs %+v", r.logs)
		}
		if res.Digest == "" || res.MemBytes == 0 || res.Micros == 0 {
			t.Errorf("response %+v", res)
		}
	})
}

func TestGuestSeesNothingOfTheHost(t *testing.T) {
	t.Setenv("RUNLOOP_TEST_SECRET", "hunter2")
	r := probeRig(t, LifeCommand, "", Services{})
	var seen struct {
		Args    []string
		Env     []string
		Root    int
		RootErr string `json:"root_err"`
	}
	res := r.send(r.request("probe", `{"Do":"seen","tone":"warm","list":[1]}`, nil))
	if err := json.Unmarshal([]byte(out(t, res)), &seen); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(seen.Args, " "); got != "probe --Do seen --list [1] --tone warm" {
		t.Errorf("argv %q", got)
	}
	if len(seen.Env) != 1 || !strings.HasPrefix(seen.Env[0], "RUNLOOP_NODE_INPUT={") {
		t.Errorf("environment %q", seen.Env)
	}
	if seen.Root != 0 || seen.RootErr == "<nil>" {
		t.Errorf("it can read /: %d entries, %s", seen.Root, seen.RootErr)
	}
}

func TestEndings(t *testing.T) {
	eachLife(t, func(t *testing.T, life Life) {
		r := probeRig(t, life, "", Services{})
		// Go's runtime exits with 2 where it is a program, and traps where it
		// is a library.
		crash := map[Life]string{LifeCommand: CodeExit, LifeReactor: CodeTrap}
		for _, tt := range []struct {
			probe, status, code string
			retryable           bool
			text                string
		}{
			{"retry", rmp.StatusFailed, CodeExit, true, "status 75"},
			{"fail", rmp.StatusFailed, CodeExit, false, "status 1: probe: never"},
			{"exit", rmp.StatusFailed, CodeExit, false, "status 77"},
			{"panic", rmp.StatusFailed, crash[life], false, ""},
			{"notjson", rmp.StatusFailed, CodeOutputInvalid, false, `hello \x1b]0;x\a`},
			{"silent", rmp.StatusFailed, CodeOutputInvalid, false, "nothing to stdout"},
			{"twodocs", rmp.StatusFailed, CodeOutputInvalid, false, "not one JSON document"},
			{"dupkeys", rmp.StatusFailed, CodeOutputInvalid, false, "not one JSON document"},
			{"flood", rmp.StatusFailed, CodeOutputLimit, false, "more output"},
			{"memory", rmp.StatusFailed, crash[life], false, ""},
		} {
			t.Run(tt.probe, func(t *testing.T) {
				res := r.do(tt.probe)
				if res.Status != tt.status || res.Error == nil || res.Error.Code != tt.code ||
					res.Error.Retryable != tt.retryable || !strings.Contains(res.Error.Message, tt.text) {
					t.Errorf("status %s, error %+v", res.Status, res.Error)
				}
			})
		}
		if got := out(t, r.do("whole")); got != `{"a":1}` {
			t.Errorf("a document that is no object of ports: %s", got)
		}
		out(t, r.do("echo")) // and the host goes on
	})
}

func TestDeadlineAndCancel(t *testing.T) {
	eachLife(t, func(t *testing.T, life Life) {
		r := probeRig(t, life, "", Services{})
		for _, probe := range []string{"forever", "busy"} {
			req := r.request("probe", fmt.Sprintf(`{"Do":%q}`, probe), func(q *rmp.AgentRequest) {
				q.Budget.DeadlineMillis = 150
			})
			res := r.send(req)
			if res.Status != rmp.StatusTimeout || res.Error.Code != CodeDeadline || !res.Error.Retryable {
				t.Errorf("%s: %s %+v", probe, res.Status, res.Error)
			}
		}
		for _, early := range []bool{true, false} {
			res := r.cancelled(early)
			if res.Status != rmp.StatusCancelled || res.Error.Code != CodeCancelled {
				t.Errorf("early %v: %s %+v", early, res.Status, res.Error)
			}
		}
	})
}

// cancelled sends a request that would run for ever, and a cancel before it or
// once its guest runs.
func (r *rig) cancelled(early bool) *rmp.AgentResponse {
	r.t.Helper()
	// An attempt of its own: the one before may not be forgotten yet when its
	// response is here, and would be what the cancel stops.
	req := r.request("probe", `{"Do":"busy"}`, func(q *rmp.AgentRequest) {
		q.Node = fmt.Sprintf("cancelled-early-%v", early)
	})
	cancel := func() {
		c := &rmp.Cancel{Op: rmp.OpCancel, TraceID: req.TraceID, Node: req.Node, Attempt: req.Attempt}
		if err := r.engine.Send(context.Background(), &rmp.Message{
			SchemaID: rmp.CTControl, TTLMS: 1000, Payload: c, Meta: rmp.Meta{Topic: "agent/probe/cancel"},
		}); err != nil {
			r.t.Error(err)
		}
	}
	if early {
		cancel()
		r.waitFor(func() bool { return len(r.host.early) == 1 })
		return r.send(req)
	}
	go func() {
		r.waitFor(func() bool { return len(r.host.running) == 1 })
		cancel()
	}()
	return r.send(req)
}

func (r *rig) waitFor(done func() bool) {
	for range 20_000 {
		r.host.mu.Lock()
		ok := done()
		r.host.mu.Unlock()
		if ok {
			return
		}
		time.Sleep(time.Millisecond)
	}
	r.t.Error("it never came to pass")
}

func TestLogsAreBoundedAndWhole(t *testing.T) {
	r := probeRig(t, LifeCommand, "", Services{})
	out(t, r.do("logflood"))
	total := 0
	for _, l := range r.logs {
		if len(l.Chunk) > chunkMax || strings.ContainsRune(l.Chunk, '\uFFFD') {
			t.Fatalf("a chunk of %d bytes: %.40q", len(l.Chunk), l.Chunk)
		}
		total += len(l.Chunk)
	}
	if last := r.logs[len(r.logs)-1].Chunk; !strings.Contains(last, "more were dropped") {
		t.Errorf("the last of stderr is %.60q", last)
	}
	if limit := DefaultLimits.StdoutKB<<10 + 200; total > limit {
		t.Errorf("%d bytes of log", total)
	}
}

func TestClockIsVirtualUnlessGranted(t *testing.T) {
	eachLife(t, func(t *testing.T, life Life) {
		type reading struct {
			Year    int
			SleptMS int `json:"slept_ms"`
		}
		for caps, check := range map[string]func(reading) bool{
			"":            func(r reading) bool { return r.Year == 1970 && r.SleptMS >= 20 && r.SleptMS < 100 },
			"time = true": func(r reading) bool { return r.Year >= 2026 && r.SleptMS >= 20 },
		} {
			var got reading
			if err := json.Unmarshal([]byte(out(t, probeRig(t, life, caps, Services{}).do("clock"))), &got); err != nil {
				t.Fatal(err)
			}
			if !check(got) {
				t.Errorf("caps %q: %+v", caps, got)
			}
		}
	})
}

func TestRandomnessIsOfTheSeed(t *testing.T) {
	eachLife(t, func(t *testing.T, life Life) {
		r := probeRig(t, life, "", Services{})
		first, again := out(t, r.do("random")), out(t, r.do("random"))
		r.host.Warm(context.Background(), []string{"probe"})
		r.host.cfg.Runtime.filling.Wait()
		pooled := out(t, r.do("random"))
		other := out(t, r.send(r.request("probe", `{"Do":"random"}`, func(q *rmp.AgentRequest) { q.Attempt = 2 })))
		if first != again || first != pooled || first == other {
			t.Errorf("first %s\nagain %s\npooled %s\nother %s", first, again, pooled, other)
		}
	})
}

func TestRequestsThatMakeNoSense(t *testing.T) {
	r := probeRig(t, LifeCommand, "", Services{})
	for _, tt := range []struct {
		name   string
		change func(*rmp.AgentRequest)
		code   string
	}{
		{"unknown agent", func(q *rmp.AgentRequest) { q.Ref = "nobody" }, CodeUnknownAgent},
		{"no seed", func(q *rmp.AgentRequest) { q.Seed = nil }, CodeRequest},
		{"with is no map", func(q *rmp.AgentRequest) { q.With = pack(t, `[1]`) }, CodeRequest},
		{"another bundle", func(q *rmp.AgentRequest) { q.Digest = zeros }, CodeDigest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := r.send(r.request("probe", `{}`, tt.change))
			if res.Status != rmp.StatusFailed || res.Error.Code != tt.code {
				t.Errorf("%s %+v", res.Status, res.Error)
			}
		})
	}
}

func TestBadModulesAreRefused(t *testing.T) {
	for name, module := range map[string][]byte{"empty": nil, "text": []byte("hello"), "magic": []byte("\x00asm\x01\x00\x00\x00")} {
		r := newRig(t, "", Services{}, map[string][]byte{"bad": module})
		res := r.send(r.request("bad", `{}`, nil))
		if res.Status != rmp.StatusFailed || !strings.HasPrefix(res.Error.Code, CodeLoadRefused) {
			t.Errorf("%s: %s %+v", name, res.Status, res.Error)
		}
	}
}
