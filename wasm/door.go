package wasm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/runloop-os/runloop/rmp"
)

// Bounds of the hostcall door.
const (
	requestMax   = 1 << 20 // bytes of one request
	responseMax  = 4 << 20 // bytes of one answer
	callsASecond = 5_000   // beyond that a guest is made to wait
	callsBurst   = 1_000
)

// Faults of a hostcall itself, as the guest gets them. What is wrong with a
// well-formed call is in the answer instead.
const (
	faultPointer   = -1 // the range is not in the guest's memory
	faultSize      = -2 // longer than requestMax
	faultMalformed = -3 // not {"op": string, "args": map}
	faultClosed    = -4 // no hostcalls here and now
)

// door is where everything that leaves a sandbox passes: one check, one audit,
// one budget, one recording.
type door struct {
	open     bool
	caller   Caller
	services *Services
	tape     *tape
	watch    *stopwatch  // nil in tests of the door alone
	parent   *workerSide // in a worker: whose door it is
	emit     func(level, message string, fields []byte)
	usage    rmp.Usage
	pending  []byte
	calls    int
	pace     pacer
	denied   map[denial]int // how often
	parking                 // of requests for confirmation
	stay     *stay          // nil: not a resident's
	count    *agentCounters // nil in tests of the door alone
	checked  bool           // a replay is held to the caller's capabilities
	tools    Tools
	// handles are secrets that the guest holds, by handle; effects counts the
	// actions with the same op and arguments.
	handles     map[string]string
	effects     map[string]uint64
	ownRedactor Redactor
}

// denial is what is audited once for each attempt, and once more with the
// count when the guest went on asking: a guest must not be able to fill the
// ledger.
type denial struct{ family, op, target string }

// auditTargetMax bounds what a guest asked for in a denial, in bytes: it names
// whatever it likes.
const auditTargetMax = 256

// denialsMax is how many different denials of an attempt are audited.
const denialsMax = 64

// closedDoor answers faultClosed: during _initialize nobody is there yet.
func closedDoor() *door { return &door{} }

// hostcall(req_ptr, req_len) -> length of the answer, or a fault.
func hostcall(ctx context.Context, mod api.Module, params []uint64) uint32 {
	g := guestFrom(ctx)
	g.meter.leave()
	defer g.meter.enter()
	return uint32(int32(g.door.call(ctx, mod.Memory(), uint32(params[0]), uint32(params[1]))))
}

// hostcall_read(ptr, cap) -> bytes copied. Reads go on where the last one
// ended.
func hostcallRead(ctx context.Context, mod api.Module, params []uint64) uint32 {
	d := guestFrom(ctx).door
	ptr, capacity := uint32(params[0]), uint32(params[1])
	n := min(len(d.pending), int(capacity))
	if !mod.Memory().Write(ptr, d.pending[:n]) {
		return uint32(0xffffffff) // faultPointer
	}
	d.pending = d.pending[n:]
	return uint32(n)
}

// call takes one request and leaves the answer in d.pending.
func (d *door) call(ctx context.Context, mem api.Memory, ptr, length uint32) int {
	d.pending = nil
	if !d.open {
		return faultClosed
	}
	if length > requestMax {
		return faultSize
	}
	view, ok := mem.Read(ptr, length)
	if !ok {
		return faultPointer
	}
	req := append([]byte(nil), view...) // the guest's memory may move or change
	op, args, err := parseCall(req)
	if err != nil {
		return faultMalformed
	}
	answer, ok := d.ask(ctx, op, args)
	if !ok {
		abort()
	}
	d.pending = encodeAnswer(answer)
	return len(d.pending)
}

// ask answers one request at the pace that guests are held to; false means
// that the guest is to end. In a worker the parent does it.
func (d *door) ask(ctx context.Context, op string, args []byte) (rmp.Hostcall, bool) {
	if d.parent != nil {
		call := d.parent.ask(op, args)
		return call, call.Err == nil || call.Err.Code != codeParked
	}
	if !d.pace.wait(ctx) {
		return rmp.Hostcall{}, false
	}
	d.calls++
	return d.answer(ctx, op, args)
}

// answer answers from the tape in a replay, and else for real and records it.
func (d *door) answer(ctx context.Context, op string, args []byte) (rmp.Hostcall, bool) {
	d.count.called()
	if call, ok, own := d.answerMail(ctx, op, args); own {
		return call, ok
	}
	if d.tape.given() {
		call, ok := d.tape.answer(op, d.redactor().redactMsgpack(args))
		if !ok {
			d.watch.kill(errDiverged)
		} else if call, ok = d.secretAgain(ctx, call, args); !ok {
			return call, false
		}
		if err := d.checkTaped(ctx, op, args, call); ok && err != nil {
			d.leaveTape(op, args, call, err)
			return call, false
		}
		d.passed(op, args)
		return call, ok
	}
	call := rmp.Hostcall{Op: op, Args: args}
	ok, err := d.performOrGoOn(ctx, op, args)
	if d.parkOn(err) || ctx.Err() != nil {
		return call, false // the guest is to end, not to learn about it
	}
	if err != nil {
		call.Err = d.hostcallError(err)
	} else {
		call.OK = ok
	}
	masked := d.masked(call)
	d.tape.record(masked)
	if op == opSecretGet {
		return call, true // the one answer that may hold a secret
	}
	return masked, true
}

