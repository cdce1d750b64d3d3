package wasm

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"time"

	"lukechampine.com/blake3"

	"github.com/runloop-os/runloop/rmp"
)

// attempt is one run of one bundle for one node: what the request said, put
// into the form that the sandbox and the guest want.
type attempt struct {
	req        *rmp.AgentRequest
	bundle     *Bundle
	caps       *Caps
	limits     Limits
	guarded    []string // paths of the host's own, which no grant may reach
	fileLimits FileLimits
	with       map[string]json.RawMessage
	inputs     json.RawMessage
	tape       *tape
	clock      *clock
	files      *files // nil: none granted
	handles    handles
	watch      *stopwatch
	door       *door
	emit       func(rmp.AgentLog)
	stdout     output
	stderr     output
	logged     output    // what came through the log hostcall
	out        io.Writer // what the guest writes to stdout goes here: stdout, or raw
	errs       io.Writer
	tail       stderrTail
	raw        *WASIConfig // a program that is no agent
	// What its process used, where it had one.
	cpu      time.Duration
	resident int64
	started  time.Time
	stay     *stay // nil: not a resident's
	// onMemory is told of the instance's memory, onPlace in which process the
	// guest is. Nil for nobody.
	onMemory func(*guestMemory)
	onPlace  func(pid int)
}

// newAttempt reads what the request carries. The bundle and capabilities are
// settled before; services answer its hostcalls.
func newAttempt(req *rmp.AgentRequest, b *Bundle, caps *Caps, s *Services) (*attempt, error) {
	a := &attempt{req: req, bundle: b, caps: caps, started: time.Now()}
	if len(req.Seed) != 32 {
		return nil, errorf(CodeRequest, "the seed has %d bytes, not 32", len(req.Seed))
	}
	with, err := rmp.AppendJSON(nil, orEmptyMap(req.With))
	if err == nil {
		err = json.Unmarshal(with, &a.with)
	}
	if err != nil {
		return nil, errorf(CodeRequest, "with: %v", err)
	}
	if a.inputs, err = rmp.AppendJSON(nil, orEmptyMap(req.Inputs)); err != nil {
		return nil, errorf(CodeRequest, "inputs: %v", err)
	}
	if a.tape, err = newTape(req); err != nil {
		return nil, err
	}
	if a.clock, err = a.newClock(s); err != nil {
		return nil, err
	}
	a.door = &door{
		open: true, services: s, tape: a.tape, emit: a.logLine, tools: b.Tools,
		checked: a.tape.replay && s.checkReplays,
		caller: Caller{
			Agent: b.Manifest.Name, TraceID: req.TraceID, OpeningID: req.OpeningID,
			Node: req.Node, Attempt: req.Attempt, InputsHash: hexSum(a.inputs),
			Caps: caps, Budget: req.Budget, RunBudget: req.RunBudget, Outer: req.Outer,
		},
	}
	a.door.parking = a.newParking()
	return a, nil
}

func orEmptyMap(raw []byte) []byte {
	if len(raw) == 0 {
		return emptyMap
	}
	return raw
}

// newClock is the time that the attempt's capabilities give it. In a replay
// the readings are taken off the tape, where they are the last entry.
func (a *attempt) newClock(s *Services) (*clock, error) {
	if !a.tape.given() && a.req.Mode != rmp.ModeResume {
		return a.liveClock(s), nil
	}
	readings, err := a.tape.takeReadings()
	switch {
	case err != nil:
		return nil, err
	case a.tape.replay && (readings == nil || s.checkReplays && !a.caps.Time):
		return newVirtualClock(), nil
	case a.tape.replay:
		return newReplayClock(readings), nil
	case a.caps.Time:
		return newResumedClock(s.Now, readings), nil
	}
	return newVirtualClock(), nil
}

func (a *attempt) liveClock(s *Services) *clock {
	if a.caps.Time {
		return newRealClock(s.Now)
	}
	return newVirtualClock()
}

