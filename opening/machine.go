package opening

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/runloop-os/runloop/rmp"
)

// State is where a node stands in a run (spec/04 "Trace and replay").
type State string

// The states of a node. The last four are final.
const (
	Pending   State = "Pending" // also between two attempts
	Running   State = "Running"
	Succeeded State = "Succeeded"
	Failed    State = "Failed"
	Skipped   State = "Skipped"
	Cancelled State = "Cancelled"
)

// final reports whether a node in this state is done with.
func (s State) final() bool { return s != Pending && s != Running }

// machine decides what runs when. It is a value that only apply changes: no
// clock, no goroutine, no IO. Told the same events it is in the same state,
// whether they happen now or are read back from a record.
//
//	           started            ended ok
//	Pending ──────────▶ Running ──────────▶ Succeeded
//	 │ │ ▲                │ │ ended failed
//	 │ │ └─ ended, again ─┘ └─────────────▶ Failed
//	 │ └─ an edge does not deliver ───────▶ Skipped
//	 └─ stop ─────────────────────────────▶ Cancelled
//
// A node that is to be tried again is pending until the event due. A running
// node outlives a stop until its attempt has ended, and then is what it became,
// or cancelled if the stop is what ended it. A pause only keeps next from giving
// anything: what runs goes on, and a step starts the node that stepNext gives.
// An attempt whose process died is lost: its node is pending again, and what was
// lost does not count as one of its tries.
//
// Whether a node may start follows from a count: the edges that reach it and
// have not delivered. An edge delivers once, when its source succeeds and its
// guard, if any, holds; guards look at what is final, so the order in which
// nodes end cannot change what runs. The cost of a run is linear in nodes and
// edges, but for the logarithm of the heap.
type machine struct {
	g     *graph
	in    [][]int // by node, the edges that reach it, in the order of the file
	nodes []nodeState
	ready minHeap // pending nodes with nothing left to wait for
	max   int     // nodes that may be active at once

	active  int // running, and not waiting for a person
	running int
	left    int // not in a final state
	// inBackoff counts the nodes that wait for the event due.
	inBackoff int
	stopped   bool
	paused    bool
}

// nodeState is the part of the machine that belongs to one node.
type nodeState struct {
	state   State
	attempt int  // the latest that was started, from 1
	tries   int  // attempts that were not lost; retry.max_attempts bounds them
	waiting bool // running, but for a person to decide
	backoff bool // pending, until the wait before the next attempt is over
	open    int  // inbound edges that are not settled
	cause   int  // of a skipped node: the edge that decided it
	ports   map[string]json.RawMessage
	status  string          // of the last attempt that ended
	err     *rmp.AgentError // why that one was not a success
	warned  string          // the last warning that the agent logged, for sentences
}

// The events of a machine.
type (
	// started: an attempt of a node that next gave begins.
	started struct{ node int }
	// ended: the running attempt of a node is over.
	ended struct {
		node   int
		status string // rmp.StatusOK and so on
		ports  map[string]json.RawMessage
		err    *rmp.AgentError
	}
	// due: the wait before the next attempt of a node is over.
	due struct{ node int }
	// waits: a running node begins or ceases to wait for a person, and
	// meanwhile leaves its place to another.
	waits struct {
		node int
		on   bool
	}
	// lost: nobody knows how the running attempt of a node ended, because the
	// process that ran it is gone.
	lost struct{ node int }
	// pause: nothing starts by itself until the pause is over. It may come
	// twice.
	pause struct{ on bool }
	// stop: nothing more is to start, and what has not started is cancelled.
	stop struct{}
)

// change is what an event did to a node: it is in a final state now, or will
// be tried again.
type change struct {
	node  int
	retry bool
}

// newMachine gives the machine for an opening in which nothing has happened yet.
func newMachine(o *Opening, maxParallel int) *machine {
	m := &machine{
		g: newGraph(o), in: make([][]int, len(o.Nodes)), nodes: make([]nodeState, len(o.Nodes)),
		max: maxParallel, left: len(o.Nodes),
	}
	for i := range o.Edges {
		to := m.g.to(i)
		m.in[to] = append(m.in[to], i)
		m.nodes[to].open++
	}
	for i := range m.nodes {
		m.nodes[i].state = Pending
		if m.nodes[i].open == 0 {
			m.ready.push(i)
		}
	}
	return m
}

// next gives the first node, in the order of the file, that may start now.
func (m *machine) next() (node int, ok bool) {
	for len(m.ready) > 0 && !m.startable(m.ready[0]) {
		m.ready.pop() // it has started since it was put there
	}
	if m.stopped || m.paused || m.active >= m.max || len(m.ready) == 0 {
		return 0, false
	}
	return m.ready[0], true
}

// stepNext is next for a step: neither a pause nor the number of places counts.
func (m *machine) stepNext() (node int, ok bool) {
	paused, most := m.paused, m.max
	m.paused, m.max = false, len(m.nodes)
	node, ok = m.next()
	m.paused, m.max = paused, most
	return node, ok
}

// startable reports whether a node has nothing left to wait for.
func (m *machine) startable(i int) bool {
	n := &m.nodes[i]
	return n.state == Pending && n.open == 0 && !n.backoff
}

// done reports whether every node is in a final state.
func (m *machine) done() bool { return m.left == 0 }