// masked is a call with no secret in it.
func (d *door) masked(call rmp.Hostcall) rmp.Hostcall {
	r := d.redactor()
	call.Args, call.OK = r.redactMsgpack(call.Args), r.redactMsgpack(call.OK)
	if call.Err != nil {
		e := *call.Err
		e.Message = r.Redact(e.Message)
		call.Err = &e
	}
	return call
}

// perform carries a call out and returns the answer as MsgPack.
func (d *door) perform(ctx context.Context, op string, args []byte) ([]byte, error) {
	do := operation(op)
	if do == nil {
		return nil, errorf(CodeUnknownOp, "there is no hostcall %q", op)
	}
	asJSON, err := rmp.AppendJSON(nil, args)
	if err != nil {
		return nil, errorf(CodeInvalid, "%s: %v", op, err)
	}
	if !takesSecrets(op) {
		asJSON = d.redactor().redactJSON(asJSON)
	}
	result, err := do(ctx, d, asJSON)
	if err != nil {
		return nil, err
	}
	ok, err := marshalMsgpack(result)
	if err != nil {
		return nil, err
	}
	if len(ok) > responseMax {
		return nil, errorf(CodeResponseSize, "%s: the answer is over %d bytes", op, responseMax)
	}
	return ok, nil
}

// hostcallError is err as a guest may see it: a fault of the host keeps its
// details to itself.
func (d *door) hostcallError(err error) *rmp.HostcallError {
	var e *Error
	if !errors.As(err, &e) {
		d.emit("error", err.Error(), nil)
		return &rmp.HostcallError{Code: CodeHost, Message: "the host failed to answer"}
	}
	return &rmp.HostcallError{Code: e.Code, Message: e.Message, Retryable: e.Retryable}
}

// refusal is one denial: of what family, to whom, and why. detail is for the
// audit alone; the guest is not told.
type refusal struct{ family, op, target, reason, detail string }

// deny audits and returns a refusal. The family is the capability's whole name
// and the reason tells no more than that it is not granted.
func (d *door) deny(ctx context.Context, family, op, target string, args []byte) error {
	return d.refuse(ctx, refusal{family: family, op: op, target: target, reason: "not granted"}, args)
}

// refuse is deny with another reason than that something is not granted.
func (d *door) refuse(ctx context.Context, r refusal, args []byte) error {
	d.count.refused()
	r.target = clipText(r.target, auditTargetMax)
	what := denial{r.family, r.op, r.target}
	if d.denied == nil {
		d.denied = map[denial]int{}
	}
	if n := d.denied[what]; n > 0 || len(d.denied) < denialsMax {
		d.denied[what]++
	}
	reason := r.reason
	if r.detail != "" {
		reason += ": " + r.detail
	}
	if d.denied[what] == 1 {
		d.audit(ctx, CapAudit{
			Cap: r.family, Op: r.op, Target: r.target, ArgsHash: hexSum(args),
			Decision: "deny", Severity: "warn", Reason: reason,
		})
	}
	if r.reason == "not granted" {
		return errorf(CodeDenied, "denied:%s:%s is not granted", r.family, r.target)
	}
	return errorf(CodeDenied, "denied:%s:%s: %s", r.family, r.target, r.reason)
}

// close audits how often the guest went on asking for what it was denied.
func (d *door) close(ctx context.Context) {
	for what, n := range d.denied {
		if n > 1 {
			d.audit(ctx, CapAudit{
				Cap: what.family, Op: what.op, Target: what.target, Decision: "deny",
				Severity: "warn", Reason: fmt.Sprintf("not granted; asked for %d times", n),
			})
		}
	}
}

func (d *door) allow(ctx context.Context, family, op, target string, args []byte) {
	if d.services.AuditAllowed {
		d.audit(ctx, CapAudit{
			Cap: family, Op: op, Target: target, ArgsHash: hexSum(args),
			Decision: "allow", Severity: "info",
		})
	}
}

func (d *door) audit(ctx context.Context, a CapAudit) {
	if d.services.Audit == nil {
		return
	}
	a.Target, a.Reason = d.redactor().Redact(a.Target), d.redactor().Redact(a.Reason)
	a.Agent, a.TraceID, a.Node = d.caller.Agent, d.caller.TraceID, d.caller.Node
	a.Attempt, a.Seq = d.caller.Attempt, d.calls
	d.services.Audit(context.WithoutCancel(ctx), a)
}

// pacer is a token bucket: it makes a guest that calls too often wait.
type pacer struct {
	tokens float64
	last   time.Time
}

func (p *pacer) wait(ctx context.Context) bool {
	now := time.Now()
	if p.last.IsZero() {
		p.tokens = callsBurst
	} else {
		p.tokens = min(callsBurst, p.tokens+now.Sub(p.last).Seconds()*callsASecond)
	}
	p.last = now
	p.tokens--
	if p.tokens >= 0 {
		return ctx.Err() == nil
	}
	select {
	case <-time.After(time.Duration(-p.tokens / callsASecond * float64(time.Second))):
		return true
	case <-ctx.Done():
		return false
	}
}