// run runs the attempt to its end where it was placed, within the time it has.
func (a *attempt) run(ctx context.Context, place placement) (ending, error) {
	ctx, watch := newStopwatch(ctx, a.wallTime())
	defer watch.stop()
	a.watch, a.door.watch = watch, watch
	stdin, err := a.input()
	if err != nil {
		return ending{}, err
	}
	a.openStreams()
	end, err := place.run(ctx, a, stdin)
	a.stdout.close()
	a.stderr.close()
	a.logged.close()
	if err != nil {
		return ending{}, err
	}
	a.finishTape()
	a.door.close(ctx)
	a.logTripped(end.tripped)
	end.err = a.withLastWords(end.err, end.exit)
	return end, nil
}

// logTripped says which limits the guest ran into, which sees numbers only.
func (a *attempt) logTripped(names []string) {
	if len(names) > 0 {
		a.log(rmp.StreamStderr, "", "[limits reached: "+strings.Join(names, ", ")+"]\n", nil)
	}
}

// input is what the guest finds on stdin.
func (a *attempt) input() (input, error) {
	if a.raw != nil {
		return input{live: a.raw.Stdin}, nil
	}
	doc, err := a.stdinDocument()
	return input{doc: doc}, err
}

// wallTime is the least of the manifest's limit and what the run has left.
func (a *attempt) wallTime() time.Duration {
	d := time.Duration(a.limits.WallMS) * time.Millisecond
	if left := a.req.Budget.DeadlineMillis; left > 0 {
		d = min(d, time.Duration(left)*time.Millisecond)
	}
	return d
}

func (a *attempt) openStreams() {
	a.logged = output{
		limit: a.limits.StdoutKB << 10,
		emit:  func(chunk string) { a.log(rmp.StreamLog, "warn", chunk, nil) },
	}
	if a.raw != nil {
		a.rawStreams()
		return
	}
	a.stdout = output{
		limit: a.limits.StdoutKB << 10, keep: true,
		emit:    func(chunk string) { a.log(rmp.StreamStdout, "", chunk, nil) },
		onLimit: func() { a.watch.kill(errOutputLimit) },
	}
	a.stderr = output{
		limit: a.limits.StdoutKB << 10,
		emit: func(chunk string) {
			a.tail.add(chunk)
			a.log(rmp.StreamStderr, "", chunk, nil)
		},
	}
	a.out, a.errs = &a.stdout, &a.stderr
	if a.stay != nil { // what it writes is log, and never ends
		a.stdout.keep, a.stdout.onLimit = false, nil
	}
}

func (a *attempt) guest(ctx context.Context, life Life, stdin input) *guest {
	g := &guest{
		args:   a.argv(),
		stdin:  stdin.reader(ctx),
		stdout: a.out, stderr: a.errs,
		clock: a.clock, random: newRandom(a.seed()), door: a.door,
		memory: uint64(a.limits.MemoryMB) << 20,
		fs:     a.files.config(), onMemory: a.onMemory,
		meter: &meter{count: a.door.count},
	}
	switch {
	case a.stay != nil:
		g.env = map[string]string{envLife: LifeResident.String()}
	case a.raw != nil:
		g.args, g.env = a.raw.Args, a.raw.Env
	case life == LifeCommand:
		g.args = append(g.args, a.flags()...)
		g.env = map[string]string{"RUNLOOP_NODE_INPUT": a.withJSON()}
	}
	return g
}

// seed is the attempt's own: of the run, the node and the attempt.
func (a *attempt) seed() [32]byte {
	if a.stay != nil { // it starts the same each time; what is of a message comes with it
		return [32]byte{}
	}
	b := append([]byte("runloop attempt\x00"), a.req.Seed...)
	b = binary.BigEndian.AppendUint32(b, a.req.Attempt)
	return blake3.Sum256(append(b, a.req.Node...))
}