// apply takes an event and gives the nodes that it finished or sent back, in
// the order of the file. An event that cannot happen in this state is an error
// and changes nothing.
func (m *machine) apply(event any) ([]change, error) {
	switch ev := event.(type) {
	case started:
		return nil, m.start(ev.node)
	case ended:
		return m.end(ev)
	case due:
		n, err := m.node(ev.node)
		if err != nil || !n.backoff {
			return nil, m.wrong("due", ev.node)
		}
		n.backoff = false
		m.inBackoff--
		m.ready.push(ev.node)
		return nil, nil
	case waits:
		n, err := m.node(ev.node)
		if err != nil || n.state != Running || n.waiting == ev.on {
			return nil, m.wrong("waits", ev.node)
		}
		if n.waiting = ev.on; ev.on {
			m.active--
		} else {
			m.active++
		}
		return nil, nil
	case lost:
		return nil, m.lose(ev.node)
	case pause:
		m.paused = ev.on
		return nil, nil
	case stop:
		return m.stop(), nil
	}
	return nil, fmt.Errorf("the scheduler knows no event %T", event)
}

// node finds a node by number; numbers may come from a record.
func (m *machine) node(i int) (*nodeState, error) {
	if i < 0 || i >= len(m.nodes) {
		return nil, fmt.Errorf("the opening has no node number %d", i)
	}
	return &m.nodes[i], nil
}

// wrong is the error for an event that does not fit.
func (m *machine) wrong(event string, i int) error {
	n, err := m.node(i)
	if err != nil {
		return err
	}
	return fmt.Errorf("event %s does not fit node %s, which is %s", event, m.g.ids[i], n.state)
}

// start takes a place for a node.
func (m *machine) start(i int) error {
	n, err := m.node(i)
	if err != nil || m.stopped || !m.startable(i) {
		return m.wrong("started", i)
	}
	n.state = Running
	n.attempt++
	n.tries++
	m.running++
	m.active++
	return nil
}

// lose takes a running node back to where it was before its attempt, except that
// the attempt's number is used up. After a stop there is nothing to go back to.
func (m *machine) lose(i int) error {
	n, err := m.node(i)
	if err != nil || m.stopped || n.state != Running {
		return m.wrong("lost", i)
	}
	m.running--
	if !n.waiting {
		m.active--
	}
	n.state, n.waiting = Pending, false
	n.tries--
	m.ready.push(i)
	return nil
}

// end settles the attempt of a node, and with it what waits for the node.
func (m *machine) end(ev ended) ([]change, error) {
	n, err := m.node(ev.node)
	if err != nil || n.state != Running {
		return nil, m.wrong("ended", ev.node)
	}
	m.running--
	if !n.waiting {
		m.active--
	}
	n.waiting, n.status, n.err = false, ev.status, ev.err
	again := m.again(ev)
	if again && !m.stopped {
		n.state, n.backoff = Pending, true
		m.inBackoff++
		return []change{{node: ev.node, retry: true}}, nil
	}
	m.left--
	switch {
	case ev.status == rmp.StatusOK:
		n.state, n.ports, n.err = Succeeded, ev.ports, nil
	case m.stopped && (again || ev.status == rmp.StatusCancelled):
		n.state = Cancelled // also what would have been tried again
	default:
		n.state = Failed
	}
	changes := m.settle(ev.node, []change{{node: ev.node}})
	slices.SortFunc(changes, func(a, b change) int { return a.node - b.node })
	return changes, nil
}

// again reports whether an attempt that ended so is followed by another:
// timeouts and retryable failures are, as long as the node has tries left.
func (m *machine) again(ev ended) bool {
	r := m.g.o.Nodes[ev.node].Retry
	if r == nil || m.nodes[ev.node].tries >= r.MaxAttempts {
		return false
	}
	return ev.status == rmp.StatusTimeout ||
		ev.status == rmp.StatusFailed && ev.err != nil && ev.err.Retryable
}

// settle passes on, edge by edge, what became of a node. An edge that does not
// deliver skips the node behind it, however many others did; a node becomes
// ready with its last edge and never before.
func (m *machine) settle(node int, changes []change) []change {
	queue := []int{node}
	for len(queue) > 0 {
		from := queue[0]
		queue = queue[1:]
		for _, edge := range m.g.out[from] {
			to := m.g.to(edge)
			n := &m.nodes[to]
			switch {
			case n.state != Pending: // another edge has skipped it
			case m.delivers(edge):
				if n.open--; n.open == 0 {
					m.ready.push(to)
				}
			default:
				n.state, n.cause = Skipped, edge
				m.left--
				changes = append(changes, change{node: to})
				queue = append(queue, to)
			}
		}
	}
	return changes
}

// delivers reports whether the edge's source succeeded and its guard holds.
func (m *machine) delivers(edge int) bool {
	e := m.g.o.Edges[edge]
	if m.nodes[m.g.index[e.From.Node]].state != Succeeded {
		return false
	}
	value, ok := m.value(e.From)
	return e.Guard == nil || ok && e.Guard.Holds(value)
}

// stop cancels what has not started. Running nodes end by themselves.
func (m *machine) stop() []change {
	var changes []change
	m.stopped = true
	m.ready = nil
	m.inBackoff = 0
	for i := range m.nodes {
		if n := &m.nodes[i]; n.state == Pending {
			n.state, n.backoff = Cancelled, false
			m.left--
			changes = append(changes, change{node: i})
		}
	}
	return changes
}

// value gives what a node put out on a port.
func (m *machine) value(ref PortRef) (json.RawMessage, bool) {
	v, ok := m.nodes[m.g.index[ref.Node]].ports[ref.Port]
	return v, ok
}

// inputs collects what has been delivered to a node: per port, the values in
// the order of the edges in the file. A port whose sources gave no value is
// not there.
func (m *machine) inputs(node int) map[string][]json.RawMessage {
	in := map[string][]json.RawMessage{}
	for _, edge := range m.in[node] {
		e := m.g.o.Edges[edge]
		if v, ok := m.value(e.From); ok {
			in[e.To.Port] = append(in[e.To.Port], v)
		}
	}
	return in
}
