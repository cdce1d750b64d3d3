package opening

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// attempt is one attempt of a node while it runs, and what is left of it
// afterwards.
type attempt struct {
	node    int
	req     *Request
	resp    *Response // once it has ended
	begun   time.Time
	took    time.Duration
	timeout time.Duration
	reused  *Reused // it was taken over from another run

	recorded bool     // its end is on record, and its node goes on
	nested   string   // trace id of the run that it was, as far as a record tells
	inner    *Control // of that run, while it goes on
	// Set when it is launched.
	cancel context.CancelCauseFunc
	timer  *time.Timer   // of its timeout and, once it has failed, of the wait for the next
	due    time.Time     // when timer goes off
	left   time.Duration // of the timeout, while it waits for a person; else 0
	asking int           // actions that wait for a person

	// Set while it is parked, or was.
	parked   bool
	action   string          // what it waits for
	decision *ActionDecision // the latest about one of its actions
	tape     []Hostcall      // so far
	spent    rmp.Usage       // so far
	micros   int64           // so far
}

// newAttempt makes the request for the next attempt of a node.
func (r *runner) newAttempt(i int) *attempt {
	n, now := r.p.Opening.Nodes[i], r.e.now()
	a := &attempt{node: i, begun: now, timeout: r.timeout(n)}
	runLeft := r.runLeft(now)
	deadline := a.timeout
	if runLeft > 0 {
		deadline = max(min(deadline, runLeft), time.Millisecond)
	}
	a.req = &Request{
		Ref: n.Ref(), Node: n.ID, Attempt: r.m.nodes[i].attempt,
		TraceID: r.opt.TraceID, OpeningID: r.ids.opening,
		Digest: r.p.Digests[n.Ref()], Seed: r.opt.Seed,
		With: r.p.With[i], Inputs: r.m.inputs(i),
		Budget: rmp.Budget{Tokens: n.BudgetTokens, DeadlineMillis: deadline.Milliseconds()},
		RunBudget: rmp.Budget{
			Tokens:         r.limits.BudgetTokens,
			USD:            r.limits.BudgetUSD,
			DeadlineMillis: runLeft.Milliseconds(),
		},
		Mode: rmp.ModeLive, Outer: r.outer(),
	}
	return a
}

// timeout of a node: its own, the opening's, or the default (spec/04). One that
// uses an opening takes as long as that does.
func (r *runner) timeout(n Node) time.Duration {
	switch {
	case n.TimeoutMS > 0:
		return time.Duration(n.TimeoutMS) * time.Millisecond
	case n.Nested() != "":
		return maxTimeout // its own policy and that of this run bound it
	case r.p.Opening.Policy.TimeoutMS > 0: // or less, by the run's limits
		return time.Duration(r.limits.TimeoutMS) * time.Millisecond
	}
	return defaultTimeout
}

// runLeft is how much longer the run may take, at least a millisecond, or 0
// when it has no limit.
func (r *runner) runLeft(now time.Time) time.Duration {
	ms := r.limits.TimeoutMS
	if ms == 0 {
		return 0
	}
	return max(time.Duration(ms)*time.Millisecond-r.clock.spentAt(now), time.Millisecond)
}

// launch runs an attempt in a goroutine that ends with an endedMsg.
func (r *runner) launch(ctx context.Context, a *attempt) {
	// Cancelling the run is the loop's business; it stops attempts itself.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	a.cancel = cancel
	left := a.timeout
	if a.left > 0 {
		left, a.left = a.left, 0 // it was parked
	}
	a.timer = time.AfterFunc(left, func() { cancel(errAttemptTimeout) })
	a.due = time.Now().Add(left)
	switch {
	case r.stopped != "":
		cancel(errRunStopped)
	case r.leaving == leaveNow:
		cancel(errRunLeft)
	}
	r.live++
	exec := r.executor(a)
	go func() {
		resp := exec.Execute(ctx, a.req, observer{r, a})
		cause := context.Cause(ctx)
		a.timer.Stop()
		cancel(nil)
		r.send(endedMsg{a, resp, cause})
	}()
}

// observer sends what an executor tells to the loop.
type observer struct {
	r *runner
	a *attempt
}

// Log implements Observer.
func (o observer) Log(l Log) { o.r.send(logMsg{o.a, l}) }

// Crossing implements Observer.
func (o observer) Crossing(c Crossing) { o.r.send(crossingMsg{c}) }

// ended settles an attempt: its node is finished, and others with it, or it is
// tried again later.
func (r *runner) ended(msg endedMsg) {
	a := msg.a
	r.live--
	if msg.cause == nil && msg.resp != nil && msg.resp.Status == rmp.StatusParked && r.park(a, msg.resp) {
		return
	}
	if r.leaving == leaveNow && (msg.resp == nil || msg.resp.Status != rmp.StatusOK) {
		return // for the record it is lost, and the next process runs it again
	}
	a.took = r.e.now().Sub(a.begun)
	a.resp = r.judge(a, msg.resp, msg.cause)
	r.spend(a)
	r.actions.forget(a)
	changes := r.apply(ended{
		node: a.node, status: a.resp.Status, ports: a.resp.Ports, err: a.resp.Error,
	})
	for _, c := range changes {
		if c.retry {
			r.retry(a)
		} else {
			r.settled(c.node)
		}
	}
}

