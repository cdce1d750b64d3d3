package opening

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/runloop-os/runloop/rmp"
)

// world is a random opening together with what each of its agents will do:
// what the tests know and the scheduler does not.
type world struct {
	o        *Opening
	attempts [][]string                   // by node: how each attempt ends
	ports    []map[string]json.RawMessage // by node: what it puts out
	max      int
}

// outcomes of attempts in a world's script.
var outcomes = []string{"ok", "ok", "ok", "fail", "retryable", "timeout"}

// drawWorld makes a DAG of up to most nodes in random file order, with fan-out,
// fan-in, several edges to one port, guards that hold and guards that do not.
func drawWorld(t *rapid.T, most int) *world {
	n := rapid.IntRange(1, most).Draw(t, "nodes")
	w := &world{o: &Opening{Name: "random"}, max: rapid.IntRange(1, 4).Draw(t, "max")}
	order := rapid.Permutation(seq(n)).Draw(t, "order") // topological, in file numbers
	for i := range n {
		node := Node{ID: "n" + strconv.Itoa(i), Use: "agent:echo"}
		if k := rapid.IntRange(0, 3).Draw(t, "attempts"); k > 0 {
			node.Retry = &Retry{MaxAttempts: k, InitialMS: 10, MaxMS: 100, Multiplier: 2, Jitter: 0.2}
		}
		w.o.Nodes = append(w.o.Nodes, node)
		w.attempts = append(w.attempts, rapid.SliceOfN(rapid.SampledFrom(outcomes), 3, 3).Draw(t, "script"))
		out := map[string]json.RawMessage{"out": json.RawMessage(strconv.Quote(node.ID))}
		switch rapid.IntRange(0, 3).Draw(t, "ok") {
		case 0:
			out["ok"] = json.RawMessage("false")
		case 1: // no value at all
		default:
			out["ok"] = json.RawMessage("true")
		}
		w.ports = append(w.ports, out)
	}
	for range rapid.IntRange(0, 2*n).Draw(t, "edges") {
		a := rapid.IntRange(0, n-1).Draw(t, "from")
		b := rapid.IntRange(0, n-1).Draw(t, "to")
		if a == b {
			continue
		}
		e := Edge{
			From: PortRef{w.o.Nodes[order[min(a, b)]].ID, "out"},
			To:   PortRef{w.o.Nodes[order[max(a, b)]].ID, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "port")},
		}
		switch rapid.IntRange(0, 4).Draw(t, "guard") {
		case 0:
			e.From.Port = "ok"
			e.Guard = &Test{Op: rapid.SampledFrom([]string{"==", "!="}).Draw(t, "op"), Value: json.RawMessage("true")}
		case 1:
			e.From.Port = "ok"
		}
		w.o.Edges = append(w.o.Edges, e)
	}
	return w
}

