package opening

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tinylib/msgp/msgp"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
)

// layered is an opening of n nodes in rows of ten, where every node reads from
// two of the row before: the number of edges grows with that of the nodes.
func layered(n int) *Opening {
	o := &Opening{Name: "layered"}
	id := func(i int) string { return fmt.Sprintf("n%d", i) }
	for i := range n {
		o.Nodes = append(o.Nodes, Node{ID: id(i), Use: "agent:echo"})
		if i >= 10 {
			o.Edges = append(o.Edges,
				Edge{From: PortRef{id(i - 10), "out"}, To: PortRef{id(i), "a"}},
				Edge{From: PortRef{id(i - i%10 - 10 + (i+1)%10), "ok"}, To: PortRef{id(i), "b"},
					Guard: &Test{Op: "==", Value: []byte("true")}})
		}
	}
	return o
}

func layeredPlan(b *testing.B, n int) *Plan {
	p, err := NewPlan(layered(n), nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

var sizes = []int{10, 100, 1000}

// perNode reports the cost of one node, which must not grow with their number.
func perNode(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/node")
}

// BenchmarkMachine is the scheduler alone. It has no limit on nodes of its own.
func BenchmarkMachine(b *testing.B) {
	out := ports("out", "1", "ok", "true").Ports
	for _, n := range append(sizes, 10_000, 100_000) {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			o := layered(n)
			for b.Loop() {
				m := newMachine(o, 4)
				for !m.done() {
					var batch []int
					for i, ok := m.next(); ok; i, ok = m.next() {
						_, _ = m.apply(started{i})
						batch = append(batch, i)
					}
					for _, i := range batch {
						_, _ = m.apply(ended{node: i, status: rmp.StatusOK, ports: out})
					}
				}
			}
			perNode(b, n)
		})
	}
}

// BenchmarkEngine is a whole run with records, events and a trace, but no bus.
func BenchmarkEngine(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := layeredPlan(b, n)
			acts := map[string]act{}
			for _, node := range p.Opening.Nodes {
				acts[node.ID] = answers("out", "1", "ok", "true")
			}
			for b.Loop() {
				r := runPlan(context.Background(), p, &Engine{}, acts)
				if r.err != nil || !r.rep.Success {
					b.Fatal(r.err, r.rep.Reason)
				}
			}
			perNode(b, n)
		})
	}
}

// BenchmarkBus is a whole run with a host that answers at once.
func BenchmarkBus(b *testing.B) {
	raw, err := rmp.AppendMsgpack(nil, []byte(`{"out":1,"ok":true}`))
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := layeredPlan(b, n)
			wires := bus.New(bus.Config{})
			defer wires.Close()
			echoHost(b, wires, raw)
			x := NewBusExecutor(wires.Client("engine", bus.KindDaemon))
			for b.Loop() {
				e := &Engine{Executor: x, Actions: x, Store: &memStore{}, Sink: x.Publish, MaxParallel: 4}
				if rep, err := e.Run(context.Background(), p, RunOptions{}); err != nil || !rep.Success {
					b.Fatal(err, rep)
				}
			}
			perNode(b, n)
		})
	}
}

// echoHost answers every request with the same outputs.
func echoHost(b *testing.B, wires *bus.Bus, outputs msgp.Raw) {
	c := wires.Client("host", bus.KindDaemon)
	sub, err := c.Subscribe("agent/echo", bus.SubOptions{})
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		for {
			m, err := sub.Recv(context.Background())
			if err != nil {
				return
			}
			var q rmp.AgentRequest
			_ = m.Decode(&q)
			_ = c.Send(context.Background(), &rmp.Message{
				SchemaID: rmp.CTExecutorAgentResponse, TraceID: m.TraceID, TTLMS: 10_000,
				Meta: rmp.Meta{Topic: q.ReplyTo},
				Payload: &rmp.AgentResponse{Node: q.Node, Attempt: q.Attempt, TraceID: q.TraceID,
					Status: rmp.StatusOK, Ports: outputs, Digest: "d"},
			})
		}
	}()
}

// BenchmarkLoad reads a file of n nodes and makes a plan of it.
func BenchmarkLoad(b *testing.B) {
	for _, n := range append(sizes, 2000) {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			text := layered(n).YAML()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := Load("x.yaml", text, crew(), nil); err != nil {
					b.Fatal(err)
				}
			}
			perNode(b, n)
		})
	}
}

// tenCalls is a tape of ten calls.
func tenCalls() []Hostcall {
	var tape []Hostcall
	for i := range 10 {
		tape = append(tape, Hostcall{Op: "kb.query", Args: json.RawMessage(`{"sql":"SELECT 1"}`),
			OK: json.RawMessage(fmt.Sprintf(`{"rows":[[%d]]}`, i))})
	}
	return tape
}

// BenchmarkHistory is what a run leaves on record and what it takes to read it
// back, for nodes with ten hostcalls each: the largest has 10,000.
func BenchmarkHistory(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := layeredPlan(b, n)
			acts := map[string]act{}
			for _, node := range p.Opening.Nodes {
				acts[node.ID] = func(context.Context, *Request, Observer) *Response {
					r := ports("out", `"`+strings.Repeat("x", 1000)+`"`, "ok", "true")
					r.Tape = tenCalls()
					return r
				}
			}
			r := runPlan(context.Background(), p, &Engine{}, acts)
			if r.err != nil || !r.rep.Success {
				b.Fatal(r.err, r.rep.Reason)
			}
			size := 0
			for _, rec := range r.store.records {
				size += len(rec.Payload)
			}
			for b.Loop() {
				if _, err := ReadRun(r.store.records); err != nil {
					b.Fatal(err)
				}
			}
			perNode(b, n)
			b.ReportMetric(float64(size)/float64(n), "bytes/node")
		})
	}
}