// spend charges an attempt that has ended to the run. What it spent before it
// was parked is charged already, but belongs to the attempt as well.
func (r *runner) spend(a *attempt) {
	r.usage = addUsage(r.usage, a.resp.Usage)
	a.resp.Usage = addUsage(a.spent, a.resp.Usage)
	a.resp.Micros += a.micros
}

// addUsage adds up what was spent.
func addUsage(a, b rmp.Usage) rmp.Usage {
	return rmp.Usage{
		TokensIn: a.TokensIn + b.TokensIn, TokensOut: a.TokensOut + b.TokensOut, USD: a.USD + b.USD,
	}
}

// judge decides how an attempt ended: by what the host says, unless it was
// stopped from here, and only if what the host says makes sense.
func (r *runner) judge(a *attempt, resp *Response, cause error) *Response {
	if resp == nil {
		return failure(codeHost, false, "the executor gave no answer")
	}
	switch {
	case resp.Status == rmp.StatusOK:
		return canonicalPorts(resp)
	case r.stopped != "" && (errors.Is(cause, errRunStopped) || resp.Status == rmp.StatusParked):
		resp.Status = rmp.StatusCancelled
		resp.Error = &rmp.AgentError{Code: codeCancelled, Message: r.stopReason()}
	case errors.Is(cause, errAttemptTimeout):
		resp.Status = rmp.StatusTimeout
		resp.Error = &rmp.AgentError{Code: codeTimedOut, Retryable: true,
			Message: fmt.Sprintf("no answer within %d ms", a.timeout.Milliseconds())}
	case resp.Status == rmp.StatusTimeout || resp.Status == rmp.StatusCancelled:
		// The host knows of limits and reasons of its own.
	case resp.Status != rmp.StatusFailed:
		return failure(codeHost, false, "the host answered with the status %s", quote(resp.Status))
	}
	if resp.Error == nil {
		resp.Error = &rmp.AgentError{Code: resp.Status, Message: "the host gave no reason"}
	}
	resp.Ports = nil
	return resp
}

// canonicalPorts brings outputs into canonical form. A value that would change
// on the way fails the attempt.
func canonicalPorts(resp *Response) *Response {
	ports := make(map[string]json.RawMessage, len(resp.Ports))
	for name, raw := range resp.Ports {
		v, err := canonical(raw)
		if err != nil {
			resp.Status, resp.Ports = rmp.StatusFailed, nil
			resp.Error = &rmp.AgentError{Code: codeOutput,
				Message: fmt.Sprintf("the output %s holds %v", quote(name), err)}
			return resp
		}
		ports[name] = v
	}
	resp.Ports, resp.Error = ports, nil
	return resp
}

// retry plans the next attempt of a node.
func (r *runner) retry(a *attempt) {
	node := r.p.Opening.Nodes[a.node]
	delay := node.Retry.wait(r.opt.Seed, node.ID, r.m.nodes[a.node].tries)
	r.record(kindNodeRetry, nodeRetryRecord{
		TraceID: r.ids.trace, Node: node.ID, Agent: node.Ref(), Attempt: a.req.Attempt,
		Error: a.resp.Error, DueMS: r.e.now().Add(delay).UnixMilli(), attemptRecord: r.recordOf(a),
	})
	a.recorded = true
	r.event(kindNodeRetry, levelWarn, nodeRetryMeta{
		Node: node.ID, Attempt: a.req.Attempt, NextAttempt: a.req.Attempt + 1,
		DelayMS: delay.Milliseconds(), Error: a.resp.Error,
	}, "%s: attempt %d failed (%s); the next is in %d ms",
		node.ID, a.req.Attempt, describeError(a.resp.Error), delay.Milliseconds())
	r.retryIn(a, delay)
}

// retryIn lets the next attempt of a node wait.
func (r *runner) retryIn(a *attempt, delay time.Duration) {
	a.timer = time.AfterFunc(delay, func() { r.send(dueMsg{a.node}) })
}

// stopReason says in a sentence why the run was stopped.
func (r *runner) stopReason() string {
	switch r.stopped {
	case StatusTimeout:
		if ms := r.opt.Limits.TimeoutMS; ms == r.limits.TimeoutMS {
			return fmt.Sprintf("the run took longer than the %d ms that it was given", ms)
		}
		return fmt.Sprintf("the run took longer than its policy.timeout_ms of %d ms", r.limits.TimeoutMS)
	case StatusError:
		return "the run could not be recorded"
	}
	return "the run was cancelled"
}
