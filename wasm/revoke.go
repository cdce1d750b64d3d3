package wasm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// What may run is decided when an attempt begins. Trust can be taken back later:
// a key is revoked or expires, a grant is removed, an override takes a capability
// away. An agent that is running under what holds no more is stopped, and nothing
// that it puts out afterwards counts.

// CodeRevoked is how an attempt ends that may not go on.
const CodeRevoked = "killed:revoked"

// policyEvery is how often the policy is looked at while agents run that did not
// come with the binary.
const policyEvery = time.Second

// liveAttempt is an attempt that has begun.
type liveAttempt struct {
	stop   context.CancelCauseFunc
	under  *footing // nil until it is known, for replays, and once it was stopped
	caller Caller
}

// footing is what an agent was allowed when it began.
type footing struct {
	bundle *Bundle
	caps   *Caps
}

// key tells footings apart for which the policy may say something else.
func (f *footing) key() string {
	return strings.Join([]string{f.bundle.Manifest.Name, f.bundle.Digest, string(f.bundle.Signer), f.caps.Digest()}, " ")
}

// stands notes on what an attempt runs, so that it can be stopped.
func (h *Host) stands(id attemptID, a *attempt) {
	if a.tape.replay || a.bundle.BuiltIn {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.running[id]; l != nil {
		l.under, l.caller = &footing{a.bundle, a.caps}, a.door.caller
		h.beginsUnderPolicy()
	}
}

// watchPolicy looks at the policy now and then until ctx ends, but only while there is
// something to stop: a daemon with nothing to do is not to wake up for it.
func (h *Host) watchPolicy(ctx context.Context) {
	for {
		if !h.anyToJudge() {
			select {
			case <-h.toJudge:
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-time.After(h.cfg.PolicyEvery):
			h.ApplyPolicy()
		case <-ctx.Done():
			return
		}
	}
}

// beginsUnderPolicy wakes watchPolicy: something runs that the policy may stop.
func (h *Host) beginsUnderPolicy() {
	select {
	case h.toJudge <- struct{}{}:
	default: // it will look
	}
}

// anyToJudge reports whether anything runs that the policy may stop.
func (h *Host) anyToJudge() bool {
	if len(h.standing()) > 0 {
		return true
	}
	for _, r := range h.residents.all() {
		if f := r.footing(); f != nil && !f.bundle.BuiltIn {
			return true
		}
	}
	return false
}

// ApplyPolicy stops every agent that may not go on under the policy as it is now:
// attempts end with [CodeRevoked], residents do not start again by themselves. The
// host does so by itself within a second or so of a change.
func (h *Host) ApplyPolicy() {
	rulings := map[string]*Error{}
	rule := func(f *footing) *Error {
		if f == nil || f.bundle.BuiltIn {
			return nil
		}
		why, known := rulings[f.key()]
		if !known {
			why = h.mayGoOn(f)
			rulings[f.key()] = why
		}
		return why
	}
	for _, r := range h.residents.all() {
		if why := rule(r.footing()); why != nil && r.revoke(why) {
			h.warn(fmt.Errorf("resident %s: %w", r.ref, why))
		}
	}
	for _, c := range h.stopAttempts(rule) {
		h.auditRevoked(c.caller, c.why)
	}
}

// revocation is an attempt that was stopped.
type revocation struct {
	caller Caller
	why    *Error
}

func (h *Host) stopAttempts(rule func(*footing) *Error) (stopped []revocation) {
	for _, l := range h.standing() {
		why := rule(l.under)
		if why == nil {
			continue
		}
		l.stop(why)
		h.mu.Lock()
		l.under = nil // it is told once
		h.mu.Unlock()
		stopped = append(stopped, revocation{l.caller, why})
	}
	return stopped
}

// standing are the attempts that can be judged.
func (h *Host) standing() (out []*liveAttempt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.running {
		if l.under != nil {
			out = append(out, l)
		}
	}
	return out
}

func (h *Host) auditRevoked(c Caller, why *Error) {
	if h.cfg.Services.Audit == nil {
		return
	}
	h.cfg.Services.Audit(context.Background(), CapAudit{
		Agent: c.Agent, Cap: "caps.revoked", Op: "run", Target: c.Agent, Decision: "deny", Severity: "warn",
		Reason: why.Message, TraceID: c.TraceID, Node: c.Node, Attempt: c.Attempt,
	})
}

// mayGoOn is nil, or why an agent has to stop. A policy that cannot be read stops
// nothing that runs, as it lets nothing new begin: somebody may be writing it.
func (h *Host) mayGoOn(f *footing) *Error {
	caps, _, err := h.cfg.Policy.Effective(f.bundle)
	var e *Error
	switch {
	case errors.As(err, &e) && (e.Code == CodeUntrusted || e.Code == CodeNotGranted):
		return errorf(CodeRevoked, "stopped: %s", e.Message)
	case err != nil:
		h.policyFailed(err)
		return nil
	case !caps.Covers(f.caps):
		return errorf(CodeRevoked, "stopped: agent %s was allowed more when it began; policies took away: %s",
			f.bundle.Manifest.Name, strings.Join(Taken(f.caps, Intersect(f.caps, caps)), ", "))
	}
	return nil
}

// policyFailed tells of a policy that cannot be read, once for each reason.
func (h *Host) policyFailed(err error) {
	h.mu.Lock()
	told := h.policyErr == err.Error()
	h.policyErr = err.Error()
	h.mu.Unlock()
	if !told {
		h.warn(fmt.Errorf("agents that run go on as they began: %w", err))
	}
}
