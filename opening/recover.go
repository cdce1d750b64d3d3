package opening

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/rmp"
)

// Errors of reading a run back.
var (
	// ErrNoRun is for a trace id that the history does not know.
	ErrNoRun = errors.New("there is no record of such a run")
	// ErrUnfinished is for a run that has no trace yet.
	ErrUnfinished = errors.New("the run has not finished; it has no trace yet")
	// ErrRecord is for records that contradict themselves or each other.
	ErrRecord = errors.New("the record of the run cannot be read")
)

// RecordedRun is a run as its records tell of it.
type RecordedRun struct {
	Plan    *Plan
	TraceID uuid.UUID
	Seed    Seed
	Flags   json.RawMessage
	Limits  Limits
	Started time.Time
	// Paused, while it is unfinished: it waits to be resumed.
	Paused bool
	// Why is the cause of the pause.
	Why string
	// Finished says how the run ended; it is empty for a run that did not.
	Finished Status
	// Outer is the trace id of the run that this one is an attempt in; it goes on
	// with that one, not by itself.
	Outer string
	// ForkedFrom is the trace id of the run that it takes steps over from, empty
	// for a run that is no fork; see [RecordedRun.Fork].
	ForkedFrom string

	m        *machine
	attempts []*attempt // by node, the latest, as far as the records tell of it
	due      []int64    // by node: when the next attempt may begin, in ms
	open     map[string]*actionRequestedRecord
	ladder   []Crossing
	cut      bool
	usage    rmp.Usage
	stopped  Status
	forkNode string // Fork.From
	clock    runClock
	parked   int
	running  int // attempts in a sandbox
	lastMS   int64
	count    int // records
	end      *traceRecord
}

// LoadRun reads a run back from its history. It fails with [ErrNoRun] or
// [ErrRecord], or because the history could not be read.
func LoadRun(ctx context.Context, h History, trace uuid.UUID) (*RecordedRun, error) {
	records, err := h.Records(ctx, trace)
	if err != nil {
		return nil, fmt.Errorf("the record of %s: %w", traceName(trace), err)
	}
	return ReadRun(records)
}

// ReadRun is LoadRun for records that are there already.
func ReadRun(records []Record) (*RecordedRun, error) {
	if len(records) == 0 {
		return nil, ErrNoRun
	}
	rr := &RecordedRun{open: map[string]*actionRequestedRecord{}}
	for i, rec := range records {
		if err := rr.take(rec); err != nil {
			return nil, fmt.Errorf("%w: record %d, %s: %w", ErrRecord, i+1, visible(rec.Kind), err)
		}
	}
	return rr, nil
}

// OpenAgents gives the digests by reference of the agents whose nodes have not
// finished.
func (rr *RecordedRun) OpenAgents() map[string]string {
	agents := map[string]string{}
	for i, n := range rr.Plan.Opening.Nodes {
		if !rr.m.nodes[i].state.final() {
			rr.Plan.addAgents(agents, n)
		}
	}
	return agents
}

// addAgents adds the digests of what a node runs: its agent, or all agents of the
// opening that it uses.
func (p *Plan) addAgents(to map[string]string, n Node) {
	if n.Nested() == "" {
		to[n.Ref()] = p.Digests[n.Ref()]
		return
	}
	if o := p.Openings[n.Nested()]; o != nil {
		for _, inner := range o.Nodes {
			p.addAgents(to, inner)
		}
	}
}

// take adds one record.
func (rr *RecordedRun) take(rec Record) error {
	if (rr.m == nil) != (rec.Kind == kindRunStarted) {
		return errors.New("a run begins with run.started, once")
	}
	rr.keepTime(rec)
	rr.count++
	switch rec.Kind {
	case kindRunStarted:
		return rr.start(rec)
	case kindRunPaused, kindRunResumed, kindRunStopping:
		return rr.mark(rec)
	case kindNodeStarted:
		return rr.nodeStarted(rec)
	case kindNodeRetry:
		return rr.nodeRetry(rec)
	case kindNodeParked:
		return rr.nodeParked(rec)
	case kindNodeFinished:
		return rr.nodeFinished(rec)
	case kindActionRequested, kindActionDecided:
		return rr.action(rec)
	case kindRunFinished:
		var p runFinishedRecord
		err := json.Unmarshal(rec.Payload, &p)
		rr.Finished = p.Status
		return err
	case kindRunTrace:
		rr.end = &traceRecord{}
		if err := json.Unmarshal(rec.Payload, rr.end); err != nil {
			return err
		}
		rr.ladder = append(rr.ladder, rr.end.Ladder...)
		rr.cut = rr.end.LadderCut
	}
	return nil // what else a run has on record is not its state
}

