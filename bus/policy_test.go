package bus_test

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
)

// frameOf is a message of a schema on a topic, for a trace.
func frameOf(schema uint16, topic string, trace byte) *rmp.Message {
	m := note(topic, 1)
	m.SchemaID, m.TraceID = schema, rmp.TraceID{trace}
	return m
}

// refusals collects what a server refuses.
type refusals struct {
	mu   sync.Mutex
	list []bus.Refusal
}

func (r *refusals) audit(no bus.Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, no)
}

func (r *refusals) all() []bus.Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.list
}

// tells checks that a publish is allowed or refused.
func tells(t *testing.T, c *bus.Conn, m *rmp.Message, allowed bool) {
	t.Helper()
	_, err := c.Publish(t.Context(), m)
	if allowed && err != nil || !allowed && !errors.Is(err, bus.ErrForbidden) {
		t.Errorf("schema %d to %s: %v, allowed %v", m.SchemaID, m.Meta.Topic, err, allowed)
	}
}

func TestDecisions(t *testing.T) {
	uid := uint32(os.Geteuid())
	for _, tt := range []struct {
		policy bus.Policy
		kind   bus.Kind
		want   bool
	}{
		{bus.Policy{}, bus.KindUI, true},
		{bus.Policy{}, bus.KindTUI, true},
		{bus.Policy{}, bus.KindCLI, false},
		{bus.Policy{}, bus.KindTool, false},
		{bus.Policy{}, bus.KindAgent, false},
		{bus.Policy{DecisionKinds: []bus.Kind{bus.KindCLI}}, bus.KindCLI, true},
		{bus.Policy{DecisionKinds: []bus.Kind{bus.KindCLI}}, bus.KindUI, false},
		{bus.Policy{DecisionKinds: []bus.Kind{}}, bus.KindUI, false},
		{bus.Policy{DecisionUIDs: []uint32{uid + 1}}, bus.KindUI, false},
		{bus.Policy{DecisionUIDs: []uint32{uid}}, bus.KindUI, true},
	} {
		t.Run(fmt.Sprintf("%s %v", tt.kind, tt.want), func(t *testing.T) {
			b, _, path := serve(t, bus.Config{}, bus.ServerConfig{Policy: tt.policy})
			s := subscribe(t, b.Client("d", bus.KindDaemon), "#", bus.SubOptions{})
			c := dial(t, path, tt.kind)
			tells(t, c, frameOf(rmp.CTActionDecision, "rlp/actions", 1), tt.want)
			if !tt.want {
				// A notice about the refusal is all that may come.
				if m := recv(t, s); m.Topic != bus.TopicDrops {
					t.Errorf("got %s on %s", m.Type, m.Topic)
				}
			}
		})
	}
}

// TestActingForAgents: whom the group lets in may not have an agent act on a
// decision that came along, nor show a person another request than the agent's.
func TestActingForAgents(t *testing.T) {
	uid := uint32(os.Geteuid())
	for _, own := range []bool{true, false} {
		policy := bus.Policy{DecisionUIDs: []uint32{uid + 1}}
		if own {
			policy = bus.Policy{}
		}
		b, _, path := serve(t, bus.Config{}, bus.ServerConfig{Policy: policy})
		s := subscribe(t, b.Client("d", bus.KindDaemon), "rlp/ctrl", bus.SubOptions{})
		c := dial(t, path, bus.KindCLI)
		tells(t, c, frameOf(rmp.CTExecutorAgentRequest, "agent/mailer", 1), own)
		tells(t, c, frameOf(rmp.CTActionRequest, "rlp/actions", 1), own)
		tells(t, c, frameOf(rmp.CTCtrlReq, "rlp/ctrl", 1), true)
		if m := recv(t, s); m.Peer == nil || m.Peer.UID != uid || m.Peer.Kind != bus.KindCLI {
			t.Errorf("peer %+v", m.Peer)
		}
	}
}

func TestDaemonOnly(t *testing.T) {
	b, _, path := serve(t, bus.Config{}, bus.ServerConfig{})
	c := dial(t, path, bus.KindUI)
	for _, tt := range []struct {
		schema uint16
		topic  string
		want   bool
	}{
		{rmp.CTRunEvent, "rlp/runs/1/events", false},
		{rmp.CTRunEvent, "elsewhere", false},
		{rmp.CTObservation, "rlp/runs/1/events", false},
		{rmp.CTObservation, "rlp/runs/1/other", true},
		{rmp.CTMetricsSnapshot, "rlp/sys/metrics", false},
		{rmp.CTMetricsSnapshot, "rlp/agents/a/metrics", true},
		{rmp.CTBusDropNotice, "x", false},
		{rmp.CTCtrlResp, "reply", false},
		{rmp.CTCtrlReq, "rlp/ctrl", true},
		{rmp.CTErrorReport, "x", true},
	} {
		tells(t, c, frameOf(tt.schema, tt.topic, 1), tt.want)
	}
	if d := b.Stats().Drops["forbidden"]; d != 6 {
		t.Errorf("%d drops", d)
	}
}