func seq(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// event gives what the script says about an attempt.
func (w *world) event(node, attempt int) ended {
	ev := ended{node: node, status: rmp.StatusFailed, err: &rmp.AgentError{Code: "script"}}
	switch w.attempts[node][attempt-1] {
	case "ok":
		return ended{node: node, status: rmp.StatusOK, ports: w.ports[node]}
	case "retryable":
		ev.err.Retryable = true
	case "timeout":
		ev.status = rmp.StatusTimeout
	}
	return ev
}

// oracle is the meaning of an opening as spec/04 "Running" has it, without any
// notion of order: a node's fate follows from the fates of its sources and
// from its own script. It shares no code with the scheduler.
type oracle struct {
	w    *world
	fate map[string]State
	runs map[string]int // attempts used
}

func newOracle(w *world) *oracle {
	return &oracle{w: w, fate: map[string]State{}, runs: map[string]int{}}
}

func (o *oracle) of(id string) State {
	if s, ok := o.fate[id]; ok {
		return s
	}
	s := o.decide(id)
	o.fate[id] = s
	return s
}

func (o *oracle) decide(id string) State {
	for _, e := range o.w.o.Edges {
		if e.To.Node == id && (o.of(e.From.Node) != Succeeded || !o.passes(e)) {
			return Skipped
		}
	}
	i, _ := strconv.Atoi(id[1:])
	budget := 1
	if r := o.w.o.Nodes[i].Retry; r != nil {
		budget = r.MaxAttempts
	}
	for k := range budget {
		o.runs[id] = k + 1
		switch o.w.attempts[i][k] {
		case "ok":
			return Succeeded
		case "fail":
			return Failed
		}
	}
	return Failed
}

// passes reads the guards that drawWorld makes: ok, compared with true.
func (o *oracle) passes(e Edge) bool {
	if e.Guard == nil {
		return true
	}
	i, _ := strconv.Atoi(e.From.Node[1:])
	v, present := o.w.ports[i]["ok"]
	return present && (string(v) == "true") == (e.Guard.Op == "==")
}

// inputs is what a node must be given: for each port, the values of the edges
// that reach it, in the order of the file.
func (o *oracle) inputs(id string) map[string][]json.RawMessage {
	in := map[string][]json.RawMessage{}
	for _, e := range o.w.o.Edges {
		i, _ := strconv.Atoi(e.From.Node[1:])
		if v, ok := o.w.ports[i][e.From.Port]; ok && e.To.Node == id {
			in[e.To.Port] = append(in[e.To.Port], v)
		}
	}
	return in
}

// modelCases is how many random runs the test makes: enough to matter, unless
// it is asked for more with OPENING_MODEL=1.
func modelCases() int {
	if os.Getenv("OPENING_MODEL") != "" {
		return 100_000
	}
	return 4_000
}

// TestModel drives the machine through random openings with random timing and
// holds it, step by step, against the oracle and a naive view of what may run.
func TestModel(t *testing.T) {
	for seed := range modelCases() {
		gen := rapid.Custom(func(t *rapid.T) string {
			return drive(t, drawWorld(t, 9), false)
		})
		if msg := gen.Example(seed); msg != "" {
			t.Fatalf("case %d: %s", seed, msg)
		}
	}
}

// TestModelStop is TestModel with a stop at some moment.
func TestModelStop(t *testing.T) {
	for seed := range modelCases() / 4 {
		gen := rapid.Custom(func(t *rapid.T) string {
			return drive(t, drawWorld(t, 9), true)
		})
		if msg := gen.Example(seed); msg != "" {
			t.Fatalf("case %d: %s", seed, msg)
		}
	}
}

// driver is a run of the machine with its surroundings: what is running, what
// waits, what has ended.
type driver struct {
	w        *world
	m        *machine
	oracle   *oracle
	running  []int
	backoff  []int
	asking   map[int]bool
	finished map[int]bool
	stopped  bool
}

// drive plays a world to its end in random order and says what was wrong.
func drive(t *rapid.T, w *world, stops bool) string {
	d := &driver{w: w, m: newMachine(w.o, w.max), oracle: newOracle(w),
		asking: map[int]bool{}, finished: map[int]bool{}}
	for step := 0; !d.m.done(); step++ {
		if step > 1000 {
			return "the run does not end"
		}
		if msg := d.check(); msg != "" {
			return msg
		}
		if msg := d.step(t, stops); msg != "" {
			return msg
		}
	}
	return d.compare()
}

// check holds the machine's choice against every node looked at afresh.
func (d *driver) check() string {
	want := -1
	for i, n := range d.w.o.Nodes {
		if d.m.nodes[i].state == Pending && !contains(d.backoff, i) && d.deliveredTo(n.ID) {
			want = i
			break
		}
	}
	if len(d.running)-len(d.asking) >= d.w.max || d.stopped {
		want = -1
	}
	got, ok := d.m.next()
	if !ok {
		got = -1
	}
	if got != want {
		return fmt.Sprintf("next is %d, want %d", got, want)
	}
	return ""
}

// deliveredTo reports whether all edges that reach a node have delivered.
func (d *driver) deliveredTo(id string) bool {
	for _, e := range d.w.o.Edges {
		from, _ := strconv.Atoi(e.From.Node[1:])
		if e.To.Node == id && (d.m.nodes[from].state != Succeeded || !d.oracle.passes(e)) {
			return false
		}
	}
	return true
}

// step lets one thing happen.
func (d *driver) step(t *rapid.T, stops bool) string {
	type move struct {
		what string
		node int
	}
	var moves []move
	if i, ok := d.m.next(); ok {
		moves = append(moves, move{"start", i}, move{"start", i})
	}
	for _, i := range d.running {
		moves = append(moves, move{"end", i}, move{"ask", i})
	}
	for _, i := range d.backoff {
		moves = append(moves, move{"due", i})
	}
	if stops && !d.stopped {
		moves = append(moves, move{"stop", 0})
	}
	if len(moves) == 0 {
		return "the run hangs"
	}
	mv := rapid.SampledFrom(moves).Draw(t, "move")
	switch i := mv.node; mv.what {
	case "start":
		if got, want := d.m.inputs(i), d.oracle.inputs(d.w.o.Nodes[i].ID); !reflect.DeepEqual(got, want) {
			return fmt.Sprintf("inputs of %d are %s, want %s", i, got, want)
		}
		d.running = append(d.running, i)
		return d.apply(started{i})
	case "ask":
		if d.asking[i] {
			delete(d.asking, i)
			return d.apply(waits{i, false})
		}
		d.asking[i] = true
		return d.apply(waits{i, true})
	case "end":
		d.running = without(d.running, i)
		delete(d.asking, i)
		ev := d.w.event(i, d.m.nodes[i].attempt)
		if d.stopped && len(d.running)%2 == 0 {
			ev = ended{node: i, status: rmp.StatusCancelled}
		}
		return d.apply(ev)
	case "due":
		d.backoff = without(d.backoff, i)
		return d.apply(due{i})
	}
	d.stopped, d.backoff = true, nil
	return d.apply(stop{})
}

// apply tells the machine, and checks what it says about it.
func (d *driver) apply(ev any) string {
	changes, err := d.m.apply(ev)
	if err != nil {
		return err.Error()
	}
	for k, c := range changes {
		if k > 0 && changes[k-1].node >= c.node {
			return "the changes are not in the order of the file"
		}
		if c.retry {
			d.backoff = append(d.backoff, c.node)
			continue
		}
		if d.finished[c.node] || !d.m.nodes[c.node].state.final() {
			return fmt.Sprintf("node %d finished twice or not at all", c.node)
		}
		d.finished[c.node] = true
	}
	return ""
}

// compare holds the end against the oracle. After a stop only what had not
// been stopped must be what it says.
func (d *driver) compare() string {
	if len(d.finished) != len(d.w.o.Nodes) || d.m.active != 0 || d.m.running != 0 {
		return fmt.Sprintf("%d of %d nodes finished, %d active", len(d.finished), len(d.w.o.Nodes), d.m.active)
	}
	for i, n := range d.w.o.Nodes {
		got, want := d.m.nodes[i].state, d.oracle.of(n.ID)
		switch {
		case d.stopped && got == Cancelled:
		case got != want:
			return fmt.Sprintf("%s is %s, want %s", n.ID, got, want)
		case !d.stopped && d.m.nodes[i].attempt != d.oracle.runs[n.ID]:
			return fmt.Sprintf("%s took %d attempts, want %d", n.ID, d.m.nodes[i].attempt, d.oracle.runs[n.ID])
		}
	}
	return ""
}

func contains(s []int, v int) bool {
	for _, x := range s {
		if x == v {
			return true
		}
	}
	return false
}

func without(s []int, v int) []int {
	var out []int
	for _, x := range s {
		if x != v {
			out = append(out, x)
		}
	}
	return out
}

// TestMachineRefuses gives the machine events that cannot happen. It must say
// so and stay as it was; a record that somebody changed may hold anything.
func TestMachineRefuses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, 5)
		m := newMachine(w.o, w.max)
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			i := rapid.IntRange(-1, len(w.o.Nodes)).Draw(t, "node")
			ev := rapid.SampledFrom([]any{started{i}, due{i}, waits{i, true}, waits{i, false}, stop{}, lost{i}, pause{true}, pause{false},
				ended{node: i, status: rmp.StatusOK}, ended{node: i, status: "nonsense"}, "nonsense"}).Draw(t, "event")
			before := fmt.Sprintf("%+v", m.nodes)
			if _, err := m.apply(ev); err != nil && fmt.Sprintf("%+v", m.nodes) != before {
				t.Fatalf("%#v was refused (%v) and changed the machine", ev, err)
			}
			if m.active < 0 || m.running < 0 || m.left < 0 {
				t.Fatalf("counts fell below zero: %d %d %d", m.active, m.running, m.left)
			}
		}
	})
}