func (a *attempt) argv() []string {
	if len(a.bundle.Manifest.Args) > 0 {
		return slices.Clone(a.bundle.Manifest.Args)
	}
	return []string{a.bundle.Manifest.Name}
}

// flags gives the with map as --key value, strings as they are and the rest as
// JSON, sorted by key.
func (a *attempt) flags() []string {
	var out []string
	for _, key := range sortedKeys(a.with) {
		value := string(a.with[key])
		var s string
		if json.Unmarshal(a.with[key], &s) == nil && value != "null" {
			value = s
		}
		if strings.ContainsRune(key+value, 0) {
			continue // argv cannot carry it; stdin does
		}
		out = append(out, "--"+key, value)
	}
	return out
}

func (a *attempt) withJSON() string {
	b, err := json.Marshal(a.with)
	if err != nil {
		return "{}" // cannot be: every value was read from JSON
	}
	return string(b)
}

// stdinDocument is the one document a guest finds on stdin (spec/03).
func (a *attempt) stdinDocument() ([]byte, error) {
	b, err := json.Marshal(struct {
		V         int                        `json:"v"`
		Agent     string                     `json:"agent"`
		Node      string                     `json:"node"`
		Attempt   uint32                     `json:"attempt"`
		TraceID   string                     `json:"trace_id"`
		OpeningID string                     `json:"opening_id"`
		With      map[string]json.RawMessage `json:"with"`
		Inputs    json.RawMessage            `json:"inputs"`
		Budget    rmp.Budget                 `json:"budget"`
	}{
		1, a.bundle.Manifest.Name, a.req.Node, a.req.Attempt, a.req.TraceID, a.req.OpeningID,
		a.with, a.inputs, a.req.Budget,
	})
	if err != nil {
		return nil, errorf(CodeRequest, "%v", err)
	}
	return b, nil
}

// finishTape puts the clock's readings at the end of a recording, and notes
// what a replay left unasked.
func (a *attempt) finishTape() {
	if a.tape.replay {
		a.tape.finish()
		if a.clock.leftTape() {
			a.tape.diverge(nil, &rmp.Hostcall{Op: opClock, Args: emptyMap})
		}
		return
	}
	if a.tape.off {
		return
	}
	if a.clock.cut {
		a.tape.cut, a.tape.calls = true, nil
	}
	if len(a.clock.readings) > 0 && !a.tape.cut {
		readings, err := marshalMsgpack(a.clock.readings)
		if err != nil {
			a.tape.cut = true
			return
		}
		a.tape.record(rmp.Hostcall{Op: opClock, Args: emptyMap, OK: readings})
	}
}

// log sends one chunk of the guest's output on its way.
func (a *attempt) log(stream, level, chunk string, fields []byte) {
	if a.emit == nil || a.door.resuming() {
		return // what it said before it was parked is known
	}
	chunk, fields = a.door.redactor().Redact(chunk), a.door.redactor().redactMsgpack(fields)
	a.emit(rmp.AgentLog{
		TraceID: a.req.TraceID, Node: a.req.Node, Agent: a.bundle.Manifest.Name,
		Attempt: a.req.Attempt, Stream: stream, Level: level, Chunk: chunk, Fields: fields,
	})
}

// logLine is the log hostcall; fields is a JSON object or nothing. What is over
// the limit of the streams is counted and dropped.
func (a *attempt) logLine(level, message string, fields []byte) {
	var packed []byte
	if !a.logged.room(len(message) + len(fields)) {
		return
	}
	if len(fields) > 0 {
		packed, _ = rmp.AppendMsgpack(nil, fields) // what cannot be packed is left out
	}
	for len(message) > chunkMax {
		n := wholeRunes([]byte(message[:chunkMax]))
		a.log(rmp.StreamLog, level, message[:n], nil)
		message = message[n:]
	}
	a.log(rmp.StreamLog, level, message, packed)
}