// keepTime adds the time since the record before, as the clock of the run
// counts it: not while it stood, and not while no process had it.
func (rr *RecordedRun) keepTime(rec Record) {
	if rr.m != nil && !rr.standing() && !isRestart(rec) {
		rr.clock.spent += time.Duration(max(0, rec.TSMillis-rr.lastMS)) * time.Millisecond
	}
	rr.lastMS = rec.TSMillis
}

// isRestart reports whether a record is the first of another process.
func isRestart(rec Record) bool {
	var p runMarkRecord
	return rec.Kind == kindRunResumed && json.Unmarshal(rec.Payload, &p) == nil && p.Cause == causeRestart
}

// standing is runner.standing for the state between two records.
func (rr *RecordedRun) standing() bool {
	if rr.running > 0 || rr.m.done() {
		return false
	}
	return rr.m.paused || rr.parked > 0 && rr.m.inBackoff == 0
}

// start reads what the run was begun with. Its agents are not looked for: their
// digests are on record.
func (rr *RecordedRun) start(rec Record) error {
	var p runStartedRecord
	if err := json.Unmarshal(rec.Payload, &p); err != nil {
		return err
	}
	id, err := (&Trace{TraceID: p.TraceID}).TraceUUID()
	if err != nil {
		return err
	}
	o, err := ParseIR(p.OpeningIR)
	if err != nil {
		return fmt.Errorf("its opening: %w", err)
	}
	plan, err := NewPlan(o, nil, p.Params)
	if err != nil {
		return fmt.Errorf("its opening: %w", err)
	}
	if plan.IRHash != p.OpeningIRHash {
		return errors.New("opening_ir_hash is not the hash of opening_ir")
	}
	if plan.Openings, err = readOpenings(p.Openings); err != nil {
		return err
	}
	if p.Outer != nil {
		rr.Outer = p.Outer.TraceID
	}
	if plan.Digests = p.Agents; plan.Digests == nil {
		plan.Digests = map[string]string{}
	}
	rr.Plan, rr.TraceID, rr.Seed, rr.Flags, rr.Limits = plan, id, p.Seed, p.Flags, p.Limits
	rr.Started, rr.ForkedFrom, rr.forkNode = time.UnixMilli(rec.TSMillis), p.ForkedFrom, p.ForkNode
	// While records are read, nothing is told about places.
	rr.m = newMachine(o, len(o.Nodes))
	rr.attempts = make([]*attempt, len(o.Nodes))
	rr.due = make([]int64, len(o.Nodes))
	return nil
}

// readOpenings reads the openings that a run's nodes use.
func readOpenings(irs map[string]json.RawMessage) (map[string]*Opening, error) {
	openings := map[string]*Opening{}
	for name, ir := range irs {
		o, err := ParseIR(ir)
		if err != nil {
			return nil, fmt.Errorf("its opening %s: %w", quote(name), err)
		}
		openings[name] = o
	}
	return openings, nil
}

// mark reads a pause, the end of one, or the beginning of the end.
func (rr *RecordedRun) mark(rec Record) error {
	var p runMarkRecord
	if err := json.Unmarshal(rec.Payload, &p); err != nil {
		return err
	}
	switch rec.Kind {
	case kindRunStopping:
		switch p.Status {
		case StatusCancelled, StatusTimeout, StatusError:
		default:
			return fmt.Errorf("%s is not why a run stops", quote(string(p.Status)))
		}
		rr.stopped = p.Status
		_, err := rr.m.apply(stop{})
		return err
	case kindRunPaused:
		rr.Paused, rr.Why = true, p.Cause
	case kindRunResumed:
		rr.Paused, rr.Why = rr.Paused && p.Cause == causeRestart, ""
		for ref, digest := range p.Agents {
			rr.Plan.Digests[ref] = digest
		}
	}
	_, err := rr.m.apply(pause{rr.Paused})
	return err
}

// node finds a node by its id.
func (rr *RecordedRun) node(id string) (int, error) {
	i, ok := rr.m.g.index[id]
	if !ok {
		return 0, fmt.Errorf("the opening has no node %s", quote(id))
	}
	return i, nil
}