// TestAgentsSpeakForTheirRuns: a client that runs what others wrote may use
// the trace ids of the requests that it was sent, and no others.
func TestAgentsSpeakForTheirRuns(t *testing.T) {
	var audit refusals
	b, srv, path := serve(t, bus.Config{}, bus.ServerConfig{
		Audit:  audit.audit,
		Policy: bus.Policy{MaySpeakFor: func(p bus.Peer, trace rmp.TraceID) bool { return trace[0] == 9 }},
	})
	d := b.Client("d", bus.KindDaemon)
	for _, kind := range []bus.Kind{bus.KindAgent, bus.KindTool} {
		c := dial(t, path, kind)
		requests := listen(t, c, "agent/writer", bus.SubOptions{})
		other := listen(t, c, "news", bus.SubOptions{})
		publish(t, d, frameOf(rmp.CTExecutorAgentRequest, "agent/writer", 1), 1)
		publish(t, d, frameOf(rmp.CTObservation, "news", 2), 1)
		recv(t, requests)
		recv(t, other)
		run1 := rmp.TraceID{1}
		tells(t, c, frameOf(rmp.CTExecutorAgentResponse, "rlp/runs/"+run1.String()+"/agents/writer/1", 1), true)
		tells(t, c, frameOf(rmp.CTAgentLogLine, "rlp/agents/writer/log", 1), true)
		tells(t, c, frameOf(rmp.CTAgentLogLine, "rlp/agents/writer/log", 2), false) // seen, but not asked
		tells(t, c, frameOf(rmp.CTAgentLogLine, "rlp/agents/writer/log", 3), false)
		tells(t, c, frameOf(rmp.CTAgentLogLine, "rlp/agents/writer/log", 9), true) // the policy says so
		for _, run := range []string{rmp.TraceID{3}.String(), rmp.TraceID{3}.UUID(), rmp.TraceID{3}.UUID()[6:]} {
			tells(t, c, frameOf(rmp.CTExecutorAgentResponse, "rlp/runs/"+run+"/agents/writer/1", 1), false)
		}
		for _, filter := range []string{"agent/+", "#", "rlp/#"} {
			if _, err := c.Subscribe(t.Context(), filter, bus.SubOptions{}); !errors.Is(err, bus.ErrForbidden) {
				t.Errorf("subscribe to %s: %v", filter, err)
			}
		}
		_ = c.Close()
		waitFor(t, func() bool { return srv.Conns() == 0 })
	}
	all := audit.all()
	if len(all) != 16 {
		t.Fatalf("%d refusals audited, want 16: %+v", len(all), all)
	}
	first := all[0]
	if first.Op != "publish" || first.Code != bus.CodeForbidden || first.Topic != "rlp/agents/writer/log" ||
		first.Trace != (rmp.TraceID{2}) || first.Peer.Kind != bus.KindAgent || first.Peer.Name != "test agent" ||
		first.Peer.UID != uint32(os.Getuid()) || first.Peer.PID != int32(os.Getpid()) || first.Why == "" {
		t.Errorf("refusal %+v", first)
	}
	if last := all[15]; last.Op != "subscribe" || last.Topic != "rlp/#" {
		t.Errorf("refusal %+v", last)
	}
	// Other kinds are people's: they may follow and name any run.
	tells(t, dial(t, path, bus.KindCLI), frameOf(rmp.CTIntent, "x", 77), true)
}

func TestPolicyHooks(t *testing.T) {
	no := errors.New("not today")
	_, _, path := serve(t, bus.Config{}, bus.ServerConfig{Policy: bus.Policy{
		Publish: func(p bus.Peer, topic string, h *rmp.Header) error {
			if topic == "secret" && h.SchemaID == rmp.CTObservation {
				return no
			}
			return nil
		},
		Subscribe: func(p bus.Peer, filter, queue string) error {
			if bus.Matches(filter, "secret") && p.Kind == bus.KindCLI {
				return no
			}
			return nil
		},
	}})
	c := dial(t, path, bus.KindCLI)
	tells(t, c, note("secret", 1), false)
	tells(t, c, note("open", 1), true)
	if _, err := c.Subscribe(t.Context(), "#", bus.SubOptions{}); !errors.Is(err, bus.ErrForbidden) {
		t.Errorf("Subscribe: %v", err)
	}
	listen(t, c, "open", bus.SubOptions{})
}

// TestForgeries sends ten thousand frames that claim what they must not. None
// is accepted, and the audit is not flooded.
func TestForgeries(t *testing.T) {
	var audit refusals
	b, _, path := serve(t, bus.Config{}, bus.ServerConfig{Audit: audit.audit, FrameRate: -1})
	d := b.Client("d", bus.KindDaemon)
	s := subscribe(t, d, "#", bus.SubOptions{})
	notices := b.Stats
	c, err := bus.Dial(t.Context(), path, bus.DialOptions{Name: "forger", Kind: bus.KindTool})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const n = 10_000
	for i := range n {
		m := frameOf([]uint16{rmp.CTActionDecision, rmp.CTExecutorAgentResponse, rmp.CTRunEvent, rmp.CTActionRequest}[i%4],
			[]string{"rlp/actions", "rlp/runs/1/agents/w/1", "rlp/runs/1/events", "rlp/sys/drops"}[i/4%4], byte(i))
		m.Meta.From = "engine"
		if err := c.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := notices().Drops["forbidden"]; got != n {
		t.Errorf("%d of %d refused", got, n)
	}
	publish(t, d, note("end", 1), 1)
	for {
		m := recv(t, s)
		if m.Topic == "end" {
			break
		}
		if m.Topic != bus.TopicDrops || m.From == "forger" {
			t.Fatalf("accepted %s on %s from %s", m.Type, m.Topic, m.From)
		}
	}
	if got := len(audit.all()); got == 0 || got > 200 {
		t.Errorf("%d audited", got)
	}
}
